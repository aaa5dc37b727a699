"""`echod serve`: the daemon in the foreground."""

import argparse
import sys
from typing import TYPE_CHECKING, cast

from twisted.logger import globalLogBeginner

from echod.cli.parser import add_options, given_options
from echod.serve.daemon import daemon, log_observer, server_configuration
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
    service = daemon(configuration)
    from twisted.internet import reactor as installed  # importing it installs it: not before the daemon is made

    reactor = cast("IReactorCore", installed)
    globalLogBeginner.beginLoggingTo([log_observer(configuration, sys.stderr)], redirectStandardIO=False)
    service.privilegedStartService()
    service.startService()
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    reactor.run()
    return 0
