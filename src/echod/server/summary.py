"""How a server's connection ended: the vocabulary, and the one value that tells it."""

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from echod.common.addresses import HostPort

__all__ = ["REFUSALS", "CloseReason", "ConnectionSummary", "TLSFacts", "TLSFailure"]


class CloseReason(Enum):
    """Why a connection ended. The values are fixed: logs and metrics carry them."""

    ECHOED = "echoed"
    """At least one record was echoed, and the exchange ended in order."""
    NO_DATA = "no-data"
    """The client closed without sending a byte, as a load balancer's health check does."""
    INCOMPLETE = "incomplete"
    """The client closed in the middle of a record."""
    TIMEOUT = "timeout"
    """The deadline passed before the record was complete."""
    IDLE = "idle"
    """Keep-alive: the deadline passed with no record begun since the one before."""
    STALLED = "stalled"
    """The deadline passed while the client did not take its echo."""
    TLS_FAILED = "tls-failed"
    """TLS broke: no common version, no acceptable client certificate, or no TLS at all."""
    BAD_PROXY_HEADER = "bad-proxy-header"
    """Behind a proxy: what came first was no PROXY header, or no whole one in time."""
    NOT_ALLOWED = "not-allowed"
    """Refused: the client's address is on none of the allowed networks."""
    TOO_MANY = "too-many"
    """Refused: as many connections are open as may be."""
    TOO_MANY_FROM_HOST = "too-many-from-host"
    """Refused: as many connections are open as may be from one address."""
    RESET = "reset"
    """The connection broke: a reset, or an error of the network."""
    DRAINED = "drained"
    """Keep-alive: closed between two records because the server stops."""
    CUT = "cut"
    """Cut because it outlasted the time that a stopping server gives."""
    ERROR = "error"
    """A fault of the server's own."""

    # Each member is the only one of its value. Enum's own hash is a Python function: 0.2 µs for each count.
    __hash__ = object.__hash__


REFUSALS = frozenset({CloseReason.NOT_ALLOWED, CloseReason.TOO_MANY, CloseReason.TOO_MANY_FROM_HOST})
"""The reasons of connections that were closed at once, unserved."""


class TLSFailure(Enum):
    """Why a TLS handshake came to nothing. The values are fixed: metrics carry them."""

    NOT_TLS = "not-tls"
    """What the client sent was no TLS."""
    VERSION = "version"
    """No version of TLS that both sides speak."""
    CIPHER = "cipher"
    """No cipher suite that both sides know."""
    CLIENT_CERTIFICATE = "client-certificate"
    """The client showed no certificate, or none that one of the authorities signed."""
    CLIENT_REFUSED = "client-refused"
    """The client sent an alert (RFC 8446 section 6.2): it does not trust the server's certificate, say."""
    INCOMPLETE = "incomplete"
    """The connection ended before the handshake did: closed, reset, or timed out."""
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class TLSFacts:
    """What a TLS handshake came to."""

    version: str
    """As OpenSSL names it: "TLSv1.3"."""
    cipher: str
    """As OpenSSL names it: "TLS_AES_256_GCM_SHA384"."""
    client_subject: str | None
    """The subject of the client's certificate (RFC 4514), or None where it gave none."""


class ConnectionSummary(NamedTuple):
    """What one connection did, told once, when it is over."""

    peer: HostPort
    listener: str
    """The name of the listener that accepted it."""
    reason: CloseReason
    records: int
    """Records echoed."""
    bytes_received: int
    bytes_sent: int
    """Bytes handed to the transport; those of an echo that was cut off count too."""
    duration: float
    """Seconds from accept to the end, on a monotonic clock."""
    tls: TLSFacts | None = None
    tls_failure: TLSFailure | None = None
    """Why there are no facts, where TLS was to be spoken."""
    waited: float = 0.0
    """Seconds that its records took to come, in all; 0 where nobody asked for that to be counted."""
