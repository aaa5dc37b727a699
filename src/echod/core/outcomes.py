"""How a probe ended: the vocabulary, and the one value that tells it."""

from dataclasses import dataclass
from enum import Enum

from echod.core.addresses import HostPort

__all__ = ["Outcome", "ProbeResult", "Step"]


class Step(Enum):
    """A step of the path, in the order in which they are taken."""

    RESOLVE = "resolve"
    """The name is turned into addresses."""
    CONNECT = "connect"
    """TCP connects to one of them."""
    TLS = "tls"
    """The TLS handshake, and the check of who the server is."""
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
    """No way to the address: no route, or the network said so."""
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
    """The connection broke during the exchange."""
    CLOSED_EARLY = "closed-early"
    """The peer closed before the whole record was back."""
    TIMEOUT = "timeout"
    """Name resolution, the TLS handshake or the echo took longer than the probe may."""
    CORRUPT = "corrupt"
    """Other bytes came back than were sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """What one probe found. What does not apply is None."""

    target: HostPort
    """As it was asked for: a name stays a name."""
    outcome: Outcome
    step: Step
    """The step that the probe ended in."""
    address: HostPort | None = None
    """The address that was connected to."""
    size: int
    """Bytes sent, or to be sent, in the record."""
    received: int = 0
    """Bytes that came back."""
    connect_time: float | None = None
    """Seconds from the start of the probe to the established connection, resolution included."""
    tls_time: float | None = None
    """Seconds from the established connection to the end of the TLS handshake. Only over TLS."""
    round_trip: float | None = None
    """Seconds from handing over the record to the arrival of its last byte. Only of an echo."""
    detail: str = ""
    """What else there is to say of a failure, in a few words."""

    @property
    def echoed(self) -> bool:
        """Whether every byte came back."""
        return self.outcome is Outcome.ECHOED
