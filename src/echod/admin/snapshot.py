"""A snapshot: state and metrics of one process at one moment, or of all processes together; its form in a file."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from echod.admin.metric_family import BucketCounts, Combine, Kind, MetricFamily, Value, combined

__all__ = ["STALE", "DaemonState", "Snapshot", "combined_snapshot", "snapshot_from_json", "snapshot_to_json"]

FORMAT = 1
"""Version of the file's form. Members and families may be added without a new version: a reader ignores members that it
does not know, and combines families that it does not know by their rule."""


class DaemonState(Enum):
    """The state of the daemon. The values are fixed: the live page and /readyz show them."""

    STARTING = "starting"
    """Nothing listens yet."""
    READY = "ready"
    """Connections are accepted."""
    NOT_LISTENING = "not-listening"
    """A listener has closed, or its address is no longer one of this host."""
    HANGING = "hanging"
    """Of another process: it runs, and has written no snapshot for `STALE` seconds."""
    DRAINING = "draining"
    """Nothing is accepted any more; open connections are finishing."""


STALE = 5.0
"""Seconds after which a snapshot, written every second, shows that its process hangs."""

_STATES = (
    DaemonState.READY,
    DaemonState.STARTING,
    DaemonState.NOT_LISTENING,
    DaemonState.HANGING,
    DaemonState.DRAINING,
)
"""The state of several processes is the first of these that one of them has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """State and metrics of one process, or of the processes of one service together."""

    states: tuple[DaemonState, ...]
    """The states of the processes."""
    since: float
    """Start of the process, in seconds since the epoch; of several, the first start."""
    written: float
    """The moment of the snapshot, in seconds of the host's monotonic clock; of several, the last."""
    addresses: tuple[str, ...]
    """Addresses of the open listeners."""
    lag: float
    """Lag of the last tick, in seconds; of several processes, the longest."""
    families: Mapping[str, MetricFamily]
    """The metrics, by name."""

    @property
    def state(self) -> DaemonState:
        """The state of the service: ready if one process is."""
        return next(state for state in _STATES if state in self.states)

    def number(self, name: str) -> float | None:
        """Return the value of a metric without labels; None if there is no such metric."""
        family = self.families.get(name)
        value = None if family is None else family.samples[()]
        assert not isinstance(value, BucketCounts), f"{name} is a histogram"
        return value

    def count(self, name: str) -> float:
        """Return the value of a metric without labels, which must exist."""
        value = self.number(name)
        assert value is not None, f"{name} does not exist"
        return value

    def counts_by_label(self, name: str) -> dict[str, float]:
        """Return the values above 0 of a metric with one label, by its value."""
        samples = self.families[name].samples
        return {label: value for (label,), value in samples.items() if not isinstance(value, BucketCounts) and value}

    def buckets(self, name: str) -> BucketCounts:
        """Return a histogram."""
        value = self.families[name].samples[()]
        assert isinstance(value, BucketCounts), f"{name} is not a histogram"
        return value


def combined_snapshot(own: Snapshot, running: Sequence[Snapshot], ended: Iterable[Snapshot]) -> Snapshot:
    """Return the snapshot of a process and of others: of ended ones the counts remain."""
    everyone = (own, *running)
    return Snapshot(
        states=(*own.states, *(_state_at(own.written, each) for each in running)),
        since=min(each.since for each in everyone),
        written=own.written,
        addresses=tuple(dict.fromkeys(address for each in everyone for address in each.addresses)),
        lag=max(each.lag for each in everyone),
        families=combined(
            [family for each in everyone for family in each.families.values()],
            [family for each in ended for family in each.families.values()],
        ),
    )


def _state_at(now: float, process: Snapshot) -> DaemonState:
    return process.state if now - process.written < STALE else DaemonState.HANGING


def snapshot_to_json(snapshot: Snapshot) -> bytes:
    """Return the file of one process's snapshot."""
    return json.dumps(
        {
            "format": FORMAT,
            "state": snapshot.state.value,
            "since": snapshot.since,
            "written": snapshot.written,
            "addresses": snapshot.addresses,
            "lag": snapshot.lag,
            "families": [_family_to_json(family) for family in snapshot.families.values()],
        },
        separators=(",", ":"),
    ).encode("ascii")


def snapshot_from_json(data: bytes) -> Snapshot:
    """Return the snapshot in a file. Raises ValueError if it is not a file of this format."""
    try:
        members = json.loads(data)
        if members["format"] != FORMAT:
            raise ValueError(f"its format is {members['format']!r}, not {FORMAT}")
        families = [_family_from_json(each) for each in members["families"]]
        return Snapshot(
            states=(DaemonState(members["state"]),),
            since=float(members["since"]),
            written=float(members["written"]),
            addresses=tuple(map(str, members["addresses"])),
            lag=float(members["lag"]),
            families={family.name: family for family in families},
        )
    except (AttributeError, KeyError, TypeError) as problem:
        raise ValueError(f"it is not a snapshot: {problem!r}") from None


def _family_to_json(family: MetricFamily) -> dict[str, object]:
    return {
        "name": family.name,
        "help": family.help,
        "kind": family.kind.value,
        "combine": family.combine.value,
        "labels": family.labels,
        "samples": [[labels, _value_to_json(value)] for labels, value in family.samples.items()],
    }


def _value_to_json(value: Value) -> object:
    if isinstance(value, BucketCounts):
        return {"bounds": value.bounds, "counts": value.counts, "total": value.total}
    return value


def _family_from_json(members: Any) -> MetricFamily:
    kind = Kind(members["kind"])
    read_value = _buckets_from_json if kind is Kind.HISTOGRAM else _number_from_json
    return MetricFamily(
        name=str(members["name"]),
        help=str(members["help"]),
        kind=kind,
        combine=Combine(members["combine"]),
        labels=tuple(map(str, members["labels"])),
        samples={tuple(map(str, labels)): read_value(value) for labels, value in members["samples"]},
    )


def _number_from_json(value: Any) -> float:
    return value if isinstance(value, int) else float(value)


def _buckets_from_json(members: Any) -> BucketCounts:
    bounds, counts = tuple(map(float, members["bounds"])), tuple(map(int, members["counts"]))
    if len(counts) != len(bounds) + 1:
        raise ValueError("a histogram must have one count more than bounds")
    return BucketCounts(bounds, counts, float(members["total"]))
