"""What the client commands share: target arguments, failed assertions, output errors, result files."""

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
    """Declare the arguments HOST and PORT."""
    parser.add_argument("host", metavar="HOST", help="name, 192.0.2.1, 2001:db8::1, [2001:db8::1] or fe80::1%%eth0")
    parser.add_argument("port", metavar="PORT", nargs="?", default=str(DEFAULT_PORT), help=f"[default: {DEFAULT_PORT}]")


def parse_target(namespace: argparse.Namespace) -> HostPort:
    """Return the target of the arguments HOST and PORT. Raises ConfigurationError."""
    try:
        number = PORT.from_text(namespace.port)
    except ValueError as problem:
        raise ConfigurationError(f"port: {problem}") from None
    try:
        return target(namespace.host, number)
    except ValueError as problem:
        raise ConfigurationError(f"host: {problem}") from None


def print_failed_assertions(prog: str, verdicts: Iterable[AssertionResult]) -> None:
    """Print the assertions that do not hold to standard error."""
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
    """Handle errors of standard output: if its reader is gone, end by SIGPIPE; for other errors raise EchodError."""
    try:
        yield
    except BrokenPipeError:
        _end_by_sigpipe()
    except OSError as problem:  # a full disk, a closed terminal
        with suppress(OSError):
            sys.stdout.close()  # its buffer would fail again at the interpreter's end
        raise EchodError(f"cannot write: {problem.strerror}") from None


def _end_by_sigpipe() -> NoReturn:
    """End the process by SIGPIPE, silently, as a C program ends whose reader is gone; Python ignores the signal."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGPIPE)
    raise SystemExit(1)
