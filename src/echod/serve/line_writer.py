"""Writes the lines of one log in a thread: the reactor never waits for a disk, a pipe or a terminal."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Protocol

__all__ = ["BYTES", "FLUSH", "LINES", "Destination", "LineWriter", "NullReports", "Reports"]

LINES = 10_000
"""Lines that are kept while they cannot be written; further ones are dropped."""

BYTES = 4 * 1024 * 1024
"""Bytes of the lines that are kept."""

RETRY = 0.2
"""Seconds until a write that failed is tried again."""

_FIRST_RETRY = 0.005
"""Seconds until a write that would block is tried again; each further time is twice as long, up to `RETRY`.

A reader of a FIFO that is only slower than the log frees its 64 KiB in a few milliseconds.
"""

FLUSH = 0.5
"""Seconds that a log has to be written when the daemon ends."""


class Destination(Protocol):
    """The file, pipe, socket or terminal that a log is written to. Used by the writer's thread only."""

    @property
    def largest(self) -> int:
        """Bytes that are written at once, unless a line is longer."""

    def write(self, data: bytes) -> int:
        """Write `data` or its beginning; return the number of bytes written.

        Raises OSError; BlockingIOError if nothing can be written now. May also wait.
        """

    def close(self) -> None:
        """Release the descriptor."""


class Reports(Protocol):
    """Receives the failures and the losses of a log."""

    def failed(self, problem: OSError) -> None:
        """A write failed, after one that succeeded. Called in the writer's thread."""

    def full(self) -> None:
        """The first line is dropped. Called in the thread that logged it."""

    def written_again(self, dropped: int) -> None:
        """The log is written again, after `dropped` lines were dropped. Called in the writer's thread."""


class NullReports:
    """Reports that nobody receives."""

    def failed(self, problem: OSError) -> None:
        """No-op."""

    def full(self) -> None:
        """No-op."""

    def written_again(self, dropped: int) -> None:
        """No-op."""


