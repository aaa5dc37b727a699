"""The destinations of logs: inherited streams, named files, and twistd's log file. Naming a file never blocks."""

import contextlib
import errno
import os
import select
import stat
from pathlib import Path

from twisted.python.logfile import LogFile

__all__ = ["InheritedStream", "NamedFile", "RotatedFile"]

ROTATE_SIZE = 1_000_000
"""Bytes after which twistd rotates its log file."""

_LARGEST_FILE_WRITE = 1 << 20
"""Bytes of one write to a regular file."""

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class InheritedStream:
    """Standard output or standard error.

    Its writes may wait: O_NONBLOCK would be seen by every process that shares the stream, such as the shell.
    """

    def __init__(self, descriptor: int | None, name: str) -> None:
        """`descriptor` None: the stream is closed, and every write fails. `name` is for error messages."""
        self._descriptor = descriptor
        self._name = name
        self.largest = _largest_write(descriptor)

    def write(self, data: bytes) -> int:
        """As in Destination."""
        if self._descriptor is None:
            raise OSError(errno.EBADF, f"{self._name} is closed")
        return os.write(self._descriptor, data)

    def close(self) -> None:
        """No-op: the stream is the process's."""


class NamedFile:
    """A regular file, FIFO or device, opened by its name for appending. Neither the opening nor a write waits.

    A FIFO without a reader cannot be opened yet: that is tried again at each write.
    """

    def __init__(self, path: str) -> None:
        """`path` is absolute. Raises OSError."""
        self.path = path
        self.descriptor = self._open()
        self._torn = self.is_regular and not _ends_in_newline(path)

    @property
    def is_regular(self) -> bool:
        """Whether it is a regular file."""
        return _is_regular(self.descriptor)

    @property
    def largest(self) -> int:
        """As in Destination."""
        return _largest_write(self.descriptor)

    def write(self, data: bytes) -> int:
        """As in Destination."""
        if self.descriptor is None:
            self.descriptor = self._open()
            if self.descriptor is None:
                raise BlockingIOError(errno.EAGAIN, "the FIFO has no reader")
        if self._torn:
            os.write(self.descriptor, b"\n")
            self._torn = False
        return os.write(self.descriptor, data)

    def close(self) -> None:
        """As in Destination."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None

    def _open(self) -> int | None:
        try:
            return os.open(self.path, _FLAGS, 0o666)
        except OSError as problem:
            if problem.errno == errno.ENXIO and stat.S_ISFIFO(Path(self.path).stat().st_mode):
                return None
            raise


class RotatedFile(NamedFile):
    """The log file of twistd, which is rotated at `ROTATE_SIZE` bytes, as twistd does: `log` becomes `log.1`."""

    rotation_requested = False
    """Set to rotate the file before the next line. If another program has moved it, only the name is opened again."""

    _within_line = False

    def write(self, data: bytes) -> int:
        """As in Destination."""
        if not self._within_line and (self.rotation_requested or self._is_large()):
            self.rotation_requested = False
            with contextlib.suppress(OSError):  # then the old file stays open
                self._rotate()
        written = super().write(data)
        self._within_line = not data[:written].endswith(b"\n")
        return written

    def _is_large(self) -> bool:
        return self.descriptor is not None and self.is_regular and os.fstat(self.descriptor).st_size >= ROTATE_SIZE

    def _rotate(self) -> None:
        if self.is_regular and self._has_its_name():
            twisted = LogFile.fromFullPath(self.path)
            twisted.rotate()
            twisted.close()
        opened = self._open()
        self.close()
        self.descriptor = opened

    def _has_its_name(self) -> bool:
        assert self.descriptor is not None
        try:
            return os.path.samestat(Path(self.path).stat(), os.fstat(self.descriptor))
        except FileNotFoundError:
            return False


def _largest_write(descriptor: int | None) -> int:
    # A pipe takes this many bytes whole or not at all (pipe(7)): lines of several writers do not mix, and none is cut.
    return _LARGEST_FILE_WRITE if _is_regular(descriptor) else select.PIPE_BUF


def _is_regular(descriptor: int | None) -> bool:
    return descriptor is not None and stat.S_ISREG(os.fstat(descriptor).st_mode)


def _ends_in_newline(path: str) -> bool:
    """Return whether a file is empty or its last line is complete, which it is not if a full disk cut it."""
    try:
        with Path(path).open("rb") as file:
            if file.seek(0, os.SEEK_END) == 0:
                return True
            file.seek(-1, os.SEEK_END)
            return file.read() == b"\n"
    except OSError:  # it may be written but not read
        return True
