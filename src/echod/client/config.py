"""The options that all clients share: the route to the target, and TLS."""

from dataclasses import dataclass

from echod.client.route import Family, Route, family_of
from echod.common.addresses import HostPort
from echod.common.errors import ConfigurationError
from echod.common.option_types import Address, Flag, Host, Text
from echod.common.options import option, options_of

__all__ = ["ClientConfiguration", "ClientTLS"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTLS:
    """The TLS options of a probe. Files are PEM."""

    ca: str | None = None
    """File of the certificates to trust; None: the trust store of the platform."""
    name: str | None = None
    """Name or address to send as SNI and to verify; None: the target."""
    certificate: str | None = None
    """File of the client certificate, followed by its chain; None: no client certificate."""
    key: str | None = None
    """File of its key; None: the file of the certificate."""
    insecure: bool = False
    """Whether any certificate is accepted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientConfiguration:
    """The options of the route and of TLS. The configuration of a command inherits from it and adds others."""

    ipv4: bool = option(False, Flag(), "use IPv4 only", short="4")
    ipv6: bool = option(False, Flag(), "use IPv6 only", short="6")
    source: str | None = option(None, Address(), "address of this host to connect from")
    tls: bool = option(False, Flag(), "use TLS, and send no record before the server's certificate is verified")
    tls_ca: str | None = option(
        None, Text("FILE"), "PEM file of the certificates to trust (default: the platform's trust store)"
    )
    tls_name: str | None = option(
        None, Host(), "name or address that the server's certificate must match (default: HOST)"
    )
    tls_certificate: str | None = option(
        None, Text("FILE"), "PEM file of the client certificate, followed by its chain"
    )
    tls_key: str | None = option(None, Text("FILE"), "PEM file of its key (default: the file of the certificate)")
    tls_insecure: bool = option(False, Flag(), "accept any certificate of the server")

    def _check_route(self) -> None:
        """Raise ConfigurationError if options of the route or of TLS contradict each other."""
        if self.ipv4 and self.ipv6:
            raise ConfigurationError("ipv4: cannot be combined with ipv6; without either, both are used")
        if self.source is not None and self.family is not None and self.family is not family_of(self.source):
            raise ConfigurationError(f"source: {self.source} is not an {self.family.value} address")
        given = [
            each.name
            for each in options_of(type(self))
            if each.name.startswith("tls-") and getattr(self, each.field) != each.default
        ]
        if given and not self.tls:
            raise ConfigurationError(f"{', '.join(given)}: requires tls")
        if self.tls_key and self.tls_certificate is None:
            raise ConfigurationError("tls-key: requires tls-certificate")

    @property
    def family(self) -> Family | None:
        """The one family of addresses to use; None for both."""
        return Family.IPV4 if self.ipv4 else Family.IPV6 if self.ipv6 else None

    def route_to(self, target: HostPort) -> Route:
        """Return the route to `target`. Raises ConfigurationError if it is a literal of the other family."""
        return Route(target=target, family=self.family, source=self.source)

    @property
    def client_tls(self) -> ClientTLS | None:
        """The TLS options; None without TLS."""
        if not self.tls:
            return None
        return ClientTLS(
            ca=self.tls_ca,
            name=self.tls_name,
            certificate=self.tls_certificate,
            key=self.tls_key,
            insecure=self.tls_insecure,
        )
