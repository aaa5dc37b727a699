"""What the daemon and the probe are asked to do: one frozen value each."""

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
"""Seconds for which a server that has echoed discards what the client still sends.

Measured on a path that drops the first echo segment while client bytes arrive: closing at
once delivered 0 of 16 echoes, lingering 16 of 16. Two seconds cover a retransmission
after the initial timeout of 1 s (RFC 6298 section 2).
"""

QUIET = 0.5
"""Seconds, and at most half the drain timeout, for which a stopping server waits for keep-alive clients' next records.

Measured with clients that send record after record through 20 restarts: closed at once, 104 of 214,000 records came
to nothing; with the wait, 35 of 228,000; with the FIN in the last echo's segment besides, none of 320,000.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeRules:
    """The rules of one connection."""

    record_size: int
    """Bytes."""
    timeout: float
    """Seconds for one record, from accept or from the end of the record before."""
    keep_alive: bool
    """Whether records are echoed until the client closes, rather than one."""
    stream: bool = False
    """Whether there are no records: bytes are echoed as they come (RFC 862). Then the record size is 1, and
    keep-alive is on."""
    linger: float
    """Seconds of discarding after the last echo."""
    quiet: float
    """Seconds that a keep-alive connection of a stopping server still waits for a record that is on its way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfiguration:
    """What the daemon is asked to do. Raises ConfigurationError for what cannot be."""

    port: int = option(DEFAULT_PORT, PORT, "TCP port to listen on", short="p")
    interface: str = option("::", Address(), "address to listen on; :: takes every IPv6 and IPv4 client")
    backlog: int = option(10, Integer(1, 65535), "connections that may wait to be accepted, as listen(2) has it")
    record_size: int = option(DEFAULT_RECORD_SIZE, Integer(1, LARGEST_RECORD), "bytes in a record")
    timeout: float = option(30.0, Seconds(), "seconds to wait for one whole record")
    keep_alive: bool = option(False, Flag(), "echo record after record until the client closes")
    stream: bool = option(
        False,
        Flag(),
        "echo bytes as they come, until the client closes or none have come for the timeout (RFC 862)",
        excludes=("record_size", "keep_alive"),
    )
    listen: tuple[str, ...] = option(
        (),
        ListOf(Text("ENDPOINT")),
        "Twisted server endpoint to listen on, such as tcp6:3005:backlog=10; repeatable",
        excludes=("port", "interface", "backlog", "reuse_port"),
    )
    tls_port: int | None = option(None, PORT, "TCP port to listen on for TLS as well")
    tls_listen: tuple[str, ...] = option(
        (), ListOf(Text("ENDPOINT")), "Twisted server endpoint to listen on for TLS as well; repeatable"
    )
    tls_certificate: str | None = option(None, Text("FILE"), "PEM file of the server's certificate, its chain after it")
    tls_key: str | None = option(None, Text("FILE"), "PEM file of its key (default: in the certificate's file)")
    tls_client_ca: str | None = option(
        None, Text("FILE"), "PEM file of the authorities one of which must have signed a TLS client's certificate"
    )
    max_connections: int | None = option(
        None, Integer(1), "connections open at a time (default: the process's limit of open files, less a reserve)"
    )
    max_connections_per_host: int | None = option(None, Integer(1), "connections open at a time from one address")
    allow: tuple[str, ...] = option(
        (), ListOf(Network()), "network whose clients may connect; repeatable (default: everyone)"
    )
    drain_timeout: float = option(
        5.0, Seconds(zero=True), "seconds that records in flight have to finish once the daemon is told to stop"
    )
    reuse_port: bool = option(False, Flag(), "let several processes listen on the port, as SO_REUSEPORT has it")
    transport: str = option(
        "fast",
        Choice(("fast", "stock")),
        "what serves the connections: fast, which needs Linux's epoll, or stock, which is plain Twisted",
    )
    access_log: str | None = option(
        None, Text("FILE"), "write a line for each connection that ends; - is standard output"
    )
    log_format: str = option("text", Choice(("text", "json")), "what the log and the access log are written in")
    admin: str | None = option(
        None,
        PortOrEndpoint(),
        "serve health, metrics and a page over HTTP: a port, on the loopback addresses alone, or a Twisted endpoint",
    )

    def __post_init__(self) -> None:
        check_options(self)
        if self.has_tls and self.tls_certificate is None:
            raise ConfigurationError("a TLS listener needs tls-certificate")
        if not self.has_tls and (self.tls_certificate or self.tls_key or self.tls_client_ca):
            raise ConfigurationError(
                "tls-certificate, tls-key and tls-client-ca need a TLS listener: tls-port or tls-listen"
            )

    @property
    def has_tls(self) -> bool:
        """Whether any listener speaks TLS."""
        return self.tls_port is not None or bool(self.tls_listen)

    @property
    def exchange(self) -> ExchangeRules:
        """The rules that every connection goes by."""
        return ExchangeRules(
            record_size=1 if self.stream else self.record_size,
            timeout=self.timeout,
            keep_alive=self.keep_alive or self.stream,
            stream=self.stream,
            linger=LINGER,
            quiet=min(QUIET, self.drain_timeout / 2),
        )
