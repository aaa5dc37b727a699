"""Standard output in memory: a terminal or not, of any width and encoding."""

import io
import os
from collections.abc import Mapping

from echod.cli.terminal import Output

XTERM = {"TERM": "xterm-256color"}


class Stream(io.TextIOWrapper):
    """A text stream in memory that is a terminal or not."""

    def __init__(self, *, terminal: bool, encoding: str = "utf-8") -> None:
        super().__init__(io.BytesIO(), encoding=encoding, errors="strict", newline="\n")
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal

    def fileno(self) -> int:
        raise io.UnsupportedOperation

    @property
    def written(self) -> str:
        """All flushed text."""
        assert isinstance(self.buffer, io.BytesIO)
        return self.buffer.getvalue().decode(self.encoding)


class SizedOutput(Output):
    """An output of fixed width."""

    columns = 100

    @property
    def width(self) -> int:
        return self.columns


def output(
    *, terminal: bool = True, width: int = 100, encoding: str = "utf-8", environment: Mapping[str, str] = XTERM
) -> tuple[SizedOutput, Stream]:
    """Return an output and its stream."""
    stream = Stream(terminal=terminal, encoding=encoding)
    made = SizedOutput(stream, environment)
    made.columns = width
    return made, stream


PIPE = Output(Stream(terminal=False), os.environ)
"""An output that is not a terminal."""
