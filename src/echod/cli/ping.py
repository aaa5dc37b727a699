"""`echod ping`: probe a path, and tell of it in the manner of ping(8)."""

import argparse
import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn, cast

from twisted.internet.error import ReactorNotRunning
from twisted.internet.interfaces import IReactorCore
from twisted.python.failure import Failure

from echod.cli.parsing import add_command, add_options, given
from echod.cli.payload import payload_of
from echod.cli.process import use_monotonic_clock
from echod.cli.report import header_line, result_line, summary_lines
from echod.core.addresses import HostPort
from echod.core.configuration import DEFAULT_PORT, PingConfiguration
from echod.core.errors import ConfigurationError
from echod.core.kinds import PORT
from echod.core.options import command_line_layer, configure
from echod.core.source import RecordSource
from echod.core.statistics import Tally
from echod.probe import IProbeReactor, prepare_run, target

if TYPE_CHECKING:
    from echod.probe import ClientTLSContext

__all__ = ["add_to"]


def add_to(commands: "argparse._SubParsersAction[Any]") -> None:
    """Declare the command."""
    about = "send records to an echo server and verify what comes back"
    parser = add_command(commands, "ping", about, run)
    parser.add_argument("host", metavar="HOST", help="name, 192.0.2.1, 2001:db8::1, [2001:db8::1] or fe80::1%%eth0")
    parser.add_argument("port", metavar="PORT", nargs="?", default=str(DEFAULT_PORT), help=f"[default: {DEFAULT_PORT}]")
    add_options(parser, PingConfiguration, over_file=False)


def run(namespace: argparse.Namespace) -> int:
    """Probe until the count is reached or a signal comes; return 0 where all was echoed, else 1.

    Raises ConfigurationError.
    """
    asked = configure(PingConfiguration, [command_line_layer(PingConfiguration, given(namespace))])
    probed = _target(namespace.host, namespace.port)
    asked.route_to(probed)
    configuration, source = payload_of(asked)
    tls = _tls(configuration)
    try:
        _say(header_line(probed, configuration.sizes, configuration.client_tls))
        tally = _run_to_its_end(probed, configuration, source, tls)
        for line in summary_lines(probed, tally):
            _say(line)
    except BrokenPipeError:
        _end_as_by_sigpipe()
    return 0 if tally.all_echoed else 1


def _target(host: str, port: str) -> HostPort:
    try:
        number = PORT.from_text(port)
    except ValueError as problem:
        raise ConfigurationError(f"port: {problem}") from None
    try:
        return target(host, number)
    except ValueError as problem:
        raise ConfigurationError(f"host: {problem}") from None


def _tls(configuration: PingConfiguration) -> "ClientTLSContext | None":
    if configuration.client_tls is None:
        return None
    from echod.probe import ClientTLSContext  # takes its time, and a plain probe can do without

    return ClientTLSContext(configuration.client_tls)


def _run_to_its_end(
    probed: HostPort, configuration: PingConfiguration, source: RecordSource, tls: "ClientTLSContext | None"
) -> Tally:
    from twisted.internet import reactor  # importing it installs it, so not before it is wanted

    use_monotonic_clock(reactor)
    core = cast("IReactorCore", reactor)
    probing = prepare_run(
        cast("IProbeReactor", reactor),
        probed,
        configuration,
        source,
        lambda result: _say(result_line(result)),
        tls=tls,
    )
    ended: list[Tally | Failure] = []

    def stop(tally: Tally | Failure) -> None:
        ended.append(tally)
        with suppress(ReactorNotRunning):  # where a signal ended the run, the reactor is stopping already
            core.stop()

    core.callWhenRunning(lambda: probing.start().addBoth(stop))
    core.addSystemEventTrigger("before", "shutdown", probing.interrupt)
    core.run()
    tally = ended[0]
    if isinstance(tally, Failure):
        tally.raiseException()
    return tally


def _say(line: str) -> None:
    print(line, flush=True)


def _end_as_by_sigpipe() -> NoReturn:
    """End as a C program does whose reader is gone: silently, by the signal that Python ignores."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGPIPE)
    raise SystemExit(1)
