"""What the commands of a client have in common: the words of their target, failed assertions, output that fails."""

import argparse
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from echod.cli.layout import failed_assertion_line
from echod.client.probe import target
from echod.common.addresses import HostPort
from echod.common.assertions import AssertionResult
from echod.common.defaults import DEFAULT_PORT
from echod.common.errors import ConfigurationError, EchodError
from echod.common.option_types import PORT

__all__ = ["add_target", "output_errors", "parse_target", "print_failed_assertions", "why", "write_result"]


def add_target(parser: argparse.ArgumentParser) -> None:
    """Declare HOST and PORT."""
    parser.add_argument("host", metavar="HOST", help="name, 192.0.2.1, 2001:db8::1, [2001:db8::1] or fe80::1%%eth0")
    parser.add_argument("port", metavar="PORT", nargs="?", default=str(DEFAULT_PORT), help=f"[default: {DEFAULT_PORT}]")


def parse_target(namespace: argparse.Namespace) -> HostPort:
    """Return what HOST and PORT mean. Raises ConfigurationError."""
    try:
        number = PORT.from_text(namespace.port)
    except ValueError as problem:
        raise ConfigurationError(f"port: {problem}") from None
    try:
        return target(namespace.host, number)
    except ValueError as problem:
        raise ConfigurationError(f"host: {problem}") from None


def print_failed_assertions(prog: str, verdicts: Iterable[AssertionResult]) -> None:
    """Tell, on standard error, of the assertions that do not hold."""
    for verdict in verdicts:
        if not verdict.holds:
            print(f"{prog}: {failed_assertion_line(verdict)}", file=sys.stderr)


def write_result(option: str, path: str, text: str) -> None:
    """Write `text` to the file that `option` names. Raises EchodError."""
    try:
        Path(path).write_text(text, encoding="utf-8")
    except (OSError, ValueError) as problem:
        raise EchodError(f"--{option}: cannot write {path}: {why(problem)}") from None


def why(problem: OSError | ValueError) -> object:
    """Return why a file cannot be written. A path with a null byte is a ValueError."""
    return problem.strerror if isinstance(problem, OSError) else problem


@contextmanager
def output_errors() -> Iterator[None]:
    """End in silence where the reader of standard output is gone, and with an EchodError where it cannot be written."""
    try:
        yield
    except BrokenPipeError:
        _end_as_by_sigpipe()
    except OSError as problem:  # a full disk, a terminal that is gone
        with suppress(OSError):
            sys.stdout.close()  # what it still holds would fail once more at the interpreter's end
        raise EchodError(f"cannot write: {problem.strerror}") from None


def _end_as_by_sigpipe() -> NoReturn:
    """End as a C program does whose reader is gone: silently, by the signal that Python ignores."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGPIPE)
    raise SystemExit(1)
