import errno
import threading
import time
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from echod.serve.line_writer import BYTES, FLUSH, LINES, LineWriter
from tests.support.memory import MemoryDestination

FULL_DISK = OSError(errno.ENOSPC, "No space left on device")
BUSY = BlockingIOError(errno.EAGAIN, "busy")


class MemoryReports:
    """Keeps the reports of a log."""

    def __init__(self) -> None:
        self.reports: list[str] = []

    def failed(self, problem: OSError) -> None:
        self.reports.append(f"failed: {problem.strerror}")

    def full(self) -> None:
        self.reports.append("full")

    def written_again(self, dropped: int) -> None:
        self.reports.append(f"written again: {dropped}")

    def lost(self, lines: int) -> None:
        self.reports.append(f"lost: {lines}")


class WriterTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.destination = MemoryDestination()
        self.reports = MemoryReports()
        self.writer = LineWriter(self.destination, lambda count: f"dropped {count}", self.reports)
        self.addCleanup(self.writer.close)

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 20
        while not condition():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.001)

    def write(self, *lines: str) -> None:
        for line in lines:
            self.writer.write(line)

    def blocked(self) -> threading.Event:
        """Start the thread; return the event that ends its first write."""
        event = threading.Event()
        self.addCleanup(event.set)
        self.destination.results = [event]
        self.writer.start()
        self.write("first")
        self.until(lambda: not self.destination.results)
        return event

    def test_thread_writes_without_a_close(self) -> None:
        self.writer.start()
        self.write("a")
        self.until(lambda: self.destination.data == b"a\n")
        self.write("b", "c")
        self.until(lambda: self.destination.data == b"a\nb\nc\n")

    def test_lines_before_the_start_are_kept(self) -> None:
        self.write("a", "b")
        self.assertEqual(self.destination.data, b"")
        self.writer.start()
        self.until(lambda: self.destination.data == b"a\nb\n")

    def test_second_start_changes_nothing(self) -> None:
        self.writer.start()
        threads = threading.active_count()
        self.writer.start()
        self.assertEqual(threading.active_count(), threads)

    def test_close_without_a_start(self) -> None:
        self.write("a", "b")
        self.assertEqual(self.writer.close(), 0)
        self.assertEqual(self.destination.writes, [b"a\nb\n"])
        self.assertFalse(self.destination.closed)

    def test_close_ends_the_thread(self) -> None:
        threads = threading.active_count()
        self.writer.start()
        self.write("a")
        self.assertEqual(self.writer.close(), 0)
        self.assertEqual(self.destination.data, b"a\n")
        self.until(lambda: threading.active_count() == threads)

    def test_line_after_the_close(self) -> None:
        self.writer.start()
        self.writer.close()
        self.write("a")
        self.assertEqual(self.destination.data, b"a\n")
        self.write("b")
        self.assertEqual(self.destination.data, b"a\nb\n")

    def test_lone_surrogate_is_escaped(self) -> None:
        self.write("\udcff", "é")
        self.writer.close()
        self.assertEqual(self.destination.data, b"\\udcff\n\xc3\xa9\n")

    def test_no_write_exceeds_the_largest_unless_a_line_does(self) -> None:
        self.destination.largest = 6
        self.write("a", "b", "c", "longer than that", "d")
        self.assertEqual(self.writer.close(), 0)
        self.assertEqual(self.destination.writes, [b"a\nb\nc\n", b"longer than that\n", b"d\n"])

    def test_write_in_part_is_completed(self) -> None:
        self.destination.results = [3, 1, BUSY, FULL_DISK, 2]
        self.writer.start()
        self.write("abcdef", "g")
        self.until(lambda: self.destination.data == b"abcdef\ng\n")
        self.assertEqual(self.writer.close(), 0)
        self.assertEqual(self.reports.reports, ["failed: No space left on device"])

    def test_blocked_write_is_tried_again_soon_then_less_often(self) -> None:
        waits: list[float] = []
        self.patch(self.writer._changed, "wait", waits.append)
        self.destination.results = [*[BUSY] * 8, 1, BUSY]
        self.assertTrue(self.writer._write_chunk(b"a\n"))
        self.assertEqual(waits, [0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.2, 0.2, 0.005])

    def test_each_failure_is_reported_once(self) -> None:
        self.destination.results = [FULL_DISK, FULL_DISK, 2, FULL_DISK]
        self.writer.start()
        self.write("a", "b")
        self.until(lambda: self.destination.data == b"a\nb\n")
        self.assertEqual(self.reports.reports, ["failed: No space left on device"] * 2)
        self.assertEqual(self.writer.dropped, 0)

    def test_line_limit(self) -> None:
        self.write(*["x"] * LINES, "y", "z")
        self.assertEqual(self.writer.dropped, 2)
        self.assertEqual(self.reports.reports, ["full"])
        self.assertEqual(self.writer.close(), 0)
        self.assertEqual(self.destination.data, b"x\n" * LINES + b"dropped 2\n")
        self.assertEqual(self.reports.reports, ["full", "written again: 2"])
        self.assertEqual(self.writer.dropped, 2)

    def test_byte_limit(self) -> None:
        quarter = "x" * (BYTES // 4 - 1)
        self.write(*[quarter] * 4, "")
        self.assertEqual(self.writer.dropped, 1)

    def test_line_that_alone_exceeds_the_limit(self) -> None:
        self.writer.start()
        self.write("x" * BYTES)
        self.until(lambda: self.destination.data == b"dropped 1\n")
        self.write("a")
        self.until(lambda: self.destination.data == b"dropped 1\na\n")

    def test_lines_being_written_count(self) -> None:
        event = self.blocked()
        self.write(*["x"] * (LINES - 1), "y")
        self.assertEqual(self.writer.dropped, 1)
        event.set()
        self.until(lambda: self.destination.data == b"first\n" + b"x\n" * (LINES - 1) + b"dropped 1\n")
        self.write("z")
        self.until(lambda: self.destination.data.endswith(b"dropped 1\nz\n"))
        self.assertEqual(self.reports.reports, ["full", "written again: 1"])

    def test_second_overflow_is_reported_again(self) -> None:
        for _ in range(2):
            self.destination.data = b""
            event = self.blocked()
            self.write(*["x"] * (LINES - 1), "y")
            event.set()
            self.until(lambda: self.destination.data.endswith(b"dropped 1\n"))
            self.until(lambda: self.writer._idle)
        self.assertEqual(self.reports.reports, ["full", "written again: 1"] * 2)

    def test_replacement(self) -> None:
        other = MemoryDestination()
        self.writer.start()
        self.write("a")
        self.until(lambda: self.destination.data == b"a\n")
        self.writer.replace(other)
        self.until(lambda: self.destination.closed)  # also without another line
        self.write("b")
        self.until(lambda: other.data == b"b\n")
        self.assertEqual(self.destination.data, b"a\n")

    def test_replacement_that_is_replaced_at_once(self) -> None:
        unused, other = MemoryDestination(), MemoryDestination()
        self.writer.replace(unused)
        self.writer.replace(other)
        self.write("a")
        self.writer.close()
        self.assertEqual((unused.closed, unused.data, other.data), (True, b"", b"a\n"))

    def test_line_that_was_cut_begins_again_in_the_replacement(self) -> None:
        other = MemoryDestination()
        self.destination.results = [5, *[FULL_DISK] * 1000]
        self.writer.start()
        self.write("abc", "def")
        self.until(lambda: self.destination.data == b"abc\nd")
        self.writer.replace(other)
        self.until(lambda: other.data == b"def\n")
        self.assertEqual(self.destination.data, b"abc\nd")

    def test_close_waits_for_a_blocked_write_no_longer_than_the_flush(self) -> None:
        event = self.blocked()
        self.write("second")
        started = time.monotonic()
        self.assertEqual(self.writer.close(), 2)
        self.assertGreaterEqual(time.monotonic() - started, FLUSH)
        started = time.monotonic()
        self.write("third")
        self.assertEqual(self.writer.close(), 3)
        self.assertLess(time.monotonic() - started, FLUSH)
        event.set()

    def test_close_retries_a_write_that_would_block(self) -> None:
        self.destination.results = [BUSY, BUSY]
        self.write("a")
        self.assertEqual(self.writer.close(), 0)
        self.assertEqual(self.destination.data, b"a\n")

    def test_close_gives_up_if_writes_block_all_the_time(self) -> None:
        self.destination.results = [BUSY] * 100_000
        self.write("a")
        self.assertEqual(self.writer.close(), 1)

    def test_close_gives_up_at_a_failure(self) -> None:
        self.destination.results = [2, FULL_DISK]
        self.destination.largest = 2
        self.write("a", "b", "c")
        self.assertEqual(self.writer.close(), 2)
        self.assertEqual(self.destination.data, b"a\n")

    def test_retired_writer_closes_its_destination(self) -> None:
        self.writer.start()
        self.write("a")
        self.writer.retire()
        self.until(lambda: self.destination.closed)
        self.assertEqual((self.destination.data, self.reports.reports), (b"a\n", []))

    def test_lines_that_a_retired_writer_loses_are_counted(self) -> None:
        self.destination.results = [2, *[FULL_DISK] * 1000]
        self.destination.largest = 2
        self.writer.start()
        self.write("a", "b", "c")
        self.until(lambda: self.destination.data == b"a\n")
        self.writer.retire()
        self.until(lambda: self.destination.closed)
        self.until(lambda: self.reports.reports == ["failed: No space left on device", "lost: 2"])
        self.assertEqual(self.writer.dropped, 2)

    def test_retired_writer_gives_up_if_writes_block_all_the_time(self) -> None:
        self.destination.results = [BUSY] * 100_000
        self.writer.start()
        self.write("a")
        self.writer.retire()
        self.until(lambda: self.destination.closed)
        self.until(lambda: self.reports.reports == ["lost: 1"])

    def test_dropped_lines_that_are_not_told_are_lost_at_the_end(self) -> None:
        self.destination.results = [2 * LINES, FULL_DISK]
        self.write(*["x"] * LINES, "y", "z")
        self.assertEqual(self.writer.close(), 2)
        self.assertEqual(self.destination.data, b"x\n" * LINES)

    def test_dropped_lines_after_lines_that_are_lost(self) -> None:
        self.destination.results = [FULL_DISK]
        self.write(*["x"] * LINES, "y", "z")
        self.assertEqual(self.writer.close(), LINES + 2)

    def test_signal_handler_may_log_while_its_thread_logs(self) -> None:
        with self.writer._lock:
            self.write("a")
        self.writer.close()
        self.assertEqual(self.destination.data, b"a\n")

    def test_threads_lose_no_line(self) -> None:
        self.writer.start()
        threads = [threading.Thread(target=self.write, args=[f"{n}"] * 1000) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.writer.close()
        self.assertEqual(sorted(self.destination.data.split()), sorted([b"0", b"1", b"2", b"3"] * 1000))
