"""From a configuration to a daemon in this process: what `twistd echod`, `echod serve` and etc/echod.tac share."""

import signal
import sys
import time
import tomllib
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, cast

from twisted.internet.interfaces import IDelayedCall

from echod.core.configuration import ServerConfiguration
from echod.core.errors import ConfigurationError, EchodError
from echod.core.options import command_line_layer, configure, file_layer
from echod.server.assembly import IDaemonReactor, make_service
from echod.server.service import EchoService

__all__ = ["daemon", "daemon_from_file", "server_configuration", "use_monotonic_clock"]


def server_configuration(given: Iterable[tuple[str, str]], config: str | None = None) -> ServerConfiguration:
    """Return the configuration that the file `config` and the options `given` make; the options win.

    `given` are (option name, text) pairs. Raises ConfigurationError.
    """
    layers = [] if config is None else [file_layer(ServerConfiguration, _read_toml(config), config)]
    layers.append(command_line_layer(ServerConfiguration, given))
    return configure(ServerConfiguration, layers)


def daemon(configuration: ServerConfiguration) -> EchoService:
    """Return the daemon for this process's own reactor, and prepare the process for it.

    The process then has a reactor clock that no step of the wall clock moves, ends at a
    second SIGTERM or SIGINT without waiting for anyone, and tells an EchodError in one line.
    Raises ConfigurationError.
    """
    from twisted.internet import reactor  # importing it installs it, so not before it is wanted

    sys.excepthook = _tell_in_one_line
    use_monotonic_clock(reactor)
    daemon_reactor = cast("IDaemonReactor", reactor)
    service = make_service(configuration, daemon_reactor)
    daemon_reactor.addSystemEventTrigger("before", "shutdown", _cut_at_next_signal, daemon_reactor, service)
    return service


def daemon_from_file(path: str) -> EchoService:
    """Return the daemon that the TOML file at `path` describes: for a .tac file.

    Raises SystemExit with one line for the user, where twistd would show a traceback.
    """
    try:
        return daemon(server_configuration([], path))
    except EchodError as problem:
        raise SystemExit(f"echod: {problem}") from None


def use_monotonic_clock(reactor: Any) -> None:
    """Make `reactor` count its seconds on a clock that nobody can set.

    Twisted's reactors count on `time.time`, so that a step of the wall clock fires every
    deadline at once, or none for as long as the step was. Calls that are already
    scheduled keep their distance.
    """
    ahead = time.monotonic() - reactor.seconds()
    reactor.seconds = time.monotonic
    pending: IDelayedCall
    for pending in reactor.getDelayedCalls():
        call = cast("Any", pending)
        call.time += ahead
        call.seconds = time.monotonic


def _read_toml(path: str) -> dict[str, object]:
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as problem:
        raise ConfigurationError(f"--config: cannot read {path}: {problem.strerror}") from None
    except ValueError as problem:  # TOMLDecodeError and UnicodeDecodeError are both of this kind
        raise ConfigurationError(f"{path}: is not TOML: {problem}") from None


def _cut_at_next_signal(reactor: IDaemonReactor, service: EchoService) -> None:
    """From now on, SIGTERM and SIGINT end all connections: the reactor would ignore them while it stops."""

    def cut(*_: object) -> None:
        cast("Any", reactor).callFromThread(service.cut)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, cut)


def _tell_in_one_line(kind: type[BaseException], problem: BaseException, trace: TracebackType | None) -> None:
    """An excepthook: twistd lets what stops a service from starting fall through to it."""
    if isinstance(problem, EchodError):
        print(f"echod: {problem}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, problem, trace)
