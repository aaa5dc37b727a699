"""What every client is asked: which way it goes to its target, and what TLS it speaks on it."""

from dataclasses import dataclass

from echod.client.route import Family, Route, family_of
from echod.common.addresses import HostPort
from echod.common.errors import ConfigurationError
from echod.common.option_types import Address, Flag, Host, Text
from echod.common.options import option, options_of

__all__ = ["ClientConfiguration", "ClientTLS"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTLS:
    """What a probe is to do over TLS. Files are PEM."""

    ca: str | None = None
    """File of the certificates to trust; None: the platform's."""
    name: str | None = None
    """Name or address to send and to verify; None: the target's."""
    certificate: str | None = None
    """File of the client's certificate, its chain after it; None: the client shows none."""
    key: str | None = None
    """File of its key; None: in the certificate's file."""
    insecure: bool = False
    """Whether any certificate will do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientConfiguration:
    """The options of a client that are about the way to its target. What inherits from it has more."""

    ipv4: bool = option(False, Flag(), "use IPv4 alone", short="4")
    ipv6: bool = option(False, Flag(), "use IPv6 alone", short="6")
    source: str | None = option(None, Address(), "address of this host to connect from")
    tls: bool = option(False, Flag(), "speak TLS, and send nothing before the server's certificate is verified")
    tls_ca: str | None = option(
        None, Text("FILE"), "PEM file of the certificates to trust (default: the platform's trust store)"
    )
    tls_name: str | None = option(
        None, Host(), "name or address that the server's certificate must be for (default: the one that is probed)"
    )
    tls_certificate: str | None = option(
        None, Text("FILE"), "PEM file of the client certificate to show, its chain after it"
    )
    tls_key: str | None = option(None, Text("FILE"), "PEM file of its key (default: in the certificate's file)")
    tls_insecure: bool = option(False, Flag(), "take any certificate for the server's")

    def _check_route(self) -> None:
        """Raise ConfigurationError where what is asked of the way does not go together."""
        if self.ipv4 and self.ipv6:
            raise ConfigurationError("ipv4: not with ipv6; without either both are used")
        if self.source is not None and self.family is not None and self.family is not family_of(self.source):
            raise ConfigurationError(f"source: {self.source} is not an {self.family.value} address")
        given = [
            each.name
            for each in options_of(type(self))
            if each.name.startswith("tls-") and getattr(self, each.field) != each.default
        ]
        if given and not self.tls:
            raise ConfigurationError(f"{', '.join(given)}: of use only with tls")
        if self.tls_key and self.tls_certificate is None:
            raise ConfigurationError("tls-key: of use only with tls-certificate")

    @property
    def family(self) -> Family | None:
        """The one family of addresses to use; None: both."""
        return Family.IPV4 if self.ipv4 else Family.IPV6 if self.ipv6 else None

    def route_to(self, target: HostPort) -> Route:
        """Return the way to `target`. Raises ConfigurationError where its literal is not of the family asked for."""
        return Route(target=target, family=self.family, source=self.source)

    @property
    def client_tls(self) -> ClientTLS | None:
        """What is asked of TLS; None without it."""
        if not self.tls:
            return None
        return ClientTLS(
            ca=self.tls_ca,
            name=self.tls_name,
            certificate=self.tls_certificate,
            key=self.tls_key,
            insecure=self.tls_insecure,
        )
