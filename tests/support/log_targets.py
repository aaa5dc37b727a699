"""Places a log may be written to, some of them blocked, and daemons that log there, in a clean environment.

Such a daemon sees none of the variables of the tests: PYTHONUNBUFFERED, for example, would hide a buffer.
"""

import fcntl
import os
import select
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Self

from tests.support.processes import until
from tests.support.sockets import PATIENCE, RECORD, exchange

MEASURED = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
"""The variables that measure the coverage of a child process; there are none without coverage."""

SMALLEST_PIPE = 4096
"""Bytes: one page, the least that Linux gives a pipe."""


class CleanDaemon:
    """A daemon in a clean environment, with the standard streams that a test gives it."""

    def __init__(self, command: Sequence[str], cwd: Path, stdout: int | IO[bytes], stderr: int | IO[bytes]) -> None:
        self.process = subprocess.Popen(
            command, cwd=cwd, env=MEASURED, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE)

    def wait_for_echo(self, port: int) -> Self:
        """Wait until the daemon echoes a record."""
        until(lambda: self.process.poll() is not None or echoes(port))
        assert self.process.poll() is None, "the daemon has ended"
        return self


class Pipe:
    """A pipe that nobody reads until `read` is called."""

    def __init__(self, size: int = SMALLEST_PIPE) -> None:
        self._reader, self.writer = os.pipe()
        fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for each in (self._reader, self.writer):
            with suppress(OSError):
                os.close(each)

    def fill(self) -> None:
        """Fill the pipe with empty lines."""
        # Its own open file description: O_NONBLOCK on that of `writer` would reach the daemon.
        filler = os.open(f"/proc/self/fd/{self.writer}", os.O_WRONLY | os.O_NONBLOCK)
        try:
            with suppress(BlockingIOError):
                while True:
                    os.write(filler, b"\n" * SMALLEST_PIPE)
        finally:
            os.close(filler)

    def read(self, seconds: float) -> bytes:
        """Return all bytes up to `seconds` without any, or up to the end."""
        return read_available(self._reader, seconds)


def read_available(descriptor: int, seconds: float) -> bytes:
    """Return all bytes up to `seconds` without any, or up to the end."""
    pieces = []
    while select.select([descriptor], [], [], seconds)[0]:
        piece = os.read(descriptor, 1 << 20)
        if not piece:
            break
        pieces.append(piece)
    return b"".join(pieces)


@contextmanager
def reading(fifo: Path) -> Iterator[int]:
    """Yield a descriptor that reads `fifo`; opening it does not wait for a writer."""
    descriptor = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def echoes(port: int) -> bool:
    try:
        return exchange(port, RECORD) == RECORD
    except OSError:
        return False
