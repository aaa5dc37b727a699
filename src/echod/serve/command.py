"""`echod serve`: the daemon in the foreground."""

import argparse
import sys
from typing import TYPE_CHECKING, cast

from echod.cli.parser import add_options, given_options
from echod.server.config import ServerConfiguration

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorCore

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--config", metavar="FILE", help="TOML file with the same names; the command line wins")
    add_options(parser, ServerConfiguration)


def run(namespace: argparse.Namespace) -> int:
    """Serve until a signal ends it; return 0. Raises EchodError where it cannot start."""
    # The daemon's imports are half as long again as the probe's start, which would wait for them too.
    from twisted.logger import globalLogBeginner

    from echod.serve.daemon import daemon, log_observer, server_configuration

    configuration = server_configuration(given_options(namespace), namespace.config)
    service = daemon(configuration)
    from twisted.internet import reactor as installed

    reactor = cast("IReactorCore", installed)
    globalLogBeginner.beginLoggingTo([log_observer(configuration, sys.stderr)], redirectStandardIO=False)
    service.privilegedStartService()
    service.startService()
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    reactor.run()
    return 0
