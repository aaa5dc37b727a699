"""The daemon in this process, from its configuration: shared by `twistd echod`, `echod serve` and etc/echod.tac."""

import os
import signal
import sys
import time
import tomllib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, cast

from twisted.application.service import Application, Service
from twisted.logger import ILogObserver, textFileLogObserver
from twisted.python.components import Componentized

from echod.cli.process import descriptor_limit, on_next_stop_signal, on_signal, one_line_excepthook, use_monotonic_clock
from echod.common.errors import ConfigurationError, EchodError
from echod.common.options import command_line_layer, configure, file_layer
from echod.serve.access_log import AccessLog
from echod.serve.log_lines import ACCESS_LINES, json_observer
from echod.serve.refusal_log import RefusalLog
from echod.server.assembly import IDaemonReactor, listener_reactor, make_service
from echod.server.config import ServerConfiguration
from echod.server.observer import IConnectionObserver, Observers
from echod.server.service import EchoService
from echod.server.supervisor import Systemd
from echod.transport import background_reactor

if TYPE_CHECKING:
    from echod.admin.connection_totals import ConnectionTotals

__all__ = ["application_from_file", "daemon", "log_observer", "server_configuration"]

ReloadStep = tuple[str, Callable[[], None]]
"""The name of a file that is loaded again at a signal, for the log, and the function that loads it."""


def server_configuration(given: Iterable[tuple[str, str]], config: str | None = None) -> ServerConfiguration:
    """Return the configuration from the TOML file `config` and the options `given`, which win.

    `given` are pairs of option name and text. Raises ConfigurationError.
    """
    layers = [] if config is None else [file_layer(ServerConfiguration, _read_toml(config), config)]
    layers.append(command_line_layer(ServerConfiguration, given))
    return configure(ServerConfiguration, layers)


def log_observer(configuration: ServerConfiguration, out: TextIO) -> ILogObserver:
    """Return an observer that writes the log to `out` in the configured format."""
    return json_observer(out) if configuration.log_format == "json" else textFileLogObserver(out)


def daemon(configuration: ServerConfiguration) -> Service:
    """Return the daemon as a service for this process's reactor, and prepare the process.

    The process then has a reactor clock that steps of the wall clock do not move, exits without draining at a second
    SIGTERM or SIGINT, reloads its files at SIGHUP, reopens its access log at SIGHUP and SIGUSR1, and prints an
    EchodError as one line. Raises ConfigurationError.
    """
    reactor = _prepare_process()
    refusals = RefusalLog(reactor)
    totals = _connection_totals(configuration)
    access_log = _access_log(configuration)
    observers: list[IConnectionObserver] = [each for each in (refusals, totals, access_log) if each is not None]
    reopen = [] if access_log is None else [("access log", access_log.reopen)]
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
    _close_after_shutdown(reactor, access_log, refusals)
    _handle_signals(reactor, service, reopen)
    if configuration.admin is None or totals is None:
        return service
    return _with_admin(configuration, configuration.admin, reactor, sockets, service, totals)


def _prepare_process() -> IDaemonReactor:
    from twisted.internet import reactor as installed  # importing it installs it: not before a daemon is made

    sys.excepthook = one_line_excepthook
    use_monotonic_clock(installed)
    return cast("IDaemonReactor", installed)


def _connection_totals(configuration: ServerConfiguration) -> "ConnectionTotals | None":
    if configuration.admin is None:
        return None
    from echod.admin.connection_totals import ConnectionTotals  # not loaded without --admin

    return ConnectionTotals()


def _access_log(configuration: ServerConfiguration) -> AccessLog | None:
    if configuration.access_log is None:
        return None
    # Not sys.stdout, which twistd redirects into its own log.
    return AccessLog(configuration.access_log, ACCESS_LINES[configuration.log_format], time.time, sys.__stdout__)


def _close_after_shutdown(reactor: IDaemonReactor, *logs: RefusalLog | AccessLog | None) -> None:
    for log in logs:
        if log is not None:
            reactor.addSystemEventTrigger("after", "shutdown", log.close)


def _handle_signals(reactor: IDaemonReactor, service: EchoService, reopen: Sequence[ReloadStep]) -> None:
    reactor.addSystemEventTrigger("before", "shutdown", on_next_stop_signal, reactor, service.cut)
    on_signal(reactor, signal.SIGHUP, service.reload)
    # Also without an access log: log rotation may signal every daemon, and the default action of SIGUSR1 is to kill.
    reactor.callWhenRunning(on_signal, reactor, signal.SIGUSR1, lambda: service.run_reloaders(reopen))


def _with_admin(
    configuration: ServerConfiguration,
    address: str,
    reactor: IDaemonReactor,
    sockets: IDaemonReactor,
    service: EchoService,
    totals: "ConnectionTotals",
) -> Service:
    from echod.admin.service import make_admin  # imports twisted.web and prometheus_client: not without --admin

    return make_admin(address, reactor, background_reactor(sockets), service, totals, configuration.admin_directory)


def application_from_file(path: str) -> Componentized:
    """Return the application for a .tac file, configured by the TOML file at `path`.

    Raises SystemExit with one line: for an EchodError twistd would print a traceback.
    """
    try:
        configuration = server_configuration([], path)
        service = daemon(configuration)
    except EchodError as problem:
        raise SystemExit(f"echod: {problem}") from None
    application: Componentized = Application("echod")
    service.setServiceParent(application)
    if configuration.log_format == "json":
        application.setComponent(ILogObserver, log_observer(configuration, sys.stdout))
    return application


def _read_toml(path: str) -> dict[str, object]:
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as problem:
        raise ConfigurationError(f"--config: cannot read {path}: {problem.strerror}") from None
    except ValueError as problem:  # TOMLDecodeError and UnicodeDecodeError are subclasses
        raise ConfigurationError(f"{path}: is not TOML: {problem}") from None
