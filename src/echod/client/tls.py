"""TLS for probes: a context made once, and a TLS connection for each probe."""

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
    """The TLS context of a client, for any number of probes of any targets."""

    def __init__(self, options: ClientTLS) -> None:
        """Load the files. Raises ConfigurationError if one cannot be read, or the name is not possible."""
        self._options = options
        if options.name is not None:
            try:
                ServerName(options.name)
            except ValueError as problem:
                raise ConfigurationError(f"tls-name: {options.name} is not a host name: {problem}") from None
        self._context = _context(options)

    def factory(self, host: str, now: Callable[[], float], clock: IReactorTime) -> IProtocolFactory:
        """Return the factory of the protocols of one connection to `host`, over TLS."""

        def name() -> ServerName:  # called late: for a host name that IDNA refuses, resolution fails first
            return ServerName(self._options.name or host)

        def build() -> TLSProbeProtocol:
            name_refusal = _accept_any if self._options.insecure else name().refusal
            shows = self._options.certificate is not None
            return TLSProbeProtocol(now, clock, name_refusal, certificate_facts, shows_certificate=shows)

        return _ClientFactory(_Creator(self._context, name), True, ProbeFactory(build), clock)


class _ClientFactory(TLSMemoryBIOFactory):
    protocol = ProbeTLSTransport


@implementer(IOpenSSLClientConnectionCreator)
class _Creator:
    """Makes the OpenSSL connection of one probe. The context is shared, so the target's name is set here."""

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


def _context(options: ClientTLS) -> SSL.Context:
    context = new_context(SSL.TLS_CLIENT_METHOD)
    if options.ca is None:
        context.set_default_verify_paths()
    else:
        _trust(context, options.ca)
    if options.insecure:
        context.set_verify(SSL.VERIFY_NONE)
    else:
        context.set_verify(SSL.VERIFY_PEER, _verified)
    if options.certificate is not None:
        show_certificate(context, options.certificate, options.key)
    return context


def _trust(context: SSL.Context, path: str) -> None:
    store = context.get_cert_store()
    assert store is not None
    for each in load_certificates("tls-ca", path):
        store.add_cert(X509.from_cryptography(each))
    # The certificate of an intermediate authority, or of the server, is then trusted as it is, without its issuer.
    store.set_flags(X509StoreFlags.PARTIAL_CHAIN)


def _verified(connection: SSL.Connection, certificate: X509, number: int, depth: int, ok: int) -> bool:
    """Return whether OpenSSL accepts this certificate of the chain; if it does not, set the refusal of the probe."""
    if not ok:
        transport: ProbeTLSTransport = connection.get_app_data()
        protocol = transport.wrappedProtocol
        assert isinstance(protocol, TLSProbeProtocol)
        facts = certificate_facts(connection, certificate if depth == 0 else None)
        protocol.refuse(chain_refusal(certificate, number, depth), facts)
    return bool(ok)


def _accept_any(_: SSL.Connection) -> Refusal | None:
    """Take any certificate."""
    return None
