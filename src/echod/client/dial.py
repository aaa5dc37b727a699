"""Dialling: from a route to a connection over which records may be sent."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.python.failure import Failure

from echod.client.attempts import AttemptLog, AttemptLoggingReactor, IProbeReactor, failing_of_error
from echod.client.conclusions import Conclusion
from echod.client.deadline import Clocks
from echod.client.outcomes import Attempt, Outcome, Step
from echod.client.protocol import ProbeFactory, ProbeProtocol
from echod.client.route import Family, Route, family_of

if TYPE_CHECKING:
    from echod.client.tls import ClientTLSContext

__all__ = ["ATTEMPT_DELAY", "Dial", "DialTimes"]

ATTEMPT_DELAY = 0.1
"""Seconds from one connection attempt to the next among the addresses of a name.

The minimum that RFC 8305 section 5 recommends. With Twisted's default of 0.3 s, IPv4 would be tried 0.3 s after an IPv6
attempt that was refused at once.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DialTimes:
    """How a connection was established. Times are those of `Clocks.now`; None if dialling did not get that far."""

    began: float
    resolved_at: float | None
    connected_at: float | None
    secured_at: float | None
    attempts: tuple[Attempt, ...]


class Dial:
    """Resolves, connects and shakes hands, and keeps the times of these steps."""

    protocol: ProbeProtocol | None = None
    """The protocol, once TCP has connected; it stays if the handshake fails."""

    def __init__(self, reactor: IProbeReactor, route: Route, tls: "ClientTLSContext | None", clocks: Clocks) -> None:
        self._reactor = reactor
        self._route = route
        self._tls = tls
        self._now = clocks.now
        self._began = clocks.now()
        self._resolved_at: float | None = None
        self._literal = route.literal
        self._step_before_connected = Step.RESOLVE if self._literal is None else Step.CONNECT
        self._attempts = AttemptLog(clocks.now)

    @property
    def step(self) -> Step:
        """The step that is under way, or that failed."""
        return self._step_before_connected if self.protocol is None else self.protocol.step

    @property
    def times(self) -> DialTimes:
        """The times of the steps taken so far."""
        protocol = self.protocol
        return DialTimes(
            began=self._began,
            resolved_at=self._resolved_at,
            connected_at=None if protocol is None else protocol.connected_at,
            secured_at=None if protocol is None else protocol.secured_at,
            attempts=self._attempts.attempts(self._began),
        )

    def start(self, timeout: float) -> "Deferred[ProbeProtocol]":
        """Start. The Deferred fires when records may be sent; each attempt to connect has `timeout` seconds."""
        self._began = self._now()
        self._connecting: Deferred[IProtocol] = self._endpoint(timeout).connect(self._factory())
        return self._connecting.addCallback(self._connected)

    def cancel(self) -> None:
        """Cancel: the Deferred of `start` fails."""
        if self.protocol is None:
            self._connecting.cancel()
        else:
            self.protocol.abort()

    def conclusion(self, failure: Failure, timeout: float | None) -> Conclusion:
        """Return how it failed. `timeout` is the time limit in seconds that ended it; None if none did."""
        protocol = self.protocol
        if protocol is None:
            return self._conclusion_before_connected(failure, timeout)
        if protocol.refusal is not None:
            outcome, detail = protocol.refusal.outcome, protocol.refusal.detail
        elif timeout is not None:
            outcome, detail = Outcome.TIMEOUT, f"it was not complete after {timeout:g} s"
        else:
            outcome, detail = protocol.ended_by(failure, "within the handshake", 0)
        return Conclusion(outcome=outcome, step=self.step, detail=detail)

    def _endpoint(self, timeout: float) -> IStreamClientEndpoint:
        route = self._route
        reactor = AttemptLoggingReactor(self._reactor, route.only, self._resolved, self._attempts)
        source = None if route.source is None else (route.source, 0)
        address = self._literal
        if address is None:
            target = route.target
            return HostnameEndpoint(reactor, target.host, target.port, timeout, source, attemptDelay=ATTEMPT_DELAY)
        # HostnameEndpoint takes literals too, but it drops the scope of fe80::1%eth0.
        endpoint = TCP4ClientEndpoint if family_of(address.host) is Family.IPV4 else TCP6ClientEndpoint
        return endpoint(reactor, address.host, address.port, timeout, source)

    def _factory(self) -> IProtocolFactory:
        if self._tls is None:
            return ProbeFactory(self._new_protocol)
        return self._tls.factory(self._route.target.host, self._now, self._reactor)

    def _new_protocol(self) -> ProbeProtocol:
        return ProbeProtocol(self._now)

    def _resolved(self) -> None:
        self._resolved_at = self._now()
        self._step_before_connected = Step.CONNECT

    def _connected(self, connected: IProtocol) -> "Deferred[ProbeProtocol]":
        # With TLS it is Twisted's protocol around this one; its class is not imported for plain probes.
        protocol = getattr(connected, "wrappedProtocol", connected)
        assert isinstance(protocol, ProbeProtocol)
        self.protocol = protocol
        return protocol.ready.addCallback(lambda _: protocol)

    def _conclusion_before_connected(self, failure: Failure, timeout: float | None) -> Conclusion:
        step = self._step_before_connected
        if timeout is not None and step is Step.CONNECT:
            outcome, detail = Outcome.CONNECT_TIMEOUT, f"no answer within {timeout:g} s"
        elif timeout is not None:
            outcome, detail = Outcome.TIMEOUT, f"no answer from the resolver within {timeout:g} s"
        else:
            outcome, detail = failing_of_error(failure.value)
            if step is Step.RESOLVE:  # a host that is not a possible name is not looked up
                outcome = Outcome.RESOLVE_FAILED
            elif outcome is Outcome.RESOLVE_FAILED:
                step = Step.RESOLVE
        return Conclusion(outcome=outcome, step=step, detail=detail)
