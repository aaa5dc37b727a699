"""Probe results and runs as JSON objects, as ping.schema.json describes them."""

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
"""The version of the schema. It changes when a field is removed, renamed or changes its meaning."""


def probe_object(result: ProbeResult) -> str:
    """Return the object of one probe, as one line of ASCII."""
    fields = _json_value(result)
    assert isinstance(fields, dict)
    return json.dumps({"type": "probe", "schema": SCHEMA} | fields)


def summary_object(target: HostPort, statistics: Statistics, verdicts: Sequence[AssertionResult]) -> str:
    """Return the object of a run, as one line of ASCII."""
    report = {
        "type": "summary",
        "schema": SCHEMA,
        "target": _json_value(target),
        "sent": statistics.sent,
        "echoed": statistics.echoed,
        "lost": statistics.lost,
        "unfinished": statistics.unfinished,
        "elapsed": round(statistics.elapsed * 1_000_000),
        "outcomes": {each.value: statistics.outcomes[each] for each in Outcome if statistics.outcomes[each]},
        "times": {phase: _times_object(statistics.times[phase]) for phase in PHASES if phase in statistics.times},
    }
    if verdicts:
        report["assertions"] = [assertion_object(verdict) for verdict in verdicts]
    return json.dumps(report)


def _json_value(value: object) -> object:
    """Return a value in the form of JSON. Fields of a dataclass that are None or empty text are left out."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds").replace("+00:00", "Z")
    if isinstance(value, tuple):
        return [_json_value(each) for each in value]
    if dataclasses.is_dataclass(value):
        fields = ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
        return {name: _json_value(each) for name, each in fields if each is not None and each != ""}
    return value


def _times_object(times: Histogram) -> dict[str, object]:
    metrics = {name: round(metric(times), 1) for name, metric in TIME_METRICS.items()}
    return {"count": times.count, **metrics, "histogram": times.encode()}
