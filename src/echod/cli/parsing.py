"""The `echod` command's words, read by argparse."""

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

from echod.cli.words import help_of, words_of
from echod.core.options import options_of

__all__ = ["OneLineParser", "add_command", "add_options", "given"]

_GIVEN = "given"


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong in one line, and exits 2."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """End the program: exit status 2."""
        self.exit(2, f"{self.prog}: {message}\n")


def add_command(
    commands: "argparse._SubParsersAction[Any]", name: str, about: str, run: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    """Declare a command that `run` carries out; `about` says what it does, beginning small. Return its parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=about, description=f"{about[0].upper()}{about[1:]}."
    )
    parser.set_defaults(run=run, prog=parser.prog)
    return parser


def add_options(parser: argparse.ArgumentParser, configuration: type[object], *, over_file: bool = True) -> None:
    """Declare to `parser` every option of a configuration class.

    They are only gathered here, in the order of the command line; `core.options` checks them.
    Without `over_file` there is no file whose flags a command line would have to switch off.
    """
    for each in options_of(configuration):
        if each.kind.metavar:
            words = [f"-{each.short}", f"--{each.name}"] if each.short else [f"--{each.name}"]
            pair = partial(_pair, each.name)
            parser.add_argument(
                *words, dest=_GIVEN, action="append", type=pair, metavar=each.kind.metavar, help=help_of(each)
            )
        else:
            for word, text, what in words_of(each)[: None if over_file else 1]:
                words = [f"-{each.short}", f"--{word}"] if each.short and word == each.name else [f"--{word}"]
                parser.add_argument(*words, dest=_GIVEN, action="append_const", const=(each.name, text), help=what)


def given(namespace: argparse.Namespace) -> list[tuple[str, str]]:
    """Return what was given: (option name, text) pairs."""
    return getattr(namespace, _GIVEN) or []


def _pair(name: str, text: str) -> tuple[str, str]:
    return name, text
