import io
import resource
import signal
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from echod.cli import launch, process
from echod.cli.main import main
from echod.cli.report import header_line, result_line, summary_lines
from echod.cli.tap import Options
from echod.core.addresses import HostPort
from echod.core.configuration import PingConfiguration, ServerConfiguration
from echod.core.errors import ConfigurationError, ListenError
from echod.core.options import options_of
from echod.core.outcomes import Outcome, PhaseTimes, ProbeResult, Step
from echod.core.statistics import Distribution, Tally


def written(test: SynchronousTestCase, content: bytes) -> str:
    """Return the path of a file with `content`, which goes when the test does."""
    directory = TemporaryDirectory()
    test.addCleanup(directory.cleanup)
    path = Path(directory.name, "echod.toml")
    path.write_bytes(content)
    return str(path)


ECHOED = ProbeResult(
    target=HostPort("localhost", 3005),
    outcome=Outcome.ECHOED,
    step=Step.ECHO,
    address=HostPort("::1", 3005),
    size=250,
    received=250,
    sequence=3,
    started=datetime.now(UTC),
    times=PhaseTimes(echo=12346),
)


class ReportTests(SynchronousTestCase):
    def test_header(self) -> None:
        self.assertEqual(
            header_line(HostPort("localhost", 7), range(250, 251)), "ECHO localhost port 7: 250 bytes a record"
        )

    def test_an_echo(self) -> None:
        self.assertEqual(result_line(ECHOED), "250 bytes from ::1 port 3005: seq=3 time=12.346 ms")

    def test_failures_name_their_step(self) -> None:
        failed = replace(ECHOED, outcome=Outcome.TIMEOUT, times=PhaseTimes(), detail="why", address=None)
        for step, words in (
            (Step.RESOLVE, "name resolution"), (Step.CONNECT, "connect"), (Step.IDLE, "silence"), (Step.ECHO, "echo"),
        ):  # fmt: skip
            line = result_line(replace(failed, step=step))
            self.assertEqual(line, f"no echo from localhost port 3005: seq=3 {words} failed: why")

    def test_summary(self) -> None:
        tally = Tally(sent=4, echoed=2, lost=1, elapsed=3.5, round_trips=Distribution(0.001, 0.002, 0.0303, 0.04))
        self.assertEqual(
            summary_lines(HostPort("::1", 3005), tally),
            [
                "",
                "--- ::1 port 3005 echo statistics ---",
                "4 sent, 2 echoed, 1 lost (33.3%), 1 unfinished, time 3500 ms",
                "round trip min/median/p99/max = 1.000/2.000/30.300/40.000 ms",
            ],
        )

    def test_a_summary_without_an_echo(self) -> None:
        lines = summary_lines(HostPort("::1", 1), Tally(sent=1, echoed=0, lost=1, elapsed=0.0, round_trips=None))
        self.assertEqual(lines[-1], "1 sent, 0 echoed, 1 lost (100%), time 0 ms")


class TapTests(SynchronousTestCase):
    def parse(self, *words: str) -> Options:
        options = Options()
        options.parseOptions(words)
        return options

    def test_options(self) -> None:
        made = self.parse("-p", "1", "--record-size=9", "--keep-alive", "--timeout", "2").configuration
        self.assertEqual(made, ServerConfiguration(port=1, record_size=9, keep_alive=True, timeout=2.0))

    def test_repeatable(self) -> None:
        self.assertEqual(self.parse("--listen", "tcp:1", "--listen", "tcp:2").configuration.listen, ("tcp:1", "tcp:2"))

    def test_a_configuration_file_and_the_command_line(self) -> None:
        path = written(self, b"port = 4\nkeep-alive = true\n")
        made = self.parse("--config", path, "--no-keep-alive").configuration
        self.assertEqual(made, ServerConfiguration(port=4))

    def test_one_line_for_what_is_wrong(self) -> None:
        for words in (["--port", "70000"], ["--nosuch"], ["more"], ["--config", "/nosuch"], ["--timeout", "nan"]):
            with self.assertRaises(SystemExit) as refused:
                self.parse(*words)
            line = str(refused.exception.code)
            self.assertTrue(line.startswith("twistd echod: "), line)
            self.assertNotIn("\n", line)

    def test_help_names_every_option(self) -> None:
        text = str(Options())
        for each in options_of(ServerConfiguration):
            self.assertIn(f"--{each.name}", text)


