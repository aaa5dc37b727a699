import os
from pathlib import Path
from tempfile import TemporaryDirectory

from prometheus_client import generate_latest
from twisted.trial.unittest import SynchronousTestCase

from echod.client.outcomes import Outcome
from echod.common.addresses import HostPort
from echod.common.histogram import Histogram
from echod.ping.metrics_file import run_metrics, write_metrics
from echod.ping.statistics import Statistics


def statistics(*microseconds: int, lost: int = 0) -> Statistics:
    made = Statistics()
    made.outcomes[Outcome.ECHOED] = len(microseconds)
    made.outcomes[Outcome.REFUSED] = lost
    for each in microseconds:
        made.times.setdefault("echo", Histogram()).record(each)
    made.finish(len(microseconds) + lost, 1.5)
    return made


def text(target: HostPort, run: Statistics, status: int, now: float) -> str:
    return generate_latest(run_metrics(target, run, status, now)).decode()


class RunMetricsTests(SynchronousTestCase):
    def test_a_run(self) -> None:
        lines = text(HostPort("::1", 3005), statistics(1000, 3000, lost=2), 1, 1_800_000_000.25)
        at = '{host="::1",port="3005"}'
        self.assertIn(f"echod_ping_success{at} 0.0\n", lines)
        self.assertIn(f"echod_ping_end_timestamp_seconds{at} 1.80000000025e+09\n", lines)
        self.assertIn(f"echod_ping_elapsed_seconds{at} 1.5\n", lines)
        self.assertIn(f"echod_ping_sent{at} 4.0\n", lines)
        self.assertIn(f"echod_ping_lost_ratio{at} 0.5\n", lines)
        self.assertIn('echod_ping_outcomes{host="::1",outcome="refused",port="3005"} 2.0\n', lines)
        self.assertIn('{host="::1",phase="echo",port="3005",statistic="max"} 0.003\n', lines)
        self.assertEqual(lines.count("# TYPE"), lines.count(" gauge\n"))

    def test_a_run_that_succeeded(self) -> None:
        lines = text(HostPort("::1", 3005), statistics(1000), 0, 0.0)
        self.assertIn('echod_ping_success{host="::1",port="3005"} 1.0\n', lines)

    def test_the_times_of_a_phase(self) -> None:
        lines = text(HostPort("::1", 3005), statistics(1000, 3000), 0, 0.0)
        at = 'host="::1",phase="echo",port="3005"'
        for statistic, seconds in (("min", 0.001), ("mean", 0.002), ("p50", 0.001), ("p90", 0.003), ("p99", 0.003)):
            self.assertIn(f'echod_ping_phase_seconds{{{at},statistic="{statistic}"}} {seconds}\n', lines)
        self.assertEqual(lines.count("echod_ping_phase_seconds{"), 6)

    def test_a_run_that_lost_everything_has_no_times(self) -> None:
        lines = text(HostPort("a.example", 1), statistics(lost=1), 1, 0.0)
        self.assertNotIn("echod_ping_phase_seconds{", lines)
        self.assertIn('outcome="echoed",port="1"} 0.0\n', lines)


class WriteMetricsTests(SynchronousTestCase):
    def setUp(self) -> None:
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = Path(directory.name, "ping.prom")

    def write(self) -> None:
        write_metrics(self.path, HostPort("::1", 3005), statistics(1000), 0, 0.0)

    def test_the_file_is_replaced(self) -> None:
        self.path.write_bytes(b"old")
        before = os.umask(0o022)
        self.addCleanup(os.umask, before)
        with self.path.open("rb") as reader:
            self.write()
            self.assertEqual(reader.read(), b"old")
        self.assertIn(b"echod_ping_success{", self.path.read_bytes())
        self.assertEqual(list(self.path.parent.iterdir()), [self.path])
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o644)

    def test_no_temporary_file_remains_after_an_error(self) -> None:
        self.path.mkdir()
        self.assertRaises(OSError, self.write)
        self.assertEqual(list(self.path.parent.iterdir()), [self.path])
