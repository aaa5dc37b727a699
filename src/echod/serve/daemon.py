"""The daemon in this process, from its configuration: shared by `twistd echod`, `echod serve` and etc/echod.tac."""

import atexit
import gc
import getopt
import os
import signal
import sys
import time
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from twisted.application.service import Application, Service
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
from echod.common.options import command_line_layer, configure, file_layer
from echod.serve.access_log import STANDARD_OUTPUT, AccessLog
from echod.serve.daemon_log import DaemonLog, line_of_event
from echod.serve.destinations import InheritedStream, RotatedFile
from echod.serve.log_lines import ACCESS_LINES, JOURNAL_ACCESS_LINES
from echod.serve.logs import LoggedService, Logs
from echod.serve.refusal_log import RefusalLog
from echod.server.assembly import IDaemonReactor, listener_reactor, make_service
from echod.server.config import ServerConfiguration
from echod.server.observer import IConnectionObserver, ObserverExcept, Observers
from echod.server.service import EchoService
from echod.server.summary import CloseReason
from echod.server.supervisor import Systemd
from echod.transport import background_reactor

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorFromThreads

    from echod.admin.connection_totals import ConnectionTotals

__all__ = ["application_from_file", "daemon", "log_of_twistd", "log_on_standard_error", "server_configuration"]

ReloadStep = tuple[str, Callable[[], None]]
"""The name of a file that is loaded again at a signal, for the log, and the function that loads it."""


def server_configuration(given: Iterable[tuple[str, str]], config: str | None = None) -> ServerConfiguration:
    """Return the configuration from the TOML file `config` and the options `given`, which win.

    `given` are pairs of option name and text. Raises ConfigurationError.
    """
    layers = [] if config is None else [file_layer(ServerConfiguration, _read_toml(config), config)]
    layers.append(command_line_layer(ServerConfiguration, given))
    return configure(ServerConfiguration, layers)


def log_on_standard_error(configuration: ServerConfiguration) -> DaemonLog:
    """Return the daemon's log for standard error."""
    return _log_on_stream(configuration, _descriptor(sys.__stderr__, 2), "standard error")


def log_of_twistd(configuration: ServerConfiguration, twistd: Mapping[str, object]) -> DaemonLog | None:
    """Return the daemon's log for the options of `twistd`; None: twistd has an observer, for --logger or --syslog.

    Raises ConfigurationError.
    """
    daemonizes = not (twistd.get("nodaemon") or twistd.get("debug"))
    if daemonizes and configuration.access_log == STANDARD_OUTPUT:
        raise ConfigurationError(
            "access-log: - is standard output, which a daemonizing twistd closes: use twistd -n, or a file"
        )
    if twistd.get("logger"):
        return None
    if twistd.get("syslog"):
        if configuration.log_format == "json":
            raise ConfigurationError("log-format: json cannot be combined with twistd --syslog")
        return None
    file = str(twistd.get("logfile") or ("twistd.log" if daemonizes else STANDARD_OUTPUT))
    if file == STANDARD_OUTPUT:
        if daemonizes:
            raise ConfigurationError("a daemonizing twistd cannot log to standard output: use twistd -n, or a file")
        return _log_on_stream(configuration, _descriptor(sys.__stdout__, 1), "standard output")
    try:
        destination = RotatedFile(str(Path(file).absolute()))
    except OSError as problem:
        raise ConfigurationError(f"--logfile: cannot open {file}: {problem.strerror}") from None
    return DaemonLog(destination, line_of_event(configuration.log_format, journal=False))


def _log_on_stream(configuration: ServerConfiguration, descriptor: int | None, name: str) -> DaemonLog:
    line = line_of_event(configuration.log_format, journal=is_journal(descriptor, os.environ))
    return DaemonLog(InheritedStream(descriptor, name), line)


def _descriptor(stream: object | None, number: int) -> int | None:
    """Return the number of a standard stream; None: it is closed, and the number may be that of another file."""
    return None if stream is None else number


def daemon(configuration: ServerConfiguration, log: DaemonLog | None) -> Service:
    """Return the daemon as a service for this process's reactor, and prepare the process.

    `log` is the daemon's log, which the caller has to install. The process then has a reactor clock that steps of the
    wall clock do not move, exits without draining at a second SIGTERM or SIGINT, reloads its files at SIGHUP, reopens
    its access log at SIGHUP and SIGUSR1, and prints an EchodError as one line. Raises ConfigurationError.
    """
    reactor = _prepare_process()
    refusals = RefusalLog(reactor)
    totals = _connection_totals(configuration)
    logs = Logs(log, _access_log(configuration, reactor))
    observers: list[IConnectionObserver] = [each for each in (refusals, totals) if each is not None]
    if logs.access is not None:
        unlogged = set() if configuration.log_health_checks else {CloseReason.HEALTH_CHECK}
        observers.append(ObserverExcept(unlogged, logs.access))
    reopen = [] if logs.access is None else [("access log", logs.access.reopen)]
    sockets = listener_reactor(configuration, reactor)
    service = make_service(
        configuration,
        reactor,
        sockets=sockets,
        observer=Observers(observers),
        supervisor=Systemd.from_environment(os.environ, reactor),
        descriptors=descriptor_limit(),
        reloaders=reopen,
        waits=None if totals is None else totals.waits,
    )
    _close_after_shutdown(reactor, refusals, logs)
    _handle_signals(reactor, service, reopen, log)
    if configuration.admin is None or totals is None:
        return LoggedService(ReportingService(reactor, service), logs)
    with_admin = _with_admin(configuration.admin, reactor, sockets, service, totals, logs)
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
    reactor: IDaemonReactor, service: EchoService, reopen: Sequence[ReloadStep], log: DaemonLog | None
) -> None:
    reactor.addSystemEventTrigger("before", "shutdown", on_next_stop_signal, reactor, service.cut)
    on_signal(reactor, signal.SIGHUP, service.reload)

    rotate = [("log", log.rotate)] if log is not None and log.is_rotated else []
    # Also without an access log: log rotation may signal every daemon, and the default action of SIGUSR1 is to kill.
    reactor.callWhenRunning(on_signal, reactor, signal.SIGUSR1, lambda: service.run_reloaders([*rotate, *reopen]))


def _with_admin(
    address: str,
    reactor: IDaemonReactor,
    sockets: IDaemonReactor,
    service: EchoService,
    totals: "ConnectionTotals",
    logs: Logs,
) -> Service:
    from echod.admin.service import make_admin  # imports prometheus_client: not without --admin

    return make_admin(address, reactor, background_reactor(sockets), service, totals, logs.lines_dropped)


def application_from_file(path: str) -> Componentized:
    """Return the application for a .tac file, configured by the TOML file at `path`.

    Raises SystemExit with one line: for an EchodError twistd would print a traceback.
    """
    try:
        configuration = server_configuration([], path)
        twistd = _options_of_twistd()
        log = None if twistd is None else log_of_twistd(configuration, twistd)
        service = daemon(configuration, log)
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


def _read_toml(path: str) -> dict[str, object]:
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as problem:
        raise ConfigurationError(f"--config: cannot read {path}: {problem.strerror}") from None
    except ValueError as problem:  # TOMLDecodeError and UnicodeDecodeError are subclasses
        raise ConfigurationError(f"{path}: is not TOML: {problem}") from None
    except RecursionError:
        raise ConfigurationError(f"{path}: is not TOML: too many nested values") from None
