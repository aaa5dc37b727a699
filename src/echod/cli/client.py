"""What the commands that go to a target have in common: its words, its TLS, and output that fails."""

import argparse
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NoReturn

from echod.core.addresses import HostPort
from echod.core.client import DEFAULT_PORT, ClientConfiguration
from echod.core.errors import ConfigurationError, EchodError
from echod.core.kinds import PORT
from echod.probe import target

if TYPE_CHECKING:
    from echod.probe import ClientTLSContext

__all__ = ["add_target", "output_may_fail", "target_of", "tls_of"]


def add_target(parser: argparse.ArgumentParser) -> None:
    """Declare HOST and PORT."""
    parser.add_argument("host", metavar="HOST", help="name, 192.0.2.1, 2001:db8::1, [2001:db8::1] or fe80::1%%eth0")
    parser.add_argument("port", metavar="PORT", nargs="?", default=str(DEFAULT_PORT), help=f"[default: {DEFAULT_PORT}]")


def target_of(namespace: argparse.Namespace) -> HostPort:
    """Return what HOST and PORT mean. Raises ConfigurationError."""
    try:
        number = PORT.from_text(namespace.port)
    except ValueError as problem:
        raise ConfigurationError(f"port: {problem}") from None
    try:
        return target(namespace.host, number)
    except ValueError as problem:
        raise ConfigurationError(f"host: {problem}") from None


def tls_of(configuration: ClientConfiguration) -> "ClientTLSContext | None":
    """Return the TLS that is asked for; None without. Raises ConfigurationError."""
    if configuration.client_tls is None:
        return None
    from echod.probe import ClientTLSContext  # takes its time, and what is plain can do without

    return ClientTLSContext(configuration.client_tls)


@contextmanager
def output_may_fail() -> Iterator[None]:
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
