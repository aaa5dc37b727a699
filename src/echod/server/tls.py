"""TLS for the server's connections: contexts that can be reloaded, and a half-close that loses no echo.

Twisted's TLS transport closes a connection at a FIN without close_notify before all echoes are sent, and its default
transport, which aggregates small writes, drops them at a close_notify. Measured with keep-alive clients that send and
half-close (Twisted 26.10): 10 to 70 % of the records were lost in the first case, all in the second. The transport here
is the plain one, made half-closeable: none were lost.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, Self, cast

from cryptography.x509 import Certificate
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

from echod.common.errors import Problems
from echod.server.config import ServerConfiguration
from echod.server.exchange_states import Action, Event, State
from echod.server.protocol import EchoProtocol
from echod.server.summary import TLSFacts, TLSFailure
from echod.tls.contexts import limit_groups, new_context, show_certificate
from echod.tls.pem import load_certificates
from echod.tls.warnings import key_file_warning, validity_warning

__all__ = ["ServerTLS", "TLSEchoProtocol", "TLSFiles", "TLSListenerFactory"]

_FAILURES = {
    "unsupported protocol": TLSFailure.VERSION,
    "version too low": TLSFailure.VERSION,
    "no shared cipher": TLSFailure.CIPHER,
    "no suitable signature algorithm": TLSFailure.CIPHER,
    "no suitable key share": TLSFailure.CIPHER,
    "peer did not return a certificate": TLSFailure.CLIENT_CERTIFICATE,
    "certificate verify failed": TLSFailure.CLIENT_CERTIFICATE,
    "http request": TLSFailure.NOT_TLS,
    "https proxy request": TLSFailure.NOT_TLS,
    "wrong version number": TLSFailure.NOT_TLS,
    "packet length too long": TLSFailure.NOT_TLS,
    "bad record type": TLSFailure.NOT_TLS,
    "unexpected message": TLSFailure.NOT_TLS,
}
"""TLS failures by OpenSSL's reason strings (ssl/ssl_err.c)."""


@dataclass(frozen=True, slots=True)
class TLSFiles:
    """The PEM files of the server's side of TLS."""

    certificate: str
    """The server's certificate, followed by its chain."""
    key: str | None
    """The certificate's key; None: in the certificate's file."""
    client_ca: str | None
    """The authorities that sign clients' certificates; None: clients need no certificate."""

    @classmethod
    def from_configuration(cls, configuration: ServerConfiguration) -> Self:
        """Return the files of a configuration with TLS."""
        assert configuration.tls_certificate is not None, "a configuration with TLS has a certificate"
        return cls(configuration.tls_certificate, configuration.tls_key, configuration.tls_client_ca)

    @property
    def key_place(self) -> tuple[str, str]:
        """The option that names the key's file, and the file."""
        return ("tls-certificate", self.certificate) if self.key is None else ("tls-key", self.key)


@dataclass(frozen=True)
class _Loaded:
    """What has been loaded from the files."""

    files: TLSFiles
    context: SSL.Context
    client_authorities: Sequence[Certificate]


@implementer(IOpenSSLServerConnectionCreator)
class ServerTLS:
    """The server's side of TLS, from files that can be replaced."""

    def __init__(self, files: TLSFiles) -> None:
        """Load the files. Raises ConfigurationError with the problems of all files."""
        self._loaded = _load(files)

    def prepare(self, files: TLSFiles) -> Callable[[], None]:
        """Load these files; return the function that puts them to use for new connections. Open ones are not affected.

        Raises ConfigurationError.
        """
        loaded = _load(files)

        def apply() -> None:
            self._loaded = loaded

        return apply

    @property
    def certificate(self) -> Certificate:
        """The certificate of new connections."""
        certificate = SSL.Connection(self._loaded.context, None).get_certificate(as_cryptography=True)
        assert certificate is not None, "a context has a certificate"
        return certificate

    @property
    def not_after(self) -> float:
        """The time at which the certificate of new connections expires, in seconds since the epoch."""
        return self.certificate.not_valid_after_utc.timestamp()

    def warnings(self, now: float) -> list[str]:
        """Return a line for each certificate that is not valid at `now`, or ends soon, and for an unprotected key.

        `now` is in seconds since the epoch. Of the server's chain only its own certificate counts.
        """
        files, at = self._loaded.files, datetime.fromtimestamp(now, UTC)
        key_option, key_path = files.key_place
        return list(
            filter(
                None,
                [
                    validity_warning("tls-certificate", files.certificate, self.certificate, at),
                    *(
                        validity_warning("tls-client-ca", files.client_ca or "", each, at)
                        for each in self._loaded.client_authorities
                    ),
                    key_file_warning(key_option, key_path),
                ],
            )
        )

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """Return the TLS state of a new connection."""
        return _LazyConnection(self._loaded.context, None)


