"""The command line, and the order of the measurements."""

# ruff: noqa: T201
# What it prints is its output.

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.cases import CASES, Bench, Case, Sample
from bench.certificate import Pair, make_certificate
from bench.contenders import (
    BASELINES,
    HERE,
    NAMES,
    Contender,
    Skipped,
    baseline_versions,
    build_c,
    c_server,
    contenders,
    in_order_of_run,
)
from bench.measure import BenchError, OtherWork, Processors, raise_descriptor_limit
from bench.picture import picture
from bench.report import CaseReport, Report, as_json, machine, table

__all__ = ["main"]

IDLE = 9000
"""Idle connections, if the limit of open files allows it."""
RESERVE = 500
"""File descriptors that are not for idle connections."""
GRACE = 10.0
"""Seconds by which a measurement may take longer than its longest one before, within the time limit."""


@dataclass(frozen=True)
class Scale:
    """The numbers and durations of the measurements. Durations are in seconds."""

    runs: int
    warm_up: float
    """Before a window."""
    seconds: float
    """Length of a window."""
    limit: int
    """Time limit of the whole."""
    scrape_rounds: int
    """Rounds of the case `scrapes`."""
    repetitions: int
    """Repetitions of a command whose start-up is measured."""


FULL = Scale(runs=5, warm_up=0.3, seconds=2.0, limit=590, scrape_rounds=4, repetitions=7)
QUICK = Scale(runs=1, warm_up=0.2, seconds=0.5, limit=85, scrape_rounds=1, repetitions=3)


