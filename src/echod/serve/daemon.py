"""From a configuration to a daemon in this process: what `twistd echod`, `echod serve` and etc/echod.tac share."""

import os
import signal
import sys
import time
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TextIO, cast

from twisted.application.service import Application, Service
from twisted.logger import ILogObserver, textFileLogObserver
from twisted.python.components import Componentized

from echod.cli.process import descriptor_limit, on_next_stop_signal, on_signal, one_line_excepthook, use_monotonic_clock
from echod.common.errors import ConfigurationError, EchodError
from echod.common.options import command_line_layer, configure, file_layer
from echod.serve.access_log import AccessLog
from echod.serve.access_log_lines import LINE_FORMATS
from echod.serve.json_log import json_observer
from echod.serve.refusal_log import RefusalLog
from echod.server.assembly import IDaemonReactor, listener_reactor, make_service
from echod.server.config import ServerConfiguration
from echod.server.observer import IConnectionObserver, Observers
from echod.server.supervisor import Systemd
from echod.transport import background_reactor

__all__ = ["application_from_file", "daemon", "log_observer", "server_configuration"]


def server_configuration(given: Iterable[tuple[str, str]], config: str | None = None) -> ServerConfiguration:
    """Return the configuration that the file `config` and the options `given` make; the options win.

    `given` are (option name, text) pairs. Raises ConfigurationError.
    """
    layers = [] if config is None else [file_layer(ServerConfiguration, _read_toml(config), config)]
    layers.append(command_line_layer(ServerConfiguration, given))
    return configure(ServerConfiguration, layers)


def log_observer(configuration: ServerConfiguration, out: TextIO) -> ILogObserver:
    """Return what writes the log to `out` in the format that the configuration says."""
    return json_observer(out) if configuration.log_format == "json" else textFileLogObserver(out)


def daemon(configuration: ServerConfiguration) -> Service:
    """Return the daemon for this process's own reactor, and prepare the process for it.

    The process then has a reactor clock that no step of the wall clock moves, ends at a second
    SIGTERM or SIGINT without waiting for anyone, loads its files again at SIGHUP, opens its access log
    again at SIGHUP and SIGUSR1, and tells an EchodError in one line. Raises ConfigurationError.
    """
    from twisted.internet import reactor as installed  # importing it installs it, so not before it is wanted

    sys.excepthook = one_line_excepthook
    use_monotonic_clock(installed)
    reactor = cast("IDaemonReactor", installed)
    refusals = RefusalLog(reactor)
    observers: list[IConnectionObserver] = [refusals]
    totals = None
    if configuration.admin is not None:
        from echod.admin.totals import Totals  # and no more of that room, nor what it imports, than is asked for

        totals = Totals()
        observers.append(totals)
    reopen: list[tuple[str, Callable[[], None]]] = []
    if configuration.access_log is not None:
        # Not sys.stdout: twistd redirects that one into its own log.
        access = AccessLog(configuration.access_log, LINE_FORMATS[configuration.log_format], time.time, sys.__stdout__)
        observers.append(access)
        reopen.append(("access log", access.open_again))
        reactor.addSystemEventTrigger("after", "shutdown", access.close)
    sockets = listener_reactor(configuration, reactor)
    service = make_service(
        configuration,
        reactor,
        sockets=sockets,
        observer=Observers(observers),
        supervisor=Systemd.from_environment(os.environ, reactor),
        descriptors=descriptor_limit(),
        load_again=reopen,
        waits=None if totals is None else totals.waits,
    )
    reactor.addSystemEventTrigger("after", "shutdown", refusals.close)
    reactor.addSystemEventTrigger("before", "shutdown", on_next_stop_signal, reactor, service.cut)
    on_signal(reactor, signal.SIGHUP, service.reload)
    # Without an access log too: what rotates logs may signal whatever runs, and the signal's default is to kill.
    reactor.callWhenRunning(on_signal, reactor, signal.SIGUSR1, lambda: service.load(reopen))
    if configuration.admin is None or totals is None:
        return service
    from echod.admin.service import make_admin

    return make_admin(configuration.admin, reactor, background_reactor(sockets), service, totals)


def application_from_file(path: str) -> Componentized:
    """Return the application, for a .tac file, that the TOML file at `path` describes.

    Raises SystemExit with one line for the user, where twistd would show a traceback.
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
    except ValueError as problem:  # TOMLDecodeError and UnicodeDecodeError are both of this kind
        raise ConfigurationError(f"{path}: is not TOML: {problem}") from None
