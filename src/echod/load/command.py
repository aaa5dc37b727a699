"""`echod load`: put load on an echo server and measure the latency that its clients see."""

import argparse
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

from echod.cli.client_command import (
    add_target,
    output_errors,
    parse_target,
    print_failed_assertions,
    refuse_unwritable,
    write_result,
)
from echod.cli.layout import folded
from echod.cli.parser import add_options, given_options
from echod.cli.process import ReactorRun, use_monotonic_clock
from echod.cli.terminal import Output
from echod.client.probe import tls_of
from echod.common.addresses import HostPort
from echod.common.assertions import AssertionResult, run_succeeded
from echod.common.options import command_line_layer, configure
from echod.load.config import LoadConfiguration, shares
from echod.load.result import LoadResult, result_json, result_object
from echod.load.runner import LoadRunner, RunObserver
from echod.load.search import SearchStep
from echod.load.statistics import LoadStatistics
from echod.load.text import found_line, header_line, progress_line, step_line, summary_lines
from echod.load.worker import Plan

if TYPE_CHECKING:
    from echod.load.worker_pool import IProcessReactor

__all__ = ["add_arguments", "run"]

WORKER = (sys.executable, "-P", "-m", "echod.load.worker_process")
"""The command of a worker process; -P keeps modules in the current directory out of its import path."""

_CPU_MODEL = "model name"
"""The field name in /proc/cpuinfo (proc(5))."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_target(parser)
    add_options(parser, LoadConfiguration, over_file=False)


def run(namespace: argparse.Namespace) -> int:
    """Generate the load until its end or a signal; return the exit status. Raises EchodError."""
    options = given_options(namespace)
    configuration = configure(LoadConfiguration, [command_line_layer(LoadConfiguration, options)])
    target = parse_target(namespace)
    configuration.route_to(target)
    tls_of(configuration)  # each worker process reads the files again; an error in them is reported once, before
    for name, path in (("json", configuration.json), ("html", configuration.html)):
        if path is not None:
            refuse_unwritable(name, path)
    processes = len(shares(configuration, configuration.processes or _default_processes(), None))
    output = Output(sys.stdout, os.environ)
    view = _View(target, configuration, processes, output)
    started = datetime.now(UTC)
    with output_errors():
        try:
            result = _run_reactor(target, configuration, options, processes, view)
        finally:
            output.erase_live_line()
        verdicts = [assertion.evaluate(result.statistics) for assertion in configuration.assert_]
        lines = summary_lines(target, result.statistics, output)
        if configuration.find_max is not None:
            lines.append(found_line(configuration.find_max, result.found))
        output.write_lines(*lines)
        print_failed_assertions(namespace.prog, verdicts)
    report = result_object(target, configuration, result, verdicts, started, _host())
    if configuration.json is not None:
        write_result("json", configuration.json, result_json(report))
    if configuration.html is not None:
        from echod.load.report_page import page_of  # imported for --html only: twisted.web takes time to import
        from echod.load.result_reader import StoredResult

        write_result("html", configuration.html, page_of([StoredResult.from_object(str(target), report)]))
    return _status(configuration, result, verdicts)


class _View(RunObserver):
    """Prints the progress of the runs."""

    def __init__(self, target: HostPort, configuration: LoadConfiguration, processes: int, output: Output) -> None:
        self._target = target
        self._configuration = configuration
        self._processes = processes
        self._output = output
        self._statistics: LoadStatistics | None = None

    def on_run_started(self, rate: int | None, statistics: LoadStatistics) -> None:
        if self._statistics is None:
            line = header_line(self._target, self._configuration, rate, self._processes)
            self._output.write_lines(*folded(line, self._output))
        self._statistics = statistics

    def on_slice(self) -> None:
        statistics = self._statistics
        assert statistics is not None
        if self._output.has_live_line:
            self._output.write_lines(live=lambda: progress_line(statistics, self._configuration, self._output))

    def on_step(self, step: SearchStep) -> None:
        self._output.write_lines(*folded(step_line(step), self._output))


def _run_reactor(
    target: HostPort, configuration: LoadConfiguration, options: list[tuple[str, str]], processes: int, view: _View
) -> LoadResult:
    """Execute all runs in the global reactor; return their result. Raises EchodError."""
    from twisted.internet import reactor  # importing it installs it

    use_monotonic_clock(reactor)
    core = cast("IReactorCore", reactor)
    runner = LoadRunner(
        cast("IProcessReactor", reactor),
        WORKER,
        configuration,
        lambda share: Plan(target=target, given=tuple(options), share=share, run=int.from_bytes(os.urandom(8))),
        processes=processes,
        now=time.monotonic,
        observer=view,
    )
    reactor_run: ReactorRun[LoadResult] = ReactorRun(core)
    over: Deferred[None] = Deferred()

    def end(result: LoadResult | Failure) -> None:
        over.callback(None)
        reactor_run.finish(result)

    def interrupt() -> "Deferred[None]":
        runner.stop()
        return over

    core.callWhenRunning(lambda: runner.start().addBoth(end))
    core.addSystemEventTrigger("before", "shutdown", interrupt)
    return reactor_run.run()


def _status(configuration: LoadConfiguration, result: LoadResult, verdicts: list[AssertionResult]) -> int:
    """Return the exit status: 0 if the run, and the search if there was one, succeeded; else 1."""
    if configuration.find_max is None:
        succeeded = run_succeeded(result.statistics, verdicts)
    else:
        succeeded = result.found is not None and run_succeeded(result.statistics, verdicts, configuration.find_max)
    return 0 if succeeded else 1


def _default_processes() -> int:
    """Return the number of usable cores less one, for merging and for a server on this host."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(cores - 1, 1)


def _host() -> dict[str, object]:
    """Return the facts about this host that the result carries."""
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
