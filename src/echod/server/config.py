"""The options of the daemon, and the rules of an exchange that follow from them."""

from dataclasses import dataclass

from echod.common.defaults import DEFAULT_PORT, DEFAULT_RECORD_SIZE, LARGEST_RECORD
from echod.common.errors import ConfigurationError
from echod.common.option_types import (
    PORT,
    Address,
    Choice,
    Flag,
    Integer,
    ListOf,
    Network,
    PortOrEndpoint,
    Seconds,
    Text,
)
from echod.common.options import check_options, option

__all__ = [
    "CHECK_TIME",
    "DEFAULT_BACKLOG",
    "LINGER",
    "PROXIED",
    "QUIET",
    "ExchangeRules",
    "ServerConfiguration",
    "is_proxied",
]

CHECK_TIME = 3.0
"""Seconds from accept within which a connection that ends before a byte of a record is a health check.

A check ends as soon as its connect, its PROXY header or its TLS handshake has succeeded. Three seconds cover one
retransmission after the initial timeout of 1 s (RFC 6298 section 2), and are less than the timeouts of most clients, so
that a client that waits in vain and gives up is not a check.
"""
DEFAULT_BACKLOG = 10
"""Connections. The queue holds one more (Linux)."""

LINGER = 2.0
"""Seconds for which input is discarded after the last echo, before the server closes.

Measured on a path that drops the first segment of the echo while client bytes arrive: a close at once delivered 0 of 16
echoes, a lingering close 16 of 16. Two seconds cover a retransmission after the initial timeout of 1 s (RFC 6298
section 2).
"""

QUIET = 0.5
"""Seconds for which a stopping server waits for the next record of a keep-alive client; at most half the drain timeout.

Measured with clients that send record after record through 20 restarts: without the wait 104 of 214,000 records were
lost; with it 35 of 228,000; with the FIN in the last echo's segment as well, none of 320,000.
"""


PROXIED = "haproxy:"
"""The beginning of a listener's endpoint if its connections begin with a PROXY header."""


