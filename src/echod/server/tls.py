"""TLS for the server's connections: contexts that can be loaded again, and half-close that loses nothing.

Twisted's TLS transport closes a connection whose client sends a FIN without close_notify before what
was echoed is out, and its default one, which gathers small writes, drops them at a close_notify.
Measured with keep-alive clients that send and half-close: 10 to 70 % of the records lost in the
one case, all in the other. The transport here is the plain one, made half-closeable: none lost.
"""

from dataclasses import dataclass
from typing import Any, cast

from OpenSSL import SSL
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import (
    IAddress,
    IHalfCloseableProtocol,
    IHandshakeListener,
    IOpenSSLServerConnectionCreator,
    IProtocolFactory,
    IReactorTime,
    ITCPTransport,
)
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from echod.server.protocol import EchoProtocol, State
from echod.server.summary import CloseReason, TLSFacts, TLSFailure
from echod.tls.contexts import new_context, show_certificate
from echod.tls.pem import load_certificates

__all__ = ["ServerTLS", "TLSEchoProtocol", "TLSFiles", "TLSListenerFactory"]

_FAILURES = {
    "unsupported protocol": TLSFailure.VERSION,
    "version too low": TLSFailure.VERSION,
    "no shared cipher": TLSFailure.CIPHER,
    "no suitable signature algorithm": TLSFailure.CIPHER,
    "peer did not return a certificate": TLSFailure.CLIENT_CERTIFICATE,
    "certificate verify failed": TLSFailure.CLIENT_CERTIFICATE,
    "http request": TLSFailure.NOT_TLS,
    "https proxy request": TLSFailure.NOT_TLS,
    "wrong version number": TLSFailure.NOT_TLS,
    "packet length too long": TLSFailure.NOT_TLS,
    "bad record type": TLSFailure.NOT_TLS,
    "unexpected message": TLSFailure.NOT_TLS,
}
"""By OpenSSL's words for them (its ssl/ssl_err.c)."""


@dataclass(frozen=True, slots=True)
class TLSFiles:
    """Where the server's side of TLS is."""

    certificate: str
    """The server's certificate, its chain after it."""
    key: str | None
    """Its key; None: in the certificate's file."""
    client_ca: str | None
    """The authorities that sign clients' certificates; None: clients need none."""


@implementer(IOpenSSLServerConnectionCreator)
class ServerTLS:
    """The server's side of TLS, from files that can be loaded again."""

    def __init__(self, files: TLSFiles) -> None:
        """Load the files. Raises ConfigurationError."""
        self._files = files
        self._context = _context(files)

    def reload(self) -> None:
        """Load the files again: for connections to come. Those that are open live on.

        Raises ConfigurationError, and then nothing changes.
        """
        self._context = _context(self._files)

    @property
    def not_after(self) -> float:
        """Until when the certificate that new connections are shown is valid; seconds since the epoch."""
        certificate = SSL.Connection(self._context, None).get_certificate(as_cryptography=True)
        assert certificate is not None, "a context is made with a certificate"
        return certificate.not_valid_after_utc.timestamp()

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """Return what a new connection is encrypted with."""
        return SSL.Connection(self._context, None)


def _context(files: TLSFiles) -> SSL.Context:
    context = new_context(SSL.TLS_SERVER_METHOD)
    # A cache of 20,480 sessions is memory that clients could fill. Tickets resume sessions without one.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    show_certificate(context, files.certificate, files.key)
    if files.client_ca is not None:
        load_certificates("tls-client-ca", files.client_ca)  # says what is wrong better than OpenSSL does
        context.load_verify_locations(files.client_ca)
        context.load_client_ca(files.client_ca.encode())
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
        # Without it OpenSSL refuses to resume the session of a client whose certificate it verified.
        context.set_session_id(b"echod")
    return context


