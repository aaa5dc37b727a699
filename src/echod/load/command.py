"""`echod load`: load on an echo server, and what it does to the latency."""

import argparse
import json
import os
import platform
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorCore
from twisted.python.failure import Failure

from echod.cli.client_command import add_target, output_errors, parse_target, print_failed_assertions, why, write_result
from echod.cli.layout import folded
from echod.cli.parser import add_options, given_options
from echod.cli.process import ReactorRun, use_monotonic_clock
from echod.cli.terminal import Output
from echod.client.probe import tls_of
from echod.common.addresses import HostPort
from echod.common.assertions import AssertionResult, run_succeeded
from echod.common.errors import ConfigurationError
from echod.common.options import command_line_layer, configure
from echod.load.config import LoadConfiguration, shares
from echod.load.report_page import Result, page_of
from echod.load.result import load_object
from echod.load.runner import LoadResult, LoadRunner, Watcher
from echod.load.search import SearchStep
from echod.load.statistics import LoadStatistics
from echod.load.text import asked_line, progress_line, step_line, summary_lines
from echod.load.worker import Plan

if TYPE_CHECKING:
    from echod.load.worker_pool import IProcessReactor

__all__ = ["add_arguments", "run"]

WORKER = (sys.executable, "-P", "-m", "echod.load.worker_process")
"""What starts a process that generates load; -P: no module of the directory it is started in counts as ours."""

_CPU_MODEL = "model name"
"""As proc_cpuinfo(5) has it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_target(parser)
    add_options(parser, LoadConfiguration, over_file=False)


def run(namespace: argparse.Namespace) -> int:
    """Generate the load until its end or a signal; return the exit status. Raises EchodError."""
    words = given_options(namespace)
    asked = configure(LoadConfiguration, [command_line_layer(LoadConfiguration, words)])
    target = parse_target(namespace)
    asked.route_to(target)
    tls_of(asked)  # each process loads the files again; what is wrong with them is better told once, and now
    for name, path in (("json", asked.json), ("html", asked.html)):
        _refuse_unwritable(name, path)
    processes = len(shares(asked, asked.processes or _cores_to_use(), None))
    output = Output(sys.stdout, os.environ)
    view = _View(target, asked, processes, output)
    started = datetime.now(UTC)
    with output_errors():
        try:
            found = _run_to_its_end(target, asked, words, processes, view)
        finally:
            output.erase_live_line()
        verdicts = [assertion.evaluate(found.statistics) for assertion in asked.assert_]
        output.write_lines(*summary_lines(target, found.statistics, output), *_found_lines(asked, found))
        print_failed_assertions(namespace.prog, verdicts)
    told = load_object(target, asked, found, verdicts, started, _host())
    if asked.json is not None:
        write_result("json", asked.json, json.dumps(told, indent=1) + "\n")
    if asked.html is not None:
        write_result("html", asked.html, page_of([Result.of(str(target), told)]))
    return _status(asked, found, verdicts)


class _View(Watcher):
    """Shows a run while it goes on."""

    def __init__(self, target: HostPort, asked: LoadConfiguration, processes: int, output: Output) -> None:
        self._target = target
        self._asked = asked
        self._processes = processes
        self._output = output
        self._statistics: LoadStatistics | None = None

    def begun(self, rate: int | None, statistics: LoadStatistics) -> None:
        if self._statistics is None:
            line = asked_line(self._target, self._asked, rate, self._processes)
            self._output.write_lines(*folded(line, self._output))
        self._statistics = statistics

    def told(self) -> None:
        statistics = self._statistics
        assert statistics is not None
        if self._output.has_live_line:
            self._output.write_lines(live=lambda: progress_line(statistics, self._asked, self._output))

    def stepped(self, step: SearchStep) -> None:
        self._output.write_lines(*folded(step_line(step), self._output))


def _run_to_its_end(
    target: HostPort, asked: LoadConfiguration, words: list[tuple[str, str]], processes: int, view: _View
) -> LoadResult:
    from twisted.internet import reactor  # importing it installs it, so not before it is wanted

    use_monotonic_clock(reactor)
    core = cast("IReactorCore", reactor)
    campaign = LoadRunner(
        cast("IProcessReactor", reactor),
        WORKER,
        asked,
        lambda share: Plan(target=target, given=tuple(words), share=share, run=int.from_bytes(os.urandom(8))),
        processes=processes,
        now=time.monotonic,
        watcher=view,
    )
    run: ReactorRun[LoadResult] = ReactorRun(core)
    over: Deferred[None] = Deferred()

    def end(found: LoadResult | Failure) -> None:
        over.callback(None)
        run.finish(found)

    def interrupt() -> "Deferred[None]":
        campaign.stop()
        return over

    core.callWhenRunning(lambda: campaign.start().addBoth(end))
    core.addSystemEventTrigger("before", "shutdown", interrupt)
    return run.run()


def _found_lines(asked: LoadConfiguration, found: LoadResult) -> list[str]:
    if asked.find_max is None:
        return []
    if found.found is None:
        return [f"found: at no rate that was tried does {asked.find_max.text} hold"]
    return [f"found: {asked.find_max.text} holds up to {found.found} records/s"]


def _status(asked: LoadConfiguration, found: LoadResult, verdicts: list[AssertionResult]) -> int:
    """Return 0 where all is as asked, else 1: of a search also where nothing was found."""
    if asked.find_max is None:
        good = run_succeeded(found.statistics, verdicts)
    else:
        good = found.found is not None and run_succeeded(found.statistics, verdicts, asked.find_max)
    return 0 if good else 1


def _cores_to_use() -> int:
    """Return one less than this process may run on: the last is for what merges, and for the peer where it is here."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(cores - 1, 1)


def _host() -> dict[str, object]:
    facts: dict[str, object] = {
        "name": platform.node(),
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cores": os.cpu_count() or 1,
        "python": platform.python_version(),
    }
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith(_CPU_MODEL):
                facts["processor"] = line.partition(":")[2].strip()
                break
    return facts


def _refuse_unwritable(name: str, path: str | None) -> None:
    """Raise ConfigurationError where a result could not be written at the end, when it is too late."""
    if path is not None:
        try:
            with Path(path).open("ab"):
                pass
        except (OSError, ValueError) as problem:  # a path with a null byte is a ValueError
            raise ConfigurationError(f"--{name}: cannot write {path}: {why(problem)}") from None
