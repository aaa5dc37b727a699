"""Assertions about a run, such as `p99<50ms` or `lost<1%`: grammar, parser and evaluation.

    assertion   = metric comparator number unit
    metric      = [ phase "." ] time / "lost" / "sent" / "echoed"
    time        = "min" / "mean" / "p50" / "p90" / "p95" / "p99" / "p99.9" / "p999" / "max"
    phase       = of a probe: "resolve" / "connect" / "tls" / ...; the default is the round trip, "echo".
                  Of load: "response" / "service"; the default is "response"
    comparator  = "<" / "<=" / ">" / ">=" / "=="
    unit        = "us" / "ms" / "s" for a time, "%" or none for lost, none for sent and echoed

Blanks between the parts are ignored. The caller passes the names of the phases; those of a probe are the fields of
`PhaseTimes`.
"""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from echod.common.histogram import Histogram
from echod.common.option_types import display_value

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
"""The default phase of a probe's times."""


class Unit(Enum):
    """The unit of a measured value."""

    MICROSECONDS = "us"
    PERCENT = "%"
    COUNT = "count"


class Measurements(Protocol):
    """The interface of a run's results, as assertions read them."""

    @property
    def sent(self) -> int:
        """The number of records sent."""

    @property
    def echoed(self) -> int:
        """The number of records echoed."""

    @property
    def lost(self) -> int:
        """The number of records lost."""

    @property
    def times(self) -> Mapping[str, Histogram]:
        """The histogram of each measured phase, in microseconds."""


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
"""The time metrics, by name, each as a function of the histogram; microseconds."""

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
    """The result of one assertion."""

    assertion: "Assertion"
    value: float | None
    """The measured value in the assertion's unit. None: there are no samples, and the assertion does not hold."""
    holds: bool

    @property
    def display(self) -> str:
        """The value as text, with its unit."""
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
    """A comparison of a measured value with a bound."""

    text: str
    """The assertion as written, without blanks."""
    phase: str | None
    """The phase of a time; None for a count."""
    metric: str
    """One of `TIME_METRICS`, or `sent`, `echoed` or `lost`."""
    comparator: str
    bound: float
    """In `unit`."""
    unit: Unit

    @property
    def judges_losses(self) -> bool:
        """Whether the assertion limits the losses, so that a lost record is not by itself a failure."""
        return self.metric in {"lost", "echoed"}

    def evaluate(self, run: Measurements) -> AssertionResult:
        """Compare the measured value of `run` with the bound. Without samples the assertion does not hold."""
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
    """Return whether `run` succeeded: exit status 0 of the commands.

    A lost record is a failure, unless an assertion limits the losses: `lost<1%` allows some. `judged_by` are further
    assertions that were evaluated elsewhere, such as those of a search.
    """
    losses_are_judged = any(each.judges_losses for each in (*(verdict.assertion for verdict in verdicts), *judged_by))
    good = losses_are_judged or (run.echoed > 0 and run.lost == 0)
    return good and all(verdict.holds for verdict in verdicts)


def assertion_object(verdict: AssertionResult) -> dict[str, object]:
    """Return the JSON object of an assertion's result, the same for all commands."""
    report: dict[str, object] = {"assertion": verdict.assertion.text, "holds": verdict.holds}
    if verdict.value is not None:
        report |= {"measured": round(verdict.value, 3), "unit": verdict.assertion.unit.value}
    return report


def parse_assertion(text: str, phases: tuple[str, ...], bare: str = ROUND_TRIP) -> Assertion:
    """Return the assertion in `text`. `phases` are the allowed phase names, `bare` is the default one.

    Raises ValueError with the rest of a sentence that says what is allowed.
    """
    found = _FORM.fullmatch(text.strip())
    if found is None:
        raise ValueError(
            "must be METRIC COMPARATOR BOUND, such as p99<50ms, connect.max<=1s or lost<1%, with a comparator of "
            f"{' '.join(_COMPARATORS)}, not {text!r}"
        )
    phase, metric, comparator, number, unit = found.groups()
    metric = _ALIASES.get(metric, metric)
    if phase is None and metric in _COUNTS:
        counted = _count_unit(metric, unit)
        bound = float(number)
    else:
        _refuse_unknown(phase, metric, phases)
        counted = Unit.MICROSECONDS
        bound = round(float(number) * _scale(metric, unit), 3)  # 0.0007 s is 700 us, without the float's error
        phase = phase or bare
    return Assertion(
        text="".join(text.split()), phase=phase, metric=metric, comparator=comparator, bound=bound, unit=counted
    )


@dataclass(frozen=True)
class AssertionType:
    """An option type (`echod.common.option_types`): an assertion about the phases of these names."""

    phases: tuple[str, ...]
    bare: str = ROUND_TRIP
    """The default phase."""
    metavar: str = "EXPR"
    repeatable: bool = False

    def from_text(self, text: str) -> Assertion:
        """Return the assertion in a command line's `text`. Raises ValueError."""
        return parse_assertion(text, self.phases, self.bare)

    def check(self, value: object) -> Assertion:
        """Return `value` if it is an assertion, or the assertion in its text. Raises ValueError."""
        if isinstance(value, Assertion):
            return value
        if isinstance(value, str):
            return self.from_text(value)
        raise ValueError(f"must be text such as p99<50ms, not {display_value(value)}")


def _count_unit(metric: str, unit: str | None) -> Unit:
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
        raise ValueError(f"must be about one of the phases {', '.join(phases)}, not {phase}")
