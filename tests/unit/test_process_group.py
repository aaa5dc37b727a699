import fcntl
import json
import os
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from echod.admin.metric_family import BucketCounts, Combine, Kind, MetricFamily, combined, counter, gauge, histogram
from echod.admin.process_directory import MOST_PROCESSES, ProcessDirectory
from echod.admin.process_group import SharedDirectory
from echod.admin.process_metrics import process_metrics
from echod.admin.snapshot import STALE, DaemonState, Snapshot, combined_snapshot, snapshot_from_json, snapshot_to_json
from echod.common.errors import ConfigurationError

RECORDS, ACTIVE = "echod_records_echoed", "echod_connections_active"


def snapshot(*families: MetricFamily, **members: Any) -> Snapshot:
    given: dict[str, Any] = {
        "states": (DaemonState.READY,),
        "since": 1_800_000_000.0,
        "written": 100.0,
        "addresses": ("[::]:3005",),
        "lag": 0.25,
    }
    return Snapshot(families={family.name: family for family in families}, **given | members)


class BucketCountsTests(SynchronousTestCase):
    def test_sum_and_difference(self) -> None:
        one, other = BucketCounts((1.0, 2.0), (1, 2, 3), 9.0), BucketCounts((1.0, 2.0), (10, 20, 30), 4.0)
        self.assertEqual(one + other, BucketCounts((1.0, 2.0), (11, 22, 33), 13.0))
        self.assertEqual(other - one, BucketCounts((1.0, 2.0), (9, 18, 27), -5.0))

    def test_of_different_bounds_the_common_ones_remain(self) -> None:
        one = BucketCounts((1.0, 2.0, 4.0), (1, 2, 3, 4), 0.0)
        other = BucketCounts((2.0, 3.0, 4.0), (10, 20, 30, 40), 0.0)
        self.assertEqual(one + other, BucketCounts((2.0, 4.0), (13, 53, 44), 0.0))


class CombinedTests(SynchronousTestCase):
    def combine(self, running: list[MetricFamily], ended: list[MetricFamily]) -> list[dict[tuple[str, ...], Any]]:
        return [dict(family.samples) for family in combined(running, ended).values()]

    def test_each_rule(self) -> None:
        for rule, expected in ((Combine.SUM, 5), (Combine.HIGHEST, 3), (Combine.LOWEST, 2)):
            one, other = gauge("g", "help", rule, 2), gauge("g", "help", rule, 3)
            self.assertEqual(self.combine([one, other], [gauge("g", "help", rule, 100)]), [{(): expected}], rule)

    def test_ended_processes_count_in_counters_and_histograms_only(self) -> None:
        one, ended = counter("c", "help", {"a": 1}, "label"), counter("c", "help", {"a": 10, "b": 20}, "label")
        self.assertEqual(self.combine([one], [ended]), [{("a",): 11, ("b",): 20}])
        times = histogram("h", "help", BucketCounts((1.0,), (1, 2), 3.0))
        self.assertEqual(self.combine([times], [times]), [{(): BucketCounts((1.0,), (2, 4), 6.0)}])
        self.assertEqual(self.combine([], [gauge("g", "help", Combine.SUM, 1)]), [])

    def test_metric_that_one_process_lacks(self) -> None:
        self.assertEqual(self.combine([counter("a", "", 1), counter("b", "", 2)], []), [{(): 1}, {(): 2}])

    def test_of_families_with_different_labels_the_first_counts(self) -> None:
        self.assertEqual(self.combine([counter("c", "", 1), counter("c", "", {"x": 2}, "label")], []), [{(): 1}])


