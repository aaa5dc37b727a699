"""The cases in which echod is the client: CPU time of its load generator, and its start-up time.

The client runs on the load's processor. The server is the C server, on the server's processor.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from bench.measure import BenchError, Figures, Usage, run_client

__all__ = ["generator_figures", "ping_figures", "version_figures"]

SHORT = 0.3
"""Seconds of the shorter of the two load runs."""
TIMEOUT = 30
"""Seconds for a command, in addition to the duration of its load."""


def generator_figures(
    name: str, python: Path, port: int, directory: Path, options: Sequence[str], seconds: float
) -> Figures:
    """Return the CPU time and the records of `echod load`: those of a long run minus those of a short one.

    The difference excludes the costs that both runs have: the start of the interpreters, and the report.
    """
    cpu, records = [], []
    for duration in (SHORT, SHORT + seconds):
        result = directory / "load.json"
        result.unlink(missing_ok=True)
        arguments = ("load", "--processes", "1", "--duration", str(duration), "--json", str(result), *options)
        usage = _echod(name, python, directory, (*arguments, "127.0.0.1", str(port)), duration)
        try:
            report = json.loads(result.read_bytes())
            echoed, failed = report["echoed"], report["failed"]
        except (OSError, ValueError, KeyError) as problem:
            raise BenchError(f"{name}: no result of echod load ({problem!r})") from None
        if failed:
            raise BenchError(f"{name}: {failed} records of echod load failed")
        cpu.append(usage.cpu)
        records.append(echoed)
    if records[1] <= records[0]:
        raise BenchError(f"{name}: the longer run of echod load has no more records than the shorter one")
    return {
        "client_cpu_seconds": cpu[1] - cpu[0],
        "records": records[1] - records[0],
        "short_cpu_seconds": cpu[0],
        "short_records": records[0],
    }


def version_figures(name: str, python: Path, directory: Path, repetitions: int) -> Figures:
    """Return the wall times of `python -m echod --version` and of `python -c pass`, and their difference.

    The two commands run in turn, and each time is a median.
    """
    version, bare = _medians(
        repetitions,
        lambda: _echod(name, python, directory, ("--version",)).wall,
        lambda: run_client(name, (str(python), "-c", "pass"), directory, TIMEOUT).wall,
    )
    return {"version_seconds": version, "bare_seconds": bare, "difference_seconds": version - bare}


def ping_figures(name: str, python: Path, port: int, directory: Path, repetitions: int) -> Figures:
    """Return the wall time of `python -m echod ping -c 1`, including the interpreter's start."""
    arguments = ("ping", "-c", "1", "127.0.0.1", str(port))
    (ping,) = _medians(repetitions, lambda: _echod(name, python, directory, arguments).wall)
    return {"ping_seconds": ping}


def _medians(repetitions: int, *measurements: Callable[[], float]) -> Sequence[float]:
    """Return the median of each measurement. The first round is not counted, because it may fill caches."""
    rounds = [[measure() for measure in measurements] for _ in range(repetitions + 1)][1:]
    return [median(values) for values in zip(*rounds, strict=True)]


def _echod(name: str, python: Path, directory: Path, arguments: Sequence[str], seconds: float = 0) -> Usage:
    return run_client(name, (str(python), "-m", "echod", *arguments), directory, seconds + TIMEOUT)
