"""Command-line parsing with argparse: errors in one line, and options declared from a configuration class."""

import argparse
from functools import partial
from typing import Any, NoReturn

from echod.common.errors import ConfigurationError

__all__ = ["OneLineParser", "UsageError", "add_command", "add_options", "given_options"]

_GIVEN = "given"
"""The attribute of the namespace that collects the options."""


class UsageError(ConfigurationError):
    """The arguments of the command `prog` cannot be parsed."""

    def __init__(self, prog: str, message: str) -> None:
        super().__init__(message)
        self.prog = prog


class OneLineParser(argparse.ArgumentParser):
    """An argument parser that raises UsageError instead of printing the usage message and exiting."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """Raise UsageError; `main` prints it and chooses the exit status."""
        raise UsageError(self.prog, message)


def add_command(commands: "argparse._SubParsersAction[Any]", name: str, summary: str) -> argparse.ArgumentParser:
    """Declare the command `name`; `summary` begins with a lower-case letter. Return its parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=f"{summary[0].upper()}{summary[1:]}."
    )
    parser.set_defaults(prog=parser.prog)
    return parser


def add_options(parser: argparse.ArgumentParser, configuration: type[object], *, over_file: bool = True) -> None:
    """Declare every option of a configuration class.

    The parser only collects them, in the order of the command line; `echod.common.options` checks them. Without
    `over_file` there is no configuration file, and no `--no-FLAG` to override it.
    """
    from echod.common.options import options_of  # it imports dataclasses and ipaddress, which `--version` does not need

    for each in options_of(configuration):
        short = [f"-{each.short}"] if each.short else []
        if each.type.metavar:
            parser.add_argument(
                *short,
                f"--{each.name}",
                dest=_GIVEN,
                action="append",
                type=partial(_pair, each.name),
                metavar=each.type.metavar,
                help=_escape(each.help_with_default),
            )
            continue
        for word, text, help_text in each.flag_words[: None if over_file else 1]:
            words = [*(short if word == each.name else []), f"--{word}"]
            parser.add_argument(
                *words, dest=_GIVEN, action="append_const", const=(each.name, text), help=_escape(help_text)
            )


def given_options(namespace: argparse.Namespace) -> list[tuple[str, str]]:
    """Return the collected options: (option name, text) pairs."""
    return getattr(namespace, _GIVEN) or []


def _pair(name: str, text: str) -> tuple[str, str]:
    return name, text


def _escape(help_text: str) -> str:
    """Return a help text in which argparse finds no format specifier."""
    return help_text.replace("%", "%%")