def main() -> int:
    """Run the command; return its exit status."""
    parser = _parser()
    options = parser.parse_args()
    if options.only is None:
        options.only = NAMES
    elif options.baseline is None and set(options.only) & set(BASELINES.values()):
        parser.error("argument --only: a baseline requires --baseline")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM raises, so that the servers are ended
    try:
        return _run(options)
    except BenchError as problem:
        print(f"bench: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    names = [case.name for case in CASES]
    parser = argparse.ArgumentParser(prog="bench/run.py", description="Compare echod with other echo servers.")
    parser.add_argument(
        "--quick", action="store_true", help="one run with short windows, in less than 90 s: a trial, not for figures"
    )
    parser.add_argument(
        "--runs", type=_positive, metavar="N", help=f"runs of each case (default: {FULL.runs}; with --quick: 1)"
    )
    parser.add_argument(
        "--limit",
        type=_positive,
        metavar="SECONDS",
        help=f"time limit of the whole (default: {FULL.limit}; with --quick: {QUICK.limit})",
    )
    parser.add_argument(
        "--only", type=_names_of(NAMES), metavar="NAMES", help=f"servers to measure, of {','.join(NAMES)}"
    )
    parser.add_argument(
        "--baseline", type=Path, metavar="PYTHON", help="interpreter of an environment with another version of echod"
    )
    parser.add_argument(
        "--cases", type=_names_of(names), default=names, metavar="NAMES", help=f"cases to measure, of {','.join(names)}"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report as JSON")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="write the report as a chart")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, not {text!r}")
    return int(text)


def _names_of(known: Sequence[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(known)}")
        return names

    return parse


def _run(options: argparse.Namespace) -> int:
    began = time.monotonic()
    scale = QUICK if options.quick else FULL
    runs = options.runs or scale.runs
    for file in (options.json, options.svg):
        if file is not None and not file.resolve().parent.is_dir():
            raise BenchError(f"{file}: no such directory")
    baseline = (
        None if options.baseline is None else options.baseline.absolute()
    )  # not resolve(): a venv's python is a link
    versions = {} if baseline is None else {"baseline": f"({baseline_versions(baseline)})"}
    processors = Processors.choose()
    other_work = OtherWork(processors)
    idle = min(IDLE, raise_descriptor_limit() - RESERVE)
    if idle <= 0:
        raise BenchError("the limit of open files is too low (ulimit -n)")
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        pair, skipped = _certificate(directory)
        servers, missing = contenders(options.only, directory, pair, baseline)
        unpaired = [each for each in missing if each.name in {*BASELINES, *BASELINES.values()}]
        if baseline is not None and unpaired:
            raise BenchError(f"--baseline: cannot run {unpaired[0].name}: {unpaired[0].reason}")
        skipped = [*skipped, *missing]
        bench = Bench(
            directory=directory,
            load=build_c(HERE / "load.c", directory),
            c_server=c_server(directory),
            processors=processors,
            warm_up=scale.warm_up,
            seconds=scale.seconds,
            idle=idle,
            scrape_rounds=scale.scrape_rounds,
            repetitions=scale.repetitions,
        )
        print(f"{processors}; {idle:,} idle connections", file=sys.stderr)
        for each in skipped:
            print(f"left out: {each.name}: {each.reason}", file=sys.stderr)
        if not servers:
            raise BenchError("there is no server to measure")
        cases = [case for case in CASES if case.name in options.cases]
        measured, late, failed = _measure(bench, cases, servers, runs, began + (options.limit or scale.limit))
    report = Report(
        machine={**machine(), **versions, "processors": str(processors)},
        settings={
            "quick": options.quick,
            "runs": runs,
            "warm_up_seconds": scale.warm_up,
            "window_seconds": scale.seconds,
            "idle_connections": idle,
            "start_repetitions": scale.repetitions,
        },
        cases=measured,
        skipped=[*skipped, *late, *failed],
        seconds=time.monotonic() - began,
        other_work=other_work.share(),
    )
    print(table(report))
    _write(options.json, as_json(report))
    _write(options.svg, picture(report))
    return 1 if failed else 0


def _certificate(directory: Path) -> tuple[Pair | None, Sequence[Skipped]]:
    try:
        return make_certificate(directory), ()
    except BenchError as problem:
        return None, [Skipped("tls-64", str(problem))]


def _measure(
    bench: Bench, cases: Sequence[Case], servers: Sequence[Contender], runs: int, end: float
) -> tuple[Sequence[CaseReport], Sequence[Skipped], Sequence[Skipped]]:
    """Measure in runs: each run measures every case, and each case one server after the other.

    So a time in which the machine is slow affects all servers alike. A server and its baseline change places from run
    to run. Returns the measurements; the cases of a run that the time limit left out, as a whole; and the failures.
    """
    samples: dict[str, dict[str, dict[int, Sample]]] = {
        case.name: {server.name: {} for server in servers if case.fits(server)} for case in cases
    }
    longest: dict[str, float] = {}
    late: list[Skipped] = []
    failed: list[Skipped] = []
    for number in range(1, runs + 1):
        for case in cases:
            began = time.monotonic()
            if began + longest.get(case.name, 0) + GRACE > end:
                late.append(Skipped(case.name, f"no time for run {number} of {runs}"))
                continue
            if sys.stderr.isatty():
                print(f"\rrun {number} of {runs}: {case.name:<16}", end="", file=sys.stderr, flush=True)
            for server in in_order_of_run(servers, number):
                if not case.fits(server):
                    continue
                try:
                    sample = case.sample(bench, server)
                except BenchError as problem:
                    failed.append(Skipped(f"{case.name}, run {number}", str(problem)))
                else:
                    samples[case.name][server.name][number] = sample
            longest[case.name] = max(longest.get(case.name, 0), time.monotonic() - began)
    if sys.stderr.isatty():
        print(end="\r", file=sys.stderr)
    measured = [
        CaseReport(
            case.name,
            case.unit,
            case.about,
            {server: by_run for server, by_run in samples[case.name].items() if by_run},
            case.compared,
        )
        for case in cases
    ]
    return measured, late, failed


def _write(file: Path | None, text: str) -> None:
    if file is None:
        return
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as problem:
        raise BenchError(f"{file}: {problem.strerror}") from None
