"""How a server's connection ended: the vocabulary, and the one value that tells it."""

from dataclasses import dataclass
from enum import Enum

from echod.core.addresses import HostPort

__all__ = ["CloseReason", "ConnectionSummary"]


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
    RESET = "reset"
    """The connection broke: a reset, or an error of the network."""
    DRAINED = "drained"
    """Keep-alive: closed between two records because the server stops."""
    CUT = "cut"
    """Cut because it outlasted the time that a stopping server gives."""
    ERROR = "error"
    """A fault of the server's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionSummary:
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
