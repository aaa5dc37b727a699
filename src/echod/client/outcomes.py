"""How a probe ended: the vocabulary, and the values that tell it.

Times are whole microseconds on a monotonic clock; what does not apply is None, never 0.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from echod.common.addresses import HostPort

__all__ = ["Attempt", "CertificateFacts", "KernelFacts", "Outcome", "PhaseTimes", "ProbeResult", "Step", "TLSSession"]


class Step(Enum):
    """A step of the path, in the order in which they are taken."""

    RESOLVE = "resolve"
    """The name is turned into addresses."""
    CONNECT = "connect"
    """TCP connects to one of them."""
    TLS = "tls"
    """The TLS handshake, and the check of who the server is."""
    IDLE = "idle"
    """The connection is held silent before the record, where that is asked for."""
    ECHO = "echo"
    """The record goes out and comes back."""


class Outcome(Enum):
    """What came of a probe. The values are fixed: output and labels carry them."""

    ECHOED = "echoed"
    """Every byte came back. The only success."""
    RESOLVE_FAILED = "resolve-failed"
    """The name has no address, or the resolver did not answer."""
    REFUSED = "refused"
    """The host is there, and nothing listens on the port."""
    UNREACHABLE = "unreachable"
    """No way to the address: no route, the network said so, or this host forbids it."""
    CONNECT_TIMEOUT = "connect-timeout"
    """No answer to the connection attempts."""
    CONNECT_FAILED = "connect-failed"
    """The connection failed in another way; the detail says which."""
    TLS_EXPIRED = "tls-expired"
    """A certificate of the server's chain is no longer valid."""
    TLS_NOT_YET_VALID = "tls-not-yet-valid"
    """A certificate of the server's chain is not valid yet."""
    TLS_UNTRUSTED = "tls-untrusted"
    """No trusted authority signed the server's certificate."""
    TLS_NO_SAN = "tls-no-san"
    """The server's certificate has no subjectAltName, so it is nobody's."""
    TLS_WRONG_NAME = "tls-wrong-name"
    """The server's certificate is another host's."""
    TLS_CERTIFICATE_INVALID = "tls-certificate-invalid"
    """The server's certificate fails in another way; the detail says which."""
    TLS_CLIENT_CERTIFICATE = "tls-client-certificate"
    """The server wants a client certificate, or refused the one it got."""
    TLS_FAILED = "tls-failed"
    """The handshake failed in another way: no TLS there, nothing in common, or the connection ended."""
    RESET = "reset"
    """The connection broke after it was established; the step says where."""
    CLOSED_EARLY = "closed-early"
    """The peer closed before the whole record was back."""
    TIMEOUT = "timeout"
    """Name resolution, the TLS handshake or the echo took longer than the probe may."""
    CORRUPT = "corrupt"
    """Other bytes came back than were sent, or more, or the next record before this one was whole."""
    STALE = "stale"
    """Another record of this run came back: one that was echoed before, or one of another connection."""
    REORDERED = "reordered"
    """A record came back before one that was sent earlier on the same connection."""
    FOREIGN = "foreign"
    """A record of another run came back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt to connect to one of the target's addresses."""

    address: HostPort
    outcome: Outcome | None
    """None: it connected, or was given up because another one had; `won` says which."""
    won: bool
    """Whether the probe went on over it."""
    started: int
    """Microseconds from the start of the probe."""
    time: int
    """Microseconds until it connected, failed or was given up."""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseTimes:
    """How long each phase took, in microseconds."""

    resolve: int | None = None
    """From the start to the last address of the name. Not of a literal."""
    connect: int | None = None
    """From the end of resolution to the established connection, lost attempts of a race included."""
    tls: int | None = None
    """From the established connection to the verified server."""
    idle: int | None = None
    """For how long the connection was held silent before the record."""
    first_byte: int | None = None
    """From handing over the record to the arrival of the first byte of its echo."""
    echo: int | None = None
    """From handing over the record to the arrival of the last byte of its echo: the round-trip time."""
    close: int | None = None
    """From the last byte to the end of the connection. Not of one that is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFacts:
    """What the server's certificate says, whether or not it was accepted."""

    subject: str
    """RFC 4514."""
    names: tuple[str, ...]
    """The host names and addresses of the subjectAltName; empty where it has none."""
    issuer: str
    """RFC 4514."""
    not_before: datetime
    not_after: datetime
    """Both in UTC."""
    fingerprint: str
    """SHA-256, in lower-case hex."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TLSSession:
    """What came of TLS, as far as it got."""

    version: str | None = None
    """As OpenSSL names it: "TLSv1.3". None where the handshake was not complete."""
    cipher: str | None = None
    certificate: CertificateFacts | None = None
    """The server's; None where it showed none."""
    failed_check: str | None = None
    """Which check of the certificate failed, in the words of X.509 or of RFC 6125; None where none did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelFacts:
    """What the kernel knows of the connection, from TCP_INFO (tcp(7)), when the echo was back or had failed.

    Not after a reset: with it the kernel has forgotten the connection.
    """

    rtt: int
    """The smoothed round-trip time of segments, microseconds."""
    rtt_variation: int
    """Microseconds."""
    min_rtt: int | None
    """The least round-trip time seen, microseconds. None where the kernel does not tell."""
    retransmits: int
    """Segments sent again on this connection, the SYN included where the kernel counts it."""
    mss: int
    """The largest segment that is sent, bytes."""
    path_mtu: int
    """Bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """What one probe found. What does not apply is None."""

    target: HostPort
    """As it was asked for: a name stays a name."""
    outcome: Outcome
    step: Step
    """The step that the probe ended in."""
    sequence: int = 1
    """Its number in the run, from 1 up."""
    started: datetime
    """When it began, wall clock, in UTC."""
    times: PhaseTimes
    address: HostPort | None = None
    """The address that was connected to, or that alone was tried."""
    source: HostPort | None = None
    """Our end of the connection."""
    attempts: tuple[Attempt, ...] = ()
    """In the order in which they were started."""
    size: int
    """Bytes sent, or to be sent, in the record."""
    received: int = 0
    """Bytes that came back."""
    offset: int | None = None
    """Of corrupt: where the first byte that differs is, from 0; of a record that was cut off, how much of it came."""
    reconnected: bool = False
    """Of a run that keeps its connection: whether this probe had to make a new one, not being the first."""
    tls: TLSSession | None = None
    kernel: KernelFacts | None = None
    detail: str = ""
    """What there is to say of a failure, in a few words."""

    @property
    def echoed(self) -> bool:
        """Whether every byte came back."""
        return self.outcome is Outcome.ECHOED
