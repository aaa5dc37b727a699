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

__all__ = ["LINGER", "QUIET", "ExchangeRules", "ServerConfiguration"]

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


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfiguration:
    """The options of the daemon. Raises ConfigurationError for values that are invalid or cannot be combined."""

    port: int = option(DEFAULT_PORT, PORT, "TCP port to listen on", short="p")
    interface: str = option("::", Address(), "address to listen on; :: accepts IPv6 and IPv4 clients")
    backlog: int = option(10, Integer(1, 65535), "length of the queue of connections to accept (listen(2))")
    record_size: int = option(DEFAULT_RECORD_SIZE, Integer(1, LARGEST_RECORD), "bytes in a record")
    timeout: float = option(30.0, Seconds(), "seconds to wait for a complete record")
    keep_alive: bool = option(False, Flag(), "echo record after record until the client closes")
    stream: bool = option(
        False,
        Flag(),
        "echo bytes as they are received (RFC 862), until the client closes or sends none for the timeout",
        excludes=("record_size", "keep_alive"),
    )
    listen: tuple[str, ...] = option(
        (),
        ListOf(Text("ENDPOINT")),
        "Twisted server endpoint to listen on, such as tcp6:3005:backlog=10; repeatable",
        excludes=("port", "interface", "backlog", "reuse_port"),
    )
    tls_port: int | None = option(None, PORT, "TCP port to listen on for TLS, as well")
    tls_listen: tuple[str, ...] = option(
        (), ListOf(Text("ENDPOINT")), "Twisted server endpoint to listen on for TLS, as well; repeatable"
    )
    tls_certificate: str | None = option(
        None, Text("FILE"), "PEM file of the server's certificate, followed by its chain"
    )
    tls_key: str | None = option(
        None, Text("FILE"), "PEM file of the certificate's key (default: in the certificate's file)"
    )
    tls_client_ca: str | None = option(
        None, Text("FILE"), "PEM file of authorities; a TLS client must send a certificate that one of them signed"
    )
    max_connections: int | None = option(
        None, Integer(1), "limit of open connections (default: the process's limit of open files, less a reserve)"
    )
    max_connections_per_host: int | None = option(None, Integer(1), "limit of open connections from one address")
    allow: tuple[str, ...] = option(
        (), ListOf(Network()), "network whose clients may connect; repeatable (default: every network)"
    )
    drain_timeout: float = option(
        5.0, Seconds(zero=True), "seconds that records in progress have to finish when the daemon stops"
    )
    reuse_port: bool = option(False, Flag(), "let several processes listen on the port (SO_REUSEPORT)")
    transport: str = option(
        "fast",
        Choice(("fast", "stock")),
        "transport of the connections: fast (needs Linux's epoll) or stock (plain Twisted)",
    )
    access_log: str | None = option(
        None, Text("FILE"), "file for one line per connection, written when it ends; - is standard output"
    )
    log_format: str = option("text", Choice(("text", "json")), "format of the log and of the access log")
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
        if not self.has_tls and (self.tls_certificate or self.tls_key or self.tls_client_ca):
            raise ConfigurationError("tls-certificate, tls-key and tls-client-ca require tls-port or tls-listen")
        if self.admin_directory is not None and self.admin is None:
            raise ConfigurationError("admin-directory requires admin")

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
