"""The reactor as an endpoint is to see it: it tells what is resolved, and of each attempt to connect."""

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import UserError
from twisted.internet.interfaces import (
    IAddress,
    IConnector,
    IHostnameResolver,
    IHostResolution,
    IProtocol,
    IReactorPluggableNameResolver,
    IReactorTCP,
    IReactorTime,
    IResolutionReceiver,
)
from twisted.internet.protocol import ClientFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from echod.client.connect_errors import outcome_of
from echod.client.outcomes import Attempt, Outcome
from echod.client.route import Family
from echod.common.addresses import HostPort, display_host

__all__ = ["AttemptLog", "IProbeReactor", "WatchedReactor", "address_types"]


class IProbeReactor(IReactorTCP, IReactorTime, IReactorPluggableNameResolver):
    """What a probe needs of a reactor."""


def address_types(family: Family | None) -> Sequence[type[IAddress]] | None:
    """Return what `IHostnameResolver.resolveHostName` is to look for."""
    return {None: None, Family.IPV4: [IPv4Address], Family.IPV6: [IPv6Address]}[family]


class _OpenAttempt:
    """An attempt to connect, under way or over."""

    def __init__(self, address: HostPort, started: float) -> None:
        self.address = address
        self.started = started
        self.ended: float | None = None
        self.failure: BaseException | None = None
        self.won = False


class AttemptLog:
    """The attempts to bring one connection about."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._attempts: list[_OpenAttempt] = []

    def begin(self, host: str, port: int) -> _OpenAttempt:
        """Take note of an attempt that is about to start."""
        attempt = _OpenAttempt(HostPort(display_host(host), port), self._now())
        self._attempts.append(attempt)
        return attempt

    def connected(self, attempt: _OpenAttempt) -> None:
        """Take note that it connected: the endpoint stops all others before they can."""
        attempt.ended = self._now()
        attempt.won = True

    def failed(self, attempt: _OpenAttempt, problem: BaseException | None) -> None:
        """Take note that it failed, or was given up."""
        attempt.ended = self._now()
        attempt.failure = problem

    def told(self, start: float) -> tuple[Attempt, ...]:
        """Return all of them as they stand, in times from `start` on. What has not ended has now."""
        return tuple(self._tell(each, start) for each in self._attempts)

    @property
    def _won(self) -> bool:
        return any(each.won for each in self._attempts)

    def _tell(self, attempt: _OpenAttempt, start: float) -> Attempt:
        outcome, detail = self._came_to(attempt)
        ended = self._now() if attempt.ended is None else attempt.ended
        return Attempt(
            address=attempt.address,
            outcome=outcome,
            won=attempt.won,
            started=round((attempt.started - start) * 1e6),
            time=round((ended - attempt.started) * 1e6),
            detail=detail,
        )

    def _came_to(self, attempt: _OpenAttempt) -> tuple[Outcome | None, str]:
        if attempt.won:
            return None, ""
        if attempt.failure is not None and not isinstance(attempt.failure, UserError):  # which says: stopped by us
            return outcome_of(attempt.failure)
        if self._won:
            return None, "given up: another was faster"
        return Outcome.CONNECT_TIMEOUT, "no answer"


@implementer(IReactorPluggableNameResolver)
class WatchedReactor:
    """A reactor whose name resolver looks for one family, and which keeps a log of attempts to connect."""

    def __init__(
        self, reactor: IProbeReactor, family: Family | None, resolved: Callable[[], None], attempts: AttemptLog
    ) -> None:
        """`resolved` is called when a name is resolved, well or not."""
        self._reactor = reactor
        self._attempts = attempts
        self.nameResolver = _WatchedResolver(reactor.nameResolver, address_types(family), resolved)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def connectTCP(
        self, host: str, port: int, factory: ClientFactory, timeout: float = 30, bindAddress: Any = None
    ) -> IConnector:
        """Connect, and log how that goes."""
        watched: Any = _WatchedFactory(factory, self._attempts, self._attempts.begin(host, port))
        return self._reactor.connectTCP(host, port, watched, timeout, bindAddress)


class _WatchedFactory:
    """A client factory that logs what becomes of its one attempt."""

    def __init__(self, factory: ClientFactory, attempts: AttemptLog, attempt: _OpenAttempt) -> None:
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


@implementer(IHostnameResolver)
class _WatchedResolver:
    def __init__(
        self, resolver: IHostnameResolver, types: Sequence[type[IAddress]] | None, resolved: Callable[[], None]
    ) -> None:
        self._resolver = resolver
        self._types = types
        self._resolved = resolved

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        watched = _WatchedReceiver(resolutionReceiver, self._resolved)
        types = self._types or addressTypes
        return self._resolver.resolveHostName(watched, hostName, portNumber, types, transportSemantics)


@implementer(IResolutionReceiver)
class _WatchedReceiver:
    def __init__(self, receiver: IResolutionReceiver, resolved: Callable[[], None]) -> None:
        self._receiver = receiver
        self._resolved = resolved

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        self._receiver.resolutionBegan(resolutionInProgress)

    def addressResolved(self, address: IAddress) -> None:
        self._receiver.addressResolved(address)

    def resolutionComplete(self) -> None:
        self._resolved()
        self._receiver.resolutionComplete()