@implementer(IHandshakeListener)
class TLSEchoProtocol(EchoProtocol):
    """A connection over TLS.

    TLS has no half-close of its own that a client could be asked to take: the FIN of `loseWriteConnection`
    would come without a close_notify. So the echo is followed by close_notify, which waits for the
    client's own, and what still comes is discarded until then or until the linger is over.
    """

    pausing = True

    @property
    def _wire(self) -> ITCPTransport:
        """The TCP transport under TLS."""
        return cast("ITCPTransport", cast("Any", self.transport).transport)

    def handshakeCompleted(self) -> None:
        """Note what the handshake came to."""
        handle = cast("Any", self.transport).getHandle()
        certificate = handle.get_peer_certificate(as_cryptography=True)
        self.tls = TLSFacts(
            version=handle.get_protocol_version_name(),
            cipher=handle.get_cipher_name() or "",
            client_subject=None if certificate is None else certificate.subject.rfc4514_string(),
        )

    def resumeProducing(self) -> None:
        """Go on; or close, where that was all there was to send."""
        super().resumeProducing()
        if self._state is State.LINGERING:
            self._close_in_order()
        elif cast("Any", self._wire).disconnecting:
            # The client's close_notify came while its echo was still under way. The TCP transport
            # closes once it is out, but only without a producer.
            self._tcp.unregisterProducer()

    def _shut_sending_side(self, reason: CloseReason) -> None:
        self._reason = reason
        self._state = State.LINGERING
        if not self._paused:
            self._close_in_order()

    def _close_in_order(self) -> None:
        self._within(self._exchange.linger, TLSEchoProtocol._close_wire)
        self._close()

    def _close_wire(self) -> None:
        """Wait no longer for the client's close_notify; abort only where the echo does not go out either.

        What the kernel still has to deliver, it goes on delivering after a close.
        """
        self._within(self._exchange.linger, TLSEchoProtocol._deadline_passed)
        self._wire.loseConnection()

    def _reason_of(self, lost: Failure) -> CloseReason:
        if self.tls is None:
            self.tls_failure = _failure_of(lost)
        if lost.check(SSL.Error):
            return CloseReason.TLS_FAILED
        if self._reason is not None and lost.check(ConnectionLost):
            return self._reason  # how Twisted tells of a close_notify that never came
        return super()._reason_of(lost)


def _failure_of(lost: Failure) -> TLSFailure:
    """Return why a handshake came to nothing on a connection that was lost like this."""
    if not lost.check(SSL.Error) or lost.check(SSL.SysCallError, SSL.ZeroReturnError):
        return TLSFailure.INCOMPLETE
    problems = lost.value.args[0] if lost.value is not None and lost.value.args else ()
    for _, _, words in problems:
        if words in _FAILURES:
            return _FAILURES[words]
        if " alert " in words:
            return TLSFailure.CLIENT_REFUSED
    return TLSFailure.OTHER


@implementer(IHalfCloseableProtocol)
class HalfCloseableTLS(TLSMemoryBIOProtocol):
    """A TLS transport that sends what it has before it closes upon a FIN."""

    def readConnectionLost(self) -> None:
        """Pass the FIN on; then close the TCP connection, once all is out."""
        cast("IHalfCloseableProtocol", self.wrappedProtocol).readConnectionLost()
        cast("Any", self.transport).loseConnection()

    def writeConnectionLost(self) -> None:
        """Never: the sending side is not shut alone under TLS."""


class TLSListenerFactory(TLSMemoryBIOFactory):
    """Puts TLS around the connections of an `EchoFactory` that makes `TLSEchoProtocol`s."""

    protocol = HalfCloseableTLS

    def __init__(self, tls: ServerTLS, wrapped: IProtocolFactory, clock: IReactorTime) -> None:
        super().__init__(tls, False, wrapped, clock)

    def buildProtocol(self, addr: IAddress | None) -> TLSMemoryBIOProtocol | None:  # type: ignore[override]  # the base class does not know of refusals
        """Make a connection; None where it is refused."""
        connection = self.wrappedFactory.buildProtocol(cast("IAddress", addr))
        if connection is None:
            return None
        return HalfCloseableTLS(self, connection)  # type: ignore[no-untyped-call]  # Twisted's has no annotations