class LineWriter:
    """A bounded queue of lines, and the thread that writes them.

    Lines are kept while they cannot be written: before the thread starts, while a write waits, and after one failed. If
    a line exceeds a limit, it is dropped and counted. Once the lines before it are written, a line tells how many were
    dropped. A line that was written in part is completed later.
    """

    def __init__(
        self,
        destination: Destination,
        dropped_line: Callable[[int], str],
        reports: Reports | None = None,
        interval: float = 0.0,
    ) -> None:
        """`dropped_line` makes the line that tells the number of dropped lines.

        `interval` is the time from one write to the next, in seconds: lines that are logged meanwhile are written
        together.
        """
        self._destination = destination
        self._replacement: Destination | None = None
        self._dropped_line = dropped_line
        self._interval = interval
        self._reports: Reports = NullReports() if reports is None else reports
        # Reentrant, because a signal handler may log while its thread is in `write`.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._queue: list[bytes] = []
        self._lines = 0
        """Lines that are not written yet, in the queue and in the thread."""
        self._bytes = 0
        """Bytes of these lines."""
        self._dropped = 0
        self._untold = 0
        """Dropped lines that no line in the log tells yet."""
        self._overflowing = False
        self._idle = False
        """Whether the thread waits for a line."""
        self._failing = False
        self._pause = _FIRST_RETRY
        self._deadline: float | None = None
        """The end of the flush; None: the log is not closed."""
        self._retired = False
        """Whether the thread closes the destination at its end."""
        self._thread: threading.Thread | None = None

    @property
    def dropped(self) -> int:
        """Number of lines dropped so far."""
        return self._dropped

    def start(self) -> None:
        """Start the thread. Not before the process daemonizes: a thread does not survive fork(2)."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="log", daemon=True)
            self._thread.start()

    def write(self, line: str) -> None:
        """Queue a line, given without its end, or drop it. In any thread, also in a signal handler.

        After `close`, wait for the rest of its time until the line is written.
        """
        data = line.encode("utf-8", "backslashreplace") + b"\n"
        size = len(data)
        first_dropped = False
        with self._lock:
            if self._lines >= LINES or self._bytes + size > BYTES:
                self._dropped += 1
                self._untold += 1
                first_dropped, self._overflowing = not self._overflowing, True
            else:
                self._queue.append(data)
                self._lines += 1
                self._bytes += size
            if self._idle:
                self._idle = False
                self._changed.notify()
        if first_dropped:
            self._reports.full()
        if self._deadline is not None:
            self.close()

    def replace(self, destination: Destination) -> None:
        """Write to `destination` from now on; the thread closes the old one. A line that was cut begins again."""
        with self._lock:
            unused, self._replacement = self._replacement, destination
            self._changed.notify()
        if unused is not None:
            unused.close()

    def close(self) -> int:
        """Write all lines within `FLUSH` seconds of the first call; return how many are lost.

        The destination stays open: its last lines come while the process ends.
        """
        with self._lock:
            if self._deadline is None:
                self._deadline = time.monotonic() + FLUSH
            self._changed.notify()
        if self._thread is None:
            self._run()  # an interpreter that ends starts no thread
        elif self._queue or self._thread.is_alive():
            self.start()
            self._thread.join(max(0.0, self._deadline - time.monotonic()))
        return self._lines + self._untold

    def retire(self) -> None:
        """Write all lines within `FLUSH` seconds, then close the destination. Does not wait, and is the last call."""
        with self._lock:
            self._retired = True
            self._deadline = time.monotonic() + FLUSH
            self._changed.notify()

    def _run(self) -> None:
        self._write_until_closed()
        if self._retired:
            self._destination.close()

    def _write_until_closed(self) -> None:
        while True:
            with self._lock:
                while not (self._queue or self._untold or self._replacement):
                    if self._deadline is not None:
                        return
                    self._idle = True
                    self._changed.wait()
                lines, self._queue = self._queue, []
                untold, self._untold = self._untold, 0
            if not self._write_all(lines, untold):
                return
            with self._lock:
                if self._deadline is None and self._interval:
                    self._changed.wait(self._interval)

    def _write_all(self, lines: list[bytes], untold: int) -> bool:
        """Write `lines`, then the number of lines that were dropped after them. Return whether all is written."""
        self._use_replacement()
        for chunk, count in _chunks(lines, self._destination.largest):
            if not self._write_chunk(chunk):
                self._untold += untold
                return False
            with self._lock:
                self._lines -= count
                self._bytes -= len(chunk)
        if untold:
            if not self._write_chunk(self._dropped_line(untold).encode() + b"\n"):
                self._untold += untold
                return False
            self._overflowing = False
            self._reports.written_again(untold)
        return True

    def _write_chunk(self, data: bytes) -> bool:
        """Write `data`; return False if the daemon ends before that succeeds."""
        written = 0
        while written < len(data):
            if self._use_replacement():
                written = data.rfind(b"\n", 0, written) + 1
            try:
                written += self._destination.write(data[written:])
                self._failing, self._pause = False, _FIRST_RETRY
            except BlockingIOError:
                if not self._may_retry_blocked():
                    return False
            except OSError as problem:
                if not self._may_retry_failed(problem):
                    return False
        return True

    def _may_retry_blocked(self) -> bool:
        """Wait until the next attempt; return False if the time for the flush is over."""
        with self._lock:
            self._changed.wait(self._pause if self._deadline is None else _FIRST_RETRY)
            self._pause = min(2 * self._pause, RETRY)
            return self._deadline is None or time.monotonic() < self._deadline

    def _may_retry_failed(self, problem: OSError) -> bool:
        """Report the failure, and wait until the next attempt; return False if the daemon ends."""
        if not self._failing:
            self._failing = True
            self._reports.failed(problem)
        with self._lock:
            if self._deadline is not None:
                return False
            self._changed.wait(RETRY)
            return True

    def _use_replacement(self) -> bool:
        """Take the new destination, if there is one; return whether there was."""
        with self._lock:
            replacement, self._replacement = self._replacement, None
        if replacement is None:
            return False
        self._destination.close()
        self._destination = replacement
        return True


def _chunks(lines: list[bytes], largest: int) -> Iterator[tuple[bytes, int]]:
    """Yield lines joined to at most `largest` bytes, unless one line is longer, with the number of lines."""
    start = size = 0
    for number, line in enumerate(lines):
        if size and size + len(line) > largest:
            yield b"".join(lines[start:number]), number - start
            start, size = number, 0
        size += len(line)
    if size:
        yield b"".join(lines[start:]), len(lines) - start
