"""Runs of load as one HTML page, which holds all it needs: no network is asked for anything, and its policy forbids it.

Its charts are drawn by uPlot (static/uPlot-LICENSE.txt) from numbers that stand in the page as JSON; its tables are
HTML, and are there without scripts too.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import Any, Self

from echod.load.config import RESPONSE, SERVICE

__all__ = ["SCHEMA", "Result", "page_of"]

_STATIC = files("echod.load") / "static"

_TIMES = {RESPONSE: "response_time_us", SERVICE: "service_time_us"}

_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'"
)

ALL = 100.0
"""Percent."""

SCHEMA = 1
"""The version of load.schema.json that is written, and understood here: another number where what is there changes
its name or its meaning, or goes."""


@dataclass(frozen=True, slots=True)
class Result:
    """One run, as load.schema.json describes it, and the label by which it is known on the page."""

    label: str
    told: Mapping[str, Any]
    charts: Mapping[str, Any]
    """What the charts are drawn of."""

    @classmethod
    def of(cls, label: str, told: object) -> Self:
        """Read a run's object. Raises ValueError, with the end of a sentence, where it is none."""
        if not isinstance(told, dict) or told.get("type") != "load":
            raise ValueError("is no result of echod load")
        if told.get("schema") != SCHEMA:
            raise ValueError(f"is of version {told.get('schema')!r} of the schema, and here {SCHEMA} is understood")
        try:
            result = cls(label, told, _charts(label, told))
            _body([result])  # which reads all the rest
        except (KeyError, TypeError, ValueError, AttributeError) as problem:
            raise ValueError(f"is no whole result of echod load: {type(problem).__name__}: {problem}") from None
        return result


def page_of(results: Sequence[Result]) -> str:
    """Return the page of one run, or of several side by side."""
    title = f"echod load: {', '.join(result.label for result in results)}"
    # JSON in which no sequence can end the element that it stands in (HTML, 4.12.1.3).
    data = json.dumps([result.charts for result in results]).replace("<", "\\u003c")
    parts = {
        "policy": escape(_POLICY),
        "title": escape(title),
        "style": _static("uPlot.min.css") + _static("page.css"),
        "licence": _static("uPlot-LICENSE.txt"),
        "body": _body(results),
        "data": data,
        "uplot": _static("uPlot.iife.min.js"),
        "script": _static("page.js"),
    }
    before, *pieces = _static("page.html").split("{{")
    names = (piece.partition("}}") for piece in pieces)
    return before + "".join(parts[name] + rest for name, _, rest in names)


def _static(name: str) -> str:
    return (_STATIC / name).read_text(encoding="utf-8")


def _charts(label: str, told: Mapping[str, Any]) -> dict[str, Any]:
    intervals = told["intervals"]
    charts: dict[str, Any] = {
        "label": label,
        "until": [float(each["until"]) for each in intervals],
        "echoed": [float(each["echoed_per_second"]) for each in intervals],
        "failed": [float(each["failed_per_second"]) for each in intervals],
    }
    for name, key in _TIMES.items():
        curve = told[key].get("curve", [])
        count = told[key]["count"]
        charts[name] = {
            # The largest of n times stands at 1 in n, where a logarithm has a place for it.
            "one_in": [count if percent == ALL else min(ALL / (ALL - percent), count) for percent, _ in curve],
            "ms": [float(time) / 1000 for _, time in curve],
            "over_time": {
                quantile: [_ms(each.get(key, {}).get(quantile)) for each in intervals]
                for quantile in ("p50", "p99", "p999", "max")
            },
        }
    return charts


def _ms(microseconds: float | None) -> float | None:
    return None if microseconds is None else microseconds / 1000


# Tables: a column for each run


def _body(results: Sequence[Result]) -> str:
    parts = [_warnings(results), _table("Result", results, _numbers(results))]
    parts += [_chart("percentiles", "Latency by percentile"), _chart("latency", "Latency over time")]
    parts += [_chart("throughput", "Throughput over time"), _failures(results)]
    parts += [_assertions(results), _search(results)]
    for title, key in (("Configuration", "configuration"), ("Host of the generator", "host")):
        parts.append(_table(title, results, _facts(results, key)))
    return "\n".join(filter(None, parts))


Row = tuple[str, list[str]]


def _numbers(results: Sequence[Result]) -> Iterable[Row]:
    def row(name: str, show: Callable[[Mapping[str, Any]], str]) -> Row:
        return name, [show(result.told) for result in results]

    yield row("Target", lambda told: f"{told['target']['host']} port {told['target']['port']}")
    yield row("Started", lambda told: str(told["started"]).replace("T", " ").replace("Z", " UTC"))
    yield row("Asked for", lambda told: _asked(told["configuration"]))
    yield row("Echoed a second", lambda told: f"{told['rate']:,.1f}")
    for name in ("sent", "echoed", "failed", "unfinished"):
        yield row(name.capitalize(), lambda told, name=name: f"{told[name]:,}")  # type: ignore[misc]  # no type for it
    for title, key in (("Response", "response_time_us"), ("Service", "service_time_us")):
        for quantile, shown in (("p50", "p50"), ("p90", "p90"), ("p99", "p99"), ("p999", "p99.9"), ("max", "max")):
            yield row(
                f"{title} {shown}",
                lambda told, key=key, quantile=quantile: _milliseconds(told[key].get(quantile)),  # type: ignore[misc]
            )
    yield row("Sent late", lambda told: f"{told['generator']['late']:,} ({told['generator']['late_percent']:g}%)")


