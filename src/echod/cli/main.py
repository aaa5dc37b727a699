"""The `echod` command."""

import sys
from collections.abc import Sequence

import echod
from echod.cli import compare, load, ping, serve
from echod.cli.nagios import State
from echod.cli.parsing import OneLineParser, UsageError
from echod.core.errors import ConfigurationError, EchodError

__all__ = ["main"]

FAILED = 1
USAGE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line `arguments` (by default the process's own); return its exit status.

    0 all as asked, 1 the path failed or the daemon could not start, 2 usage. A monitoring plugin has its own.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser = OneLineParser(
        prog="echod", description="A TCP echo daemon, and the probe that measures a path against it."
    )
    parser.add_argument("--version", action="version", version=f"echod {echod.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=OneLineParser)
    for command in (serve, ping, load, compare):
        command.add_to(commands)
    prog = parser.prog
    try:
        namespace = parser.parse_args(words)
        prog = namespace.prog
        status: int = namespace.run(namespace)
    except EchodError as problem:
        # Whatever is wrong, the parser's own troubles too: a plugin speaks on standard output, where it can.
        is_plugin = words[:1] == ["ping"] and "--nagios" in words
        if is_plugin and not sys.stdout.closed:
            print(f"ECHOD {State.UNKNOWN.name} - {problem}")
        else:
            prog = problem.prog if isinstance(problem, UsageError) else prog
            print(f"{prog}: {problem}", file=sys.stderr)
        if is_plugin:
            return State.UNKNOWN
        return USAGE if isinstance(problem, ConfigurationError) else FAILED
    return status
