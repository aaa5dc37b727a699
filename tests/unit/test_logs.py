import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import ANY

from twisted.application.service import Application, MultiService, Service
from twisted.internet.task import Clock
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import ILogObserver, Logger, LogLevel, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from echod.common.addresses import HostPort
from echod.common.errors import ConfigurationError
from echod.serve.access_log import AccessLog, ConfiguredAccessLog
from echod.serve.daemon import log_of_twistd
from echod.serve.daemon_log import DaemonLog, line_of_event
from echod.serve.destinations import RotatedFile
from echod.serve.line_writer import LINES
from echod.serve.log_lines import (
    ACCESS_LINES,
    JOURNAL_ACCESS_LINES,
    AccessLines,
    event_line,
    json_access_line,
    text_access_line,
)
from echod.serve.logs import LoggedService, Logs
from echod.serve.refusal_log import INTERVAL, RefusalLog
from echod.server.config import ServerConfiguration
from echod.server.observer import NullObserver, Observers
from echod.server.summary import CloseReason, ConnectionSummary, TLSFacts
from tests.support.memory import MemoryDestination, MemoryObserver

NOW = 1_800_000_000.25
PLAIN = ConnectionSummary(
    peer=HostPort("2001:db8::1", 40000),
    listener="[::]:3005",
    reason=CloseReason.ECHOED,
    records=2,
    bytes_received=500,
    bytes_sent=500,
    duration=0.0123456789,
)
TLS = PLAIN._replace(tls=TLSFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384", "CN=a"))
FORGED = TLS._replace(tls=TLSFacts("TLSv1.3", "X", 'CN="\n2027-01-15T08:00:00Z 192.0.2.1:1 - echoed \u2028\x1b[2J'))


class LineTests(SynchronousTestCase):
    def test_text(self) -> None:
        self.assertEqual(
            text_access_line(NOW, PLAIN),
            "2027-01-15T08:00:00.250Z [2001:db8::1]:40000 [::]:3005 echoed records=2 received=500 sent=500 "
            "duration=0.012346",
        )
        self.assertTrue(
            text_access_line(NOW, TLS).endswith(
                ' duration=0.012346 tls=TLSv1.3 cipher=TLS_AES_256_GCM_SHA384 subject="CN=a"'
            )
        )

    def test_text_without_a_peer_address(self) -> None:
        summary = PLAIN._replace(peer=HostPort("", 0), listener="unix:/a b", tls=TLSFacts("TLSv1.2", "X", None))
        words = text_access_line(NOW, summary)
        self.assertIn(' - "unix:/a b" echoed ', words)
        self.assertTrue(words.endswith("tls=TLSv1.2 cipher=X"))

    def test_json(self) -> None:
        self.assertEqual(
            json.loads(json_access_line(NOW, TLS)),
            {
                "time": "2027-01-15T08:00:00.250Z",
                "peer": "2001:db8::1",
                "port": 40000,
                "listener": "[::]:3005",
                "reason": "echoed",
                "records": 2,
                "received": 500,
                "sent": 500,
                "duration": 0.012346,
                "tls": "TLSv1.3",
                "cipher": "TLS_AES_256_GCM_SHA384",
                "subject": "CN=a",
            },
        )
        self.assertNotIn("tls", json_access_line(NOW, PLAIN))
        self.assertNotIn("subject", json_access_line(NOW, TLS._replace(tls=TLSFacts("TLSv1.2", "X", None))))

    def test_no_client_can_forge_a_line(self) -> None:
        scope = PLAIN._replace(peer=HostPort("fe80::1%\x1b[2J\n2027-01-15T08:00:00Z 192.0.2.1:1 - echoed", 1))
        for line in (*(text_access_line(NOW, each) for each in (FORGED, scope)), json_access_line(NOW, FORGED)):
            self.assertTrue(line.isascii())
            self.assertTrue(line.isprintable())


class DroppedLineTests(SynchronousTestCase):
    def test_text(self) -> None:
        self.assertEqual(ACCESS_LINES["text"].dropped(NOW, 3), "2027-01-15T08:00:00.250Z lines-dropped=3")
        self.assertEqual(JOURNAL_ACCESS_LINES["text"].dropped(NOW, 3), "lines-dropped=3")

    def test_json(self) -> None:
        for lines in (ACCESS_LINES, JOURNAL_ACCESS_LINES):
            self.assertEqual(lines["json"].dropped(NOW, 3), '{"time": "2027-01-15T08:00:00.250Z", "lines-dropped": 3}')


class AccessLogTests(SynchronousTestCase):
    def setUp(self) -> None:
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = Path(directory.name, "access.log")
        self.log = EventLoggingObserver()
        globalLogPublisher.addObserver(self.log)
        self.addCleanup(globalLogPublisher.removeObserver, self.log)
        self.destination = MemoryDestination()

    def access_log(self, path: str = "") -> AccessLog:
        lines = AccessLines(lambda _, summary: summary.reason.value, lambda _, count: f"dropped {count}")
        access = AccessLog(path or str(self.path), lines, lambda: NOW, lambda call: call(), self.destination)
        self.addCleanup(access.writer.close)
        return access

    def said(self) -> list[str]:
        return [formatEvent(event) for event in self.log]

    def test_file_is_appended_to(self) -> None:
        self.path.write_text("before\n")
        access = self.access_log()
        access.connection_ended(PLAIN)
        access.close()
        self.assertEqual(self.path.read_text(), "before\nechoed\n")

    def test_reopen_after_the_file_was_moved(self) -> None:
        access = self.access_log()
        moved = self.path.rename(self.path.with_suffix(".1"))
        access.reopen()
        access.connection_ended(PLAIN)
        access.close()
        self.assertEqual((moved.read_text(), self.path.read_text()), ("", "echoed\n"))

    def test_file_that_cannot_be_opened(self) -> None:
        with self.assertRaises(ConfigurationError) as refused:
            self.access_log("/nosuch/log")
        self.assertEqual(str(refused.exception), "access-log: cannot open /nosuch/log: No such file or directory")

    def test_old_file_stays_open_if_reopening_fails(self) -> None:
        access = self.access_log()
        moved = self.path.rename(self.path.with_suffix(".1"))
        self.path.mkdir()
        with self.assertRaises(ConfigurationError) as refused:
            access.reopen()
        self.assertEqual(str(refused.exception), f"access-log: cannot open {self.path}: Is a directory")
        access.connection_ended(PLAIN)
        access.close()
        self.assertEqual(moved.read_text(), "echoed\n")

    def test_standard_output_is_not_reopened(self) -> None:
        access = self.access_log("-")
        access.reopen()
        access.connection_ended(PLAIN)
        access.close()
        self.assertEqual(self.destination.data, b"echoed\n")
        self.assertEqual(self.said(), [])

    def test_lines_that_are_lost_at_the_end(self) -> None:
        self.destination.results = [OSError(28, "No space left on device")]
        access = self.access_log("-")
        for _ in range(3):
            access.connection_ended(PLAIN)
        access.close()
        self.assertEqual(
            self.said(),
            [
                "the access log cannot be written: No space left on device",
                "the access log ends without its last 3 line(s)",
            ],
        )

    def test_dropped_lines(self) -> None:
        access = self.access_log("-")
        for _ in range(LINES + 2):
            access.connection_ended(PLAIN)
        self.assertEqual(
            self.said(), ["the access log takes no more lines; they are dropped until it is written again"]
        )
        access.close()
        self.assertEqual(self.said()[1:], ["the access log is written again; 2 line(s) were dropped"])
        self.assertEqual(self.destination.data, b"echoed\n" * LINES + b"dropped 2\n")


class ConfiguredAccessLogTests(SynchronousTestCase):
    def setUp(self) -> None:
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = Path(directory.name, "access.log")
        self.log = EventLoggingObserver()
        globalLogPublisher.addObserver(self.log)
        self.addCleanup(globalLogPublisher.removeObserver, self.log)
        self.opened: list[AccessLog] = []

    def access_log(self, **options: Any) -> ConfiguredAccessLog:
        access = ConfiguredAccessLog(self.configuration(**options), self.open_log)
        self.addCleanup(access.close)
        return access

    def configuration(self, **options: Any) -> ServerConfiguration:
        values: dict[str, Any] = {"access_log": str(self.path), **options}
        return ServerConfiguration(**values)

    def open_log(self, configuration: ServerConfiguration) -> AccessLog | None:
        if configuration.access_log is None:
            return None
        lines = AccessLines(lambda _, summary: summary.reason.value, lambda _, count: f"dropped {count}")
        self.opened.append(AccessLog(configuration.access_log, lines, lambda: NOW, lambda call: call()))
        return self.opened[-1]

    def ended(self, access: AccessLog) -> None:
        """Wait for the end of the thread of a log that was replaced."""
        thread = access.writer._thread
        assert thread is not None
        thread.join(5.0)
        self.assertFalse(thread.is_alive())

    def test_another_file(self) -> None:
        other = self.path.with_name("other.log")
        access = self.access_log()
        access.start()
        apply = access.prepare(self.configuration(access_log=str(other)))
        access.connection_ended(PLAIN)
        apply()
        access.connection_ended(PLAIN)
        self.ended(self.opened[0])
        access.close()
        self.assertEqual((self.path.read_text(), other.read_text()), ("echoed\n", "echoed\n"))
        descriptors = [each.writer._destination.descriptor for each in self.opened]  # type: ignore[attr-defined]
        self.assertIsNone(descriptors[0])
        self.assertIsNotNone(descriptors[1])

    def test_no_file_and_a_file_again(self) -> None:
        access = self.access_log()
        access.start()
        access.connection_ended(PLAIN)
        access.prepare(self.configuration(access_log=None))()
        access.connection_ended(PLAIN)
        access.reopen()
        access.start()
        self.assertEqual(access.dropped, 0)
        access.close()
        self.ended(self.opened[0])
        self.assertEqual(self.path.read_text(), "echoed\n")
        access.prepare(self.configuration())()
        access.connection_ended(PLAIN)
        access.close()
        self.assertEqual(self.path.read_text(), "echoed\nechoed\n")

    def test_dropped_lines_of_all_files_count(self) -> None:
        access = self.access_log()
        for _ in range(LINES + 2):
            access.connection_ended(PLAIN)
        self.assertEqual(access.dropped, 2)
        access.start()
        access.prepare(self.configuration(access_log=str(self.path.with_name("other.log"))))()
        self.ended(self.opened[0])
        self.assertEqual(access.dropped, 2)

    def test_lines_that_a_replaced_file_did_not_take_count_and_are_logged(self) -> None:
        access = self.access_log(access_log="/dev/full")
        access.start()
        access.connection_ended(PLAIN)
        access.prepare(self.configuration())()
        self.ended(self.opened[0])
        self.assertEqual(access.dropped, 1)
        self.assertEqual(
            [formatEvent(event) for event in self.log],
            [
                "the access log cannot be written: No space left on device",
                "the access log ends without its last 1 line(s)",
            ],
        )

    def test_health_checks(self) -> None:
        access = self.access_log()
        check = PLAIN._replace(reason=CloseReason.HEALTH_CHECK)
        access.connection_ended(check)
        access.prepare(self.configuration(log_health_checks=True))()
        access.connection_ended(check)
        access.close()
        self.assertEqual(self.path.read_text(), "health-check\n")
        self.assertEqual(len(self.opened), 1)

    def test_a_file_that_cannot_be_opened(self) -> None:
        access = self.access_log()
        with self.assertRaises(ConfigurationError):
            access.prepare(self.configuration(access_log="/nosuch/access.log"))
        access.connection_ended(PLAIN)
        access.close()
        self.assertEqual(self.path.read_text(), "echoed\n")

    def test_reopening(self) -> None:
        access = self.access_log()
        moved = self.path.rename(self.path.with_suffix(".moved"))
        access.reopen()
        access.connection_ended(PLAIN)
        access.close()
        self.assertEqual((moved.read_text(), self.path.read_text()), ("", "echoed\n"))
        self.assertEqual([formatEvent(event) for event in self.log], ["loaded the access log again"])

    def test_reopening_that_fails_is_logged(self) -> None:
        access = self.access_log()
        moved = self.path.rename(self.path.with_suffix(".moved"))
        self.path.mkdir()
        access.reopen()
        access.connection_ended(PLAIN)
        access.close()
        self.assertEqual(moved.read_text(), "echoed\n")
        (event,) = self.log
        self.assertEqual(
            formatEvent(event),
            f"the access log stays as it was: access-log: cannot open {self.path}: Is a directory",
        )


class RefusalLogTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.refusals = RefusalLog(self.clock)
        self.log = EventLoggingObserver()
        globalLogPublisher.addObserver(self.log)
        self.addCleanup(globalLogPublisher.removeObserver, self.log)

    def refuse(self, reason: CloseReason, count: int = 1) -> None:
        for _ in range(count):
            self.refusals.connection_ended(PLAIN._replace(reason=reason))

    def test_the_address_of_a_refused_client_is_escaped(self) -> None:
        peer = HostPort("fe80::1%\x1b[2J\nrefused", 1)
        self.refusals.connection_ended(PLAIN._replace(reason=CloseReason.TOO_MANY, peer=peer))
        (event,) = self.log
        self.assertEqual(formatEvent(event), "refused [fe80::1%?[2J?refused]:1: too-many")
        self.refusals.close()

    def sums(self) -> list[Any]:
        return [event.get("sums") for event in self.log]

    def test_first_refusal_at_once_then_sums(self) -> None:
        self.refuse(CloseReason.ECHOED)
        self.assertEqual(self.sums(), [])
        self.refuse(CloseReason.TOO_MANY, 1000)
        self.assertEqual(self.sums(), [None])
        self.refuse(CloseReason.NOT_ALLOWED, 2)
        self.clock.advance(INTERVAL)
        self.assertEqual(self.sums(), [None, "2 not-allowed, 999 too-many"])
        self.clock.advance(INTERVAL)
        self.assertEqual(len(self.sums()), 2)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.refuse(CloseReason.TOO_MANY)
        self.assertEqual(self.sums()[2:], [None])
        self.refusals.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_close_logs_the_remaining_refusals(self) -> None:
        self.refuse(CloseReason.TOO_MANY, 3)
        self.refusals.close()
        self.refusals.close()
        self.assertEqual(self.sums(), [None, "2 too-many"])
        self.assertEqual(self.clock.getDelayedCalls(), [])


class DaemonLogTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.destination = MemoryDestination()

    def logged(self, log_format: str = "text", *, journal: bool = False) -> tuple[Logger, DaemonLog]:
        log = DaemonLog(self.destination, line_of_event(log_format, journal=journal), lambda: NOW)
        return Logger(namespace="here", observer=log), log

    def written(self, log: DaemonLog) -> list[str]:
        log.writer.close()
        return self.destination.data.decode().splitlines()

    def test_a_reload_changes_the_format(self) -> None:
        for in_journal, priority in ((False, ""), (True, "<6>")):
            self.destination = MemoryDestination()
            line = line_of_event("text", journal=in_journal)
            log = DaemonLog(self.destination, line, lambda: NOW, in_journal=in_journal)
            logger = Logger(namespace="here", observer=log)
            apply = log.prepare(ServerConfiguration(log_format="json"))
            logger.info("before")
            apply()
            logger.info("after")
            before, after = self.written(log)
            self.assertTrue(before.endswith("before"))
            self.assertEqual(json.loads(after.removeprefix(priority))["message"], "after")

    def test_text(self) -> None:
        logger, log = self.logged()
        logger.info("a {thing}", thing="b\nc")
        first, second = self.written(log)
        self.assertRegex(first, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} \[here#info\] a b$")
        self.assertEqual(second, "\tc")

    def test_journal_has_priorities_and_no_time(self) -> None:
        logger, log = self.logged(journal=True)
        for level in LogLevel.iterconstants():
            logger.emit(level, "x")
        self.assertEqual(
            self.written(log),
            ["<7>[here#debug] x", "<6>[here#info] x", "<4>[here#warn] x", "<3>[here#error] x", "<2>[here#critical] x"],
        )

    def test_each_line_of_a_traceback_has_its_priority(self) -> None:
        logger, log = self.logged(journal=True)
        logger.failure("broken", Failure(ZeroDivisionError("x")))
        lines = self.written(log)
        self.assertGreater(len(lines), 1)
        self.assertEqual({line[:3] for line in lines}, {"<2>"})
        self.assertIn("ZeroDivisionError: x", lines[-2])

    def test_json(self) -> None:
        logger, log = self.logged("json")
        logger.info("a {thing}", thing="b\nc")
        logger.failure("broken", Failure(ZeroDivisionError()))
        first, second = map(json.loads, self.written(log))
        self.assertEqual(first, {"time": ANY, "level": "info", "namespace": "here", "message": "a b\nc"})
        self.assertEqual((second["level"], second["message"]), ("critical", "broken"))
        self.assertIn("ZeroDivisionError", second["traceback"])

    def test_json_in_the_journal(self) -> None:
        logger, log = self.logged("json", journal=True)
        logger.warn("a")
        (line,) = self.written(log)
        self.assertEqual(line[:3], "<4>")
        self.assertEqual(json.loads(line[3:])["message"], "a")

    def test_event_of_the_legacy_log_has_no_level(self) -> None:
        event = {"log_time": NOW, "log_format": "x"}
        fields = json.loads(event_line(event))
        self.assertEqual((fields["level"], fields["namespace"]), ("info", "-"))
        self.assertEqual(line_of_event("text", journal=True)(event), "<6>[-#-] x")

    def test_event_without_text(self) -> None:
        for journal in (False, True):
            _, log = self.logged(journal=journal)
            log({"log_time": NOW})
            self.assertEqual(self.written(log), [])

    def test_noise_of_twisted(self) -> None:
        _, log = self.logged(journal=True)
        twisted = Logger(namespace="log_legacy", observer=log)
        for text in (
            "Unable to write to plugin cache /x/dropin.cache: error number 13",
            "Loading /etc/echod/echod.tac...",
            "Loaded.",
            "EchoFactory starting on 3005",
            "(TCP Port 3005 Closed)",
        ):
            twisted.info("{text}", text=text)
        Logger(namespace="twisted.scripts.a", observer=log).info("reactor class: {reactor}.", reactor="x")
        self.assertEqual(self.written(log), [])

    def test_what_is_not_noise(self) -> None:
        _, log = self.logged(journal=True)
        Logger(namespace="echod", observer=log).info("Loaded.")
        twisted = Logger(namespace="log_legacy", observer=log)
        twisted.error("Loaded.")
        twisted.info("set uid/gid 1/1")
        self.assertEqual(
            self.written(log),
            ["<6>[echod#info] Loaded.", "<3>[log_legacy#error] Loaded.", "<6>[log_legacy#info] set uid/gid 1/1"],
        )

    def test_dropped_lines(self) -> None:
        logger, log = self.logged(journal=True)
        for _ in range(LINES + 2):
            logger.info("x")
        self.assertEqual(
            self.written(log),
            ["<6>[here#info] x"] * LINES + ["<4>[echod.serve.daemon_log#warn] 2 line(s) of this log were dropped"],
        )
        self.assertEqual(Logs(log, None).lines_dropped(), {"access": 0, "daemon": 2})

    def test_rotation(self) -> None:
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        path = Path(directory.name, "log")
        destination = RotatedFile(str(path))
        self.addCleanup(destination.close)
        log = DaemonLog(destination, lambda event: str(event["log_format"]))
        self.assertTrue(log.is_rotated)
        log({"log_format": "a"})
        log.writer.close()
        log.rotate()
        log({"log_format": "b"})
        self.assertEqual((path.with_name(f"{path.name}.1").read_text(), path.read_text()), ("a\n", "b\n"))

    def test_stream_is_not_rotated(self) -> None:
        self.assertFalse(self.logged()[1].is_rotated)


class TwistdTests(SynchronousTestCase):
    def test_log_of_another_observer(self) -> None:
        configuration = ServerConfiguration()
        for options in ({"nodaemon": 1, "logger": print}, {"syslog": 1}, {"syslog": 1, "logfile": "x"}):
            self.assertIsNone(log_of_twistd(configuration, options))

    def test_debugger_does_not_daemonize(self) -> None:
        log = log_of_twistd(ServerConfiguration(access_log="-"), {"debug": True})
        assert log is not None
        self.assertFalse(log.is_rotated)


class LogsTests(SynchronousTestCase):
    def test_without_logs(self) -> None:
        logs = Logs(None, None)
        logs.start()
        self.assertEqual(logs.lines_dropped(), {"access": 0, "daemon": 0})
        logs.close()

    def test_service_starts_and_ends_its_logs(self) -> None:
        destination = MemoryDestination()
        log = DaemonLog(destination, lambda event: str(event["log_format"]))
        logs = Logs(log, None)
        service = LoggedService(Service(), logs)
        service.privilegedStartService()
        service.startService()
        log({"log_format": "a"})
        logs.close()
        self.assertEqual(destination.data, b"a\n")

    def test_log_is_the_observer_of_an_application(self) -> None:
        log = DaemonLog(MemoryDestination(), lambda _: None)
        application: Any = Application("x")
        LoggedService(Service(), Logs(log, None)).setServiceParent(application)
        self.assertIs(application.getComponent(ILogObserver), log)

    def test_application_keeps_its_observer_if_echod_writes_no_log(self) -> None:
        application: Any = Application("x")
        LoggedService(Service(), Logs(None, None)).setServiceParent(application)
        self.assertIs(application.getComponent(ILogObserver, None), None)

    def test_parent_that_is_no_application(self) -> None:
        parent = MultiService()
        service = LoggedService(Service(), Logs(DaemonLog(MemoryDestination(), lambda _: None), None))
        service.setServiceParent(parent)
        self.assertEqual(list(parent), [service])


class ObserverTests(SynchronousTestCase):
    def test_each_observer_gets_the_summary(self) -> None:
        one, other = MemoryObserver(), MemoryObserver()
        Observers([one, NullObserver(), other]).connection_ended(PLAIN)
        self.assertEqual((one.summaries, other.summaries), ([PLAIN], [PLAIN]))