class SnapshotTests(SynchronousTestCase):
    whole = snapshot(
        counter(RECORDS, "Records.", 7),
        counter("echod_connections_closed", "Ended.", {"echoed": 2, "reset": 0}, "reason"),
        gauge("process_start_time_seconds", "Start.", Combine.HIGHEST, 1.5),
        histogram("echod_record_wait_seconds", "Wait.", BucketCounts((0.1, 1.0), (3, 4, 0), 2.5)),
    )

    def test_file_holds_the_whole_snapshot(self) -> None:
        self.assertEqual(snapshot_from_json(snapshot_to_json(self.whole)), self.whole)

    def test_unknown_members_are_ignored(self) -> None:
        members = json.loads(snapshot_to_json(self.whole))
        members["new"] = 1
        members["families"][0]["new"] = 1
        self.assertEqual(snapshot_from_json(json.dumps(members).encode()), self.whole)

    def test_invalid_files(self) -> None:
        def refused(change: Any) -> str:
            members = json.loads(snapshot_to_json(self.whole))
            change(members)
            with self.assertRaises(ValueError) as raised:
                snapshot_from_json(json.dumps(members).encode())
            return str(raised.exception)

        self.assertEqual(refused(lambda m: m.update(format=2)), "its format is 2, not 1")
        self.assertEqual(refused(lambda m: m.pop("format")), "it is not a snapshot: KeyError('format')")
        self.assertEqual(refused(lambda m: m.pop("lag")), "it is not a snapshot: KeyError('lag')")
        self.assertEqual(refused(lambda m: m.update(state="asleep")), "'asleep' is not a valid DaemonState")
        self.assertEqual(
            refused(lambda m: m["families"][3]["samples"][0][1].update(counts=[1])),
            "a histogram must have one count more than bounds",
        )
        for data in (b"", b"{", b"\xff", b"[]", b"7"):
            self.assertRaises(ValueError, snapshot_from_json, data)

    def test_values(self) -> None:
        self.assertEqual((self.whole.number(RECORDS), self.whole.count(RECORDS)), (7, 7))
        self.assertIsNone(self.whole.number("echod_host_listen_overflows"))
        self.assertEqual(self.whole.counts_by_label("echod_connections_closed"), {"echoed": 2})
        self.assertEqual(self.whole.buckets("echod_record_wait_seconds").counts, (3, 4, 0))

    def test_combined(self) -> None:
        own = snapshot(counter(RECORDS, "", 1), since=20.0, written=100.0, lag=0.1)
        other = snapshot(counter(RECORDS, "", 2), since=10.0, written=99.0, lag=0.3, addresses=("[::]:3005", "[::]:7"))
        ended = snapshot(counter(RECORDS, "", 4), since=5.0, lag=9.0, addresses=("[::]:9",))
        whole = combined_snapshot(own, [other], [ended])
        self.assertEqual((whole.since, whole.lag, whole.addresses), (10.0, 0.3, ("[::]:3005", "[::]:7")))
        self.assertEqual((whole.states, whole.count(RECORDS)), ((DaemonState.READY,) * 2, 7))

    def test_state_of_several_processes(self) -> None:
        starting, ready, not_listening, draining = (
            snapshot(states=(DaemonState(state),)) for state in ("starting", "ready", "not-listening", "draining")
        )
        self.assertIs(combined_snapshot(draining, [ready], []).state, DaemonState.READY)
        self.assertIs(combined_snapshot(draining, [starting], []).state, DaemonState.STARTING)
        self.assertIs(combined_snapshot(draining, [not_listening], []).state, DaemonState.NOT_LISTENING)
        self.assertIs(combined_snapshot(draining, [draining], []).state, DaemonState.DRAINING)

    def test_process_without_a_snapshot_for_a_time_hangs(self) -> None:
        for age, state in ((STALE - 0.1, DaemonState.READY), (STALE, DaemonState.HANGING)):
            whole = combined_snapshot(snapshot(written=100.0), [snapshot(written=100.0 - age)], [])
            self.assertEqual(whole.states, (DaemonState.READY, state))
        hanging = snapshot(written=0.0)
        draining = snapshot(written=100.0, states=(DaemonState.DRAINING,))
        self.assertIs(combined_snapshot(draining, [hanging], []).state, DaemonState.HANGING)


