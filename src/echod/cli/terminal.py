"""Standard output as it is: a terminal of some width, with colours or without, or no terminal at all.

Whatever the output, a line never moves the cursor by what it says: that is done here alone.
"""

import os
from collections.abc import Callable, Mapping
from enum import Enum
from typing import TextIO

from echod.cli.charts import ASCII, UNICODE, Marks

__all__ = ["NO_TERMINAL_WIDTH", "Colour", "Output", "printable"]

NO_TERMINAL_WIDTH = 80
"""Columns that bars and tables are fitted into where nobody says how many there are."""

_ERASE_LINE = "\r\x1b[J"
"""From the line's beginning to the end of the screen (ECMA-48 ED): of Ctrl-C the terminal itself wrote `^C` there."""
_PLAIN = "\x1b[m"


class Colour(Enum):
    """Graphic renditions (ECMA-48 SGR). Terminals make of them what suits their background."""

    BAD = "\x1b[31m"
    GOOD = "\x1b[32m"
    BARS = "\x1b[36m"
    TITLE = "\x1b[1m"


class Output:
    """Lines that stay, and below them one live line, where the output is a terminal that can redraw."""

    def __init__(self, stream: TextIO, environment: Mapping[str, str]) -> None:
        self._stream = stream
        self.is_terminal = stream.isatty()
        can_move = self.is_terminal and environment.get("TERM", "") not in {"", "dumb"}
        self.has_live_line = can_move
        self._has_colour = can_move and not environment.get("NO_COLOR")  # no-color.org: where it is set, and not empty
        self._encoding = stream.encoding or "ascii"
        self.marks = UNICODE if self._holds(UNICODE) else ASCII
        self._live = ""

    @property
    def width(self) -> int:
        """The columns of a terminal, as they are now; of anything else `NO_TERMINAL_WIDTH`."""
        if self.is_terminal:
            try:
                return os.get_terminal_size(self._stream.fileno()).columns or NO_TERMINAL_WIDTH
            except (OSError, ValueError):  # the terminal is gone; a stream without a descriptor
                pass
        return NO_TERMINAL_WIDTH

    def coloured(self, text: str, colour: Colour) -> str:
        """Return `text` in a colour, where there is any."""
        return f"{colour.value}{text}{_PLAIN}" if self._has_colour and text else text

    def write_lines(self, *lines: str, live: Callable[[], str] | None = None) -> None:
        """Write lines that stay, and at once: whoever reads along sees each as it comes.

        `live` makes the live line that stands below them from now on, no wider than `width`; the one before goes.
        """
        below = live() if live is not None and self.has_live_line else ""
        text = "".join(f"{self._encodable(line)}\n" for line in lines)
        # The cursor waits at the live line's beginning. So where a terminal wraps the line anew because it was made
        # narrower, all of it is still below the cursor, and is erased.
        erased = _ERASE_LINE if self._live else ""
        self._live = below
        self._stream.write(erased + text + (self._encodable(below) + "\r" if below else ""))
        self._stream.flush()

    def erase_live_line(self) -> None:
        """Leave nothing but the lines that stay. On whatever way the program ends."""
        if self._live:
            self.write_lines()

    def _encodable(self, text: str) -> str:
        return text.encode(self._encoding, "replace").decode(self._encoding)

    def _holds(self, marks: Marks) -> bool:
        try:
            f"{marks.levels}{marks.missing}{marks.full}{marks.parts}".encode(self._encoding)
        except UnicodeEncodeError:
            return False
        return True


def printable(text: str) -> str:
    """Return what a peer wrote as one line that moves no cursor and turns no writing direction round."""
    return "".join(c if c.isprintable() else "?" for c in text)
