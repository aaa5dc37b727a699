"""`echod serve`: the daemon in the foreground."""

import argparse
import sys
from typing import TYPE_CHECKING, Any, cast

from twisted.logger import Logger, LoggingFile, LogLevel, globalLogBeginner

from echod.cli.parser import add_options, given_options
from echod.serve.daemon import daemon, log_on_standard_error, server_configuration
from echod.server.config import ServerConfiguration

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorCore

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--config", metavar="FILE", help="TOML file with the same names; the command line wins")
    add_options(parser, ServerConfiguration)


def run(namespace: argparse.Namespace) -> int:
    """Serve until a signal stops the daemon; return 0. Raises EchodError if the daemon cannot start."""
    configuration = server_configuration(given_options(namespace), namespace.config)
    log = log_on_standard_error(configuration)
    service = daemon(configuration, log)
    from twisted.internet import reactor as installed  # importing it installs it: not before the daemon is made

    reactor = cast("IReactorCore", installed)
    globalLogBeginner.beginLoggingTo([log], redirectStandardIO=False)
    service.privilegedStartService()
    service.startService()
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    _log_standard_streams()
    reactor.run()
    return 0


def _log_standard_streams() -> None:
    """Log what is printed, such as the traceback of a thread: a write to a stream whose reader is slow would wait.

    Not before the start has succeeded: its error is printed, without a log's time and level.
    """
    streams: Any = sys
    streams.stdout = LoggingFile(Logger("stdout"), LogLevel.info)
    streams.stderr = LoggingFile(Logger("stderr"), LogLevel.error)
