"""The reader of the JSON object of a result: frozen values for the report page, each field checked.

A result file may come from anywhere: types are checked, numbers are finite and bounded, and unknown fields are ignored,
because a later echod may add some within the same version of the schema.
"""

import json
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, Self, TypeVar

from echod.common.addresses import HostPort
from echod.common.assertions import Unit
from echod.common.histogram import HIGHEST
from echod.load.result import INTERVAL_QUANTILES, QUANTILES, SCHEMA, TIMES

__all__ = ["Measured", "StoredAssertion", "StoredInterval", "StoredResult", "StoredStep", "StoredTimes"]

ALL = 100
"""Percent."""

LARGEST = 2**53
"""Largest number read: up to here the numbers of JavaScript, which draws the charts, are exact."""

LONGEST_NAME = 64
"""Characters of a field's name that an error shows without quotes and in full."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Measured:
    """The measured value of an assertion."""

    value: float
    unit: Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTimes:
    """Response or service times of a run, microseconds."""

    count: int
    quantiles: Mapping[str, int]
    """p50, p90, p99, p999 and max; empty without an echo."""
    curve: tuple[tuple[float, int], ...]
    """(percent, microseconds), ascending."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredInterval:
    """One interval of a run."""

    until: float
    """Seconds from the end of the warm-up."""
    echoed_per_second: float
    failed_per_second: float
    times: Mapping[str, Mapping[str, int]]
    """p50, p99, p999 and max in microseconds, of `RESPONSE` and `SERVICE`; empty without an echo."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFailure:
    """The failed records of one outcome."""

    outcome: str
    count: int
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAssertion:
    """An assertion and its verdict."""

    assertion: str
    holds: bool
    measured: Measured | None
    """None: no samples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredStep:
    """One step of a search."""

    rate: int
    holds: bool
    failed: int
    behind: bool
    measured: Measured | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSearch:
    """A search."""

    assertion: str
    found: int | None
    """None: the assertion held at no rate."""
    steps: tuple[StoredStep, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredResult:
    """The fields of a result that the report page shows, read from its JSON object."""

    label: str
    """The name of the run on the page."""
    target: HostPort
    started: str
    """UTC, as in load.schema.json."""
    rate: int | None
    """The rate of the schedule, records per second; None: closed loop."""
    connections: int
    configuration: Mapping[str, str | int | float | bool]
    host: Mapping[str, str | int | float | bool]
    interrupted: bool
    sent: int
    echoed: int
    failed: int
    unfinished: int
    echoed_per_second: float
    failures: tuple[StoredFailure, ...]
    behind: bool
    late: int
    late_percent: float
    worst_lateness: int | None
    """Microseconds."""
    times: Mapping[str, StoredTimes]
    """Of `RESPONSE` and `SERVICE`."""
    intervals: tuple[StoredInterval, ...]
    assertions: tuple[StoredAssertion, ...]
    search: StoredSearch | None

    @classmethod
    def from_json(cls, label: str, data: bytes) -> Self:
        """Return the result in a file's content. Raises ValueError with the end of a sentence about the file."""
        try:
            report = json.loads(data.decode("utf-8"), parse_constant=_refuse_constant)
        except (ValueError, RecursionError):  # also not UTF-8, and an integer of more than 4300 digits
            raise ValueError("is not JSON") from None
        return cls.from_object(label, report)

    @classmethod
    def from_object(cls, label: str, report: object) -> Self:
        """Return the result in a JSON object. Raises ValueError with the end of a sentence about the file."""
        if not isinstance(report, dict) or report.get("type") != "load":
            raise ValueError("is not a result of echod load")
        if report.get("schema") != SCHEMA:
            version = reprlib.repr(report.get("schema"))
            raise ValueError(f"has version {version} of the schema; this echod reads version {SCHEMA}")
        try:
            return cls._read(label, _Reader(report))
        except ValueError as problem:
            raise ValueError(f"is not a valid result of echod load: {problem}") from None

    @classmethod
    def _read(cls, label: str, report: "_Reader") -> Self:
        target, configuration, generator = (
            report.object("target"), report.object("configuration"), report.object("generator"),
        )  # fmt: skip
        lateness = generator.optional("lateness_us", generator.object)
        search = report.optional("search", report.object)
        return cls(
            label=label,
            target=HostPort(target.text("host"), target.integer("port", 1, 65535)),
            started=report.text("started"),
            rate=configuration.optional("rate", configuration.integer),
            connections=configuration.integer("connections"),
            configuration=configuration.facts(),
            host=report.object("host").facts(),
            interrupted=report.flag("interrupted"),
            sent=report.integer("sent"),
            echoed=report.integer("echoed"),
            failed=report.integer("failed"),
            unfinished=report.integer("unfinished"),
            echoed_per_second=report.number("rate"),
            failures=tuple(
                StoredFailure(outcome=each.text("outcome"), count=each.integer("count"), detail=each.text("detail"))
                for each in report.objects("failures")
            ),
            behind=generator.flag("behind"),
            late=generator.integer("late"),
            late_percent=generator.number("late_percent", ALL),
            worst_lateness=lateness.time("max") if lateness is not None else None,
            times={name: _read_times(report.object(key)) for name, key in TIMES.items()},
            intervals=_read_intervals(report),
            assertions=tuple(
                StoredAssertion(assertion=each.text("assertion"), holds=each.flag("holds"), measured=each.measured())
                for each in report.optional("assertions", report.objects) or ()
            ),
            search=None if search is None else _read_search(search),
        )


class _Reader:
    """A JSON object whose fields are read by type. Each method raises ValueError with the path of a wrong field."""

    def __init__(self, fields: object, path: str = "") -> None:
        if not isinstance(fields, dict):
            raise ValueError(f"{path}: must be an object, not {reprlib.repr(fields)}")
        self._fields = fields
        self._path = path

    def optional(self, name: str, read: Callable[[str], T]) -> T | None:
        """Return `read(name)`, or None if there is no such field."""
        return read(name) if name in self._fields else None

    def text(self, name: str) -> str:
        """Return a string."""
        value = self._value(name)
        if not isinstance(value, str):
            self.refuse(name, "must be text")
        return _encodable(value)

    def flag(self, name: str) -> bool:
        """Return true or false."""
        value = self._value(name)
        if not isinstance(value, bool):
            self.refuse(name, "must be true or false")
        return value

    def integer(self, name: str, low: int = 0, high: int = LARGEST) -> int:
        """Return an integer in range."""
        value = self._value(name)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            self.refuse(name, f"must be a whole number from {low} to {high}")
        return value

    def time(self, name: str) -> int:
        """Return microseconds of a histogram."""
        return self.integer(name, 0, HIGHEST)

    def number(self, name: str, high: float = LARGEST) -> float:
        """Return a number from 0 to `high`; neither NaN nor infinite."""
        value = self._value(name)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= high:
            self.refuse(name, f"must be a number from 0 to {high}")
        return float(value)

    def object(self, name: str) -> "_Reader":
        """Return a reader of an object."""
        return _Reader(self._value(name), self._path_of(name))

    def objects(self, name: str) -> "list[_Reader]":
        """Return readers of an array of objects."""
        return [_Reader(each, f"{self._path_of(name)}[{index}]") for index, each in enumerate(self.array(name))]

    def array(self, name: str) -> list[Any]:
        """Return an array."""
        value = self._value(name)
        if not isinstance(value, list):
            self.refuse(name, "must be an array")
        return value

    def facts(self) -> dict[str, str | int | float | bool]:
        """Return all fields: strings, numbers, true or false."""
        readers: dict[type, Callable[[str], str | int | float | bool]] = {
            bool: self.flag,
            int: self.integer,
            float: self.number,
        }
        return {_encodable(name): readers.get(type(value), self.text)(name) for name, value in self._fields.items()}

    def measured(self) -> Measured | None:
        """Return the fields `measured` and `unit`; None if there are none."""
        if "measured" not in self._fields:
            return None
        try:
            return Measured(self.number("measured"), Unit(self.text("unit")))
        except ValueError:
            units = ", ".join(unit.value for unit in Unit)
            raise ValueError(
                f"{self._path_of('measured')}: must be a number from 0 to {LARGEST} with a unit of {units}"
            ) from None

    def refuse(self, name: str, rule: str) -> NoReturn:
        """Raise the ValueError of a field."""
        raise ValueError(f"{self._path_of(name)}: {rule}, not {reprlib.repr(self._fields[name])}")

    def _value(self, name: str) -> Any:
        if name not in self._fields:
            raise ValueError(f"{self._path_of(name)}: is missing")
        return self._fields[name]

    def _path_of(self, name: str) -> str:
        shown = name if name.isidentifier() and len(name) <= LONGEST_NAME else reprlib.repr(name)
        return f"{self._path}.{shown}" if self._path else shown


def _read_times(times: _Reader) -> StoredTimes:
    count = times.integer("count")
    if not count:
        return StoredTimes(count=0, quantiles={}, curve=())
    points = times.array("curve")
    curve = []
    for point in points:
        match point:
            case [int() | float() as percent, int() as time] if 0 < percent <= ALL and 0 <= time <= HIGHEST:
                curve.append((float(percent), time))
            case _:
                times.refuse("curve", "must be an array of [percent, microseconds]")
    if curve != sorted(curve):
        times.refuse("curve", "must ascend")
    return StoredTimes(count=count, quantiles={name: times.time(name) for name in QUANTILES}, curve=tuple(curve))


def _read_intervals(report: _Reader) -> tuple[StoredInterval, ...]:
    intervals = []
    for each in report.objects("intervals"):
        quantiles = {name: each.optional(key, each.object) for name, key in TIMES.items()}
        intervals.append(
            StoredInterval(
                until=each.number("until"),
                echoed_per_second=each.number("echoed_per_second"),
                failed_per_second=each.number("failed_per_second"),
                times={
                    name: {quantile: values.time(quantile) for quantile in INTERVAL_QUANTILES}
                    for name, values in quantiles.items()
                    if values is not None
                },
            )
        )
    untils = [each.until for each in intervals]
    if untils != sorted(untils):
        report.refuse("intervals", "must ascend")
    return tuple(intervals)


def _read_search(search: _Reader) -> StoredSearch:
    return StoredSearch(
        assertion=search.text("assertion"),
        found=search.optional("found", search.integer),
        steps=tuple(
            StoredStep(
                rate=each.integer("rate"),
                holds=each.flag("holds"),
                failed=each.integer("failed"),
                behind=each.flag("behind"),
                measured=each.measured(),
            )
            for each in search.objects("steps")
        ),
    )


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _encodable(text: str) -> str:
    """Return text that UTF-8 can encode: JSON has escapes for lone surrogates, which become question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")
