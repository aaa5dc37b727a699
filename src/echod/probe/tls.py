"""TLS for probes: a context made once, and a connection of its own for each probe."""

from collections.abc import Callable

from OpenSSL import SSL
from OpenSSL.crypto import X509, X509StoreFlags
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IProtocolFactory, IReactorTime
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from zope.interface import implementer

from echod.core.configuration import ClientTLS
from echod.core.errors import ConfigurationError
from echod.probe.handshake import ProbeTLSTransport, TLSProbeProtocol
from echod.probe.pem import load_certificates, load_key
from echod.probe.protocol import ProbeFactory, Refusal
from echod.probe.verification import ServerName, chain_refusal

__all__ = ["ClientTLSContext"]

CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20"
"""For TLS 1.2: forward secrecy and authenticated encryption only (RFC 9325 section 4.2). TLS 1.3 has no others."""


class ClientTLSContext:
    """The client's side of TLS, for any number of probes of any targets."""

    def __init__(self, asked: ClientTLS) -> None:
        """Load the files. Raises ConfigurationError."""
        self._asked = asked
        if asked.name is not None:
            try:
                ServerName(asked.name)
            except ValueError as problem:
                raise ConfigurationError(f"tls-name: {asked.name} is not a host name: {problem}") from None
        self._context = _context(asked)

    def factory(self, host: str, payload: bytes, now: Callable[[], float], clock: IReactorTime) -> IProtocolFactory:
        """Return what makes the protocol of one probe of `host`, under TLS."""

        def name() -> ServerName:  # of a name that IDNA refuses, resolution tells
            return ServerName(self._asked.name or host)

        def build() -> TLSProbeProtocol:
            refusal = _any if self._asked.insecure else name().refusal
            return TLSProbeProtocol(payload, now, clock, refusal, shows_certificate=self._asked.certificate is not None)

        return _ClientFactory(_Creator(self._context, name), True, ProbeFactory(build), clock)


class _ClientFactory(TLSMemoryBIOFactory):
    protocol = ProbeTLSTransport


@implementer(IOpenSSLClientConnectionCreator)
class _Creator:
    """Makes the connection of one probe, so that no other target's name gets into it."""

    def __init__(self, context: SSL.Context, name: Callable[[], ServerName]) -> None:
        self._context = context
        self._name = name

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        indicated = self._name().indicated
        if indicated is not None:
            connection.set_tlsext_host_name(indicated)
        return connection


def _context(asked: ClientTLS) -> SSL.Context:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_cipher_list(CIPHERS)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    if asked.ca is None:
        context.set_default_verify_paths()
    else:
        _trust(context, asked.ca)
    if asked.insecure:
        context.set_verify(SSL.VERIFY_NONE)
    else:
        context.set_verify(SSL.VERIFY_PEER, _verified)
    if asked.certificate is not None:
        _show(context, asked.certificate, asked.key or asked.certificate)
    return context


def _trust(context: SSL.Context, path: str) -> None:
    store = context.get_cert_store()
    assert store is not None
    for each in load_certificates("tls-ca", path):
        store.add_cert(X509.from_cryptography(each))
    # Who gives an intermediate authority's certificate, or the server's own, trusts that one.
    store.set_flags(X509StoreFlags.PARTIAL_CHAIN)


def _show(context: SSL.Context, path: str, key_path: str) -> None:
    certificate, *chain = load_certificates("tls-certificate", path)
    key = load_key("tls-key" if key_path != path else "tls-certificate", key_path)
    try:
        context.use_certificate(certificate)
        for each in chain:
            context.add_extra_chain_cert(each)
    except SSL.Error as problem:
        raise ConfigurationError(f"tls-certificate: OpenSSL refuses {path}: {problem.args[0][-1][-1]}") from None
    try:
        context.use_privatekey(key)  # type: ignore[arg-type]  # what it does not take, it raises TypeError for
        context.check_privatekey()
    except SSL.Error:
        raise ConfigurationError(f"tls-key: {key_path} is not the certificate's key") from None
    except TypeError:
        raise ConfigurationError(f"tls-key: {key_path} is of a kind that TLS has no use for") from None


def _verified(connection: SSL.Connection, certificate: X509, number: int, depth: int, ok: int) -> bool:
    """Let a chain that OpenSSL has found a fault with go no further, and tell its own connection why."""
    if not ok:
        transport: ProbeTLSTransport = connection.get_app_data()  # where Twisted keeps it
        protocol = transport.wrappedProtocol
        assert isinstance(protocol, TLSProbeProtocol)
        protocol.refuse(chain_refusal(certificate, number, depth))
    return bool(ok)


def _any(_: SSL.Connection) -> Refusal | None:
    """Take any certificate."""
    return None
