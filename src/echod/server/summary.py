"""The close reasons of connections, and the summary of a connection that has ended."""

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from echod.common.addresses import HostPort

__all__ = ["REFUSALS", "WAIT_BOUNDS", "CloseReason", "ConnectionSummary", "TLSFacts", "TLSFailure"]


WAIT_BOUNDS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
"""Upper bounds, inclusive, of the histogram of record wait times, in seconds. The last is the default timeout.

A list of wait counts has one entry for each bound, and one more for the waits above the last bound.
"""


class CloseReason(Enum):
    """Why a connection ended. The values are fixed: logs and metrics contain them."""

    ECHOED = "echoed"
    """At least one record was echoed, and the exchange ended in order."""
    HEALTH_CHECK = "health-check"
    """The connection was closed or reset soon after accept, before a byte of a record, and no proxy named a client."""
    NO_DATA = "no-data"
    """The client closed without sending a byte: a client that a proxy named, or any client after the check time."""
    INCOMPLETE = "incomplete"
    """The client closed in the middle of a record."""
    TIMEOUT = "timeout"
    """The deadline passed before the record was complete; over TLS, also before the first byte of a handshake."""
    IDLE = "idle"
    """Keep-alive: the deadline passed, and no byte of a further record had been received."""
    STALLED = "stalled"
    """The deadline passed while the client did not read its echo."""
    TLS_FAILED = "tls-failed"
    """TLS failed: no common version, no acceptable client certificate, no TLS at all, or no end of the handshake."""
    BAD_PROXY_HEADER = "bad-proxy-header"
    """Behind a proxy: the first bytes were not a PROXY header, or it was not complete in time."""
    NOT_ALLOWED = "not-allowed"
    """Refused: the client's address is in none of the allowed networks."""
    TOO_MANY = "too-many"
    """Refused: the limit of open connections is reached."""
    TOO_MANY_FROM_HOST = "too-many-from-host"
    """Refused: the limit of open connections from one address is reached."""
    RESET = "reset"
    """The connection was reset, or the network failed, and it was no health check."""
    DRAINED = "drained"
    """Keep-alive: closed between two records because the server stops."""
    CUT = "cut"
    """Reset because the drain timeout of a stopping server had passed."""
    ERROR = "error"
    """An error of the server's."""

    # Enum's own hash is Python code: 0.2 µs a look-up (measured, CPython 3.11).
    __hash__ = object.__hash__


REFUSALS = frozenset({CloseReason.NOT_ALLOWED, CloseReason.TOO_MANY, CloseReason.TOO_MANY_FROM_HOST})
"""The close reasons of connections that were refused: closed at once, without an exchange."""


class TLSFailure(Enum):
    """Why a TLS handshake failed. The values are fixed: metrics contain them."""

    NOT_TLS = "not-tls"
    """The client did not speak TLS."""
    VERSION = "version"
    """No common version of TLS."""
    CIPHER = "cipher"
    """No common cipher suite, signature algorithm or group of the key exchange."""
    CLIENT_CERTIFICATE = "client-certificate"
    """The client sent no certificate, or one that none of the authorities signed."""
    CLIENT_REFUSED = "client-refused"
    """The client sent an alert (RFC 8446 section 6.2), such as one that it does not trust the server's certificate."""
    INCOMPLETE = "incomplete"
    """The connection ended during the handshake: it was closed or reset."""
    TIMEOUT = "timeout"
    """The deadline passed during the handshake."""
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class TLSFacts:
    """The result of a TLS handshake."""

    version: str
    """OpenSSL's name, such as "TLSv1.3"."""
    cipher: str
    """OpenSSL's name, such as "TLS_AES_256_GCM_SHA384"."""
    client_subject: str | None
    """The subject of the client's certificate (RFC 4514); None: it sent none."""


class ConnectionSummary(NamedTuple):
    """The facts of one connection, from accept to its end. Made once, when it has ended."""

    peer: HostPort
    listener: str
    """The name of the listener that accepted it."""
    reason: CloseReason
    records: int
    """Records echoed."""
    bytes_received: int
    bytes_sent: int
    """Bytes of the echoes handed to the transport, including an echo that the client did not receive."""
    duration: float
    """Seconds from accept to the end, on a monotonic clock."""
    tls: TLSFacts | None = None
    tls_failure: TLSFailure | None = None
    """Why the TLS handshake failed; None: it succeeded, or the connection has no TLS."""
    waited: float = 0.0
    """Sum of the wait times of its records, in seconds; 0 if they are not counted."""