class _LazyConnection(SSL.Connection):
    """The TLS state of a connection, which takes the buffers of a handshake only once the client has sent something."""

    _begun = False

    def do_handshake(self) -> None:
        """Continue the handshake; no-op when Twisted begins it, before the client's first bytes."""
        if not self._begun:
            self._begun = True
            raise SSL.WantReadError
        super().do_handshake()


def _load(files: TLSFiles) -> _Loaded:
    context = new_context(SSL.TLS_SERVER_METHOD)
    limit_groups(context)
    # OpenSSL's cache of 20,480 sessions is memory that clients could fill. Tickets resume sessions without it.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    authorities: Sequence[Certificate] = ()
    problems = Problems()
    with problems.collected():
        show_certificate(context, files.certificate, files.key)
    if files.client_ca is not None:
        with problems.collected():
            authorities = load_certificates("tls-client-ca", files.client_ca)  # its errors are clearer than OpenSSL's
            context.load_verify_locations(files.client_ca)
            context.load_client_ca(files.client_ca.encode())
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
        # Without an identifier, OpenSSL refuses to resume the session of a client whose certificate it verified.
        context.set_session_id(b"echod")
    problems.raise_if_any()
    return _Loaded(files, context, authorities)


@implementer(IHandshakeListener)
class TLSEchoProtocol(EchoProtocol):
    """The protocol of a connection over TLS: the same exchange, with its actions carried out in another way.

    TLS has no half-close that every client understands, and the FIN of `loseWriteConnection` would be sent without a
    close_notify. So a half-close is the server's close_notify: the exchange lingers until the client's own one, and
    only then is the TCP connection closed.
    """

    _always_pausable = True
    _half_close_waits = False
    """Whether close_notify is delayed, because the client does not read the echo before it."""
    _close_notify_sent = False
    _tcp_closing = False
    """Whether the TCP connection is being closed, with or without the client's close_notify."""

    @property
    def _tcp_below(self) -> ITCPTransport:
        """The TCP transport below TLS."""
        return cast("ITCPTransport", cast("Any", self.transport).transport)

    def handshakeCompleted(self) -> None:
        """Keep the result of the handshake."""
        handle = cast("Any", self.transport).getHandle()
        certificate = handle.get_peer_certificate(as_cryptography=True)
        self.tls = TLSFacts(
            version=handle.get_protocol_version_name(),
            cipher=handle.get_cipher_name() or "",
            client_subject=None if certificate is None else certificate.subject.rfc4514_string(),
        )

    def resumeProducing(self) -> None:
        """Read again. A half-close that waited for this is carried out."""
        super().resumeProducing()
        if self._half_close_waits:
            self._half_close()
        elif cast("Any", self._tcp_below).disconnecting:
            # The client's close_notify was received while its echo was still being sent. The TCP transport closes once
            # all is sent, but not while it has a producer.
            self.transport.unregisterProducer()

    def readConnectionLost(self) -> None:
        """Report the client's FIN to the exchange. `HalfCloseableTLS` closes the TCP connection after it."""
        self._tcp_closing = True
        if self._in_handshake and self.state in (State.EMPTY, State.QUIET_EMPTY):
            self._fail_handshake(TLSFailure.INCOMPLETE)
        else:
            super().readConnectionLost()

    def deadline_passed(self) -> None:
        """Report the deadline to the exchange; after a close, first give up waiting for the client's close_notify."""
        if self.state is State.CLOSING and not self._tcp_closing:
            self._arm_linger()
            self._close_tcp()
        elif self._in_handshake and self.state is State.EMPTY:
            self._fail_handshake(TLSFailure.TIMEOUT)
        else:
            super().deadline_passed()

    @property
    def _in_handshake(self) -> bool:
        """Whether the handshake has begun, with the client's first byte, and is not complete."""
        return self.tls is None and not isinstance(self.transport, SilentTLS)

    def _fail_handshake(self, failure: TLSFailure) -> None:
        self.tls_failure = failure
        self._take(Event.NO_HANDSHAKE)

    def _half_close(self) -> None:
        self._half_close_waits = self.paused
        if not self._half_close_waits:
            self._take(Event.FLUSHED)  # arms the linger, before a step that may end the connection
            self._send_close_notify()

    def _close(self) -> None:
        if self._close_notify_sent:
            self._close_tcp()
        else:
            self._send_close_notify()

    def _send_close_notify(self) -> None:
        self._close_notify_sent = True
        super()._close()

    def _close_tcp(self) -> None:
        """Close the TCP connection without a reset, so that the kernel delivers the bytes it still holds."""
        self._tcp_closing = True
        self._tcp_below.loseConnection()

    _STEPS: ClassVar[Mapping[Action, Callable[[Any], None]]] = {
        **EchoProtocol._STEPS,  # noqa: SLF001 - the base class's
        Action.HALF_CLOSE: _half_close,
        Action.CLOSE: _close,
    }

    def _end_event(self, lost: Failure) -> Event:
        if self._in_handshake and self.tls_failure is None:
            self.tls_failure = _failure_of(lost)
        if lost.check(SSL.Error):
            return Event.TLS_FAILURE
        if self.reason is not None and lost.check(ConnectionLost):
            return Event.END  # Twisted's reason if the client sent no close_notify
        event = super()._end_event(lost)
        if self._in_handshake and self.reason is None and event is not Event.FAULT:
            return Event.TLS_FAILURE
        return event