class MainTests(SynchronousTestCase):
    """What `echod` answers without a network."""

    def call(self, *words: str) -> tuple[object, str, str]:
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            try:
                status: object = main(words)
            except SystemExit as end:
                status = end.code
        return status, out.getvalue(), err.getvalue()

    def test_usage_errors_are_one_line_and_status_2(self) -> None:
        for words in (
            [], ["nosuch"], ["--nosuch"], ["ping"], ["ping", "a b"], ["ping", "::1", "70000"], ["ping", "::1", "x"],
            ["ping", "::1", "--count", "0"], ["ping", "::1", "--interval", "nan"], ["ping", "::1", "--time", "1"],
            ["ping", "::1", "-W", "0"], ["ping", "::1", "-4"], ["ping", "127.0.0.1", "-6"], ["ping", "::1", "-46"],
            ["ping", "::1", "--source", "127.0.0.1"], ["ping", "::1", "-4", "--source", "::1"],
            ["ping", "::1", "--source", "eth0"], ["ping", "::1", "--sweep", "9:1"], ["ping", "::1", "--sweep", "9"],
            ["ping", "::1", "--sweep", "1:9", "-s", "9"], ["ping", "::1", "--sweep", "1:9", "--payload", __file__],
            ["ping", "::1", "--idle", "1", "--keep-alive"], ["ping", "::1", "--idle", "0"],
            ["ping", "::1", "--payload", "/nosuch"], ["ping", "::1", "--payload", "/dev/null"],
            ["ping", "::1", "--payload", "/dev/zero"], ["ping", "::1", "--payload", "/"],
            ["ping", "::1", "--payload", __file__, "--size", "1000000"], ["ping", "::1", "--deadline", "0"],
            ["serve", "--port", "70000"], ["serve", "--timeout", "-1"],
            ["serve", "--config", "/nosuch"], ["serve", "--listen", "nosuch:1"], ["serve", "more"],
        ):  # fmt: skip
            status, out, err = self.call(*words)
            self.assertEqual((status, out), (2, ""), words)
            self.assertEqual(err.count("\n"), 1, err)
            self.assertTrue(err.startswith("echod"), err)

    def test_help_and_version(self) -> None:
        for words in (["--help"], ["--version"], ["serve", "--help"], ["ping", "--help"]):
            status, out, _ = self.call(*words)
            self.assertEqual(status, 0)
            self.assertIn("echod", out)

    def test_help_names_every_option(self) -> None:
        for command, configuration in (("serve", ServerConfiguration), ("ping", PingConfiguration)):
            _, out, _ = self.call(command, "--help")
            for each in options_of(configuration):
                self.assertIn(f"--{each.name}", out)

    def setUp(self) -> None:
        self.patch(sys, "excepthook", sys.excepthook)


class LaunchTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(sys, "excepthook", sys.excepthook)

    def test_a_file_that_is_not_toml(self) -> None:
        for text in (b"port = ", b"\xff\xfe"):
            with self.assertRaises(ConfigurationError) as refused:
                launch.server_configuration([], written(self, text))
            self.assertIn("is not TOML", str(refused.exception))

    def test_a_tac_file_ends_in_one_line(self) -> None:
        with self.assertRaises(SystemExit) as refused:
            launch.application_from_file("/nosuch.toml")
        self.assertIn("cannot read /nosuch.toml: No such file or directory", str(refused.exception.code))

    def test_an_error_of_ours_is_one_line(self) -> None:
        err = io.StringIO()
        with redirect_stderr(err):
            process.tell_in_one_line(ListenError, ListenError("cannot listen"), None)
        self.assertEqual(err.getvalue(), "echod: cannot listen\n")

    def test_any_other_error_keeps_its_traceback(self) -> None:
        told: list[object] = []
        self.patch(sys, "__excepthook__", lambda *problem: told.append(problem[0]))
        process.tell_in_one_line(ZeroDivisionError, ZeroDivisionError(), None)
        self.assertEqual(told, [ZeroDivisionError])

    def test_a_second_signal_cuts(self) -> None:
        handlers: dict[int, Callable[..., None]] = {}
        self.patch(signal, "signal", handlers.__setitem__)
        cut: list[str] = []

        class Reactor:
            def callFromThread(self, call: Callable[[], None]) -> None:
                call()

        reactor: Any = Reactor()
        process.on_next_stop_signal(reactor, lambda: cut.append("cut"))
        self.assertEqual(set(handlers), {signal.SIGTERM, signal.SIGINT})
        handlers[signal.SIGTERM](signal.SIGTERM, None)
        self.assertEqual(cut, ["cut"])


class DescriptorLimitTests(SynchronousTestCase):
    def test_a_number_or_none(self) -> None:
        for soft, limit in ((1024, 1024), (resource.RLIM_INFINITY, None)):
            self.patch(resource, "getrlimit", lambda _, soft=soft: (soft, soft))
            self.assertEqual(process.descriptor_limit(), limit)


class MonotonicClockTests(SynchronousTestCase):
    def test_the_wall_clock_counts_no_more(self) -> None:
        from twisted.internet.base import ReactorBase

        class Reactor(ReactorBase):
            def installWaker(self) -> None:
                """It never runs, so nothing has to wake it."""

        wall = [1_000_000.0]
        reactor: Any = Reactor()
        reactor.seconds = lambda: wall[0]
        fired: list[str] = []
        before = reactor.callLater(5, fired.append, "before")
        process.use_monotonic_clock(reactor)
        after = reactor.callLater(5, fired.append, "after")
        self.assertApproximates(before.getTime(), after.getTime(), 1.0)
        wall[0] += 3600
        reactor.runUntilCurrent()
        self.assertEqual(fired, [])
        self.assertLessEqual(reactor.timeout(), 5.0)
        self.assertApproximates(reactor.seconds(), time.monotonic(), 1.0)
        before.reset(0)
        reactor.runUntilCurrent()
        self.assertEqual(fired, ["before"])
        after.cancel()


class MemoryReactorTests(SynchronousTestCase):
    def test_pending_calls_of_any_reactor_are_kept(self) -> None:
        reactor = MemoryReactorClock()
        process.use_monotonic_clock(reactor)
        self.assertEqual(reactor.getDelayedCalls(), [])
