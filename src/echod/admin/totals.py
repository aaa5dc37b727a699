"""What all connections of the daemon came to, those that are over and those that are open."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf

from zope.interface import implementer

from echod.server.connections import Connection
from echod.server.observer import IConnectionObserver
from echod.server.protocol import EchoProtocol
from echod.server.summary import REFUSALS, WAIT_BOUNDS, CloseReason, ConnectionSummary, TLSFailure

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

BATCH = 128
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
    """Every reason is in it. Those of `echod.server.summary.REFUSALS` never were let in."""
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
        for reason, count in Counter([each.reason for each in ended]).items():
            self._closed[reason] += count
            if reason in REFUSALS:
                ended = [each for each in ended if each.reason is not reason]
        if not ended:
            return
        # By columns rather than by rows: a third of the time.
        _, _, _, records, received, sent, durations, tls, failures, waited = zip(*ended, strict=True)
        self._records += sum(records)
        self._received += sum(received)
        self._sent += sum(sent)
        self._waited += sum(waited)
        self._lasted += sum(durations)
        _count(sorted(durations), self._durations)
        for facts, count in Counter(tls).items():
            if facts is not None:
                self._handshakes[facts.version] = self._handshakes.get(facts.version, 0) + count
        for failure, count in Counter(failures).items():
            if failure is not None:
                self._failures[failure] += count


def _count(durations: Sequence[float], buckets: list[int]) -> None:
    """Add `durations`, ascending, to the buckets between `DURATION_BOUNDS`."""
    below = 0
    for bucket, bound in enumerate((*DURATION_BOUNDS, inf)):
        up_to = bisect_right(durations, bound)
        buckets[bucket] += up_to - below
        below = up_to
