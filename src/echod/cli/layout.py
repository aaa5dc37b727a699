"""Lines of text for a page of some width: what the texts of all commands share."""

import textwrap
from typing import Protocol

from echod.cli.charts import Marks
from echod.cli.terminal import Colour
from echod.common.assertions import AssertionResult

__all__ = ["INDENT", "Page", "failed_assertion_line", "folded", "format_milliseconds"]

INDENT = "    "

SIX = 6
"""Characters of a number in the table. The longest time there is in a histogram, 60000 ms, takes five."""


class Page(Protocol):
    """What the lines are laid out for."""

    @property
    def is_terminal(self) -> bool:
        """Whether there is a right edge; without one no line is wrapped, so that programs find them whole."""

    @property
    def width(self) -> int:
        """Columns."""

    @property
    def marks(self) -> Marks:
        """The characters of its bars."""

    def coloured(self, text: str, colour: Colour) -> str:
        """Return `text` in a colour, where there is any."""


def failed_assertion_line(verdict: AssertionResult) -> str:
    """Return the line that tells of an assertion that does not hold."""
    measured = "there are no samples of it" if verdict.value is None else f"it is {verdict.display}"
    return f"assertion failed: {verdict.assertion.text}: {measured}"


def format_milliseconds(microseconds: int) -> str:
    """Return milliseconds in at most six characters."""
    return next(text for digits in (3, 2, 1, 0) if len(text := f"{microseconds / 1000:.{digits}f}") <= SIX)


def folded(line: str, page: Page) -> list[str]:
    """Return the line as lines that the page is wide enough for."""
    if not page.is_terminal or len(line) <= page.width:
        return [line]
    indent = INDENT + "  " if line.startswith(INDENT) else INDENT
    # What is longer than a line, such as a fingerprint, is broken; hyphens in names are not.
    return textwrap.wrap(line, page.width, subsequent_indent=indent, break_on_hyphens=False, drop_whitespace=True)
