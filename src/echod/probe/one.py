"""One probe: resolve, connect, shake hands, send a record, get it back, close; and say how that went."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol, IProtocolFactory
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure

from echod.core.addresses import HostPort, literal, parse_host, shown_host
from echod.core.configuration import DEFAULT_PORT
from echod.core.kinds import PORT
from echod.core.outcomes import Outcome, PhaseTimes, ProbeResult, Step
from echod.probe.path import IProbeReactor, endpoint_to, outcome_of
from echod.probe.protocol import ProbeFactory, ProbeProtocol
from echod.probe.tls import ClientTLSContext

__all__ = ["IProbeReactor", "probe", "target"]


def target(host: str, port: int = DEFAULT_PORT) -> HostPort:
    """Return what to probe: a name, an IPv4 or IPv6 literal (in brackets or not, scope id allowed).

    Raises ValueError where `host` can be none of these or `port` is not from 1 to 65535.
    """
    try:
        number = PORT.check(port)
    except ValueError as problem:
        raise ValueError(f"port {problem}") from None
    return HostPort(parse_host(host), number)


def probe(
    reactor: IProbeReactor,
    target: HostPort,
    *,
    payload: bytes,
    timeout: float,
    tls: ClientTLSContext | None = None,
    now: Callable[[], float] = time.monotonic,
) -> "Deferred[ProbeResult]":
    """Send `payload` to `target` and verify that every byte of it comes back.

    `timeout` is in seconds and covers the whole probe, name resolution included. With `tls`
    the record goes over TLS, and not a byte of it before the server is verified. `now` is
    what times are measured with: seconds on a monotonic clock.

    The Deferred fires when the connection is closed again. It never fails for what the path
    or the peer does: that is the result's outcome. Cancelling it ends the probe and fails
    it with CancelledError.
    """
    return _Probe(reactor, target, payload, timeout, tls, now).start()


class _Probe:
    def __init__(
        self,
        reactor: IProbeReactor,
        target: HostPort,
        payload: bytes,
        timeout: float,
        tls: ClientTLSContext | None,
        now: Callable[[], float],
    ) -> None:
        self._reactor = reactor
        self._target = target
        self._payload = payload
        self._timeout = timeout
        self._tls = tls
        self._now = now
        self._step = Step.RESOLVE if literal(target.host) is None else Step.CONNECT
        self._timed_out = False
        self._cancelled = False
        self._protocol: ProbeProtocol | None = None
        self._address: HostPort | None = None

    def start(self) -> "Deferred[ProbeResult]":
        self._started_at = self._now()
        self._started = datetime.now(UTC)
        self._result: Deferred[ProbeResult] = Deferred(self._cancel)
        self._timer = self._reactor.callLater(self._timeout, self._give_up)
        endpoint = endpoint_to(self._reactor, self._target, self._timeout, self._resolved)
        self._connecting = endpoint.connect(self._factory())
        self._connecting.addCallbacks(self._connected, self._not_connected)
        return self._result

    def _factory(self) -> IProtocolFactory:
        if self._tls is None:
            return ProbeFactory(lambda: ProbeProtocol(self._payload, self._now))
        return self._tls.factory(self._target.host, self._payload, self._now, self._reactor)

    # What the path does

    def _resolved(self) -> None:
        self._step = Step.CONNECT

    def _connected(self, protocol: IProtocol) -> None:
        if isinstance(protocol, TLSMemoryBIOProtocol):
            protocol = protocol.wrappedProtocol
        assert isinstance(protocol, ProbeProtocol)
        assert protocol.transport is not None
        self._protocol = protocol
        peer = protocol.transport.getPeer()
        self._address = HostPort(shown_host(peer.host), peer.port)  # type: ignore[attr-defined]  # IAddress declares neither
        protocol.lost.addErrback(self._lost)

    def _not_connected(self, failure: Failure) -> None:
        if self._timed_out:
            outcome = Outcome.CONNECT_TIMEOUT if self._step is Step.CONNECT else Outcome.TIMEOUT
            self._end(outcome, f"no answer within {self._timeout:g} s")
        elif not self._cancelled:
            outcome, detail = outcome_of(failure.value)
            if self._step is Step.RESOLVE:  # a name that can be no name is not even looked up
                outcome = Outcome.RESOLVE_FAILED
            elif outcome is Outcome.RESOLVE_FAILED:
                self._step = Step.RESOLVE
            self._end(outcome, detail)

    def _lost(self, reason: Failure) -> None:
        protocol = self._protocol
        assert protocol is not None
        self._step = protocol.step
        if self._cancelled:
            return
        if protocol.complete_at is not None:
            self._end(Outcome.ECHOED)
        elif protocol.difference is not None:
            self._end(Outcome.CORRUPT, f"the byte at offset {protocol.difference} is not what was sent")
        elif protocol.refusal is not None:
            self._end(*protocol.refusal)
        elif self._timed_out and self._step is Step.TLS:
            self._end(Outcome.TIMEOUT, f"it was not complete after {self._timeout:g} s")
        elif self._timed_out:
            size = len(self._payload)
            self._end(Outcome.TIMEOUT, f"{protocol.received} of {size} bytes were back after {self._timeout:g} s")
        else:
            outcome, detail = protocol.ended_by(reason)
            self._step = protocol.step
            self._end(outcome, detail)

    # What ends it

    def _give_up(self) -> None:
        self._timed_out = True
        self._stop()

    def _cancel(self, _: "Deferred[ProbeResult]") -> None:
        self._cancelled = True
        self._timer.cancel()
        self._stop()

    def _stop(self) -> None:
        if self._protocol is None:
            self._connecting.cancel()
        else:
            self._protocol.abort()

    def _end(self, outcome: Outcome, detail: str = "") -> None:
        if self._timer.active():
            self._timer.cancel()
        protocol = self._protocol
        connected_at = protocol.connected_at if protocol else None
        secured_at = protocol.secured_at if protocol else None
        sent_at = protocol.sent_at if protocol else None
        complete_at = protocol.complete_at if protocol else None
        self._result.callback(
            ProbeResult(
                target=self._target,
                outcome=outcome,
                step=self._step,
                address=self._address,
                size=len(self._payload),
                received=protocol.received if protocol else 0,
                started=self._started,
                times=PhaseTimes(
                    connect=_between(self._started_at, connected_at),
                    tls=_between(connected_at, secured_at),
                    echo=_between(sent_at, complete_at),
                ),
                detail=detail,
            )
        )


def _between(start: float | None, end: float | None) -> int | None:
    return None if start is None or end is None else round((end - start) * 1_000_000)
