"""What the daemon and the probe are asked to do: one frozen value each."""

from dataclasses import dataclass

from echod.core.assertions import Assertion, Condition
from echod.core.client import DEFAULT_PORT, DEFAULT_RECORD_SIZE, LARGEST_RECORD, ClientConfiguration, ClientTLS
from echod.core.errors import ConfigurationError
from echod.core.kinds import (
    PORT,
    Address,
    Choice,
    Flag,
    Integer,
    Many,
    Network,
    PortOrEndpoint,
    Seconds,
    SizeRange,
    Text,
)
from echod.core.options import checked, option
from echod.core.statistics import PHASES

__all__ = [
    "DEFAULT_PORT",
    "DEFAULT_RECORD_SIZE",
    "LARGEST_RECORD",
    "ClientTLS",
    "Exchange",
    "PingConfiguration",
    "ServerConfiguration",
]

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
class Exchange:
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
        instead_of=("record_size", "keep_alive"),
    )
    listen: tuple[str, ...] = option(
        (),
        Many(Text("ENDPOINT")),
        "Twisted server endpoint to listen on, such as tcp6:3005:backlog=10; repeatable",
        instead_of=("port", "interface", "backlog", "reuse_port"),
    )
    tls_port: int | None = option(None, PORT, "TCP port to listen on for TLS as well")
    tls_listen: tuple[str, ...] = option(
        (), Many(Text("ENDPOINT")), "Twisted server endpoint to listen on for TLS as well; repeatable"
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
        (), Many(Network()), "network whose clients may connect; repeatable (default: everyone)"
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
        checked(self)
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
    def exchange(self) -> Exchange:
        """The rules that every connection goes by."""
        return Exchange(
            record_size=1 if self.stream else self.record_size,
            timeout=self.timeout,
            keep_alive=self.keep_alive or self.stream,
            stream=self.stream,
            linger=LINGER,
            quiet=min(QUIET, self.drain_timeout / 2),
        )


_CONDITION = Condition(PHASES)


@dataclass(frozen=True, slots=True, kw_only=True)
class PingConfiguration(ClientConfiguration):
    """What a run of probes is asked to do. Raises ConfigurationError for what cannot be."""

    count: int | None = option(
        None,
        Integer(1),
        "stop after this many probes; with sweep, after so many rounds (default: at Ctrl-C; with sweep, 1)",
        short="c",
    )
    interval: float = option(
        1.0, Seconds(zero=True), "seconds from one probe to the next; 0: each when the one before ends", short="i"
    )
    timeout: float = option(5.0, Seconds(), "seconds for one probe, from name resolution to the last byte", short="W")
    deadline: float | None = option(
        None, Seconds(), "end the run after so many seconds, whatever is under way then", short="w"
    )
    size: int | None = option(
        None,
        Integer(1, LARGEST_RECORD),
        f"bytes in a record; must be the server's (default: {DEFAULT_RECORD_SIZE}, or the payload file's)",
        short="s",
    )
    sweep: range | None = option(
        None, SizeRange(1, LARGEST_RECORD), "sizes to probe in turn, one probe each: first:last or first:last:step"
    )
    payload: str | None = option(
        None,
        Text("random|zero|FILE"),
        "what records are made of: random bytes, null bytes, or a file's (default: records that describe themselves)",
    )
    each_address: bool = option(False, Flag(), "probe every address of the name by itself, rather than race them")
    keep_alive: bool = option(False, Flag(), "send record after record on one connection, as long as it lasts")
    idle: float | None = option(
        None, Seconds(), "seconds to hold each connection silent before the record; the timeout does not count them"
    )
    verbose: bool = option(
        False, Flag(), "below each probe: its phases, connection attempts, certificate and kernel facts", short="v"
    )
    quiet: bool = option(False, Flag(), "nothing but the first line and the summary", short="q")
    json: bool = option(False, Flag(), "one JSON object a line, for each probe; with quiet, one for the run instead")
    summary: bool = option(False, Flag(), "with json: one more object, the last line, that sums the run up")
    metrics: str | None = option(
        None, Text("FILE"), "write the run's result to FILE for node_exporter's textfile collector, all at once"
    )
    assert_: tuple[Assertion, ...] = option(
        (), Many(_CONDITION), "what must hold of the run for exit status 0, such as p99<50ms or lost<1%; repeatable"
    )
    nagios: bool = option(False, Flag(), "be a monitoring plugin: one line with performance data, exit status 0 to 3")
    warning: tuple[Assertion, ...] = option(
        (), Many(_CONDITION), "with nagios: what makes it a WARNING, such as p99>50ms; repeatable"
    )
    critical: tuple[Assertion, ...] = option(
        (), Many(_CONDITION), "with nagios: what makes it CRITICAL (default: lost>0); repeatable"
    )

    def __post_init__(self) -> None:
        checked(self)
        self._check_way()
        self._refuse_what_does_not_go_together()
        self._check_output()

    def _check_output(self) -> None:
        faces = {"json": self.json, "nagios": self.nagios, "verbose": self.verbose}
        chosen = [name for name, given in faces.items() if given]
        if len(chosen) > 1:
            raise ConfigurationError(f"{chosen[0]}: of use only without {chosen[1]}")
        if self.quiet and (self.verbose or self.nagios):
            raise ConfigurationError(f"quiet: of use only without {chosen[0]}")
        if self.summary and not self.json:
            raise ConfigurationError("summary: of use only with json")
        if self.assert_ and self.nagios:
            raise ConfigurationError("assert: of use only without nagios, which has warning and critical")
        for name, given in (("warning", self.warning), ("critical", self.critical)):
            if given and not self.nagios:
                raise ConfigurationError(f"{name}: of use only with nagios")

    def _refuse_what_does_not_go_together(self) -> None:
        if self.sweep is not None and self.size is not None:
            raise ConfigurationError("sweep: not with size; it sets the sizes itself")
        if self.sweep is not None and self.payload_file is not None:
            raise ConfigurationError("sweep: not with a payload file, which has one size")
        if self.idle is not None and self.keep_alive:
            raise ConfigurationError("idle: not with keep-alive, whose connection is silent for the interval")

    @property
    def payload_file(self) -> str | None:
        """The file whose bytes are the record; None where it is made of something else."""
        return None if self.payload in (None, "random", "zero") else self.payload

    @property
    def sizes(self) -> range:
        """The sizes of the records, to be taken in turn, bytes. Without a size, as if there were no payload file."""
        if self.sweep is not None:
            return self.sweep
        size = self.size or DEFAULT_RECORD_SIZE
        return range(size, size + 1)

    @property
    def probes(self) -> int | None:
        """How many sequence numbers there are; None: no end."""
        if self.sweep is not None:
            return len(self.sweep) * (self.count or 1)
        return self.count
