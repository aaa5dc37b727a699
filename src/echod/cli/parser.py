"""The `echod` command's words, read by argparse."""

import argparse
from functools import partial
from typing import Any, NoReturn

from echod.common.errors import ConfigurationError
from echod.common.options import options_of

__all__ = ["OneLineParser", "UsageError", "add_command", "add_options", "given_options"]

_GIVEN = "given"


class UsageError(ConfigurationError):
    """The command line is none of the command `prog`."""

    def __init__(self, prog: str, message: str) -> None:
        super().__init__(message)
        self.prog = prog


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong in one line, by an error."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """Raise UsageError: how a usage error is told, and with which status, is for `main` to say."""
        raise UsageError(self.prog, message)


def add_command(commands: "argparse._SubParsersAction[Any]", name: str, summary: str) -> argparse.ArgumentParser:
    """Declare the command `name`; `summary` begins with a lower-case letter. Return its parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=f"{summary[0].upper()}{summary[1:]}."
    )
    parser.set_defaults(prog=parser.prog)
    return parser


def add_options(parser: argparse.ArgumentParser, configuration: type[object], *, over_file: bool = True) -> None:
    """Declare to `parser` every option of a configuration class.

    They are only gathered here, in the order of the command line; `core.options` checks them.
    Without `over_file` there is no file whose flags a command line would have to switch off.
    """
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
                help=_literally(each.help_with_default),
            )
            continue
        for word, text, what in each.flag_words[: None if over_file else 1]:
            words = [*(short if word == each.name else []), f"--{word}"]
            parser.add_argument(
                *words, dest=_GIVEN, action="append_const", const=(each.name, text), help=_literally(what)
            )


def given_options(namespace: argparse.Namespace) -> list[tuple[str, str]]:
    """Return what was given: (option name, text) pairs."""
    return getattr(namespace, _GIVEN) or []


def _pair(name: str, text: str) -> tuple[str, str]:
    return name, text


def _literally(text: str) -> str:
    """Return a help text in which argparse finds nothing to fill in."""
    return text.replace("%", "%%")