class DirectoryTests(SynchronousTestCase):
    def setUp(self) -> None:
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = Path(directory.name, "echod")

    def process(self, records: int = 0, active: int = 0) -> "Process":
        process = Process(self.path, records, active)
        self.addCleanup(process.end)
        return process

    def names(self) -> list[str]:
        return sorted(path.name for path in self.path.iterdir())

    def test_each_process_shows_the_sum(self) -> None:
        one, other = self.process(records=1, active=2), self.process(records=10, active=20)
        self.assertEqual((one.count(RECORDS), other.count(RECORDS)), (11, 11))
        self.assertEqual((one.count(ACTIVE), other.count(ACTIVE)), (22, 22))
        self.assertEqual(self.names(), ["process-1.json", "process-1.lock", "process-2.json", "process-2.lock"])

    def test_counters_never_fall_whichever_process_shows_them(self) -> None:
        one, other = self.process(), self.process()
        shown = []
        for step in range(1, 6):
            one.records = 10 * step
            shown += [one.count(RECORDS), other.count(RECORDS)]
            other.records = 100 * step
            shown += [other.count(RECORDS), one.count(RECORDS)]
        self.assertEqual(shown, sorted(shown))
        self.assertEqual(shown[-1], 550)

    def test_counts_of_an_ended_process_remain_and_its_gauges_do_not(self) -> None:
        for end in (Process.end, Process.kill):
            one, other = self.process(records=1, active=2), self.process(records=10, active=20)
            before = one.count(RECORDS)
            end(other)
            self.assertEqual((one.count(RECORDS), one.count(ACTIVE)), (before, 2), end)
            self.assertEqual(one.shared.snapshot().states, (DaemonState.READY,))
            one.end()

    def test_new_process_takes_the_number_of_an_ended_one_and_adds_to_its_counts(self) -> None:
        one, other = self.process(records=1), self.process(records=10)
        other.kill()
        third = self.process(records=100)
        self.assertEqual((one.count(RECORDS), third.count(RECORDS)), (111, 111))
        self.assertEqual(self.names(), ["process-1.json", "process-1.lock", "process-2.json", "process-2.lock"])
        for _ in range(5):
            third.end()
            third = self.process(records=100)
        self.assertEqual(third.count(RECORDS), 611)

    def test_last_snapshot_has_the_last_counts(self) -> None:
        one = self.process()
        one.records = 7
        one.end()
        self.assertEqual(self.process(records=1).count(RECORDS), 8)

    def test_start_counter(self) -> None:
        for expected in range(1, 4):
            one = self.process()
            self.assertEqual(one.count("echod_processes_started"), expected)
            one.kill()

    def test_snapshot_before_the_start_writes_nothing(self) -> None:
        shared = SharedDirectory(snapshot, ProcessDirectory(self.path))
        self.assertEqual(shared.snapshot().states, (DaemonState.READY,))
        self.assertFalse(self.path.exists())

    def test_metric_of_a_later_version_is_counted_and_kept(self) -> None:
        one, later = self.process(), self.process()
        later.more = (counter("echod_new", "New.", 5),)
        later.kill(last=True)
        self.assertEqual(one.count("echod_new"), 5)
        old = self.process()
        self.assertEqual(old.count("echod_new"), 5)
        old.end()
        self.assertEqual(self.process().count("echod_new"), 5)

    def test_file_of_another_format_is_logged_once_and_stays(self) -> None:
        self.path.mkdir()
        file = self.path / "process-1.json"
        file.write_text('{"format": 2}')
        one = self.process(records=1)
        self.assertEqual([one.count(RECORDS) for _ in range(3)], [1, 1, 1])
        self.assertEqual(file.read_text(), '{"format": 2}')
        self.assertEqual(self.names(), ["process-1.json", "process-1.lock", "process-2.json", "process-2.lock"])

    def test_file_that_becomes_unreadable(self) -> None:
        one, other = self.process(records=1), self.process(records=10)
        (self.path / "process-2.json").write_text("x")
        self.assertEqual(one.count(RECORDS), 1)
        self.assertEqual(other.count(RECORDS), 11)
        self.assertEqual(one.count(RECORDS), 11)

    def test_other_files_are_ignored(self) -> None:
        self.path.mkdir()
        (self.path / "admin.sock").write_text("x")
        (self.path / "process-7.lock").write_text("")
        self.assertEqual(self.process(records=1).count(RECORDS), 1)

    def test_process_without_a_lock_file_has_ended(self) -> None:
        one, other = self.process(records=1), self.process(records=10, active=20)
        other.kill()
        (self.path / "process-2.lock").unlink()
        self.assertEqual((one.count(RECORDS), one.count(ACTIVE)), (11, 0))

    def test_failed_writes_are_logged_once_until_one_succeeds(self) -> None:
        logged: list[str] = []
        one = self.process(records=1)
        log: Any = one.directory
        self.patch(log, "_log", Recorder(logged))
        self.path.rename(self.path.with_name("moved"))
        self.assertEqual([one.count(RECORDS), one.count(RECORDS)], [1, 1])
        self.path.with_name("moved").rename(self.path)
        one.count(RECORDS)
        self.path.rename(self.path.with_name("moved"))
        one.count(RECORDS)
        self.assertEqual(logged, [f"admin-directory: cannot write to {self.path}: No such file or directory"] * 2)

    def test_directory_is_created_for_the_user_alone(self) -> None:
        self.process()
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o700)

    def test_directories_that_cannot_be_used(self) -> None:
        def refused(path: Path) -> str:
            with self.assertRaises(ConfigurationError) as raised:
                ProcessDirectory(path).join()
            return str(raised.exception)

        self.path.mkdir()
        file = self.path / "file"
        file.write_text("")
        self.assertEqual(refused(file), f"admin-directory: cannot use {file}: File exists")
        missing = self.path / "a" / "b"
        self.assertEqual(refused(missing), f"admin-directory: cannot use {missing}: No such file or directory")
        self.path.chmod(0o777)
        self.assertEqual(refused(self.path), f"admin-directory: {self.path} is writable by every user")

    def test_symbolic_link_in_place_of_a_file_is_not_followed(self) -> None:
        self.path.mkdir()
        (self.path / "process-1.lock").symlink_to("/nonexistent/file")
        with self.assertRaises(ConfigurationError):
            ProcessDirectory(self.path).join()

    def test_limit_of_processes(self) -> None:
        self.path.mkdir()
        self.patch(fcntl, "flock", self.always_locked)
        with self.assertRaises(ConfigurationError) as raised:
            ProcessDirectory(self.path).join()
        self.assertEqual(str(raised.exception), f"admin-directory: {MOST_PROCESSES} processes use {self.path}")

    def always_locked(self, *_: object) -> None:
        raise BlockingIOError


