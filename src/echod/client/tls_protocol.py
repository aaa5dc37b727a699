"""The probe's protocol over TLS: not a byte of the record before the server is verified."""

from collections.abc import Callable
from typing import Any, cast

from OpenSSL import SSL
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IDelayedCall, IHalfCloseableProtocol, IHandshakeListener, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from echod.client.conclusions import Failing
from echod.client.immediate_transport import ImmediateTransport
from echod.client.outcomes import CertificateFacts, Outcome, Step, TLSSession
from echod.client.protocol import ProbeProtocol, Refusal

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

_HANDSHAKE = b"\x16"
_CLIENT_HELLO = b"\x01"
_RECORD_HEADER = 5
"""Bytes of a TLS record before what it carries (RFC 8446 section 5.1)."""

_MEANINGS = {
    "wrong version number": "what answers does not speak TLS",
    "unsupported protocol": "the server speaks no version of TLS from 1.2 up",
}


@implementer(IHalfCloseableProtocol)
class ProbeTLSTransport(TLSMemoryBIOProtocol):
    """Twisted's plain TLS transport, which does not hold small writes back, and remembers how TCP ended."""

    tcp_reason: Failure = connectionDone
    showed_certificate = False
    """Whether the peer did."""
    _fin = False
    _heard = b""

    @property
    def echoes_without_tls(self) -> bool:
        """Whether the peer began with a ClientHello: a server has none of its own (RFC 8446 section 4)."""
        return self._heard[:1] == _HANDSHAKE and self._heard[_RECORD_HEADER:] == _CLIENT_HELLO

    def dataReceived(self, data: bytes) -> None:
        """Note how the peer begins."""
        self._heard += data[: _RECORD_HEADER + 1 - len(self._heard)]
        super().dataReceived(data)  # type: ignore[no-untyped-call]  # Twisted's has no annotations

    def makeConnection(self, transport: Any) -> None:
        """Take the TCP transport, as one that sends at once."""
        super().makeConnection(ImmediateTransport(transport))  # type: ignore[no-untyped-call]  # Twisted's has no annotations

    def readConnectionLost(self) -> None:
        """TCP's FIN has come: that is the end, also of what is still to be sent."""
        wire = cast("ImmediateTransport", self.transport)
        self._fin = not wire.broken
        if cast("ProbeProtocol", self.wrappedProtocol).matcher.waiting or wire.broken:
            wire.abortConnection()
        else:
            wire.loseConnection()

    def writeConnectionLost(self) -> None:
        """Never: the sending side is not shut alone."""

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # Twisted's gives it no default either
        """Note what Twisted's replaces by its own reason, and what it forgets."""
        self.tcp_reason = connectionDone if self._fin else reason
        self.showed_certificate = cast("Any", self).getHandle().get_peer_certificate() is not None
        super().connectionLost(self.tcp_reason)  # type: ignore[no-untyped-call]  # likewise


@implementer(IHandshakeListener)
class TLSProbeProtocol(ProbeProtocol):
    """A `ProbeProtocol` that first makes sure of the server.

    The chain is verified during the handshake, by whoever calls `refuse`; the name when it is complete.
    """

    step = Step.TLS

    def __init__(
        self,
        now: Callable[[], float],
        clock: IReactorTime,
        name_refusal: Callable[[SSL.Connection], Refusal | None],
        facts: Callable[[SSL.Connection], CertificateFacts | None],
        *,
        shows_certificate: bool,
    ) -> None:
        """`facts` reads the server's certificate, accepted or not."""
        super().__init__(now)
        self._clock = clock
        self._name_refusal = name_refusal
        self._facts = facts
        self._shows_certificate = shows_certificate
        self._closing: IDelayedCall | None = None
        self.tls = TLSSession()

    @property
    def _immediate_transport(self) -> ImmediateTransport:
        return cast("ImmediateTransport", cast("Any", self.transport).transport)

    def makeConnection(self, transport: Any) -> None:
        """Take the TLS transport, under which there is a `ImmediateTransport` already."""
        Protocol.makeConnection(self, transport)

    def _tcp_connected(self) -> None:
        """Not before the handshake is complete."""

    def refuse(self, refusal: Refusal, certificate: CertificateFacts | None = None) -> None:
        """Note what is wrong with the server, and its certificate. The first counts."""
        if self.refusal is None:
            self.refusal = refusal
            self.tls = TLSSession(certificate=certificate, failed_check=refusal.check)

    def handshakeCompleted(self) -> None:
        """Let records be sent, where the server is who it should be."""
        connection = cast("Any", self.transport).getHandle()
        if self.refusal is None:
            self.refusal = self._name_refusal(connection)
            self.tls = TLSSession(
                version=connection.get_protocol_version_name(),
                cipher=connection.get_cipher_name(),
                certificate=self._facts(connection),
                failed_check=None if self.refusal is None else self.refusal.check,
            )
        if self.refusal is not None:
            self.abort()
            return
        self.secured_at = self._now()
        self.step = Step.ECHO
        self.ready.callback(None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell that it is over."""
        if self._closing is not None and self._closing.active():
            self._closing.cancel()
        super().connectionLost(reason)

    def close(self) -> None:
        """Close in order, but do not wait for ever."""
        super().close()
        if self._closing is None:
            self._closing = self._clock.callLater(CLOSE_PATIENCE, self.abort)

    def closed_in_order(self, reason: Failure) -> bool:
        """Say whether the peer closed as it should; what a FIN without a close_notify cut off, TCP had told of."""
        return not isinstance(reason.value, SSL.Error) and super().closed_in_order(self._tcp_reason)

    def ended_by(self, reason: Failure, progress: str, received: int) -> Failing:
        """Return what the transport's `reason` amounts to, which may be an error of OpenSSL's."""
        if self.step is Step.TLS and cast("ProbeTLSTransport", self.transport).echoes_without_tls:
            return Failing(Outcome.TLS_FAILED, "what answers is an echo server without TLS")
        if isinstance(reason.value, SSL.Error):
            return self._broken_by(_words(reason.value), progress, received)
        if self.step is not Step.TLS:
            return super().ended_by(self._tcp_reason, progress, received)
        how = "closed by the peer" if self._tcp_reason.check(ConnectionDone) else "reset"
        return Failing(Outcome.TLS_FAILED, f"the connection was {how}")

    @property
    def _tcp_reason(self) -> Failure:
        return cast("ProbeTLSTransport", self.transport).tcp_reason

    def _broken_by(self, words: str, progress: str, received: int) -> Failing:
        _, is_alert, alert = words.rpartition(" alert ")
        server_had_its_say = cast("ProbeTLSTransport", self.transport).showed_certificate and not received
        if is_alert and alert in _ABOUT_OUR_CERTIFICATE and server_had_its_say:
            # With TLS 1.3 the client is done, and sends, before the server has seen its certificate.
            self.step = Step.TLS
            said = "refused the client certificate" if self._shows_certificate else "wants a client certificate"
            return Failing(Outcome.TLS_CLIENT_CERTIFICATE, f"the server {said}: {alert}")
        if self.step is not Step.TLS:
            return Failing(Outcome.RESET, f"broken off {progress}: {words}")
        if is_alert:
            return Failing(Outcome.TLS_FAILED, f"the server broke it off: {alert}")
        return Failing(Outcome.TLS_FAILED, _MEANINGS.get(words, words))


def _words(problem: SSL.Error) -> str:
    """Return the last of OpenSSL's reasons."""
    match problem.args:
        case [[*_, (_, _, str(words))]]:
            return words
        case _:
            return str(problem) or type(problem).__name__
