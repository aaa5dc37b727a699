"""The access log: one line for each connection that ends."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from twisted.logger import Logger
from zope.interface import implementer

from echod.common.errors import ConfigurationError
from echod.server.observer import IConnectionObserver
from echod.server.summary import ConnectionSummary

__all__ = ["STANDARD_OUTPUT", "AccessLog"]

STANDARD_OUTPUT = "-"


@implementer(IConnectionObserver)
class AccessLog:
    """Appends lines to a file, which can be opened again after it was moved away."""

    _log = Logger()

    def __init__(
        self,
        path: str,
        line: Callable[[float, ConnectionSummary], str],
        wall_clock: Callable[[], float],
        standard_output: TextIO | None = None,
    ) -> None:
        """Open the file at `path`; for `-`, write to `standard_output`. Raises ConfigurationError."""
        self._standard_output = standard_output
        self._path = path
        self._line = line
        self._wall_clock = wall_clock
        self._failing = False
        self._file = self._opened()

    def connection_ended(self, summary: ConnectionSummary) -> None:
        """Write the line. A file that cannot be written, on a full disk say, is told of once, not by each line."""
        try:
            self._file.write(self._line(self._wall_clock(), summary) + "\n")
        except (OSError, ValueError) as problem:
            if not self._failing:
                self._log.error("the access log cannot be written: {problem}", problem=problem)
            self._failing = True
        else:
            self._failing = False

    def open_again(self) -> None:
        """Open the file again by its name. Raises ConfigurationError, and then the old one stays open."""
        old, self._file = self._file, self._opened()
        if self._path != STANDARD_OUTPUT:
            _close(old)

    def close(self) -> None:
        """Close the file."""
        if self._path != STANDARD_OUTPUT:
            _close(self._file)

    def _opened(self) -> TextIO:
        if self._path == STANDARD_OUTPUT:
            assert self._standard_output is not None
            return self._standard_output
        try:
            return Path(self._path).open("a", buffering=1, encoding="utf-8")
        except OSError as problem:
            raise ConfigurationError(f"access-log: cannot open {self._path}: {problem.strerror}") from None


def _close(file: TextIO) -> None:
    # A file that could not be written still holds what it failed to write, and fails again; it was told of.
    with contextlib.suppress(OSError):
        file.close()