def is_proxied(endpoint: str) -> bool:
    """Return whether the connections of a listener begin with a PROXY header."""
    return endpoint.startswith(PROXIED)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeRules:
    """The rules of one connection's exchange."""

    record_size: int
    """Bytes."""
    timeout: float
    """Seconds for one record, from accept or from the end of the record before it."""
    keep_alive: bool
    """Whether record after record is echoed until the client closes; else one."""
    stream: bool = False
    """Whether bytes are echoed as they are received (RFC 862). Then record_size is 1, and keep_alive is true."""
    linger: float
    """Seconds for which input is discarded after the last echo."""
    quiet: float
    """Seconds for which a stopping server waits for the next record of a keep-alive client."""
    check_time: float = CHECK_TIME
    """Seconds from accept within which an end before the first byte is a health check; 0 for clients named by a proxy:
    they are no checks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfiguration:
    """The options of the daemon. Raises ConfigurationError for values that are invalid or cannot be combined."""

    port: int = option(DEFAULT_PORT, PORT, "TCP port to listen on", short="p")
    interface: str = option("::", Address(), "address to listen on; :: accepts IPv6 and IPv4 clients")
    backlog: int = option(
        DEFAULT_BACKLOG,
        Integer(1, 65535),
        "length of the queue of connections to accept (listen(2)); also of endpoints that do not say backlog=",
    )
    record_size: int = option(DEFAULT_RECORD_SIZE, Integer(1, LARGEST_RECORD), "bytes in a record", reloadable=True)
    timeout: float = option(30.0, Seconds(), "seconds to wait for a complete record", reloadable=True)
    keep_alive: bool = option(False, Flag(), "echo record after record until the client closes", reloadable=True)
    stream: bool = option(
        False,
        Flag(),
        "echo bytes as they are received (RFC 862), until the client closes or sends none for the timeout",
        excludes=("record_size", "keep_alive"),
        reloadable=True,
    )
    listen: tuple[str, ...] = option(
        (),
        ListOf(Text("ENDPOINT")),
        "Twisted server endpoint to listen on, such as tcp6:3005 or unix:/run/echod/echo.sock; repeatable",
        excludes=("port", "interface", "reuse_port"),
    )
    tls_port: int | None = option(None, PORT, "TCP port to listen on for TLS, as well")
    tls_listen: tuple[str, ...] = option(
        (), ListOf(Text("ENDPOINT")), "Twisted server endpoint to listen on for TLS, as well; repeatable"
    )
    tls_certificate: str | None = option(
        None, Text("FILE"), "PEM file of the server's certificate, followed by its chain", reloadable=True
    )
    tls_key: str | None = option(
        None, Text("FILE"), "PEM file of the certificate's key (default: in the certificate's file)", reloadable=True
    )
    tls_client_ca: str | None = option(
        None,
        Text("FILE"),
        "PEM file of authorities; a TLS client must send a certificate that one of them signed",
        reloadable=True,
    )
    max_connections: int | None = option(
        None,
        Integer(1),
        "limit of open connections (default: the process's limit of open files, less a reserve)",
        reloadable=True,
    )
    max_connections_per_host: int | None = option(
        None, Integer(1), "limit of open connections from one address", reloadable=True
    )
    ipv6_prefix: int = option(
        64,
        Integer(1, 128),
        "bits of an IPv6 address that max-connections-per-host counts by: one network, one host",
        reloadable=True,
    )
    allow: tuple[str, ...] = option(
        (), ListOf(Network()), "network whose clients may connect; repeatable (default: every network)", reloadable=True
    )
    trusted_proxy: tuple[str, ...] = option(
        (),
        ListOf(Network()),
        "network of proxies: only these may connect to a haproxy: listener; repeatable",
        reloadable=True,
    )
    drain_timeout: float = option(
        5.0,
        Seconds(zero=True),
        "seconds that records in progress have to finish when the daemon stops",
        reloadable=True,
    )
    reuse_port: bool = option(False, Flag(), "let several processes listen on the port (SO_REUSEPORT)")
    transport: str = option(
        "fast",
        Choice(("fast", "stock")),
        "transport of the connections: fast (needs Linux's epoll) or stock (plain Twisted)",
    )
    access_log: str | None = option(
        None,
        Text("FILE"),
        "file for one line per connection, written when it ends; - is standard output",
        reloadable=True,
    )
    log_health_checks: bool = option(
        False, Flag(), "write the connections of balancers' health checks into the access log as well", reloadable=True
    )
    log_format: str = option(
        "text", Choice(("text", "json")), "format of the log and of the access log", reloadable=True
    )
    admin: str | None = option(
        None,
        PortOrEndpoint(),
        "serve health, metrics and a live page over HTTP: a port, on loopback addresses only, or a Twisted endpoint",
    )
    admin_directory: str | None = option(
        None,
        Text("DIR"),
        "directory that the processes of one service share, so that the admin server of each shows all of them",
    )

    def __post_init__(self) -> None:
        check_options(self)
        if self.has_tls and self.tls_certificate is None:
            raise ConfigurationError("tls-port and tls-listen require tls-certificate")
        if self.tls_certificate is None and (self.tls_key or self.tls_client_ca):
            raise ConfigurationError("tls-key and tls-client-ca require tls-certificate")
        if self.trusted_proxy and not any(map(is_proxied, self.listen + self.tls_listen)):
            raise ConfigurationError("trusted-proxy requires a haproxy: endpoint in listen or tls-listen")

    @property
    def has_tls(self) -> bool:
        """Whether a listener speaks TLS."""
        return self.tls_port is not None or bool(self.tls_listen)

    @property
    def rules(self) -> ExchangeRules:
        """The rules of every connection's exchange."""
        return ExchangeRules(
            record_size=1 if self.stream else self.record_size,
            timeout=self.timeout,
            keep_alive=self.keep_alive or self.stream,
            stream=self.stream,
            linger=LINGER,
            quiet=min(QUIET, self.drain_timeout / 2),
        )