class Process:
    """A process of the group, in this process: its lock is one of a separate open file."""

    def __init__(self, path: Path, records: int, active: int) -> None:
        self.records = records
        self.active = active
        self.more: tuple[MetricFamily, ...] = ()
        self.directory = ProcessDirectory(path)
        self.shared = SharedDirectory(self.own, self.directory)
        self.shared.startService()

    def own(self) -> Snapshot:
        return snapshot(
            counter(RECORDS, "Records.", self.records),
            counter("echod_processes_started", "Starts.", 1),
            gauge(ACTIVE, "Open.", Combine.SUM, self.active),
            *self.more,
        )

    def count(self, name: str) -> float:
        return self.shared.snapshot().count(name)

    def end(self) -> None:
        """Stop as a process does that ends in order."""
        if self.shared.running:
            self.shared.stopService()

    def kill(self, *, last: bool = False) -> None:
        """End without a last snapshot, or with one."""
        if last:
            self.shared.snapshot()
        os.close(self.directory._lock)
        self.shared.running = 0


class Recorder:
    """A logger that appends its messages to a list."""

    def __init__(self, messages: list[str]) -> None:
        self.messages = messages

    def error(self, text: str, **values: object) -> None:
        self.messages.append(text.format(**values))


class ProcessMetricsTests(SynchronousTestCase):
    def values(self, proc: Path) -> dict[str, Any]:
        return {family.name: family.samples[()] for family in process_metrics(1_800_000_000.0, proc)}

    def test_of_this_process(self) -> None:
        values = self.values(Path("/proc/self"))
        self.assertEqual(
            list(values),
            [
                *("process_cpu_seconds", "process_start_time_seconds", "process_virtual_memory_bytes"),
                *("process_resident_memory_bytes", "process_max_fds", "process_open_fds"),
            ],
        )
        self.assertEqual(values["process_start_time_seconds"], 1_800_000_000.0)
        self.assertEqual(values["process_open_fds"], len(list(Path("/proc/self/fd").iterdir())) - 1)
        self.assertGreater(values["process_virtual_memory_bytes"], values["process_resident_memory_bytes"])

    def test_metrics_whose_source_cannot_be_read_are_absent(self) -> None:
        values = self.values(Path("/nonexistent"))
        self.assertEqual(list(values), ["process_cpu_seconds", "process_start_time_seconds", "process_max_fds"])

    def test_statm(self) -> None:
        with TemporaryDirectory() as directory:
            Path(directory, "statm").write_text("300 20 3 4 0 5 0\n")
            values = self.values(Path(directory))
        page = os.sysconf("SC_PAGE_SIZE")
        self.assertEqual(
            (values["process_virtual_memory_bytes"], values["process_resident_memory_bytes"]), (300 * page, 20 * page)
        )

    def test_rules(self) -> None:
        rules = {family.name: family.combine for family in process_metrics(0.0)}
        self.assertIs(rules["process_start_time_seconds"], Combine.HIGHEST)
        self.assertIs(rules["process_resident_memory_bytes"], Combine.SUM)


class KindTests(SynchronousTestCase):
    def test_kind_and_labels(self) -> None:
        self.assertEqual(counter("c", "help", 1), MetricFamily("c", "help", Kind.COUNTER, Combine.TOTAL, (), {(): 1}))
        labelled = gauge("g", "help", Combine.SUM, {"a": 1}, "label")
        self.assertEqual((labelled.labels, labelled.samples), (("label",), {("a",): 1}))
        self.assertEqual(replace(labelled, samples={}), gauge("g", "help", Combine.SUM, {}, "label"))
