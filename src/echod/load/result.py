"""A run of load as the JSON object that load.schema.json describes."""

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import datetime
from math import log10
from typing import Any

import echod
from echod.client.outcomes import Outcome
from echod.common.addresses import HostPort
from echod.common.assertions import AssertionResult, assertion_object
from echod.common.histogram import Histogram
from echod.load.config import RESPONSE, SERVICE, LoadConfiguration
from echod.load.report_page import SCHEMA
from echod.load.runner import LoadResult
from echod.load.search import SearchStep
from echod.load.statistics import Interval, LoadStatistics

__all__ = ["load_object"]

CURVE = 20
"""Points of the percentile curve for each further nine."""

_SHAPE = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p999": 99.9}
_ASKED = (
    "connections", "duration", "warmup", "timeout", "keep_alive", "size", "arrival", "seed", "ipv4", "ipv6", "source",
    "tls", "tls_insecure",
)  # fmt: skip


def load_object(
    target: HostPort,
    configuration: LoadConfiguration,
    run: LoadResult,
    verdicts: Sequence[AssertionResult],
    started: datetime,
    host: Mapping[str, object],
) -> dict[str, Any]:
    """Return the object. `host` is what there is to say of this host."""
    statistics = run.statistics
    asked = {name: getattr(configuration, name) for name in _ASKED} | {
        "rate": run.rate,
        "connections": configuration.most_connections,
        "processes": run.processes,
    }
    told: dict[str, Any] = {
        "type": "load",
        "schema": SCHEMA,
        "echod": echod.__version__,
        "started": started.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "target": dataclasses.asdict(target),
        "configuration": {name: value for name, value in sorted(asked.items()) if value is not None},
        "host": dict(host),
        "interrupted": statistics.interrupted,
        "elapsed": round(statistics.elapsed, 6),
        "sent": statistics.sent,
        "echoed": statistics.echoed,
        "failed": statistics.lost,
        "unfinished": statistics.unfinished,
        "rate": round(statistics.rate, 3),
        "failures": [
            {"outcome": each.value, "count": statistics.outcomes[each], "detail": statistics.details.get(each, "")}
            for each in Outcome
            if each is not Outcome.ECHOED and statistics.outcomes[each]
        ],
        "generator": _generator(statistics),
        "response_time_us": _times(statistics.times.get(RESPONSE)),
        "service_time_us": _times(statistics.times.get(SERVICE)),
        "intervals": [_interval(each) for each in statistics.intervals],
    }
    if verdicts:
        told["assertions"] = [assertion_object(verdict) for verdict in verdicts]
    if configuration.find_max is not None:
        told["search"] = {"assertion": configuration.find_max.text, "steps": [_step(each) for each in run.steps]}
        if run.found is not None:
            told["search"]["found"] = run.found
    return told


def _generator(statistics: LoadStatistics) -> dict[str, Any]:
    told: dict[str, Any] = {
        "behind": statistics.behind,
        "late": statistics.late,
        "late_percent": round(statistics.late_percent, 3),
    }
    if statistics.lateness.count:
        told["lateness_us"] = _shape(statistics.lateness)
    return told


def _shape(times: Histogram) -> dict[str, int]:
    found = times.percentiles(tuple(_SHAPE.values()))
    return {**dict(zip(_SHAPE, found, strict=True)), "max": times.maximum}


def _times(times: Histogram | None) -> dict[str, Any]:
    if times is None:
        return {"count": 0}
    return {
        "count": times.count,
        "min": times.minimum,
        "mean": round(times.mean, 1),
        **_shape(times),
        "curve": _curve(times),
        "histogram": times.encode(),
    }


def _curve(times: Histogram) -> list[list[float]]:
    """Return [percent, microseconds] points, as dense in the nines as elsewhere, up to the largest time."""
    steps = round(log10(times.count) * CURVE)
    percents = [100 * (1 - 10 ** -(step / CURVE)) for step in range(1, steps)]
    found = times.percentiles((*percents, 100)) if percents else (times.maximum,)
    return [[round(percent, 6), time] for percent, time in zip((*percents, 100), found, strict=True)]


def _interval(interval: Interval) -> dict[str, Any]:
    told: dict[str, Any] = {
        "until": round(interval.until, 3),
        "echoed": interval.echoed,
        "failed": interval.failed,
        "echoed_per_second": round(interval.echoed / interval.seconds, 1),
        "failed_per_second": round(interval.failed / interval.seconds, 1),
        "connections": interval.connections,
    }
    for name, shape in (("response_time_us", interval.response), ("service_time_us", interval.service)):
        if shape is not None:
            told[name] = dict(zip(("p50", "p99", "p999", "max"), shape, strict=True))
    return told


def _step(step: SearchStep) -> dict[str, Any]:
    told = assertion_object(step.verdict)
    return {
        "rate": step.rate,
        "achieved": round(step.achieved, 3),
        "holds": step.held,
        "failed": step.lost,
        "behind": step.behind,
        **{name: told[name] for name in ("measured", "unit") if name in told},
    }
