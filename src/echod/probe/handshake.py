"""The probe's protocol over TLS: not a byte of the record before the server is verified."""

from collections.abc import Callable
from typing import Any, cast

from OpenSSL import SSL
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IDelayedCall, IHandshakeListener, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from echod.core.outcomes import Outcome, Step
from echod.probe.protocol import ProbeProtocol, Refusal

__all__ = ["ProbeTLSTransport", "TLSProbeProtocol"]

CLOSE_PATIENCE = 1.0
"""Seconds for the peer's close_notify once the echo is back. A closing TLS transport would wait for ever."""

_ABOUT_OUR_CERTIFICATE = {
    "no certificate",
    "bad certificate",
    "unsupported certificate",
    "certificate revoked",
    "certificate expired",
    "certificate unknown",
    "unknown ca",
    "access denied",
    "certificate required",
    # What TLS 1.2 servers answer to a client that shows no certificate (RFC 5246 section 7.4.6). Without a cipher
    # in common it comes too, but then before the server's own certificate.
    "handshake failure",
}
"""Alerts (RFC 8446 section 6.2), in OpenSSL's words, with which a server refuses a client's certificate."""

_MEANINGS = {
    "wrong version number": "what answers does not speak TLS",
    "unsupported protocol": "the server speaks no version of TLS from 1.2 up",
}


class ProbeTLSTransport(TLSMemoryBIOProtocol):
    """Twisted's plain TLS transport, which does not hold small writes back, and remembers how TCP ended."""

    tcp_reason: Failure = connectionDone
    showed_certificate = False
    """Whether the peer did."""

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # Twisted's gives it no default either
        """Note what Twisted's replaces by its own reason, and what it forgets."""
        self.tcp_reason = reason
        self.showed_certificate = cast("Any", self).getHandle().get_peer_certificate() is not None
        super().connectionLost(reason)  # type: ignore[no-untyped-call]  # Twisted's has no annotations


@implementer(IHandshakeListener)
class TLSProbeProtocol(ProbeProtocol):
    """A `ProbeProtocol` that first makes sure of the server.

    The chain is verified during the handshake, by whoever calls `refuse`; the name when it is complete.
    """

    step = Step.TLS

    def __init__(
        self,
        payload: bytes,
        now: Callable[[], float],
        clock: IReactorTime,
        name_refusal: Callable[[SSL.Connection], Refusal | None],
        *,
        shows_certificate: bool,
    ) -> None:
        super().__init__(payload, now)
        self._clock = clock
        self._name_refusal = name_refusal
        self._shows_certificate = shows_certificate
        self._closing: IDelayedCall | None = None

    def _begin(self) -> None:
        """Not before the handshake is complete."""

    def refuse(self, refusal: Refusal) -> None:
        """Note what is wrong with the server. The first counts."""
        if self.refusal is None:
            self.refusal = refusal

    def handshakeCompleted(self) -> None:
        """Send the record, where the server is who it should be."""
        refusal = self._name_refusal(cast("Any", self.transport).getHandle())
        if refusal is not None:
            self.refuse(refusal)
        if self.refusal is not None:
            self.abort()
            return
        self.secured_at = self._now()
        self.step = Step.ECHO
        self._send()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell that it is over."""
        if self._closing is not None and self._closing.active():
            self._closing.cancel()
        super().connectionLost(reason)

    def ended_by(self, reason: Failure) -> Refusal:
        """Return what the transport's `reason` amounts to, which may be an error of OpenSSL's."""
        if isinstance(reason.value, SSL.Error):
            return self._broken_by(_words(reason.value))
        tcp_reason = cast("ProbeTLSTransport", self.transport).tcp_reason
        if self.step is Step.ECHO:
            return super().ended_by(tcp_reason)
        how = "closed by the peer" if tcp_reason.check(ConnectionDone) else "reset"
        return Outcome.TLS_FAILED, f"the connection was {how}"

    def _broken_by(self, words: str) -> Refusal:
        _, is_alert, alert = words.rpartition(" alert ")
        server_had_its_say = cast("ProbeTLSTransport", self.transport).showed_certificate and not self.received
        if is_alert and alert in _ABOUT_OUR_CERTIFICATE and server_had_its_say:
            # With TLS 1.3 the client is done, and sends, before the server has seen its certificate.
            self.step = Step.TLS
            said = "refused the client certificate" if self._shows_certificate else "wants a client certificate"
            return Outcome.TLS_CLIENT_CERTIFICATE, f"the server {said}: {alert}"
        if self.step is Step.ECHO:
            size = len(self._payload)
            return Outcome.RESET, f"broken off after {self.received} of {size} bytes: {words}"
        if is_alert:
            return Outcome.TLS_FAILED, f"the server broke it off: {alert}"
        return Outcome.TLS_FAILED, _MEANINGS.get(words, words)

    def _close(self) -> None:
        super()._close()
        self._closing = self._clock.callLater(CLOSE_PATIENCE, self.abort)


def _words(problem: SSL.Error) -> str:
    """Return the last of OpenSSL's reasons."""
    match problem.args:
        case [[*_, (_, _, str(words))]]:
            return words
        case _:
            return str(problem) or type(problem).__name__
