"""The attempts to connect: one log entry each, and the outcome of a failed one."""

import errno
import os
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.error import (
    ConnectBindError,
    ConnectError,
    ConnectionRefusedError,
    DNSLookupError,
    TCPTimedOutError,
    TimeoutError,
    UnknownHostError,
    UserError,
)
from twisted.internet.interfaces import (
    IAddress,
    IConnector,
    IProtocol,
    IReactorPluggableNameResolver,
    IReactorTCP,
    IReactorTime,
)
from twisted.internet.protocol import ClientFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from echod.client.conclusions import Failing
from echod.client.outcomes import Attempt, Outcome
from echod.client.resolver import FamilyResolver
from echod.client.route import Family
from echod.common.addresses import HostPort, display_host

__all__ = ["AttemptLog", "AttemptLoggingReactor", "IProbeReactor", "failing_of_error"]


class IProbeReactor(IReactorTCP, IReactorTime, IReactorPluggableNameResolver):
    """The interfaces that a probe needs of a reactor."""


class _LoggedAttempt:
    """An attempt to connect, under way or ended. Times are those of `Clocks.now`."""

    def __init__(self, host: str, port: int, started: float) -> None:
        self.host = host
        self.port = port
        self.started = started
        self.ended: float | None = None
        self.error: BaseException | None = None
        self.won = False


class AttemptLog:
    """The attempts to establish one connection."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._attempts: list[_LoggedAttempt] = []

    def begin(self, host: str, port: int) -> _LoggedAttempt:
        """Add an attempt that is about to start."""
        attempt = _LoggedAttempt(host, port, self._now())
        self._attempts.append(attempt)
        return attempt

    def connected(self, attempt: _LoggedAttempt) -> None:
        """Mark it as connected. It is the only one: the endpoint cancels the others first."""
        attempt.ended = self._now()
        attempt.won = True

    def failed(self, attempt: _LoggedAttempt, error: BaseException | None) -> None:
        """Mark it as failed or cancelled."""
        attempt.ended = self._now()
        attempt.error = error

    def attempts(self, start: float) -> tuple[Attempt, ...]:
        """Return all of them, with times counted from `start`. One that is under way has lasted until now."""
        return tuple(self._attempt(each, start) for each in self._attempts)

    @property
    def _any_won(self) -> bool:
        return any(each.won for each in self._attempts)

    def _attempt(self, attempt: _LoggedAttempt, start: float) -> Attempt:
        outcome, detail = self._end_of(attempt)
        ended = self._now() if attempt.ended is None else attempt.ended
        return Attempt(
            address=HostPort(display_host(attempt.host), attempt.port),
            outcome=outcome,
            won=attempt.won,
            started=round((attempt.started - start) * 1e6),
            time=round((ended - attempt.started) * 1e6),
            detail=detail,
        )

    def _end_of(self, attempt: _LoggedAttempt) -> tuple[Outcome | None, str]:
        if attempt.won:
            return None, ""
        if attempt.error is not None and not isinstance(attempt.error, UserError):  # a UserError: cancelled here
            return failing_of_error(attempt.error)
        if self._any_won:
            return None, "given up: another was faster"
        return Outcome.CONNECT_TIMEOUT, "no answer"


@implementer(IReactorPluggableNameResolver)
class AttemptLoggingReactor:
    """A reactor for an endpoint: its resolver looks for one family of addresses, its attempts to connect are logged."""

    def __init__(
        self, reactor: IProbeReactor, family: Family | None, resolved: Callable[[], None], attempts: AttemptLog
    ) -> None:
        """`resolved` is called when name resolution has ended, with addresses or without."""
        self._reactor = reactor
        self._attempts = attempts
        self.nameResolver = FamilyResolver(reactor.nameResolver, family, resolved)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def connectTCP(
        self, host: str, port: int, factory: ClientFactory, timeout: float = 30, bindAddress: Any = None
    ) -> IConnector:
        """Connect, and log the attempt."""
        logged: Any = _LoggingFactory(factory, self._attempts, self._attempts.begin(host, port))
        return self._reactor.connectTCP(host, port, logged, timeout, bindAddress)


class _LoggingFactory:
    """A client factory that logs the end of its one attempt."""

    def __init__(self, factory: ClientFactory, attempts: AttemptLog, attempt: _LoggedAttempt) -> None:
        self._factory = factory
        self._attempts = attempts
        self._attempt = attempt

    def __getattr__(self, name: str) -> Any:
        return getattr(self._factory, name)

    def buildProtocol(self, addr: IAddress) -> IProtocol | None:
        self._attempts.connected(self._attempt)
        return self._factory.buildProtocol(addr)

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        self._attempts.failed(self._attempt, reason.value)
        self._factory.clientConnectionFailed(connector, reason)


_FORBIDDEN = "a firewall or a route of this host forbids it"

_KERNEL_ERRORS = {
    **{
        number: Failing(Outcome.UNREACHABLE, os.strerror(number).lower())
        for number in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN)
    },
    errno.EACCES: Failing(Outcome.UNREACHABLE, _FORBIDDEN),  # connect(2), ERRORS
    errno.EPERM: Failing(Outcome.UNREACHABLE, _FORBIDDEN),
    errno.EINVAL: Failing(
        Outcome.UNREACHABLE, "no route: a blackhole route, or a link-local address without its interface"
    ),
    # A reset in answer to the SYN is a refusal. This one arrived after the handshake, before the socket was writable.
    errno.ECONNRESET: Failing(Outcome.RESET, "connection reset as soon as it was established"),
}


def failing_of_error(error: BaseException | None) -> Failing:
    """Return the outcome and the detail of an error to resolve or connect."""
    match error:
        case DNSLookupError() | UnknownHostError():
            return Failing(Outcome.RESOLVE_FAILED, "no address for this name")
        case socket.gaierror():  # of a literal, only the scope is looked up
            return Failing(Outcome.UNREACHABLE, "no such interface")
        case ConnectionRefusedError():
            return Failing(Outcome.REFUSED, "connection refused")
        case TimeoutError() | TCPTimedOutError():
            return Failing(Outcome.CONNECT_TIMEOUT, "no answer")
        case ConnectBindError(osError=errno.EADDRNOTAVAIL):
            return Failing(Outcome.CONNECT_FAILED, "the source address is not this host's")
        case ConnectError(osError=int(number)) if number in _KERNEL_ERRORS:
            return _KERNEL_ERRORS[number]
        case ConnectError(osError=int(number)):
            return Failing(Outcome.CONNECT_FAILED, os.strerror(number).lower())
        case _:
            return Failing(Outcome.CONNECT_FAILED, str(error) or type(error).__name__)
