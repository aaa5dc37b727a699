"""The protocol of a client's connection over TLS: no record is sent before the server is verified."""

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

CLOSE_TIMEOUT = 1.0
"""Seconds to wait for the peer's close_notify. Twisted's TLS transport would wait for it without a limit."""

_CLIENT_CERTIFICATE_ALERTS = {
    "no certificate",
    "bad certificate",
    "unsupported certificate",
    "certificate revoked",
    "certificate expired",
    "certificate unknown",
    "unknown ca",
    "access denied",
    "certificate required",
    # The answer of TLS 1.2 servers to a client without a certificate (RFC 5246 section 7.4.6). It is also the answer
    # if there is no common cipher, but then it is sent before the server's own certificate.
    "handshake failure",
}
"""Alerts (RFC 8446 section 6.2), in OpenSSL's words, with which a server refuses a client's certificate."""

_HANDSHAKE = b"\x16"
_CLIENT_HELLO = b"\x01"
_RECORD_HEADER = 5
"""Bytes of a TLS record before its content (RFC 8446 section 5.1)."""

_EXPLANATIONS = {
    "wrong version number": "the peer does not speak TLS",
    "unsupported protocol": "the server supports no TLS version from 1.2 up",
}
"""Explanations of OpenSSL's reasons that are not clear by themselves."""


@implementer(IHalfCloseableProtocol)
class ProbeTLSTransport(TLSMemoryBIOProtocol):
    """Twisted's TLS transport without its buffer for small writes; it remembers how TCP ended."""

    tcp_reason: Failure = connectionDone
    certificate_received = False
    """Whether the peer sent a certificate."""
    _fin_received = False
    _beginning = b""
    """The first bytes that the peer sent."""

    @property
    def echoes_without_tls(self) -> bool:
        """Whether the peer began with a ClientHello, which a server never sends (RFC 8446 section 4)."""
        return self._beginning[:1] == _HANDSHAKE and self._beginning[_RECORD_HEADER:] == _CLIENT_HELLO

    def dataReceived(self, data: bytes) -> None:
        """Keep the first bytes."""
        self._beginning += data[: _RECORD_HEADER + 1 - len(self._beginning)]
        super().dataReceived(data)  # type: ignore[no-untyped-call]  # Twisted's has no annotations

    def makeConnection(self, transport: Any) -> None:
        """Put an `ImmediateTransport` in front of the TCP transport."""
        super().makeConnection(ImmediateTransport(transport))  # type: ignore[no-untyped-call]  # Twisted's has no annotations

    def readConnectionLost(self) -> None:
        """The peer has sent FIN: end the connection, with unsent data if there is any."""
        tcp = cast("ImmediateTransport", self.transport)
        self._fin_received = not tcp.broken
        if cast("ProbeProtocol", self.wrappedProtocol).matcher.waiting or tcp.broken:
            tcp.abortConnection()
        else:
            tcp.loseConnection()

    def writeConnectionLost(self) -> None:
        """No-op: this side is never shut down alone."""

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # Twisted's gives it no default either
        """Keep TCP's reason, which Twisted replaces, and the fact about the certificate, which it drops."""
        self.tcp_reason = connectionDone if self._fin_received else reason
        self.certificate_received = cast("Any", self).getHandle().get_peer_certificate() is not None
        super().connectionLost(self.tcp_reason)  # type: ignore[no-untyped-call]  # likewise


@implementer(IHandshakeListener)
class TLSProbeProtocol(ProbeProtocol):
    """A `ProbeProtocol` that first verifies the server.

    The chain is verified during the handshake, by a callback of OpenSSL that calls `refuse`; the name after it.
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
        """`name_refusal` checks the server's name, `facts` reads its certificate, accepted or not."""
        super().__init__(now)
        self._clock = clock
        self._name_refusal = name_refusal
        self._facts = facts
        self._shows_certificate = shows_certificate
        self._close_timer: IDelayedCall | None = None
        self.tls = TLSSession()

    @property
    def _immediate_transport(self) -> ImmediateTransport:
        return cast("ImmediateTransport", cast("Any", self.transport).transport)

    def makeConnection(self, transport: Any) -> None:
        """Take the TLS transport, which has an `ImmediateTransport` under it."""
        Protocol.makeConnection(self, transport)

    def _tcp_connected(self) -> None:
        """No-op: records may be sent after the handshake."""

    def refuse(self, refusal: Refusal, certificate: CertificateFacts | None = None) -> None:
        """Set why the server is refused, and the facts of its certificate. Only the first call counts."""
        if self.refusal is None:
            self.refusal = refusal
            self.tls = TLSSession(certificate=certificate, failed_check=refusal.check)

    def handshakeCompleted(self) -> None:
        """Verify the server's name; then records may be sent."""
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
        """Report the end of the connection."""
        if self._close_timer is not None and self._close_timer.active():
            self._close_timer.cancel()
        super().connectionLost(reason)

    def close(self) -> None:
        """Close in order, and abort after `CLOSE_TIMEOUT`."""
        super().close()
        if self._close_timer is None:
            self._close_timer = self._clock.callLater(CLOSE_TIMEOUT, self.abort)

    def closed_in_order(self, reason: Failure) -> bool:
        """Say whether the peer closed in order; a FIN without a close_notify counts, by TCP's reason."""
        return not isinstance(reason.value, SSL.Error) and super().closed_in_order(self._tcp_reason)

    def ended_by(self, reason: Failure, progress: str, received: int) -> Failing:
        """Return the failing that is the end of the connection for the transport's `reason`, also OpenSSL's errors."""
        if self.step is Step.TLS and cast("ProbeTLSTransport", self.transport).echoes_without_tls:
            return Failing(Outcome.TLS_FAILED, "the peer is an echo server without TLS")
        if isinstance(reason.value, SSL.Error):
            return self._ended_by_openssl(_openssl_reason(reason.value), progress, received)
        if self.step is not Step.TLS:
            return super().ended_by(self._tcp_reason, progress, received)
        how = "closed by the peer" if self._tcp_reason.check(ConnectionDone) else "reset"
        return Failing(Outcome.TLS_FAILED, f"the connection was {how}")

    @property
    def _tcp_reason(self) -> Failure:
        return cast("ProbeTLSTransport", self.transport).tcp_reason

    def _ended_by_openssl(self, reason: str, progress: str, received: int) -> Failing:
        _, is_alert, alert = reason.rpartition(" alert ")
        server_is_done = cast("ProbeTLSTransport", self.transport).certificate_received and not received
        if is_alert and alert in _CLIENT_CERTIFICATE_ALERTS and server_is_done:
            # With TLS 1.3 the handshake is complete for the client before the server has seen its certificate.
            self.step = Step.TLS
            verb = "refused the client certificate" if self._shows_certificate else "requires a client certificate"
            return Failing(Outcome.TLS_CLIENT_CERTIFICATE, f"the server {verb}: {alert}")
        if self.step is not Step.TLS:
            return Failing(Outcome.RESET, f"broken off {progress}: {reason}")
        if is_alert:
            return Failing(Outcome.TLS_FAILED, f"the server ended the handshake: {alert}")
        return Failing(Outcome.TLS_FAILED, _EXPLANATIONS.get(reason, reason))


def _openssl_reason(error: SSL.Error) -> str:
    """Return the last of OpenSSL's reasons."""
    match error.args:
        case [[*_, (_, _, str(reason))]]:
            return reason
        case _:
            return str(error) or type(error).__name__
