"""The directory by which the processes of one service combine their metrics.

Each process has a number, and two files by that number: `process-N.lock`, which it keeps locked while it runs, and
`process-N.json`, its last snapshot. The kernel removes the lock at the end of the process, however it ends; a process
ID could be that of another process by then.

A new process takes the lowest number that is free, and adds to the counts that it finds in the file. So the counts of
ended processes stay in the sum, the files are as many as the most processes that ran at one time, and nothing is ever
moved from file to file, which a reader could count twice or not at all. No process writes another's file.
"""

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from twisted.logger import Logger

from echod.admin.snapshot import Snapshot, snapshot_from_json, snapshot_to_json
from echod.common.errors import ConfigurationError

__all__ = ["ProcessDirectory", "ProcessFile"]

MOST_PROCESSES = 1024
"""Numbers that are tried: far more processes than a host has processors."""

_SNAPSHOT = re.compile(r"process-([0-9]+)\.json")

_WRITABLE_BY_ALL = 0o002


@dataclass(frozen=True, slots=True)
class ProcessFile:
    """The snapshot of another process."""

    snapshot: Snapshot
    running: bool
    """Whether the process runs."""


class ProcessDirectory:
    """The directory, as one process uses it."""

    _log = Logger()

    def __init__(self, path: Path) -> None:
        self._path = path
        self._number = 0
        """The number of this process; 0: it has none yet, or no more."""
        self._lock = -1
        """The descriptor of the locked file."""
        self._writable = True
        """Whether the last write succeeded."""
        self._unreadable: set[str] = set()
        """Files that were logged as unreadable."""

    def join(self) -> Snapshot | None:
        """Take a number; return the last snapshot of the process that had it before, or None.

        The directory is created if it is missing. Raises ConfigurationError.
        """
        try:
            self._path.mkdir(mode=0o700, exist_ok=True)
            if self._path.stat().st_mode & _WRITABLE_BY_ALL:
                raise ConfigurationError(f"admin-directory: {self._path} is writable by every user")
            for number in range(1, MOST_PROCESSES + 1):
                if self._take(number):
                    try:
                        return self._read(self._file(number))
                    except ValueError as problem:  # such as the format of a later version: its counts stay as they are
                        self._log_unreadable(self._file(number), problem)
                        self.leave()
        except OSError as problem:
            raise ConfigurationError(f"admin-directory: cannot use {self._path}: {problem.strerror}") from None
        raise ConfigurationError(f"admin-directory: {MOST_PROCESSES} processes use {self._path}")

    def write(self, snapshot: Snapshot) -> None:
        """Replace the snapshot of this process. An error is logged, the first one of several in a row."""
        # Not `write_atomically`, which waits for the disk: this file need not survive the host.
        temporary = self._path / f"process-{self._number}.tmp"
        try:
            temporary.write_bytes(snapshot_to_json(snapshot))
            temporary.replace(self._file(self._number))
        except OSError as problem:
            if self._writable:
                self._log.error(
                    "admin-directory: cannot write to {path}: {problem}", path=self._path, problem=problem.strerror
                )
            self._writable = False
        else:
            self._writable = True

    def others(self) -> Iterator[ProcessFile]:
        """Yield the snapshots of the other processes, ended ones included."""
        with suppress(OSError):  # before `join` the directory may be missing
            for path in sorted(self._path.iterdir()):
                named = _SNAPSHOT.fullmatch(path.name)
                if named is None or int(named[1]) == self._number:
                    continue
                try:
                    snapshot = self._read(path)
                except (OSError, ValueError) as problem:
                    self._log_unreadable(path, problem)
                    continue
                if snapshot is not None:
                    yield ProcessFile(snapshot, self._is_locked(path.with_suffix(".lock")))

    def leave(self) -> None:
        """Give the number back."""
        if self._number:
            self._number = 0
            os.close(self._lock)

    def _file(self, number: int) -> Path:
        return self._path / f"process-{number}.json"

    def _take(self, number: int) -> bool:
        """Lock the file of `number`; return False if another process has it."""
        lock = os.open(
            self._file(number).with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # of a process, or for some µs of one in `_is_locked`: then a number stays unused
            os.close(lock)
            return False
        self._number, self._lock = number, lock
        return True

    @staticmethod
    def _read(path: Path) -> Snapshot | None:
        """Return the snapshot in a file; None if there is no file. Raises OSError and ValueError."""
        try:
            return snapshot_from_json(path.read_bytes())
        except FileNotFoundError:
            return None

    def _log_unreadable(self, path: Path, problem: Exception) -> None:
        """Log, once per file, that its counts are not in the sum."""
        if path.name not in self._unreadable:
            self._unreadable.add(path.name)
            self._log.error("admin-directory: {path} is not counted: {problem}", path=path, problem=problem)

    @staticmethod
    def _is_locked(path: Path) -> bool:
        try:
            with path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False
