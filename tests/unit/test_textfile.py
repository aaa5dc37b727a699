import os
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import SynchronousTestCase

from echod.client.outcomes import Outcome
from echod.common.addresses import HostPort
from echod.common.files import write_atomically
from echod.common.histogram import Histogram
from echod.ping.metrics_file import run_metrics
from echod.ping.statistics import Statistics


def statistics(*microseconds: int, lost: int = 0) -> Statistics:
    made = Statistics()
    made.outcomes[Outcome.ECHOED] = len(microseconds)
    made.outcomes[Outcome.REFUSED] = lost
    for each in microseconds:
        made.times.setdefault("echo", Histogram()).record(each)
    made.finish(len(microseconds) + lost, 1.5)
    return made


class RunMetricsTests(SynchronousTestCase):
    def test_a_run(self) -> None:
        lines = run_metrics(HostPort("::1", 3005), statistics(1000, 3000, lost=2), 1, 1_800_000_000.25).decode()
        at = '{host="::1",port="3005"}'
        self.assertIn(f"echod_ping_success{at} 0.0\n", lines)
        self.assertIn(f"echod_ping_end_timestamp_seconds{at} 1.80000000025e+09\n", lines)
        self.assertIn(f"echod_ping_elapsed_seconds{at} 1.5\n", lines)
        self.assertIn(f"echod_ping_sent{at} 4.0\n", lines)
        self.assertIn(f"echod_ping_lost_ratio{at} 0.5\n", lines)
        self.assertIn('echod_ping_outcomes{host="::1",outcome="refused",port="3005"} 2.0\n', lines)
        self.assertIn('{host="::1",phase="echo",port="3005",statistic="max"} 0.003\n', lines)
        self.assertEqual(lines.count("# TYPE"), lines.count(" gauge\n"))

    def test_a_run_that_lost_everything_has_no_times(self) -> None:
        lines = run_metrics(HostPort("a.example", 1), statistics(lost=1), 1, 0.0).decode()
        self.assertNotIn("echod_ping_phase_seconds{", lines)
        self.assertIn('outcome="echoed",port="1"} 0.0\n', lines)


class WriteAtomicallyTests(SynchronousTestCase):
    def setUp(self) -> None:
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.path = self.directory / "ping.prom"

    def test_the_old_file_is_replaced_not_written(self) -> None:
        self.path.write_bytes(b"old")
        with self.path.open("rb") as reader:
            write_atomically(self.path, b"new")
            self.assertEqual(reader.read(), b"old")
        self.assertEqual(self.path.read_bytes(), b"new")
        self.assertEqual(list(self.directory.iterdir()), [self.path])

    def test_it_is_as_readable_as_any_new_file(self) -> None:
        before = os.umask(0o022)
        self.addCleanup(os.umask, before)
        write_atomically(self.path, b"")
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o644)

    def test_nothing_is_left_where_it_fails(self) -> None:
        self.path.mkdir()
        with self.assertRaises(OSError):
            write_atomically(self.path, b"new")
        self.assertEqual(list(self.directory.iterdir()), [self.path])