def _failure_of(lost: Failure) -> TLSFailure:
    """Return why a handshake failed, from the reason with which its connection was lost."""
    if not lost.check(SSL.Error) or lost.check(SSL.SysCallError, SSL.ZeroReturnError):
        return TLSFailure.INCOMPLETE
    problems = lost.value.args[0] if lost.value is not None and lost.value.args else ()
    for _, _, text in problems:
        if text in _FAILURES:
            return _FAILURES[text]
        if " alert " in text:
            return TLSFailure.CLIENT_REFUSED
    return TLSFailure.OTHER


@implementer(IHalfCloseableProtocol)
class HalfCloseableTLS(TLSMemoryBIOProtocol):
    """A TLS transport that, at a FIN, sends all written bytes before it closes."""

    def readConnectionLost(self) -> None:
        """Report the FIN to the protocol; then close the TCP connection after the written bytes."""
        cast("IHalfCloseableProtocol", self.wrappedProtocol).readConnectionLost()
        cast("Any", self.transport).loseConnection()

    def writeConnectionLost(self) -> None:
        """Never called: over TLS the sending side is not closed alone."""


class SilentTLS(HalfCloseableTLS):
    """The transport of a client that has sent no byte. With the first byte it becomes a `HalfCloseableTLS`.

    So a client that begins no handshake is known, and the later reads have no additional work.
    """

    def dataReceived(self, data: bytes) -> None:
        """Begin the handshake."""
        self.__class__ = HalfCloseableTLS  # type: ignore[assignment]  # the base class has the same attributes
        self.dataReceived(data)


class TLSListenerFactory(TLSMemoryBIOFactory):
    """Puts TLS around the connections of an `EchoFactory` that makes `TLSEchoProtocol`s."""

    protocol = SilentTLS

    def __init__(self, tls: ServerTLS, wrapped: IProtocolFactory, clock: IReactorTime) -> None:
        super().__init__(tls, False, wrapped, clock)

    def buildProtocol(self, addr: IAddress | None) -> TLSMemoryBIOProtocol | None:  # type: ignore[override]  # the base class never refuses
        """Make the protocol of a connection. None: it is refused."""
        connection = self.wrappedFactory.buildProtocol(cast("IAddress", addr))
        if connection is None:
            return None
        return SilentTLS(self, connection)  # type: ignore[no-untyped-call]  # Twisted's has no annotations
