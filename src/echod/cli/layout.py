"""Text layout that the commands share: folding of lines, short numbers, the line of a failed assertion."""

import textwrap
from typing import Protocol

from echod.cli.charts import Marks
from echod.cli.terminal import Colour
from echod.common.assertions import AssertionResult

__all__ = ["INDENT", "TextOutput", "failed_assertion_line", "folded", "format_milliseconds"]

INDENT = "    "

SIX = 6
"""Characters of a number in a table. The longest time of a histogram, 60000 ms, takes five."""


class TextOutput(Protocol):
    """The interface of the output that lines are laid out for."""

    @property
    def is_terminal(self) -> bool:
        """Whether the output is a terminal. For other outputs no line is folded, so that programs find it whole."""

    @property
    def width(self) -> int:
        """The width in columns."""

    @property
    def marks(self) -> Marks:
        """The characters of bars and sparklines."""

    def coloured(self, text: str, colour: Colour) -> str:
        """Return `text` in a colour; unchanged if the output has no colours."""


def failed_assertion_line(verdict: AssertionResult) -> str:
    """Return the line about an assertion that does not hold."""
    measured = "no samples" if verdict.value is None else f"it is {verdict.display}"
    return f"assertion failed: {verdict.assertion.text}: {measured}"


def format_milliseconds(microseconds: int) -> str:
    """Return a time in milliseconds, in at most six characters, with up to three decimals."""
    return next(text for digits in (3, 2, 1, 0) if len(text := f"{microseconds / 1000:.{digits}f}") <= SIX)


def folded(line: str, page: TextOutput) -> list[str]:
    """Return the line, folded to the width of the page."""
    if not page.is_terminal or len(line) <= page.width:
        return [line]
    indent = INDENT + "  " if line.startswith(INDENT) else INDENT
    # A word longer than a line, such as a fingerprint, is broken; a name is not broken at its hyphens.
    return textwrap.wrap(line, page.width, subsequent_indent=indent, break_on_hyphens=False, drop_whitespace=True)
