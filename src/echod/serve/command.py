"""`echod serve`: the daemon in the foreground."""

import argparse
import os
import sys
import time
from typing import TYPE_CHECKING, Any, cast

from twisted.logger import Logger, LoggingFile, LogLevel, globalLogBeginner

from echod.cli.parser import add_options, given_options
from echod.common.errors import ConfigurationError
from echod.serve.check import CHECK_HELP, CHECK_RELOAD_HELP, Check, configuration_warnings, read_checked
from echod.serve.daemon import daemon, log_on_standard_error
from echod.serve.sources import ENVIRONMENT_HELP, ConfigurationSources
from echod.server.config import ServerConfiguration

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorCore

__all__ = ["add_arguments", "run", "run_check"]

USAGE_ERROR = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="TOML file with the same names (default: the file that ECHOD_CONFIG names); the command line wins",
    )
    for word, check, help_text in (
        ("check", Check.START, CHECK_HELP),
        ("check-reload", Check.RELOAD, CHECK_RELOAD_HELP),
    ):
        parser.add_argument(f"--{word}", dest="check", action="store_const", const=check, help=help_text)
    add_options(parser, ServerConfiguration)
    parser.epilog = ENVIRONMENT_HELP


def run(namespace: argparse.Namespace) -> int:
    """Serve until a signal stops the daemon, or check the configuration; return the exit status.

    Raises EchodError if the daemon cannot start.
    """
    sources = ConfigurationSources(given_options(namespace), namespace.config, os.environ)
    if namespace.check is not None:
        return 0 if run_check(namespace.prog, sources, namespace.check) else USAGE_ERROR
    configuration = sources.read()
    log = log_on_standard_error(configuration)
    service = daemon(configuration, sources, log)
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


def run_check(prog: str, sources: ConfigurationSources, check: Check) -> bool:
    """Check the configuration and print the result: one line, or one for each problem. Return whether it is valid."""
    from twisted.internet import reactor  # for the parsers of endpoint strings, which do not use it

    try:
        configuration = read_checked(sources, reactor, os.environ, check)
    except ConfigurationError as error:
        for problem in error.problems:
            print(f"{prog}: {problem}", file=sys.stderr)
        return False
    for warning in [*sources.warnings(), *configuration_warnings(configuration, time.time())]:
        print(f"{prog}: warning: {warning}", file=sys.stderr)
    print(f"{prog}: {sources.display_name()} is valid")
    return True
