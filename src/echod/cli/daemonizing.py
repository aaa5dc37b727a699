"""The error of a start under a daemonizing twistd, reported by the command that the user typed.

twistd forks before it starts its services, and the command waits for the result. Of an exception it prints the repr of
the first 100 bytes, and refers to the log file. Here the command prints the error in one line, as without the fork.
"""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from twisted.application.service import MultiService, Service
from twisted.internet.interfaces import IReactorDaemonize
from zope.interface import alsoProvides

from echod.common.errors import EchodError

__all__ = ["ReportingService"]

_STDERR = 2


class ReportingService(MultiService):
    """Starts another service, and prints the error of a start that fails after twistd has forked."""

    def __init__(self, reactor: Any, service: Service) -> None:
        """`reactor` is the reactor that twistd runs. twistd calls its methods around the fork."""
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's MultiService has no annotations
        self._stderr: int | None = None
        """A copy of the command's standard error; None: twistd has not forked, or the start has been reported."""
        service.setServiceParent(self)
        if IReactorDaemonize.providedBy(reactor):  # kqueue's
            self._before_fork = reactor.beforeDaemonize
        else:
            alsoProvides(reactor, IReactorDaemonize)
            self._before_fork = reactor.afterDaemonize = _no_op
        reactor.beforeDaemonize = self._keep_stderr

    def privilegedStartService(self) -> None:
        """Start the service's privileged part; report an error, then raise it."""
        with self._reporting():
            super().privilegedStartService()  # type: ignore[no-untyped-call]  # likewise

    def startService(self) -> None:
        """Start the service; report an error, then raise it."""
        with self._reporting():
            super().startService()  # type: ignore[no-untyped-call]  # likewise
        self._close()

    def _keep_stderr(self) -> None:
        """Keep standard error for a report, and silence it for what twistd prints."""
        self._before_fork()
        with contextlib.suppress(OSError):  # it is closed
            self._stderr = os.dup(_STDERR)
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, _STDERR)
            os.close(null)

    @contextlib.contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except EchodError as problem:
            self._report(str(problem))
            raise
        except Exception as problem:
            self._report(f"the start failed, and the log file of twistd has the traceback: {problem!r}")
            raise

    def _report(self, text: str) -> None:
        if self._stderr is not None:
            with contextlib.suppress(OSError):  # nobody reads it any more
                os.write(self._stderr, f"echod: {text}\n".encode())
            self._close()

    def _close(self) -> None:
        if self._stderr is not None:
            os.close(self._stderr)
            self._stderr = None


def _no_op() -> None:
    """No-op."""
