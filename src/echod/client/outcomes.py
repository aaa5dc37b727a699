"""The result of a probe: its vocabulary, and its values.

Times are whole microseconds on a monotonic clock. A value that does not apply is None, never 0.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from echod.common.addresses import HostPort

__all__ = ["Attempt", "CertificateFacts", "KernelFacts", "Outcome", "PhaseTimes", "ProbeResult", "Step", "TLSSession"]


class Step(Enum):
    """The steps of a probe, in their order."""

    RESOLVE = "resolve"
    """Name resolution."""
    CONNECT = "connect"
    """The TCP connection to one of the addresses."""
    TLS = "tls"
    """The TLS handshake, and the verification of the server."""
    IDLE = "idle"
    """The silence before the record, with the option idle."""
    ECHO = "echo"
    """Sending the record, and receiving its echo."""


class Outcome(Enum):
    """The outcome of a probe. The values are fixed: output and labels carry them."""

    ECHOED = "echoed"
    """Every byte came back. The only success."""
    RESOLVE_FAILED = "resolve-failed"
    """The name has no address, or the resolver did not answer."""
    REFUSED = "refused"
    """The host answered that nothing listens on the port."""
    UNREACHABLE = "unreachable"
    """No route to the address, an ICMP error from the network, or this host forbids it."""
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
    """The server's certificate has no subjectAltName, so it matches no host."""
    TLS_WRONG_NAME = "tls-wrong-name"
    """The server's certificate is for another host."""
    TLS_CERTIFICATE_INVALID = "tls-certificate-invalid"
    """The server's certificate fails another check; the detail says which."""
    TLS_CLIENT_CERTIFICATE = "tls-client-certificate"
    """The server requires a client certificate, or refused the one that was sent."""
    TLS_FAILED = "tls-failed"
    """The handshake failed in another way: no TLS server, no common version or cipher, or the connection ended."""
    RESET = "reset"
    """The connection broke after it was established; the step says where."""
    CLOSED_EARLY = "closed-early"
    """The peer closed before the echo was complete."""
    TIMEOUT = "timeout"
    """The timeout passed in name resolution, the TLS handshake or the echo."""
    CORRUPT = "corrupt"
    """Other bytes came back than were sent, or more, or the next record before this one was complete."""
    STALE = "stale"
    """Another record of this run came back: one that was echoed before, or one sent on another connection."""
    REORDERED = "reordered"
    """A record came back before one that was sent earlier on the same connection."""
    FOREIGN = "foreign"
    """A record of another run came back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt to connect to one of the target's addresses."""

    address: HostPort
    outcome: Outcome | None
    """None: it connected, or was cancelled because another one had; `won` says which."""
    won: bool
    """Whether its connection carried the record."""
    started: int
    """Microseconds from the start of the probe."""
    time: int
    """Microseconds until it connected, failed or was cancelled."""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseTimes:
    """How long each phase took, in microseconds."""

    resolve: int | None = None
    """From the start to the last address of the name. None for a literal."""
    connect: int | None = None
    """From the end of resolution to the established connection, lost attempts of a race included."""
    tls: int | None = None
    """From the established connection to the verified server."""
    idle: int | None = None
    """The silence before the record."""
    first_byte: int | None = None
    """From handing over the record to the arrival of the first byte of its echo."""
    echo: int | None = None
    """From handing over the record to the arrival of the last byte of its echo: the round-trip time."""
    close: int | None = None
    """From the last byte to the end of the connection. None for one that is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFacts:
    """Facts of the server's certificate, accepted or not."""

    subject: str
    """RFC 4514."""
    names: tuple[str, ...]
    """The host names and addresses of the subjectAltName; empty without one."""
    issuer: str
    """RFC 4514."""
    not_before: datetime
    not_after: datetime
    """Both in UTC."""
    fingerprint: str
    """SHA-256, in lower-case hex."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TLSSession:
    """Facts of the TLS session, as far as the handshake got."""

    version: str | None = None
    """OpenSSL's name of it, such as "TLSv1.3". None if the handshake was not complete."""
    cipher: str | None = None
    certificate: CertificateFacts | None = None
    """The server's; None if it sent none."""
    failed_check: str | None = None
    """The check of the certificate that failed, in the terms of X.509 or RFC 6125; None if none did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelFacts:
    """TCP_INFO (tcp(7)) of the connection when the echo was complete or had failed.

    There is none after a reset: the kernel drops the connection with it.
    """

    rtt: int
    """The smoothed round-trip time of segments, microseconds."""
    rtt_variation: int
    """Microseconds."""
    min_rtt: int | None
    """The minimum round-trip time, microseconds. None if the kernel does not report it."""
    retransmits: int
    """Segments retransmitted on this connection, the SYN included if the kernel counts it."""
    mss: int
    """The maximum segment size for sending, bytes."""
    path_mtu: int
    """Bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """The result of one probe. A value that does not apply is None."""

    target: HostPort
    """The target as it was given: a name stays a name."""
    outcome: Outcome
    step: Step
    """The step that the probe ended in."""
    sequence: int = 1
    """Its number in the run, from 1 up."""
    started: datetime
    """The start, by the wall clock, in UTC."""
    times: PhaseTimes
    address: HostPort | None = None
    """The address that was connected to, or the only one that was tried."""
    source: HostPort | None = None
    """The address of this end of the connection."""
    attempts: tuple[Attempt, ...] = ()
    """In the order in which they were started."""
    size: int
    """Bytes sent, or to be sent, in the record."""
    received: int = 0
    """Bytes that came back."""
    offset: int | None = None
    """Of corrupt: the offset of the first byte that differs, from 0; of a truncated record, the number of its bytes."""
    reconnected: bool = False
    """Of a run that keeps its connection: whether this probe, not being the first, needed a new one."""
    tls: TLSSession | None = None
    kernel: KernelFacts | None = None
    detail: str = ""
    """A failure's explanation, in a few words."""

    @property
    def echoed(self) -> bool:
        """Whether every byte came back."""
        return self.outcome is Outcome.ECHOED
