"""The `echod` command: it imports a command's module only when that command runs."""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Protocol, cast

import echod
from echod.cli.parser import OneLineParser, UsageError, add_command
from echod.common.errors import ConfigurationError, EchodError

__all__ = ["main"]

FAILED = 1
USAGE = 2

COMMANDS = {
    "serve": ("echod.serve.command", "echo records until SIGTERM or Ctrl-C"),
    "ping": ("echod.ping.command", "send records to an echo server and verify the echoes"),
    "load": ("echod.load.command", "put load on an echo server and measure the latency that its clients see"),
    "report": ("echod.load.report_command", "compare results of echod load in one HTML page"),
    "files": ("echod.files.command", "list, print or copy the systemd units and examples of this package"),
}
"""The module and the summary of each command, by name."""


class Command(Protocol):
    """The interface of a command's module."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the command's arguments."""

    def run(self, namespace: argparse.Namespace) -> int:
        """Run the command with its parsed arguments; return the exit status. Raises EchodError."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line `arguments` (default: `sys.argv`); return its exit status.

    0: success. 1: the path failed, an assertion failed, or the daemon could not start. 2: usage error. With
    `ping --nagios`: the exit statuses of a monitoring plugin.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser = OneLineParser(
        prog="echod", description="A TCP echo daemon, and the probe that measures a path against it."
    )
    parser.add_argument("--version", action="version", version=f"echod {echod.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=OneLineParser)
    chosen = next((word for word in words if not word.startswith("-")), None)
    for name, (module, summary) in COMMANDS.items():
        command_parser = add_command(commands, name, summary)
        if name == chosen:
            command = cast("Command", import_module(module))
            command.add_arguments(command_parser)
    prog = parser.prog
    try:
        namespace = parser.parse_args(words)
        prog = namespace.prog
        return command.run(namespace)
    except EchodError as problem:
        prog = problem.prog if isinstance(problem, UsageError) else prog
        if words[:1] == ["ping"] and "--nagios" in words:
            return _plugin_error(prog, problem)
        from echod.cli.process import error_line  # imports Twisted

        print(error_line(f"{prog}: {problem}"), file=sys.stderr)
        return USAGE if isinstance(problem, ConfigurationError) else FAILED


def _plugin_error(prog: str, problem: EchodError) -> int:
    """Report an error, also a usage error, as a monitoring plugin: on standard output, with the status UNKNOWN."""
    from echod.ping.nagios import PluginState

    if sys.stdout.closed:
        print(f"{prog}: {problem}", file=sys.stderr)
    else:
        print(f"ECHOD {PluginState.UNKNOWN.name} - {problem}")
    return PluginState.UNKNOWN
