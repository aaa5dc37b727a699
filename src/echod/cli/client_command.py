"""What the client commands share: target arguments, failed assertions, output errors, result files."""

import argparse
import errno
import os
import signal
import stat
import sys
import tempfile
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
from echod.common.files import write_atomically
from echod.common.option_types import PORT

__all__ = [
    "add_target",
    "output_errors",
    "parse_target",
    "print_failed_assertions",
    "refuse_unwritable",
    "write_result",
]


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


def refuse_unwritable(option: str, path: str) -> None:
    """Raise ConfigurationError if `write_result` cannot write the file. It creates no file, and changes none."""
    file = Path(path)
    try:
        if file.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if _is_replaceable(file):
            with tempfile.TemporaryFile(dir=file.resolve().parent):
                pass
        if file.exists() and not os.access(file, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except (OSError, ValueError) as problem:
        raise ConfigurationError(f"--{option}: cannot write {path}: {_reason(problem)}") from None


def write_result(option: str, path: str, content: bytes) -> None:
    """Write `content` to the file that `option` names: all of it or nothing. Raises EchodError."""
    try:
        if _is_replaceable(Path(path)):
            write_atomically(Path(path).resolve(), content)  # resolved: a symbolic link stays, its target is replaced
        else:
            Path(path).write_bytes(content)
    except (OSError, ValueError) as problem:
        raise EchodError(f"--{option}: cannot write {path}: {_reason(problem)}") from None


def _is_replaceable(path: Path) -> bool:
    """Whether the path is a regular file or does not exist. A device or a FIFO, such as /dev/stdout, is written to."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        return True


def _reason(problem: OSError | ValueError) -> object:
    """Return why a file cannot be written. A path with a null byte raises ValueError."""
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
