"""The daemon in this process, from its configuration: shared by `twistd echod`, `echod serve` and etc/echod.tac."""

import atexit
import gc
import getopt
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from twisted.application.service import Application, Service
from twisted.logger import Logger
from twisted.python.components import Componentized

from echod.cli.daemonizing import ReportingService
from echod.cli.process import (
    descriptor_limit,
    error_line,
    is_journal,
    on_next_stop_signal,
    on_signal,
    one_line_excepthook,
    open_standard_descriptors,
    use_monotonic_clock,
)
from echod.common.errors import ConfigurationError, EchodError
from echod.serve.access_log import STANDARD_OUTPUT, AccessLog, ConfiguredAccessLog
from echod.serve.check import Check, read_checked
from echod.serve.daemon_log import DaemonLog, line_of_event
from echod.serve.destinations import InheritedStream, RotatedFile
from echod.serve.log_lines import ACCESS_LINES, JOURNAL_ACCESS_LINES
from echod.serve.logs import LoggedService, Logs
from echod.serve.refusal_log import RefusalLog
from echod.serve.sources import ConfigurationSources
from echod.server.assembly import IDaemonReactor, listener_reactor, make_service
from echod.server.config import ServerConfiguration
from echod.server.observer import IConnectionObserver, Observers
from echod.server.service import EchoService
from echod.server.supervisor import Systemd
from echod.transport import background_reactor

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorFromThreads

    from echod.admin.connection_totals import ConnectionTotals

__all__ = ["application_from_file", "daemon", "log_of_twistd", "log_on_standard_error", "refuse_for_twistd"]


def log_on_standard_error(configuration: ServerConfiguration) -> DaemonLog:
    """Return the daemon's log for standard error."""
    return _log_on_stream(configuration, _descriptor(sys.__stderr__, 2), "standard error")


def refuse_for_twistd(twistd: Mapping[str, object] | None, configuration: ServerConfiguration) -> None:
    """Raise ConfigurationError if the configuration cannot be combined with these options of `twistd`.

    None: another program runs the daemon.
    """
    if twistd is None:
        return
    if _daemonizes(twistd) and configuration.access_log == STANDARD_OUTPUT:
        raise ConfigurationError(
            "access-log: - is standard output, which a daemonizing twistd closes: use twistd -n, or a file"
        )
    if twistd.get("syslog") and not twistd.get("logger") and configuration.log_format == "json":
        raise ConfigurationError("log-format: json cannot be combined with twistd --syslog")


def log_of_twistd(configuration: ServerConfiguration, twistd: Mapping[str, object] | None) -> DaemonLog | None:
    """Return the daemon's log for the options of `twistd`, as in `refuse_for_twistd`.

    None: another program writes the log, or twistd has an observer, for --logger or --syslog. Raises
    ConfigurationError.
    """
    if twistd is None or twistd.get("logger") or twistd.get("syslog"):
        return None
    file = str(twistd.get("logfile") or ("twistd.log" if _daemonizes(twistd) else STANDARD_OUTPUT))
    if file == STANDARD_OUTPUT:
        if _daemonizes(twistd):
            raise ConfigurationError("a daemonizing twistd cannot log to standard output: use twistd -n, or a file")
        return _log_on_stream(configuration, _descriptor(sys.__stdout__, 1), "standard output")
    try:
        destination = RotatedFile(str(Path(file).absolute()))
    except OSError as problem:
        raise ConfigurationError(f"--logfile: cannot open {file}: {problem.strerror}") from None
    return DaemonLog(destination, line_of_event(configuration.log_format, journal=False))


def _daemonizes(twistd: Mapping[str, object]) -> bool:
    return not (twistd.get("nodaemon") or twistd.get("debug"))


def _log_on_stream(configuration: ServerConfiguration, descriptor: int | None, name: str) -> DaemonLog:
    in_journal = is_journal(descriptor, os.environ)
    line = line_of_event(configuration.log_format, journal=in_journal)
    return DaemonLog(InheritedStream(descriptor, name), line, in_journal=in_journal)


def _descriptor(stream: object | None, number: int) -> int | None:
    """Return the number of a standard stream; None: it is closed, and the number may be that of another file."""
    return None if stream is None else number


