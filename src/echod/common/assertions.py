"""What is asserted of a run, such as `p99<50ms` or `lost<1%`: the grammar, and the judgement.

    assertion   = metric comparator number unit
    metric      = [ phase "." ] time / "lost" / "sent" / "echoed"
    time        = "min" / "mean" / "p50" / "p90" / "p95" / "p99" / "p99.9" / "p999" / "max"
    phase       = a phase of a probe: "resolve" / "connect" / "tls" / ...; without one: the round trip.
                  Of load: "response" / "service"; without one: the response
    comparator  = "<" / "<=" / ">" / ">=" / "=="
    unit        = "us" / "ms" / "s" of a time, "%" or nothing of lost, nothing of sent and echoed

Blanks may stand between the parts. Where the phases come from, and what they are called, is the caller's: a probe's are
those of `PhaseTimes`.
"""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from echod.common.histogram import Histogram

__all__ = [
    "ROUND_TRIP",
    "TIME_METRICS",
    "Assertion",
    "AssertionResult",
    "AssertionType",
    "Measurements",
    "Unit",
    "assertion_object",
    "parse_assertion",
    "run_succeeded",
]

ROUND_TRIP = "echo"
"""The phase of a probe that a time without one is of."""


class Unit(Enum):
    """What a measured value is counted in."""

    MICROSECONDS = "us"
    PERCENT = "%"
    COUNT = "count"


class Measurements(Protocol):
    """What assertions are made about."""

    @property
    def sent(self) -> int:
        """How many records were sent."""

    @property
    def echoed(self) -> int:
        """How many of them came back."""

    @property
    def lost(self) -> int:
        """How many did not."""

    @property
    def times(self) -> Mapping[str, Histogram]:
        """The histogram of each phase that was measured at all, microseconds."""


TIME_METRICS: Mapping[str, Callable[[Histogram], float]] = {
    "min": lambda times: times.minimum,
    "mean": lambda times: times.mean,
    "p50": lambda times: times.percentile(50),
    "p90": lambda times: times.percentile(90),
    "p95": lambda times: times.percentile(95),
    "p99": lambda times: times.percentile(99),
    "p99.9": lambda times: times.percentile(99.9),
    "max": lambda times: times.maximum,
}
"""What can be asked of the times of a phase."""

_ALIASES = {"p999": "p99.9"}

_COUNTS: Mapping[str, Callable[[Measurements], int]] = {
    "sent": lambda run: run.sent,
    "echoed": lambda run: run.echoed,
    "lost": lambda run: run.lost,
}

_COMPARATORS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
}

_MICROSECONDS = {"us": 1, "ms": 1_000, "s": 1_000_000}

