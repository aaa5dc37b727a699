import io
import resource
import signal
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.error import ReactorNotRunning
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from echod.cli import process
from echod.common.errors import ConfigurationError, ListenError
from echod.common.options import options_of
from echod.load.config import LoadConfiguration
from echod.main import main
from echod.ping.config import PingConfiguration
from echod.serve import daemon as serve_daemon
from echod.serve.sources import ConfigurationSources
from echod.serve.twistd_options import Options
from echod.server.config import ServerConfiguration


class SignalReactor(MemoryReactorClock):
    """A reactor that keeps the calls from signal handlers until `run_calls`."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[Callable[[], object]] = []

    def callFromThread(self, callable: Callable[..., object], *args: object, **kwargs: object) -> None:
        self._calls.append(lambda: callable(*args, **kwargs))

    def run_calls(self) -> None:
        while self._calls:
            self._calls.pop(0)()


def file_of(test: SynchronousTestCase, content: bytes) -> str:
    """Return the path of a file with `content`, removed when the test ends."""
    directory = TemporaryDirectory()
    test.addCleanup(directory.cleanup)
    path = Path(directory.name, "echod.toml")
    path.write_bytes(content)
    return str(path)


class TwistdOptionTests(SynchronousTestCase):
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
        path = file_of(self, b"port = 4\nkeep-alive = true\n")
        made = self.parse("--config", path, "--no-keep-alive").configuration
        self.assertEqual(made, ServerConfiguration(port=4))

    def test_usage_errors_are_one_line(self) -> None:
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
    """`echod` without a network."""

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
            ["ping", "::1", "-W", "0"], ["ping", "::1", "--assert", "p98<1ms"], ["ping", "::1", "--summary"],
            ["ping", "::1", "-q", "-v"], ["ping", "::1", "--warning", "lost>0"],
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

    def test_a_plugin_reports_usage_errors_in_its_format(self) -> None:
        for words in (["::1", "--nosuch"], ["a b"], ["::1", "--json"], ["::1", "--critical", "p98>1ms"]):
            status, out, err = self.call("ping", "--nagios", *words)
            self.assertEqual((status, err), (3, ""), words)
            self.assertTrue(out.startswith("ECHOD UNKNOWN - "), out)
            self.assertEqual(out.count("\n"), 1)

    def test_help_and_version(self) -> None:
        for words in (
            ["--help"],
            ["--version"],
            ["serve", "--help"],
            ["ping", "--help"],
            ["load", "--help"],
            ["report", "--help"],
        ):
            status, out, _ = self.call(*words)
            self.assertEqual(status, 0)
            self.assertIn("echod", out)

    def test_help_names_every_option(self) -> None:
        for command, configuration in (
            ("serve", ServerConfiguration),
            ("ping", PingConfiguration),
            ("load", LoadConfiguration),
        ):
            _, out, _ = self.call(command, "--help")
            for each in options_of(configuration):
                self.assertIn(f"--{each.name}", out)

    def setUp(self) -> None:
        self.patch(sys, "excepthook", sys.excepthook)


class DaemonTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(sys, "excepthook", sys.excepthook)

    def test_a_file_that_is_not_toml(self) -> None:
        for text in (b"port = ", b"\xff\xfe", b"listen = " + b"[" * 5000):
            with self.assertRaises(ConfigurationError) as refused:
                ConfigurationSources([], file_of(self, text), {}).read()
            self.assertIn("is not TOML", str(refused.exception))

    def test_a_tac_file_ends_in_one_line(self) -> None:
        with self.assertRaises(SystemExit) as refused:
            serve_daemon.application_from_file("/nosuch.toml")
        self.assertIn("cannot read /nosuch.toml: No such file or directory", str(refused.exception.code))

    def test_an_echod_error_is_one_line(self) -> None:
        err = io.StringIO()
        with redirect_stderr(err):
            process.one_line_excepthook(ListenError, ListenError("cannot listen"), None)
        self.assertEqual(err.getvalue(), "echod: cannot listen\n")

    def test_any_other_error_keeps_its_traceback(self) -> None:
        shown: list[object] = []
        self.patch(sys, "__excepthook__", lambda *problem: shown.append(problem[0]))
        process.one_line_excepthook(ZeroDivisionError, ZeroDivisionError(), None)
        self.assertEqual(shown, [ZeroDivisionError])

    def handlers(self) -> dict[int, Callable[..., None]]:
        """Return the signal handlers that are installed from now on, by signal."""
        installed: dict[int, Callable[..., None]] = {}
        self.patch(signal, "signal", installed.__setitem__)
        return installed

    def test_a_second_stop_signal_is_handled(self) -> None:
        handlers, reactor, calls = self.handlers(), SignalReactor(), list[str]()
        process.on_next_stop_signal(reactor, lambda: calls.append("cut"))
        self.assertEqual(set(handlers), {signal.SIGTERM, signal.SIGINT})
        handlers[signal.SIGTERM](signal.SIGTERM, None)
        self.assertEqual(calls, [])
        reactor.run_calls()
        self.assertEqual(calls, ["cut"])

    def test_a_signal_keeps_its_previous_handler(self) -> None:
        calls = list[str]()
        for previous, expected in (
            (lambda number, _: calls.append(f"previous {number}"), [f"previous {signal.SIGHUP}", "ours"]),
            (signal.SIG_DFL, ["ours"]),
        ):
            calls.clear()
            self.patch(signal, "getsignal", lambda _, previous=previous: previous)
            handlers, reactor = self.handlers(), SignalReactor()
            process.on_signal(reactor, signal.SIGHUP, lambda: calls.append("ours"))
            self.assertEqual(set(handlers), {signal.SIGHUP})
            handlers[signal.SIGHUP](signal.SIGHUP, None)
            reactor.run_calls()
            self.assertEqual(calls, expected)


class ReactorRunTests(SynchronousTestCase):
    def run_of(self, *results: int | Failure) -> process.ReactorRun[int]:
        reactor = MemoryReactorClock()
        made: process.ReactorRun[int] = process.ReactorRun(reactor)
        self.assertFalse(made.finished)
        for each in results:
            made.finish(each)
            self.assertTrue(made.finished)
        return made

    def test_the_first_result_is_returned(self) -> None:
        self.assertEqual(self.run_of(1).run(), 1)
        self.assertEqual(self.run_of(1, 2).run(), 1)

    def test_a_failure_is_raised(self) -> None:
        self.assertRaises(ListenError, self.run_of(Failure(ListenError("x")), 2).run)

    def test_a_reactor_that_is_stopping_already(self) -> None:
        reactor = MemoryReactorClock()
        self.patch(reactor, "stop", self.stopped)
        made: process.ReactorRun[int] = process.ReactorRun(reactor)
        made.finish(1)
        self.assertTrue(made.finished)

    def stopped(self) -> None:
        raise ReactorNotRunning


class DescriptorLimitTests(SynchronousTestCase):
    def test_a_number_or_none(self) -> None:
        for soft, limit in ((1024, 1024), (resource.RLIM_INFINITY, None)):
            self.patch(resource, "getrlimit", lambda _, soft=soft: (soft, soft))
            self.assertEqual(process.descriptor_limit(), limit)


class MonotonicClockTests(SynchronousTestCase):
    def test_timers_do_not_follow_the_wall_clock(self) -> None:
        from twisted.internet.base import ReactorBase

        class Reactor(ReactorBase):
            def installWaker(self) -> None:
                """No-op: this reactor never runs."""

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
