"""What all connections of the daemon came to, those that are over and those that are open."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from zope.interface import implementer

from echod.core.closing import REFUSALS, CloseReason, ConnectionSummary, TLSFailure
from echod.server.connections import Connection
from echod.server.observer import WAIT_BOUNDS, IConnectionObserver
from echod.server.protocol import EchoProtocol

__all__ = ["DURATION_BOUNDS", "Counts", "Figures", "Totals"]

DURATION_BOUNDS = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    600.0,
    3600.0,
)
"""Seconds: from a connection with one record over the loopback interface to one that is kept for hours."""

TLS_VERSIONS = ("TLSv1.2", "TLSv1.3")

BATCH = 256
"""Connections that are added up together: beside all else that a connection takes, one by one would cost more."""


@dataclass(frozen=True, slots=True)
class Counts:
    """A histogram of times in seconds."""

    bounds: tuple[float, ...]
    """Inclusive upper bounds, ascending."""
    counts: tuple[int, ...]
    """Of each bound's own bucket, not cumulative, and one more: of what is above the last bound."""
    total: float
    """All times together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What the connections came to, at one moment. All but `active` only ever grow."""

    active: int
    """Connections that are open."""
    closed: Mapping[CloseReason, int]
    """Every reason is in it. Those of `echod.core.closing.REFUSALS` never were let in."""
    records: int
    bytes_received: int
    bytes_sent: int
    waits: Counts
    """How long records took to come."""
    durations: Counts
    """How long the connections lasted that are over; of refused ones, nothing is counted."""
    handshakes: Mapping[str, int]
    """By version of TLS."""
    handshake_failures: Mapping[TLSFailure, int]

    @property
    def accepted(self) -> int:
        """Connections that were let in, open or over."""
        return self.active + sum(count for reason, count in self.closed.items() if reason not in REFUSALS)


@implementer(IConnectionObserver)
class Totals:
    """Sums up connections that have ended. What is open is asked when somebody wants to know."""

    def __init__(self) -> None:
        self.waits = [0] * (len(WAIT_BOUNDS) + 1)
        """For `echod.server.assembly.make_service`: where the connections count."""
        self._ended: list[ConnectionSummary] = []
        """Those that are not added up yet."""
        self._waited = 0.0
        self._closed = dict.fromkeys(CloseReason, 0)
        self._records = 0
        self._received = 0
        self._sent = 0
        self._durations = [0] * (len(DURATION_BOUNDS) + 1)
        self._lasted = 0.0
        self._handshakes = dict.fromkeys(TLS_VERSIONS, 0)
        self._failures = dict.fromkeys(TLSFailure, 0)

    def connection_ended(self, summary: ConnectionSummary) -> None:
        """Keep it until there are enough to add up."""
        self._ended.append(summary)
        if len(self._ended) >= BATCH:
            self._add_up()

    def figures(self, connections: Iterable[Connection]) -> Figures:
        """Return what there is to tell, with `connections` those that are open."""
        self._add_up()
        active = 0
        records, received, sent, waited = self._records, self._received, self._sent, self._waited
        handshakes = dict(self._handshakes)
        for each in connections:
            active += 1
            if isinstance(each, EchoProtocol):  # else it is still a proxy's
                records += each.records
                received += each.bytes_received
                sent += each.bytes_sent
                waited += each.waited
                if each.tls is not None:
                    handshakes[each.tls.version] = handshakes.get(each.tls.version, 0) + 1
        # Of records that came together the connections counted the first; the others waited for nothing.
        waits = list(self.waits)
        waits[0] += records - sum(waits)
        return Figures(
            active=active,
            closed=dict(self._closed),
            records=records,
            bytes_received=received,
            bytes_sent=sent,
            waits=Counts(WAIT_BOUNDS, tuple(waits), waited),
            durations=Counts(DURATION_BOUNDS, tuple(self._durations), self._lasted),
            handshakes=handshakes,
            handshake_failures=dict(self._failures),
        )

    def _add_up(self) -> None:
        ended, self._ended = self._ended, []
        records = received = sent = 0
        waited = lasted = 0.0
        for each in ended:
            self._closed[each.reason] += 1
            if each.reason in REFUSALS:
                continue
            records += each.records
            received += each.bytes_received
            sent += each.bytes_sent
            waited += each.waited
            lasted += each.duration
            self._durations[bisect_left(DURATION_BOUNDS, each.duration)] += 1
            if each.tls is not None:
                self._handshakes[each.tls.version] = self._handshakes.get(each.tls.version, 0) + 1
            elif each.tls_failure is not None:
                self._failures[each.tls_failure] += 1
        self._records += records
        self._received += received
        self._sent += sent
        self._waited += waited
        self._lasted += lasted
