"""TLS for probes: a context made once, and a connection of its own for each probe."""

from collections.abc import Callable

from OpenSSL import SSL
from OpenSSL.crypto import X509, X509StoreFlags
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IProtocolFactory, IReactorTime
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from zope.interface import implementer

from echod.client.config import ClientTLS
from echod.client.protocol import ProbeFactory, Refusal
from echod.client.tls_protocol import ProbeTLSTransport, TLSProbeProtocol
from echod.client.verification import ServerName, certificate_facts, chain_refusal
from echod.common.errors import ConfigurationError
from echod.tls.contexts import new_context, show_certificate
from echod.tls.pem import load_certificates

__all__ = ["ClientTLSContext"]


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

    def factory(self, host: str, now: Callable[[], float], clock: IReactorTime) -> IProtocolFactory:
        """Return what makes the protocol of one connection to `host`, under TLS."""

        def name() -> ServerName:  # of a name that IDNA refuses, resolution tells
            return ServerName(self._asked.name or host)

        def build() -> TLSProbeProtocol:
            refusal = _any if self._asked.insecure else name().refusal
            shows = self._asked.certificate is not None
            return TLSProbeProtocol(now, clock, refusal, certificate_facts, shows_certificate=shows)

        return _ClientFactory(_Creator(self._context, name), True, ProbeFactory(build), clock)


class _ClientFactory(TLSMemoryBIOFactory):
    protocol = ProbeTLSTransport


@implementer(IOpenSSLClientConnectionCreator)
class _Creator:
    """Makes the TLS side of one connection, so that no other target's name gets into it."""

    def __init__(self, context: SSL.Context, name: Callable[[], ServerName]) -> None:
        self._context = context
        self._name = name

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        connection.set_app_data(tlsProtocol)
        indicated = self._name().indicated
        if indicated is not None:
            connection.set_tlsext_host_name(indicated)
        return connection


def _context(asked: ClientTLS) -> SSL.Context:
    context = new_context(SSL.TLS_CLIENT_METHOD)
    if asked.ca is None:
        context.set_default_verify_paths()
    else:
        _trust(context, asked.ca)
    if asked.insecure:
        context.set_verify(SSL.VERIFY_NONE)
    else:
        context.set_verify(SSL.VERIFY_PEER, _verified)
    if asked.certificate is not None:
        show_certificate(context, asked.certificate, asked.key)
    return context


def _trust(context: SSL.Context, path: str) -> None:
    store = context.get_cert_store()
    assert store is not None
    for each in load_certificates("tls-ca", path):
        store.add_cert(X509.from_cryptography(each))
    # Who gives an intermediate authority's certificate, or the server's own, trusts that one.
    store.set_flags(X509StoreFlags.PARTIAL_CHAIN)


def _verified(connection: SSL.Connection, certificate: X509, number: int, depth: int, ok: int) -> bool:
    """Let a chain that OpenSSL has found a fault with go no further, and tell its own connection why."""
    if not ok:
        transport: ProbeTLSTransport = connection.get_app_data()
        protocol = transport.wrappedProtocol
        assert isinstance(protocol, TLSProbeProtocol)
        facts = certificate_facts(connection, certificate if depth == 0 else None)
        protocol.refuse(chain_refusal(certificate, number, depth), facts)
    return bool(ok)


def _any(_: SSL.Connection) -> Refusal | None:
    """Take any certificate."""
    return None
