"""The output of a run as a monitoring plugin.

Output format and exit statuses follow the Monitoring Plugins Development Guidelines, sections "Plugin Output for
Nagios", "Performance data" and "Plugin Return Codes"; the thresholds in the performance data are ranges of the section
"Threshold and Ranges".
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from echod.common.addresses import HostPort
from echod.common.assertions import ROUND_TRIP, TIME_METRICS, Assertion, Unit, parse_assertion
from echod.ping.statistics import PHASES, Statistics

__all__ = ["PluginResult", "PluginState", "plugin_line", "plugin_result"]

ANY_LOST = parse_assertion("lost>0", PHASES)
"""The default critical threshold, if no threshold is about losses."""

_ROUND_TRIP_METRICS = (("rtt_min", "min"), ("rtt_p50", "p50"), ("rtt_p99", "p99"), ("rtt_max", "max"))
"""The metrics of the round trip that are always in the performance data, by label."""


class PluginState(IntEnum):
    """The state that a plugin reports for a service. The value is its exit status."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


@dataclass(frozen=True, slots=True)
class PluginResult:
    """The state of a run, by its thresholds."""

    state: PluginState
    reasons: tuple[str, ...]
    """The thresholds that were met, each with the measured value."""


def plugin_result(statistics: Statistics, warning: Sequence[Assertion], critical: Sequence[Assertion]) -> PluginResult:
    """Return the state of a run. A threshold is the condition for the alarm: `p99>50ms`.

    If no threshold is about losses, any loss is critical. A threshold without samples is met: if everything was lost,
    the path's times are unknown. A run in which no probe ended is UNKNOWN.
    """
    if not statistics.ended:
        return PluginResult(PluginState.UNKNOWN, ("no probe ended",))
    for state, thresholds in (
        (PluginState.CRITICAL, (*critical, *_default(warning, critical))),
        (PluginState.WARNING, warning),
    ):
        verdicts = [each.evaluate(statistics) for each in thresholds]
        met = tuple(f"{v.assertion.text}: {v.display}" for v in verdicts if v.holds or v.value is None)
        if met:
            return PluginResult(state, met)
    return PluginResult(PluginState.OK, ())


def plugin_line(
    target: HostPort,
    statistics: Statistics,
    result: PluginResult,
    warning: Sequence[Assertion],
    critical: Sequence[Assertion],
) -> str:
    """Return the plugin's line: state, text and performance data."""
    words = [f"{target.host} port {target.port}", f"{statistics.echoed} of {statistics.ended} echoed"]
    if statistics.round_trips is not None:
        words.append(f"p50 {TIME_METRICS['p50'](statistics.round_trips) / 1000:.3f} ms")
    words += result.reasons
    data = _performance_data(statistics, warning, (*critical, *_default(warning, critical)))
    # The first pipe character ends the text for people.
    return f"ECHOD {result.state.name} - {', '.join(words)} | {' '.join(data)}"


def _default(warning: Sequence[Assertion], critical: Sequence[Assertion]) -> tuple[Assertion, ...]:
    return () if any(each.judges_losses for each in (*warning, *critical)) else (ANY_LOST,)


def _performance_data(
    statistics: Statistics, warning: Sequence[Assertion], critical: Sequence[Assertion]
) -> Iterator[str]:
    def datum(label: str, value: str, measured: tuple[str | None, str, Unit], bounds: str = ";0;") -> str:
        ranges = ";".join(_range(thresholds, measured) for thresholds in (warning, critical))
        return f"{label}={value};{ranges}{bounds}"

    yield datum("sent", f"{statistics.sent}", (None, "sent", Unit.COUNT))
    yield datum("echoed", f"{statistics.echoed}", (None, "echoed", Unit.COUNT))
    yield datum("lost", f"{statistics.lost}", (None, "lost", Unit.COUNT))
    yield datum("loss", f"{statistics.lost_percent:.3f}%", (None, "lost", Unit.PERCENT), ";0;100")
    metrics = {(label, ROUND_TRIP, metric): None for label, metric in _ROUND_TRIP_METRICS}  # a dict: an ordered set
    for each in (*warning, *critical):
        if each.phase is not None:
            phase = "rtt" if each.phase == ROUND_TRIP else each.phase
            metrics[f"{phase}_{each.metric}", each.phase, each.metric] = None
    for label, phase, metric in metrics:
        times = statistics.times.get(phase)
        if times is not None:
            yield datum(label, f"{TIME_METRICS[metric](times) / 1000:.3f}ms", (phase, metric, Unit.MICROSECONDS))


def _range(thresholds: Sequence[Assertion], measured: tuple[str | None, str, Unit]) -> str:
    """Return the range of the first threshold about this value: the alarm is outside it or, with @, inside it."""
    for each in thresholds:
        if (each.phase, each.metric, each.unit) == measured:
            scale = 1000 if each.unit is Unit.MICROSECONDS else 1
            bound = f"{each.bound / scale:.6f}".rstrip("0").rstrip(".")
            # A range includes its ends, and begins at 0 if it has no start.
            return {">": bound, ">=": f"@{bound}:", "<": f"{bound}:", "<=": f"@{bound}", "==": f"@{bound}:{bound}"}[
                each.comparator
            ]
    return ""