def daemon(configuration: ServerConfiguration, sources: ConfigurationSources, log: DaemonLog | None) -> Service:
    """Return the daemon as a service for this process's reactor, and prepare the process.

    `configuration` was read from `sources`. `log` is the daemon's log, which the caller has to install. The process
    then has a reactor clock that steps of the wall clock do not move, exits without draining at a second SIGTERM or
    SIGINT, reads `sources` again at SIGHUP, reopens its access log at SIGHUP and SIGUSR1, and prints an EchodError as
    one line. Raises ConfigurationError.
    """
    reactor = _prepare_process()
    for warning in sources.warnings():
        Logger(namespace=__name__).warn("{text}", text=warning)
    refusals = RefusalLog(reactor)
    totals = _connection_totals(configuration)
    access_log = ConfiguredAccessLog(configuration, partial(_access_log, reactor=reactor))
    logs = Logs(log, access_log)
    observers: list[IConnectionObserver] = [each for each in (refusals, totals, access_log) if each is not None]
    sockets = listener_reactor(configuration, reactor)
    service = make_service(
        configuration,
        reactor,
        sockets=sockets,
        observer=Observers(observers),
        supervisor=Systemd.from_environment(os.environ, reactor),
        descriptors=descriptor_limit(),
        waits=None if totals is None else totals.waits,
    )
    if log is not None:
        service.last_reload.add(log)
    service.last_reload.add(access_log)
    _close_after_shutdown(reactor, refusals, logs)
    _handle_signals(reactor, service, logs, lambda: read_checked(sources, reactor, os.environ, Check.SIGNAL))
    if configuration.admin is None or totals is None:
        return LoggedService(ReportingService(reactor, service), logs)
    with_admin = _with_admin(configuration, configuration.admin, reactor, sockets, service, totals, logs)
    return LoggedService(ReportingService(reactor, with_admin), logs)


def _prepare_process() -> IDaemonReactor:
    open_standard_descriptors()
    from twisted.internet import reactor as installed  # importing it installs it: not before a daemon is made

    sys.excepthook = one_line_excepthook
    use_monotonic_clock(installed)
    # The objects of modules live as long as the process. A full collection visits them all, which takes 15 ms or more:
    # meanwhile the accept queue overflows.
    installed.callWhenRunning(gc.freeze)
    return cast("IDaemonReactor", installed)


def _connection_totals(configuration: ServerConfiguration) -> "ConnectionTotals | None":
    if configuration.admin is None:
        return None
    from echod.admin.connection_totals import ConnectionTotals  # not loaded without --admin

    return ConnectionTotals()


def _access_log(configuration: ServerConfiguration, reactor: IDaemonReactor) -> AccessLog | None:
    if configuration.access_log is None:
        return None
    descriptor = _descriptor(sys.__stdout__, 1)
    stdout = InheritedStream(descriptor, "standard output")
    in_journal = configuration.access_log == STANDARD_OUTPUT and is_journal(descriptor, os.environ)
    lines = (JOURNAL_ACCESS_LINES if in_journal else ACCESS_LINES)[configuration.log_format]
    from_threads = cast("IReactorFromThreads", reactor)
    return AccessLog(configuration.access_log, lines, time.time, from_threads.callFromThread, stdout)


def _close_after_shutdown(reactor: IDaemonReactor, refusals: RefusalLog, logs: Logs) -> None:
    reactor.addSystemEventTrigger("after", "shutdown", refusals.close)
    reactor.addSystemEventTrigger("after", "shutdown", logs.close)
    atexit.register(logs.close)  # if the start fails
    reactor.addSystemEventTrigger("after", "shutdown", atexit.unregister, logs.close)


def _handle_signals(
    reactor: IDaemonReactor, service: EchoService, logs: Logs, read: Callable[[], ServerConfiguration]
) -> None:
    reactor.addSystemEventTrigger("before", "shutdown", on_next_stop_signal, reactor, service.cut)
    on_signal(reactor, signal.SIGHUP, lambda: service.reload(read, logs.reopen))
    # Also without an access log: log rotation may signal every daemon, and the default action of SIGUSR1 is to kill.
    reactor.callWhenRunning(on_signal, reactor, signal.SIGUSR1, logs.rotate)


def _with_admin(
    configuration: ServerConfiguration,
    address: str,
    reactor: IDaemonReactor,
    sockets: IDaemonReactor,
    service: EchoService,
    totals: "ConnectionTotals",
    logs: Logs,
) -> Service:
    from echod.admin.service import make_admin  # imports prometheus_client: not without --admin

    return make_admin(
        address,
        reactor,
        background_reactor(sockets),
        service,
        totals,
        logs.lines_dropped,
        configuration.admin_directory,
    )


def application_from_file(path: str) -> Componentized:
    """Return the application for a .tac file, configured by the TOML file at `path`.

    Raises SystemExit with one line: for an EchodError twistd would print a traceback.
    """
    try:
        twistd = _options_of_twistd()
        sources = ConfigurationSources([], path, os.environ, partial(refuse_for_twistd, twistd))
        configuration = sources.read()
        service = daemon(configuration, sources, log_of_twistd(configuration, twistd))
    except EchodError as problem:
        raise SystemExit(error_line(f"echod: {problem}")) from None
    application: Componentized = Application("echod")
    service.setServiceParent(application)
    return application


def _options_of_twistd() -> Mapping[str, object] | None:
    """Return the options of the twistd that runs a .tac file, by its command line; None: another program runs it."""
    if Path(sys.argv[0]).stem != "twistd":
        return None
    from twisted.scripts.twistd import ServerOptions  # type: ignore[attr-defined]  # not in its __all__

    twistd = ServerOptions()
    given, _ = getopt.getopt(sys.argv[1:], twistd.shortOpt, twistd.longOpt)
    return {twistd.synonyms[name.lstrip("-")]: text or True for name, text in given}
