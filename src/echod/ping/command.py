"""`echod ping`: probe a path and report the results, with options and output like those of ping(8)."""

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

from echod.cli.client_command import add_target, output_errors, parse_target, print_failed_assertions
from echod.cli.parser import add_options, given_options
from echod.cli.process import ReactorRun, on_signal, use_monotonic_clock
from echod.cli.terminal import Output
from echod.client.attempts import IProbeReactor
from echod.client.outcomes import ProbeResult
from echod.client.probe import tls_of
from echod.client.record import RecordSource, described_records, random_records, repeated_records, zero_records
from echod.common.addresses import HostPort
from echod.common.defaults import LARGEST_RECORD
from echod.common.errors import ConfigurationError, EchodError
from echod.common.options import command_line_layer, configure
from echod.ping.config import PingConfiguration
from echod.ping.prober import prepare_run
from echod.ping.run import RunSummary
from echod.ping.statistics import Statistics
from echod.ping.text import status_lines
from echod.ping.views import View, make_view

if TYPE_CHECKING:
    from echod.client.tls import ClientTLSContext

__all__ = ["add_arguments", "run"]

PLUGIN_PROBES = 5
"""The default number of probes of a monitoring plugin, the same as that of check_ping."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_target(parser)
    add_options(parser, PingConfiguration, over_file=False)


def run(namespace: argparse.Namespace) -> int:
    """Probe until the count or the deadline is reached or a signal comes; return the exit status. Raises EchodError."""
    config = configure(PingConfiguration, [command_line_layer(PingConfiguration, given_options(namespace))])
    if config.nagios and config.count is None and config.sweep is None and config.deadline is None:
        config = replace(config, count=PLUGIN_PROBES)
    target = parse_target(namespace)
    config.route_to(target)
    metrics = _metrics_file(config)
    config, source = _record_source(config)
    tls = tls_of(config)
    statistics = Statistics()
    output = Output(sys.stdout, os.environ)
    view = make_view(target, config, statistics, output, time.monotonic)
    with output_errors():
        try:
            view.begin()
            tally = _run_reactor(target, config, source, tls, statistics, view, output)
        finally:
            output.erase_live_line()
        statistics.finish(tally.sent, tally.elapsed)
        verdicts = [assertion.evaluate(statistics) for assertion in config.assert_]
        status = view.end(verdicts)
        print_failed_assertions(namespace.prog, verdicts)
    if metrics is not None:
        _write_metrics(metrics, target, statistics, status)
    return status


def _record_source(config: PingConfiguration) -> tuple[PingConfiguration, RecordSource]:
    """Return the source of the records, and the configuration with their size. Raises ConfigurationError."""
    if config.payload is None:
        return config, described_records(int.from_bytes(os.urandom(8)))
    if config.payload == "random":
        return config, random_records(os.urandom)
    if config.payload == "zero":
        return config, zero_records()
    data = _read_payload(config.payload)
    size = len(data) if config.size is None else config.size
    if size == 0:
        raise ConfigurationError(f"--payload: {config.payload} is empty")
    if size > LARGEST_RECORD:
        raise ConfigurationError(f"--payload: {config.payload} has more than {LARGEST_RECORD} bytes")
    if size > len(data):
        raise ConfigurationError(f"--size: {config.payload} has only {len(data)} bytes, not {size}")
    return replace(config, size=size), repeated_records(data)


def _read_payload(path: str) -> bytes:
    """Return the content of a payload file, up to one byte over the largest record. Raises ConfigurationError."""
    try:
        with Path(path).open("rb") as file:
            return file.read(LARGEST_RECORD + 1)  # bounded: a device such as /dev/zero has no end
    except (OSError, ValueError) as problem:  # a path with a null byte is a ValueError
        reason = problem.strerror if isinstance(problem, OSError) else problem
        raise ConfigurationError(f"--payload: cannot read {path}: {reason}") from None


def _metrics_file(config: PingConfiguration) -> Path | None:
    """Return the path of the metrics file, if any. Raises ConfigurationError, so that no run ends without a file."""
    if config.metrics is None:
        return None
    path = Path(config.metrics)
    if path.is_dir():
        raise ConfigurationError(f"--metrics: {path} is a directory")
    if not path.parent.is_dir():
        raise ConfigurationError(f"--metrics: the directory of {path} does not exist")
    return path


def _write_metrics(path: Path, target: HostPort, statistics: Statistics, status: int) -> None:
    from echod.ping.metrics_file import write_metrics  # only if needed: it imports prometheus_client

    try:
        write_metrics(path, target, statistics, status, time.time())
    except OSError as problem:
        raise EchodError(f"--metrics: cannot write {path}: {problem.strerror}") from None


def _run_reactor(
    target: HostPort,
    config: PingConfiguration,
    source: RecordSource,
    tls: "ClientTLSContext | None",
    statistics: Statistics,
    view: View,
    output: Output,
) -> RunSummary:
    from twisted.internet import reactor  # here, because importing it installs it

    use_monotonic_clock(reactor)
    core = cast("IReactorCore", reactor)

    def on_result(result: ProbeResult) -> None:
        statistics.add(result)
        view.on_result(result)

    probe_run = prepare_run(cast("IProbeReactor", reactor), target, config, source, on_result, tls=tls)
    reactor_run: ReactorRun[RunSummary] = ReactorRun(core)

    def signal_handler(act: Callable[[], None]) -> Callable[[], None]:
        """Return `act` as a signal handler: an output error ends the run, as it does for a probe's line."""

        def handle() -> None:
            try:
                act()
            except OSError:
                if not reactor_run.finished:
                    reactor_run.finish(Failure())

        return handle

    def show_status() -> None:
        output.erase_live_line()
        print(*status_lines(statistics, output), sep="\n", file=sys.stderr, flush=True)
        view.redraw()

    on_signal(core, signal.SIGQUIT, signal_handler(show_status))
    on_signal(core, signal.SIGWINCH, signal_handler(view.redraw))
    core.callWhenRunning(lambda: probe_run.start().addBoth(reactor_run.finish))
    core.addSystemEventTrigger("before", "shutdown", probe_run.interrupt)
    return reactor_run.run()
