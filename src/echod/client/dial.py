"""From a route to a connection over which records may be sent."""

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol, IProtocolFactory
from twisted.python.failure import Failure

from echod.client.attempts import AttemptLog, IProbeReactor
from echod.client.connect_errors import outcome_of
from echod.client.course import Clocks, Conclusion, Dialling
from echod.client.endpoints import endpoint_to
from echod.client.outcomes import Outcome, Step
from echod.client.protocol import ProbeFactory, ProbeProtocol
from echod.client.route import Route

if TYPE_CHECKING:
    from echod.client.tls import ClientTLSContext

__all__ = ["Dial"]


class Dial:
    """Resolves, connects and shakes hands, and knows how long each took."""

    started = False
    protocol: ProbeProtocol | None = None
    """The established connection's, also where its handshake is still under way, or failed."""

    def __init__(self, reactor: IProbeReactor, route: Route, tls: "ClientTLSContext | None", clocks: Clocks) -> None:
        self._reactor = reactor
        self._route = route
        self._tls = tls
        self._clocks = clocks
        self._before_connected = Step.RESOLVE if route.literal is None else Step.CONNECT
        self._attempts = AttemptLog(clocks.now)
        self.times = Dialling(began=clocks.now())

    @property
    def step(self) -> Step:
        """How far it is."""
        return self._before_connected if self.protocol is None else self.protocol.step

    def start(self, timeout: float) -> "Deferred[ProbeProtocol]":
        """Return what fires when records may be sent. Each attempt to connect has `timeout` seconds."""
        self.started = True
        self.times.began = self._clocks.now()
        endpoint = endpoint_to(self._reactor, self._route, timeout, self._resolved, self._attempts)
        self._connecting: Deferred[IProtocol] = endpoint.connect(self._factory())
        return self._connecting.addCallback(self._connected)

    def cancel(self) -> None:
        """Give it up: what `start` returned fails."""
        if self.protocol is None:
            self._connecting.cancel()
        else:
            self.protocol.abort()

    def tell_times(self) -> None:
        """Bring `times` up to date."""
        self.times.attempts = self._attempts.told(self.times.began)
        if self.protocol is not None:
            self.times.connected_at = self.protocol.connected_at
            self.times.secured_at = self.protocol.secured_at

    def conclusion(self, failure: Failure, timeout: float | None) -> Conclusion:
        """Return how it ended, where it failed; `timeout` is the time in seconds that was over, None where none was."""
        if self.protocol is None:
            return self._not_connected(failure, timeout)
        if self.protocol.refusal is not None:
            end = self.protocol.refusal
        elif timeout is not None:
            detail = f"it was not complete after {timeout:g} s"
            return Conclusion(outcome=Outcome.TIMEOUT, step=self.step, detail=detail)
        else:
            end = self.protocol.ended_by(failure, "within the handshake", 0)
        return Conclusion(outcome=end.outcome, step=self.step, detail=end.detail)

    def _factory(self) -> IProtocolFactory:
        if self._tls is None:
            return ProbeFactory(lambda: ProbeProtocol(self._clocks.now))
        return self._tls.factory(self._route.target.host, self._clocks.now, self._reactor)

    def _resolved(self) -> None:
        self.times.resolved_at = self._clocks.now()
        self._before_connected = Step.CONNECT

    def _connected(self, connected: IProtocol) -> "Deferred[ProbeProtocol]":
        # Under TLS it is Twisted's own, around ours; its class is not imported by who does without.
        protocol = getattr(connected, "wrappedProtocol", connected)
        assert isinstance(protocol, ProbeProtocol)
        self.protocol = protocol
        return protocol.ready.addCallback(lambda _: protocol)

    def _not_connected(self, failure: Failure, timeout: float | None) -> Conclusion:
        step = self._before_connected
        if timeout is not None and step is Step.CONNECT:
            outcome, detail = Outcome.CONNECT_TIMEOUT, f"no answer within {timeout:g} s"
        elif timeout is not None:
            outcome, detail = Outcome.TIMEOUT, f"no answer from the resolver within {timeout:g} s"
        else:
            outcome, detail = outcome_of(failure.value)
            if step is Step.RESOLVE:  # a name that can be no name is not even looked up
                outcome = Outcome.RESOLVE_FAILED
            elif outcome is Outcome.RESOLVE_FAILED:
                step = Step.RESOLVE
        return Conclusion(outcome=outcome, step=step, detail=detail)
