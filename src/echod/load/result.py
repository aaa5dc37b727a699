"""A result, and the writer of its JSON object, which load.schema.json describes. The reader is `result_reader`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from math import log10
from typing import Any

import echod
from echod.client.outcomes import Outcome
from echod.common.addresses import HostPort
from echod.common.assertions import AssertionResult, assertion_object
from echod.common.histogram import Histogram
from echod.load.config import RESPONSE, SERVICE, LoadConfiguration
from echod.load.search import SearchStep
from echod.load.statistics import Interval, LoadStatistics

__all__ = ["INTERVAL_QUANTILES", "QUANTILES", "SCHEMA", "TIMES", "LoadResult", "result_json", "result_object"]

SCHEMA = 1
"""Version of load.schema.json: it changes when a field is removed, or changes its name or meaning."""

CURVE = 20
"""Points of the percentile curve for each further nine."""

TIMES = {RESPONSE: "response_time_us", SERVICE: "service_time_us"}
"""Field names of the response and service times."""

QUANTILES = ("p50", "p90", "p99", "p999", "max")
"""Field names of the quantiles of a run."""

INTERVAL_QUANTILES = ("p50", "p99", "p999", "max")
"""Field names of the quantiles of an interval."""

_PERCENTS = (50, 90, 99, 99.9)
"""The quantiles of a run except the maximum, in percent."""

_OPTIONS = (
    "connections", "duration", "warmup", "timeout", "keep_alive", "size", "arrival", "seed", "ipv4", "ipv6", "source",
    "tls", "tls_insecure",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadResult:
    """The run's result; for a search, the best run, else the last."""

    rate: int | None
    """The rate of the schedule, records per second; None: closed loop."""
    processes: int
    statistics: LoadStatistics
    steps: tuple[SearchStep, ...] = ()
    """The steps of a search."""
    found: int | None = None
    """The highest rate at which the assertion of a search held; None: at no rate, or no search."""


def result_object(
    target: HostPort,
    configuration: LoadConfiguration,
    result: LoadResult,
    verdicts: Sequence[AssertionResult],
    started: datetime,
    host: Mapping[str, object],
) -> dict[str, Any]:
    """Return the JSON object. `started` is UTC; `host` has the facts about the host of the generator."""
    statistics = result.statistics
    options = {name: getattr(configuration, name) for name in _OPTIONS} | {
        "rate": result.rate,
        "connections": configuration.most_connections,
        "processes": result.processes,
    }
    report: dict[str, Any] = {
        "type": "load",
        "schema": SCHEMA,
        "echod": echod.__version__,
        "started": started.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "target": asdict(target),
        "configuration": {name: value for name, value in sorted(options.items()) if value is not None},
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
        **{key: _times(statistics.times.get(name)) for name, key in TIMES.items()},
        "intervals": [_interval(each) for each in statistics.intervals],
    }
    if verdicts:
        report["assertions"] = [assertion_object(verdict) for verdict in verdicts]
    if configuration.find_max is not None:
        report["search"] = {"assertion": configuration.find_max.text, "steps": [_step(each) for each in result.steps]}
        if result.found is not None:
            report["search"]["found"] = result.found
    return report


def result_json(report: Mapping[str, Any]) -> bytes:
    """Return the text of a JSON object as a file has it."""
    return (json.dumps(report, indent=1, allow_nan=False) + "\n").encode("ascii")


def _generator(statistics: LoadStatistics) -> dict[str, Any]:
    report: dict[str, Any] = {
        "behind": statistics.behind,
        "late": statistics.late,
        "late_percent": round(statistics.late_percent, 3),
    }
    if statistics.lateness.count:
        report["lateness_us"] = _quantiles(statistics.lateness)
    return report


def _quantiles(times: Histogram) -> dict[str, int]:
    return dict(zip(QUANTILES, (*times.percentiles(_PERCENTS), times.maximum), strict=True))


def _times(times: Histogram | None) -> dict[str, Any]:
    if times is None:
        return {"count": 0}
    return {
        "count": times.count,
        "min": times.minimum,
        "mean": round(times.mean, 1),
        **_quantiles(times),
        "curve": _curve(times),
        "histogram": times.encode(),
    }


def _curve(times: Histogram) -> list[list[float]]:
    """Return [percent, microseconds] points, as dense in the nines as elsewhere, up to the largest time."""
    steps = round(log10(times.count) * CURVE)
    percents = (*(100 * (1 - 10 ** -(step / CURVE)) for step in range(1, steps)), 100)
    return [[round(percent, 6), time] for percent, time in zip(percents, times.percentiles(percents), strict=True)]


def _interval(interval: Interval) -> dict[str, Any]:
    report: dict[str, Any] = {
        "until": round(interval.until, 3),
        "echoed": interval.echoed,
        "failed": interval.failed,
        "echoed_per_second": round(interval.echoed / interval.seconds, 1),
        "failed_per_second": round(interval.failed / interval.seconds, 1),
        "connections": interval.connections,
    }
    for name, values in ((RESPONSE, interval.response), (SERVICE, interval.service)):
        if values is not None:
            report[TIMES[name]] = dict(zip(INTERVAL_QUANTILES, values, strict=True))
    return report


def _step(step: SearchStep) -> dict[str, Any]:
    verdict = assertion_object(step.verdict)
    return {
        "rate": step.rate,
        "achieved": round(step.achieved, 3),
        "holds": step.held,
        "failed": step.lost,
        "behind": step.behind,
        **{name: verdict[name] for name in ("measured", "unit") if name in verdict},
    }
