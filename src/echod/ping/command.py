"""`echod ping`: probe a path, and tell of it in the manner of ping(8)."""

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from twisted.internet.interfaces import IReactorCore
from twisted.python.failure import Failure

from echod.cli.client_command import add_target, output_may_fail, target_of, tell_failed
from echod.cli.parser import add_options, given
from echod.cli.process import ReactorRun, on_signal, use_monotonic_clock
from echod.cli.terminal import Output
from echod.client.attempts import IProbeReactor
from echod.client.outcomes import ProbeResult
from echod.client.probe import tls_of
from echod.client.record import RecordSource
from echod.common.addresses import HostPort
from echod.common.errors import ConfigurationError, EchodError
from echod.common.options import command_line_layer, configure
from echod.ping.config import PingConfiguration
from echod.ping.payload import payload_of
from echod.ping.prober import prepare_run
from echod.ping.run import RunSummary
from echod.ping.statistics import Statistics
from echod.ping.text import status_lines
from echod.ping.views import View, view_of

if TYPE_CHECKING:
    from echod.client.tls import ClientTLSContext

__all__ = ["add_arguments", "run"]

PLUGIN_PROBES = 5
"""How many probes a monitoring plugin sends where nobody says: as many as check_ping."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_target(parser)
    add_options(parser, PingConfiguration, over_file=False)


def run(namespace: argparse.Namespace) -> int:
    """Probe until the count is reached or a signal comes; return the exit status. Raises EchodError."""
    asked = configure(PingConfiguration, [command_line_layer(PingConfiguration, given(namespace))])
    if asked.nagios and asked.count is None and asked.sweep is None and asked.deadline is None:
        asked = replace(asked, count=PLUGIN_PROBES)
    probed = target_of(namespace)
    asked.route_to(probed)
    metrics = _metrics_file(asked)
    configuration, source = payload_of(asked)
    tls = tls_of(configuration)
    statistics = Statistics()
    output = Output(sys.stdout, os.environ)
    view = view_of(probed, configuration, statistics, output, time.monotonic)
    with output_may_fail():
        try:
            view.begin()
            tally = _run_to_its_end(probed, configuration, source, tls, statistics, view, output)
        finally:
            output.erase_live_line()
        statistics.finish(tally.sent, tally.elapsed)
        verdicts = [assertion.evaluate(statistics) for assertion in configuration.assert_]
        status = view.end(verdicts)
        tell_failed(namespace.prog, verdicts)
    if metrics is not None:
        _write_metrics(metrics, probed, statistics, status)
    return status


def _metrics_file(configuration: PingConfiguration) -> Path | None:
    """Return where the result goes, if anywhere. Raises ConfigurationError: a run takes too long to end in that."""
    if configuration.metrics is None:
        return None
    path = Path(configuration.metrics)
    if not path.parent.is_dir() or path.is_dir():
        raise ConfigurationError(f"--metrics: {path} is not a file in a directory that there is")
    return path


def _write_metrics(path: Path, probed: HostPort, statistics: Statistics, status: int) -> None:
    from echod.common.files import write_atomically
    from echod.ping.metrics_file import run_metrics  # not before: it imports prometheus_client

    try:
        write_atomically(path, run_metrics(probed, statistics, status, time.time()))
    except OSError as problem:
        raise EchodError(f"cannot write {path}: {problem.strerror}") from None


def _run_to_its_end(
    probed: HostPort,
    configuration: PingConfiguration,
    source: RecordSource,
    tls: "ClientTLSContext | None",
    statistics: Statistics,
    view: View,
    output: Output,
) -> RunSummary:
    from twisted.internet import reactor  # importing it installs it, so not before it is wanted

    use_monotonic_clock(reactor)
    core = cast("IReactorCore", reactor)

    def told(result: ProbeResult) -> None:
        statistics.add(result)
        view.told(result)

    probing = prepare_run(
        cast("IProbeReactor", reactor),
        probed,
        configuration,
        source,
        told,
        tls=tls,
    )
    run: ReactorRun[RunSummary] = ReactorRun(core)

    def guarded(act: Callable[[], None]) -> Callable[[], None]:
        """Return `act` as a signal may call it: where the output fails, that ends the run, as a probe's line does."""

        def guard() -> None:
            try:
                act()
            except OSError:
                if not run.over:
                    run.end(Failure())

        return guard

    def show_status() -> None:
        output.erase_live_line()
        print(*status_lines(statistics, output), sep="\n", file=sys.stderr, flush=True)
        view.redraw()

    on_signal(core, signal.SIGQUIT, guarded(show_status))
    on_signal(core, signal.SIGWINCH, guarded(view.redraw))
    core.callWhenRunning(lambda: probing.start().addBoth(run.end))
    core.addSystemEventTrigger("before", "shutdown", probing.interrupt)
    return run.to_its_end()
