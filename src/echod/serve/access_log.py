"""The access log: one line per ended connection."""

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
    """Appends lines to a file, which can be reopened by its name after log rotation."""

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
        self._file = self._open()

    def connection_ended(self, summary: ConnectionSummary) -> None:
        """Write the line. If writing fails, on a full disk for example, log the first failure only."""
        try:
            self._file.write(self._line(self._wall_clock(), summary) + "\n")
        except (OSError, ValueError) as problem:
            if not self._failing:
                self._log.error("the access log cannot be written: {problem}", problem=problem)
            self._failing = True
        else:
            self._failing = False

    def reopen(self) -> None:
        """Open the file again by its name. Raises ConfigurationError; then the old file stays open."""
        old, self._file = self._file, self._open()
        if self._path != STANDARD_OUTPUT:
            _close(old)

    def close(self) -> None:
        """Close the file; standard output stays open."""
        if self._path != STANDARD_OUTPUT:
            _close(self._file)

    def _open(self) -> TextIO:
        if self._path == STANDARD_OUTPUT:
            assert self._standard_output is not None
            return self._standard_output
        try:
            return Path(self._path).open("a", buffering=1, encoding="utf-8")
        except OSError as problem:
            raise ConfigurationError(f"access-log: cannot open {self._path}: {problem.strerror}") from None


def _close(file: TextIO) -> None:
    # A close writes the buffer again if that failed before, and fails again; the failure has been logged.
    with contextlib.suppress(OSError):
        file.close()
