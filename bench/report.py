"""The report of a run, as text and as JSON. README.md has the JSON's fields."""

import json
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench.cases import Sample
from bench.contenders import BASELINES, Skipped

__all__ = ["CaseReport", "Comparison", "Report", "Spread", "as_json", "machine", "number", "table"]

FORMAT = "echod-bench"
VERSION = 1
"""Version of the format: raised when a field changes its meaning or is removed."""
REFERENCES = ("uvloop", "c", "echod", "echod-stock")
"""The servers by whose medians the ratios are computed."""
BUSY = 0.05
"""Share of other work above which the figures are not worth quoting."""
WHOLE = 100
"""Figures from this one on are shown without decimals."""


@dataclass(frozen=True)
class Spread:
    """Median, least and most of several figures."""

    median: float
    least: float
    most: float


@dataclass(frozen=True)
class Comparison:
    """A server of the echod under test compared with its baseline, by the ratios of their figures in the same runs."""

    server: str
    baseline: str
    ratios: Spread
    runs: int
    """Number of runs that have both figures."""


@dataclass(frozen=True)
class CaseReport:
    """The samples of one case, for all servers."""

    name: str
    unit: str
    about: str
    samples: Mapping[str, Mapping[int, Sample]]
    """Samples by the name of the server, then by the number of the run."""
    compared: bool = True

    def spreads(self) -> Mapping[str, Spread]:
        """Return the spread of each server's runs."""
        return {
            server: _spread([sample.value for sample in samples.values()]) for server, samples in self.samples.items()
        }

    def ratios(self, server: str) -> Mapping[str, float]:
        """Return the server's median divided by that of each reference."""
        spreads = self.spreads()
        return {
            reference: spreads[server].median / spreads[reference].median
            for reference in REFERENCES
            if self.compared and reference in spreads and spreads[reference].median > 0
        }

    def comparisons(self) -> Sequence[Comparison]:
        """Return the comparisons with baselines. Figures are paired by run."""
        found = []
        for server, baseline in BASELINES.items():
            samples, others = self.samples.get(server, {}), self.samples.get(baseline, {})
            ratios = [
                sample.value / others[run].value
                for run, sample in samples.items()
                if run in others and others[run].value > 0
            ]
            if ratios:
                found.append(Comparison(server, baseline, _spread(ratios), len(ratios)))
        return found


@dataclass(frozen=True)
class Report:
    """One run of the benchmark."""

    machine: Mapping[str, str]
    settings: Mapping[str, float]
    cases: Sequence[CaseReport]
    skipped: Sequence[Skipped]
    seconds: float
    other_work: float
    """Share of the processors' time that other work took, 0 to 1."""


def machine() -> Mapping[str, str]:
    """Return the properties of the machine that the figures depend on; an empty value is unknown or not installed."""
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "python": platform.python_version(),
        **{name: _version(name) for name in ("echod", "twisted", "uvloop", "cryptography")},
    }


def number(value: float) -> str:
    """Return a figure for display, with three significant digits; from WHOLE on, with all digits before the point."""
    return f"{value:,.0f}" if value >= WHOLE else f"{value:#.3g}".rstrip(".")


def table(report: Report) -> str:
    """Return the report as text."""
    lines = [", ".join(f"{name} {value}" for name, value in report.machine.items() if value)]
    for case in report.cases:
        lines += ["", f"{case.name}: {case.about} ({case.unit})"]
        heads = "".join(f"{'/ ' + name:>15}" for name in REFERENCES)
        lines.append(f"  {'server':<15}{'median':>9}{'min':>9}{'max':>9}{'runs':>6}{heads}")
        for server, spread in case.spreads().items():
            ratios = case.ratios(server)
            figures = "".join(f"{number(value):>9}" for value in (spread.median, spread.least, spread.most))
            cells = "".join(f"{format(ratios[name], '.2f') if name in ratios else '-':>15}" for name in REFERENCES)
            lines.append(f"  {server:<15}{figures}{len(case.samples[server]):>6}{cells}")
    lines += _comparison_lines(report.cases)
    lines += ["", *(f"left out: {each.name}: {each.reason}" for each in report.skipped)]
    lines.append(f"duration: {report.seconds:.0f} s; other work: {report.other_work:.0%} of the processors' time")
    if report.other_work > BUSY:
        lines.append(f"other work is above {BUSY:.0%}: do not quote these figures; run again on an idle machine")
    return "\n".join(lines)


def _comparison_lines(cases: Sequence[CaseReport]) -> Sequence[str]:
    rows = [
        f"  {case.name:<18}{each.server + ' / ' + each.baseline:<30}"
        + "".join(f"{value:>9.3f}" for value in (each.ratios.median, each.ratios.least, each.ratios.most))
        + f"{each.runs:>6}"
        for case in cases
        for each in case.comparisons()
    ]
    if not rows:
        return ()
    heads = f"  {'case':<18}{'':<30}{'median':>9}{'min':>9}{'max':>9}{'runs':>6}"
    return ["", "comparison with the baseline: ratios of the figures, paired by run", heads, *rows]


def as_json(report: Report) -> str:
    """Return the report as JSON."""
    fields = {
        "format": FORMAT,
        "version": VERSION,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": report.machine,
        "settings": report.settings,
        "seconds": round(report.seconds, 1),
        "other_work": round(report.other_work, 4),
        "cases": [_case(case) for case in report.cases],
        "skipped": [{"name": each.name, "reason": each.reason} for each in report.skipped],
    }
    return json.dumps(fields, indent=2, ensure_ascii=False) + "\n"


def _case(case: CaseReport) -> Mapping[str, object]:
    servers = {
        server: {
            "median": spread.median,
            "min": spread.least,
            "max": spread.most,
            "ratios": case.ratios(server),
            "runs": [
                {"run": run, "value": sample.value, "details": sample.details}
                for run, sample in case.samples[server].items()
            ],
        }
        for server, spread in case.spreads().items()
    }
    comparisons = [
        {
            "server": each.server,
            "baseline": each.baseline,
            "median": each.ratios.median,
            "min": each.ratios.least,
            "max": each.ratios.most,
            "runs": each.runs,
        }
        for each in case.comparisons()
    ]
    return {
        "name": case.name,
        "unit": case.unit,
        "about": case.about,
        "servers": servers,
        "comparisons": comparisons,
    }


def _spread(values: Sequence[float]) -> Spread:
    return Spread(statistics.median(values), min(values), max(values))


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
