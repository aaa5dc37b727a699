"""The HTML page of one result, or of several side by side: one file that needs no network, which its policy forbids.

The tables are HTML. The charts are drawn by uPlot (static/uPlot-LICENSE.txt) from numbers in the page. The markup is
built and escaped by twisted.web.template. Scripts and styles, in which HTML has no escapes, are CDATA sections within
comments of their language.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.resources import files

from twisted.python.failure import Failure
from twisted.web.template import CDATA, Comment, Flattenable, Tag, XMLString, flattenString, tags

from echod.common.assertions import Unit
from echod.load.config import LOAD_TIMES, RESPONSE, SERVICE
from echod.load.result import INTERVAL_QUANTILES, QUANTILES
from echod.load.result_reader import Measured, StoredInterval, StoredResult, StoredStep
from echod.load.text import number, percent

__all__ = ["page_of"]

_STATIC = files("echod.load") / "static"

ALL = 100.0
"""Percent."""

COLOURS = 6
"""Colours of runs in page.css."""

Row = tuple[str, list[str]]
"""The name of a row, and its cell for each result."""

_NONE = "\N{EN DASH}"
"""A cell without a value."""

_TITLES = {RESPONSE: "Response", SERVICE: "Service"}
_NAMES = {"p999": "p99.9"}
"""Displayed names of quantiles that differ from the field names."""


def page_of(results: Sequence[StoredResult]) -> bytes:
    """Return the page in UTF-8."""
    # twisted.web.template escapes &, < and >: as JSON escapes they reach the script unchanged.
    data = json.dumps([_chart_data(result) for result in results], allow_nan=False)
    for character in "&<>":
        data = data.replace(character, f"\\u{ord(character):04x}")
    (document,) = XMLString(_static("page.html")).load()
    assert isinstance(document, Tag)
    document.fillSlots(
        title=f"echod load: {', '.join(result.label for result in results)}",
        style=CDATA(f"*/\n{_static('uPlot.min.css')}{_static('page.css')}/*"),
        sections=_sections(results),
        data=data,
        licence=Comment(f" The charts are drawn by uPlot:\n{_static('uPlot-LICENSE.txt')}\n"),
        uplot=_script("uPlot.iife.min.js"),
        script=_script("page.js"),
    )
    return b"<!DOCTYPE html>\n" + _flatten(document)


def _flatten(content: Flattenable) -> bytes:
    outcomes: list[bytes | Failure] = []
    flattenString(None, content).addBoth(outcomes.append)
    (outcome,) = outcomes  # at once: the content holds no Deferred
    if isinstance(outcome, Failure):
        outcome.raiseException()
    return outcome


def _static(name: str) -> str:
    return (_STATIC / name).read_text(encoding="utf-8")


def _script(name: str) -> CDATA:
    return CDATA(f"\n{_static(name)}\n//")


def _chart_data(result: StoredResult) -> dict[str, object]:
    """Return the numbers of the charts; times are milliseconds."""
    data: dict[str, object] = {
        "label": result.label,
        "until": [each.until for each in result.intervals],
        "echoed": [each.echoed_per_second for each in result.intervals],
        "failed": [each.failed_per_second for each in result.intervals],
    }
    for name, times in result.times.items():
        count = times.count
        data[name] = {
            # The largest of n times is at 1 in n: a logarithmic axis has no place for 100%.
            "one_in": [count if point == ALL else min(ALL / (ALL - point), count) for point, _ in times.curve],
            "ms": [time / 1000 for _, time in times.curve],
            "over_time": {
                quantile: [_interval_time(each, name, quantile) for each in result.intervals]
                for quantile in INTERVAL_QUANTILES
            },
        }
    return data


def _interval_time(interval: StoredInterval, name: str, quantile: str) -> float | None:
    return interval.times[name][quantile] / 1000 if name in interval.times else None


# Sections


def _sections(results: Sequence[StoredResult]) -> list[Flattenable]:
    return [
        *_warnings(results),
        _table("Result", results, _result_rows(results)),
        _chart("percentiles", "Latency by percentile"),
        _chart("latency", "Latency over time"),
        _chart("throughput", "Throughput over time"),
        _per_result("Failures by kind", results, _failures),
        _per_result("Assertions", results, _assertions),
        _per_result("Search", results, _search),
        _table("Configuration", results, _fact_rows([result.configuration for result in results])),
        _table("Host of the generator", results, _fact_rows([result.host for result in results])),
    ]


def _warnings(results: Sequence[StoredResult]) -> list[Tag]:
    warnings = []
    for result in results:
        name = f"{result.label}: " if len(results) > 1 else ""
        if result.behind:
            warnings.append(
                f"{name}The generator fell behind its schedule. "
                f"Late records: {result.late:,} ({result.late_percent:g}%), at most "
                f"{_milliseconds(result.worst_lateness)} late. The response times include this delay."
            )
        if result.interrupted:
            warnings.append(f"{name}The run was interrupted. Unfinished records: {result.unfinished:,}.")
        if not result.echoed:
            warnings.append(f"{name}Nothing was echoed.")
    return [tags.p(words, class_="warning") for words in warnings]


def _result_rows(results: Sequence[StoredResult]) -> Iterable[Row]:
    def row(name: str, show: Callable[[StoredResult], str]) -> Row:
        return name, [show(result) for result in results]

    yield row("Target", lambda result: f"{result.target.host} port {result.target.port}")
    yield row("Started", lambda result: result.started.replace("T", " ").replace("Z", " UTC"))
    yield row("Load", _load)
    yield row("Echoed per second", lambda result: f"{result.echoed_per_second:,.1f}")
    yield row("Sent", lambda result: f"{result.sent:,}")
    yield row("Echoed", lambda result: f"{result.echoed:,}")
    yield row("Failed", lambda result: f"{result.failed:,}")
    yield row("Unfinished", lambda result: f"{result.unfinished:,}")
    for name in LOAD_TIMES:
        for quantile in QUANTILES:
            times = [result.times[name].quantiles.get(quantile) for result in results]
            yield f"{_TITLES[name]} {_NAMES.get(quantile, quantile)}", [_milliseconds(time) for time in times]
    yield row("Sent late", lambda result: f"{result.late:,} ({result.late_percent:g}%)")


def _load(result: StoredResult) -> str:
    if result.rate is not None:
        return f"{result.rate:,} records/s"
    return f"closed loop, {number(result.connections, 'connection')}"


def _fact_rows(facts: Sequence[Mapping[str, object]]) -> Iterable[Row]:
    for name in dict.fromkeys(name for each in facts for name in each):
        yield name.replace("_", " "), [_fact(each.get(name)) for each in facts]


def _fact(value: object) -> str:
    match value:
        case None:
            return _NONE
        case bool():
            return "yes" if value else "no"
        case _:
            return str(value)


def _chart(name: str, title: str) -> Tag:
    return tags.section(tags.h2(title), tags.div(tags.noscript("The charts need JavaScript."), class_="chart", id=name))


def _failures(result: StoredResult) -> Flattenable:
    if not result.failures:
        return tags.p("None.")
    head = (tags.th(name, scope="col") for name in ("records", "share of sent", "example"))
    rows = (
        tags.tr(
            tags.th(each.outcome, scope="row"),
            tags.td(f"{each.count:,}"),
            tags.td(*_bar(each.count, result.sent)),
            tags.td(each.detail, class_="words"),
        )
        for each in result.failures
    )
    return tags.table(tags.thead(tags.tr(tags.td(), *head)), tags.tbody(*rows))


def _bar(part: int, whole: int) -> tuple[Flattenable, ...]:
    width = ALL * min(part / max(whole, 1), 1)
    return tags.span(tags.i(style=f"width: {width:.2f}%"), class_="bar"), f" {percent(part, whole)}"


def _assertions(result: StoredResult) -> Flattenable | None:
    if not result.assertions:
        return None
    return tags.table(
        tags.tbody(
            tags.tr(
                tags.th(each.assertion, scope="row"),
                tags.td("holds" if each.holds else "failed"),
                tags.td(_measured(each.measured)),
            )
            for each in result.assertions
        )
    )


def _search(result: StoredResult) -> Flattenable | None:
    search = result.search
    if search is None:
        return None
    found = "at none of the rates tried" if search.found is None else f"up to {search.found:,} records/s"
    shown = "the last of these rates" if search.found is None else "this rate"
    rows = (
        tags.tr(
            tags.th(f"{step.rate:,} records/s", scope="row"), tags.td(_measured(step.measured)), tags.td(_verdict(step))
        )
        for step in search.steps
    )
    return [tags.p(f"{search.assertion} holds {found}. The result is that of {shown}."), tags.table(tags.tbody(*rows))]


def _verdict(step: StoredStep) -> str:
    if step.holds:
        return "holds"
    reasons = [number(step.failed, "failed record")] if step.failed else []
    if step.behind:
        reasons.append("the generator fell behind")
    return f"failed ({', '.join(reasons)})" if reasons else "failed"


def _measured(measured: Measured | None) -> str:
    if measured is None:
        return "no samples"
    match measured.unit:
        case Unit.MICROSECONDS:
            return _milliseconds(measured.value)
        case Unit.PERCENT:
            return f"{measured.value:g}%"
        case Unit.COUNT:
            return f"{measured.value:,.0f}"


def _milliseconds(microseconds: float | None) -> str:
    return _NONE if microseconds is None else f"{microseconds / 1000:,.3f} ms"


# Layout: a column or a table for each result


def _table(title: str, results: Sequence[StoredResult], rows: Iterable[Row]) -> Tag:
    head = []
    if len(results) > 1:
        columns = (
            tags.th(tags.i(class_=f"run{index % COLOURS}"), result.label, scope="col")
            for index, result in enumerate(results)
        )
        head = [tags.thead(tags.tr(tags.td(), *columns))]
    body = (
        tags.tr(
            tags.th(name, scope="row"),
            *(tags.td(cell) for cell in cells),
            **({"class": "differs"} if len(set(cells)) > 1 else {}),
        )
        for name, cells in rows
    )
    return _section(title, tags.table(*head, tags.tbody(*body)))


def _per_result(
    title: str, results: Sequence[StoredResult], content: Callable[[StoredResult], Flattenable | None]
) -> Flattenable:
    """Return a section with the content of each result that has one; nothing if none has."""
    parts: list[Flattenable] = []
    for result in results:
        part = content(result)
        if part is not None:
            parts += [tags.h3(result.label), part] if len(results) > 1 else [part]
    return _section(title, *parts) if parts else ""


def _section(title: str, *content: Flattenable) -> Tag:
    return tags.section(tags.h2(title), tags.div(*content, class_="wide"))
