"""A run as the output of a monitoring plugin.

The format and the exit statuses are those of the Monitoring Plugins Development Guidelines, sections "Plugin Output for
Nagios", "Performance data" and "Plugin Return Codes"; the thresholds in the performance data are ranges as its section
"Threshold and Ranges" has them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from echod.common.addresses import HostPort
from echod.common.assertions import ROUND_TRIP, TIME_METRICS, Assertion, Unit, parse_assertion
from echod.ping.statistics import PHASES, Statistics

__all__ = ["Judgement", "PluginState", "judged", "plugin_line"]

ANY_LOST = parse_assertion("lost>0", PHASES)
"""What is critical where nothing is said of losses."""

_ALWAYS = (("rtt_min", "min"), ("rtt_p50", "p50"), ("rtt_p99", "p99"), ("rtt_max", "max"))


class PluginState(IntEnum):
    """What a plugin says of a service. The value is its exit status."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the thresholds make of a run."""

    state: PluginState
    reasons: tuple[str, ...]
    """The thresholds that were met, each with what was measured."""


def judged(statistics: Statistics, warning: Sequence[Assertion], critical: Sequence[Assertion]) -> Judgement:
    """Return what the thresholds make of a run. Each says what raises the alarm: `p99>50ms`.

    Where none speaks of losses, any is critical. A threshold on something without samples is met: of a path that
    lost everything nobody knows that it is fast. A run in which no probe ended is UNKNOWN.
    """
    if not statistics.ended:
        return Judgement(PluginState.UNKNOWN, ("no probe ended",))
    for state, thresholds in (
        (PluginState.CRITICAL, (*critical, *_default(warning, critical))),
        (PluginState.WARNING, warning),
    ):
        verdicts = [each.evaluate(statistics) for each in thresholds]
        met = tuple(f"{v.assertion.text}: {v.display}" for v in verdicts if v.holds or v.value is None)
        if met:
            return Judgement(state, met)
    return Judgement(PluginState.OK, ())


def plugin_line(
    target: HostPort,
    statistics: Statistics,
    judgement: Judgement,
    warning: Sequence[Assertion],
    critical: Sequence[Assertion],
) -> str:
    """Return the plugin's one line: state, what there is to say, and the performance data."""
    words = [f"{target.host} port {target.port}", f"{statistics.echoed} of {statistics.ended} echoed"]
    if statistics.round_trips is not None:
        words.append(f"p50 {TIME_METRICS['p50'](statistics.round_trips) / 1000:.3f} ms")
    words += judgement.reasons
    data = _performance_data(statistics, warning, (*critical, *_default(warning, critical)))
    # The first pipe ends what people read.
    return f"ECHOD {judgement.state.name} - {', '.join(words)} | {' '.join(data)}"


def _default(warning: Sequence[Assertion], critical: Sequence[Assertion]) -> tuple[Assertion, ...]:
    return () if any(each.judges_losses for each in (*warning, *critical)) else (ANY_LOST,)


def _performance_data(
    statistics: Statistics, warning: Sequence[Assertion], critical: Sequence[Assertion]
) -> Iterator[str]:
    def datum(label: str, value: str, about: tuple[str | None, str, Unit], bounds: str = ";0;") -> str:
        limits = ";".join(_range(thresholds, about) for thresholds in (warning, critical))
        return f"{label}={value};{limits}{bounds}"

    yield datum("sent", f"{statistics.sent}", (None, "sent", Unit.COUNT))
    yield datum("echoed", f"{statistics.echoed}", (None, "echoed", Unit.COUNT))
    yield datum("lost", f"{statistics.lost}", (None, "lost", Unit.COUNT))
    yield datum("loss", f"{statistics.lost_percent:.3f}%", (None, "lost", Unit.PERCENT), ";0;100")
    asked = {(label, ROUND_TRIP, metric): None for label, metric in _ALWAYS}
    for each in (*warning, *critical):
        if each.phase is not None:
            phase = "rtt" if each.phase == ROUND_TRIP else each.phase
            asked[f"{phase}_{each.metric}", each.phase, each.metric] = None
    for label, phase, metric in asked:
        times = statistics.times.get(phase)
        if times is not None:
            yield datum(label, f"{TIME_METRICS[metric](times) / 1000:.3f}ms", (phase, metric, Unit.MICROSECONDS))


def _range(thresholds: Sequence[Assertion], about: tuple[str | None, str, Unit]) -> str:
    """Return the range of the first threshold that is about this: outside it, or with @ inside it, is the alarm."""
    for each in thresholds:
        if (each.phase, each.metric, each.unit) == about:
            scale = 1000 if each.unit is Unit.MICROSECONDS else 1
            bound = f"{each.bound / scale:.6f}".rstrip("0").rstrip(".")
            # A range holds its ends, and begins at 0 where it does not say.
            return {">": bound, ">=": f"@{bound}:", "<": f"{bound}:", "<=": f"@{bound}", "==": f"@{bound}:{bound}"}[
                each.comparator
            ]
    return ""
