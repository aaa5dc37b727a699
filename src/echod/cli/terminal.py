"""Standard output: a terminal with its width, colours and live line, or a file or pipe.

Only this module writes control sequences.
"""

import os
from collections.abc import Callable, Mapping
from enum import Enum
from typing import TextIO

from echod.cli.charts import ASCII, UNICODE, Marks

__all__ = ["NO_TERMINAL_WIDTH", "Colour", "Output"]

NO_TERMINAL_WIDTH = 80
"""Columns that bars and tables fit into if the width is unknown."""

_ERASE_LINE = "\r\x1b[J"
"""Erases from the line's beginning to the end of the screen (ECMA-48 ED): at Ctrl-C the terminal echoes `^C` there."""
_RESET = "\x1b[m"


class Colour(Enum):
    """Graphic renditions (ECMA-48 SGR); the terminal's palette decides their exact colour."""

    BAD = "\x1b[31m"
    GOOD = "\x1b[32m"
    BARS = "\x1b[36m"
    TITLE = "\x1b[1m"


class Output:
    """Permanent lines and, on a terminal that can redraw, one live line below them."""

    def __init__(self, stream: TextIO, environment: Mapping[str, str]) -> None:
        self._stream = stream
        self.is_terminal = stream.isatty()
        can_move = self.is_terminal and environment.get("TERM", "") not in {"", "dumb"}
        self.has_live_line = can_move
        self._has_colour = can_move and not environment.get("NO_COLOR")  # no-color.org: set and not empty
        self._encoding = stream.encoding or "ascii"
        self.marks = UNICODE if self._can_encode(UNICODE) else ASCII
        self._live = ""

    @property
    def width(self) -> int:
        """The current columns of a terminal; `NO_TERMINAL_WIDTH` for any other output."""
        if self.is_terminal:
            try:
                return os.get_terminal_size(self._stream.fileno()).columns or NO_TERMINAL_WIDTH
            except (OSError, ValueError):  # the terminal was closed; the stream has no descriptor
                pass
        return NO_TERMINAL_WIDTH

    def coloured(self, text: str, colour: Colour) -> str:
        """Return `text` in a colour; unchanged if the output has no colours."""
        return f"{colour.value}{text}{_RESET}" if self._has_colour and text else text

    def write_lines(self, *lines: str, live: Callable[[], str] | None = None) -> None:
        """Write permanent lines and flush them.

        `live` makes the new live line below them, no wider than `width`; without it there is none. The previous live
        line is erased.
        """
        below = live() if live is not None and self.has_live_line else ""
        text = "".join(f"{self._encodable(line)}\n" for line in lines)
        # The cursor stays at the live line's beginning: if the terminal becomes narrower and wraps the line, all of it
        # is below the cursor and is erased.
        erased = _ERASE_LINE if self._live else ""
        self._live = below
        self._stream.write(erased + text + (self._encodable(below) + "\r" if below else ""))
        self._stream.flush()

    def erase_live_line(self) -> None:
        """Erase the live line, for the end of the program, whatever its cause."""
        if self._live:
            self.write_lines()

    def _encodable(self, text: str) -> str:
        return text.encode(self._encoding, "replace").decode(self._encoding)

    def _can_encode(self, marks: Marks) -> bool:
        try:
            f"{marks.levels}{marks.missing}{marks.full}{marks.parts}".encode(self._encoding)
        except UnicodeEncodeError:
            return False
        return True
