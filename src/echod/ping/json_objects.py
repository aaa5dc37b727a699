"""Results as JSON objects: what ping.schema.json describes."""

import dataclasses
import json
from collections.abc import Sequence
from datetime import datetime
from enum import Enum

from echod.client.outcomes import Outcome, ProbeResult
from echod.common.addresses import HostPort
from echod.common.assertions import TIME_METRICS, AssertionResult, assertion_object
from echod.common.histogram import Histogram
from echod.ping.statistics import PHASES, Statistics

__all__ = ["SCHEMA", "probe_object", "summary_object"]

SCHEMA = 1
"""The schema's version: another number where what is there changes its name or its meaning, or goes."""


def probe_object(result: ProbeResult) -> str:
    """Return the object of one probe, in one line of ASCII."""
    fields = _plain(result)
    assert isinstance(fields, dict)
    return json.dumps({"type": "probe", "schema": SCHEMA} | fields)


def summary_object(target: HostPort, statistics: Statistics, verdicts: Sequence[AssertionResult]) -> str:
    """Return the object of a run, in one line of ASCII."""
    outcomes = {each.value: statistics.outcomes[each] for each in Outcome if statistics.outcomes[each]}
    times = {phase: _shape(statistics.times[phase]) for phase in PHASES if phase in statistics.times}
    told = {
        "type": "summary",
        "schema": SCHEMA,
        "target": _plain(target),
        "sent": statistics.sent,
        "echoed": statistics.echoed,
        "lost": statistics.lost,
        "unfinished": statistics.unfinished,
        "elapsed": round(statistics.elapsed * 1_000_000),
        "outcomes": outcomes,
        "times": times,
    }
    if verdicts:
        told["assertions"] = [assertion_object(verdict) for verdict in verdicts]
    return json.dumps(told)


def _plain(value: object) -> object:
    """Return a value as JSON has it. What is None or has nothing to say is left out."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds").replace("+00:00", "Z")
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if dataclasses.is_dataclass(value):
        fields = ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
        return {name: _plain(each) for name, each in fields if each is not None and each != ""}
    return value


def _shape(times: Histogram) -> dict[str, object]:
    shape = {name: round(ask(times), 1) for name, ask in TIME_METRICS.items()}
    return {"count": times.count, **shape, "histogram": times.encode()}