_FORM = re.compile(
    r"(?:(?P<phase>[a-z_]+)\s*\.\s*)?(?P<metric>[a-z]+\d*(?:\.\d+)?)"
    r"\s*(?P<comparator><=|>=|==|<|>)\s*(?P<number>\d{1,15}(?:\.\d{1,9})?)\s*(?P<unit>us|ms|s|%)?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class AssertionResult:
    """What came of one assertion."""

    assertion: "Assertion"
    value: float | None
    """What was measured, in the assertion's unit. None: nothing was, and so it does not hold."""
    holds: bool

    @property
    def display(self) -> str:
        """The value as people read it."""
        if self.value is None:
            return "no samples"
        match self.assertion.unit:
            case Unit.MICROSECONDS:
                return f"{self.value / 1000:.3f} ms"
            case Unit.PERCENT:
                return f"{self.value:.3g}%"
            case Unit.COUNT:
                return f"{self.value:.0f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Assertion:
    """One comparison of something measured with a bound."""

    text: str
    """As it was written, blanks taken out."""
    phase: str | None
    """Of a time: the phase's name. None of a count."""
    metric: str
    """One of `TIME_METRICS`, or sent, echoed or lost."""
    comparator: str
    bound: float
    """In `unit`."""
    unit: Unit

    @property
    def judges_losses(self) -> bool:
        """Whether it says how many records may be lost, so that a lost one is no failure by itself."""
        return self.metric in {"lost", "echoed"}

    def evaluate(self, run: Measurements) -> AssertionResult:
        """Hold it against `run`. Of what has no samples nothing can be asserted."""
        value = self._value(run)
        return AssertionResult(self, value, value is not None and _COMPARATORS[self.comparator](value, self.bound))

    def _value(self, run: Measurements) -> float | None:
        if self.phase is not None:
            times = run.times.get(self.phase)
            return TIME_METRICS[self.metric](times) if times is not None and times.count else None
        count = _COUNTS[self.metric](run)
        ended = run.echoed + run.lost
        if self.metric == "lost" and not ended:
            return None
        return 100 * count / ended if self.unit is Unit.PERCENT else count


def run_succeeded(run: Measurements, verdicts: Sequence[AssertionResult], *judged_by: Assertion) -> bool:
    """Return whether `run` came to what was asked of it: exit status 0 of the commands.

    Losses alone are a failure, unless an assertion speaks of them: who says `lost<1%` has said how many may be.
    `judged_by` are assertions by which it was judged otherwise.
    """
    losses_are_judged = any(each.judges_losses for each in (*(verdict.assertion for verdict in verdicts), *judged_by))
    good = losses_are_judged or (run.echoed > 0 and run.lost == 0)
    return good and all(verdict.holds for verdict in verdicts)


def assertion_object(verdict: AssertionResult) -> dict[str, object]:
    """Return what came of an assertion, as the objects of all commands have it."""
    told: dict[str, object] = {"assertion": verdict.assertion.text, "holds": verdict.holds}
    if verdict.value is not None:
        told |= {"measured": round(verdict.value, 3), "unit": verdict.assertion.unit.value}
    return told


def parse_assertion(text: str, phases: tuple[str, ...], bare: str = ROUND_TRIP) -> Assertion:
    """Return the assertion that `text` means, about phases of these names; a time without a phase is of `bare`.

    Raises ValueError, with the end of a sentence that says what is allowed.
    """
    found = _FORM.fullmatch(text.strip())
    if found is None:
        raise ValueError(
            "must be METRIC COMPARATOR BOUND such as p99<50ms, connect.max<=1s or lost<1%, with one of "
            f"{' '.join(_COMPARATORS)} between; not {text!r}"
        )
    phase, metric, comparator, number, unit = found.groups()
    metric = _ALIASES.get(metric, metric)
    if phase is None and metric in _COUNTS:
        counted = _counted(metric, unit)
        bound = float(number)
    else:
        _refuse_unknown(phase, metric, phases)
        counted = Unit.MICROSECONDS
        bound = round(float(number) * _scale(metric, unit), 3)  # 0.0007 s are 700 us, whatever floats make of it
        phase = phase or bare
    return Assertion(
        text="".join(text.split()), phase=phase, metric=metric, comparator=comparator, bound=bound, unit=counted
    )


@dataclass(frozen=True)
class AssertionType:
    """The kind of an option (`echod.common.option_types`) whose value is an assertion about phases of these names."""

    phases: tuple[str, ...]
    bare: str = ROUND_TRIP
    """The phase that a time without one is of."""
    metavar: str = "EXPR"
    repeatable: bool = False

    def from_text(self, text: str) -> Assertion:
        """Return the assertion that a command line's `text` means."""
        return parse_assertion(text, self.phases, self.bare)

    def check(self, value: object) -> Assertion:
        """Return `value` where it is an assertion, or the text of one."""
        if isinstance(value, Assertion):
            return value
        if isinstance(value, str):
            return self.from_text(value)
        raise ValueError(f"must be text such as p99<50ms, not {value!r}")


def _counted(metric: str, unit: str | None) -> Unit:
    if unit is None:
        return Unit.COUNT
    if unit == "%" and metric == "lost":
        return Unit.PERCENT
    allowed = "a number or a percentage" if metric == "lost" else "a number"
    raise ValueError(f"must give {allowed} for {metric}, not {unit}")


def _scale(metric: str, unit: str | None) -> int:
    if unit not in _MICROSECONDS:
        raise ValueError(f"must give {metric} in {', '.join(_MICROSECONDS)}, not {unit or 'a bare number'}")
    return _MICROSECONDS[unit]


def _refuse_unknown(phase: str | None, metric: str, phases: tuple[str, ...]) -> None:
    if metric not in TIME_METRICS:
        counts = "" if phase else f", {', '.join(_COUNTS)}"
        raise ValueError(f"must be about one of {', '.join(TIME_METRICS)}{counts}, not {metric}")
    if phase is not None and phase not in phases:
        raise ValueError(f"must be about a phase of {', '.join(phases)}, not {phase}")