def _asked(configuration: Mapping[str, Any]) -> str:
    if "rate" in configuration:
        return f"{configuration['rate']:,} records/s"
    return f"closed loop, {configuration['connections']:,} connections"


def _milliseconds(microseconds: float | None) -> str:
    return "–" if microseconds is None else f"{microseconds / 1000:,.3f} ms"  # noqa: RUF001  # a dash: there is none


def _facts(results: Sequence[Result], key: str) -> Iterable[Row]:
    names = dict.fromkeys(name for result in results for name in result.told[key])
    for name in names:
        yield name.replace("_", " "), [_fact(result.told[key].get(name)) for result in results]


def _fact(value: object) -> str:
    match value:
        case None:
            return "–"  # noqa: RUF001  # likewise
        case bool():
            return "yes" if value else "no"
        case _:
            return str(value)


def _table(title: str, results: Sequence[Result], rows: Iterable[Row]) -> str:
    head = ""
    if len(results) > 1:
        columns = "".join(
            f'<th scope="col"><i class="run{number % 6}"></i>{escape(result.label)}</th>'
            for number, result in enumerate(results)
        )
        head = f"<thead><tr><td></td>{columns}</tr></thead>"
    body = "".join(
        f'<tr{_differ(cells)}><th scope="row">{escape(name)}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        + "</tr>"
        for name, cells in rows
    )
    return _section(title, f"<table>{head}<tbody>{body}</tbody></table>")


def _differ(cells: list[str]) -> str:
    return ' class="differs"' if len(set(cells)) > 1 else ""


def _section(title: str, content: str) -> str:
    return f'<section><h2>{escape(title)}</h2><div class="wide">{content}</div></section>'


def _chart(name: str, title: str) -> str:
    without = "<noscript>Charts need scripts.</noscript>"
    return f'<section><h2>{title}</h2><div class="chart" id="{name}">{without}</div></section>'


def _warnings(results: Sequence[Result]) -> str:
    warnings = []
    for result in results:
        generator = result.told["generator"]
        of = f"{escape(result.label)}: " if len(results) > 1 else ""
        if generator["behind"]:
            lateness = generator.get("lateness_us", {})
            warnings.append(
                f"{of}The generator fell behind its schedule: {generator['late']:,} records "
                f"({generator['late_percent']:g}%) were sent late, at worst by {_milliseconds(lateness.get('max'))}. "
                "The response times are in part its own."
            )
        if result.told["interrupted"]:
            warnings.append(f"{of}The run was interrupted: {result.told['unfinished']:,} records had not ended.")
        if not result.told["echoed"]:
            warnings.append(f"{of}Nothing was echoed.")
    return "".join(f'<p class="warning">{words}</p>' for words in warnings)


def _failures(results: Sequence[Result]) -> str:
    tables = []
    for result in results:
        failures, sent = result.told["failures"], max(result.told["sent"], 1)
        if not failures:
            tables.append(_captioned(result, results, "<p>None.</p>"))
            continue
        rows = "".join(
            f'<tr><th scope="row">{escape(str(each["outcome"]))}</th><td>{each["count"]:,}</td>'
            f"<td>{_bar(each['count'] / sent)}</td>"
            f'<td class="words">{escape(str(each["detail"]))}</td></tr>'
            for each in failures
        )
        columns = "".join(f'<th scope="col">{name}</th>' for name in ("records", "of those sent", "such as"))
        head = f"<thead><tr><td></td>{columns}</tr></thead>"
        tables.append(_captioned(result, results, f"<table>{head}<tbody>{rows}</tbody></table>"))
    return _section("Errors by kind", "".join(tables))


def _bar(share: float) -> str:
    return f'<span class="bar"><i style="width: {ALL * share:.2f}%"></i></span> {ALL * share:.3g}%'


def _assertions(results: Sequence[Result]) -> str:
    tables = []
    for result in results:
        rows = "".join(
            f'<tr><th scope="row">{escape(str(each["assertion"]))}</th>'
            f"<td>{'holds' if each['holds'] else 'does not hold'}</td><td>{_measured(each)}</td></tr>"
            for each in result.told.get("assertions", [])
        )
        if rows:
            tables.append(_captioned(result, results, f"<table><tbody>{rows}</tbody></table>"))
    return _section("Assertions", "".join(tables)) if tables else ""


def _search(results: Sequence[Result]) -> str:
    tables = []
    for result in results:
        search = result.told.get("search")
        if search is None:
            continue
        rows = "".join(
            f'<tr><th scope="row">{each["rate"]:,} records/s</th><td>{_measured(each)}</td>'
            f"<td>{_came_to(each)}</td></tr>"
            for each in search["steps"]
        )
        found = f"up to {search['found']:,} records/s" if "found" in search else "at no rate that was tried"
        words = f"<p>{escape(str(search['assertion']))} holds {found}; the result is that of this rate.</p>"
        tables.append(_captioned(result, results, f"{words}<table><tbody>{rows}</tbody></table>"))
    return _section("Search", "".join(tables)) if tables else ""


def _came_to(step: Mapping[str, Any]) -> str:
    if step["holds"]:
        return "holds"
    return "does not do, the generator fell behind" if step["behind"] else "does not do"


def _measured(told: Mapping[str, Any]) -> str:
    if "measured" not in told:
        return "no samples"
    if told["unit"] == "us":
        return _milliseconds(told["measured"])
    return f"{told['measured']:g}{'%' if told['unit'] == '%' else ''}"


def _captioned(result: Result, results: Sequence[Result], content: str) -> str:
    return f"<h3>{escape(result.label)}</h3>{content}" if len(results) > 1 else content
