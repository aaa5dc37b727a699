import io
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import ANY

from twisted.internet.task import Clock
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import Logger, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from echod.common.addresses import HostPort
from echod.common.errors import ConfigurationError
from echod.serve.access_log import AccessLog
from echod.serve.log_lines import event_line, json_access_line, json_observer, text_access_line
from echod.serve.refusal_log import INTERVAL, RefusalLog
from echod.server.observer import NullObserver, ObserverExcept, Observers
from echod.server.summary import CloseReason, ConnectionSummary, TLSFacts
from tests.support.memory import MemoryObserver

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


class AccessLogTests(SynchronousTestCase):
    def setUp(self) -> None:
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = Path(directory.name, "access.log")
        self.log = EventLoggingObserver()
        globalLogPublisher.addObserver(self.log)
        self.addCleanup(globalLogPublisher.removeObserver, self.log)

    def access_log(self) -> AccessLog:
        access = AccessLog(str(self.path), lambda _, summary: summary.reason.value, lambda: NOW)
        self.addCleanup(access.close)
        return access

    def test_lines_are_written_at_once(self) -> None:
        access = self.access_log()
        for n in range(1, 3):
            access.connection_ended(PLAIN)
            self.assertEqual(self.path.read_text(), "echoed\n" * n)

    def test_file_is_appended_to(self) -> None:
        self.path.write_text("before\n")
        self.access_log().connection_ended(PLAIN)
        self.assertEqual(self.path.read_text(), "before\nechoed\n")

    def test_reopen_after_the_file_was_moved(self) -> None:
        access = self.access_log()
        access.connection_ended(PLAIN)
        moved = self.path.rename(self.path.with_suffix(".1"))
        access.connection_ended(PLAIN)
        access.reopen()
        access.connection_ended(PLAIN)
        self.assertEqual((moved.read_text(), self.path.read_text()), ("echoed\nechoed\n", "echoed\n"))

    def test_old_file_stays_open_if_reopening_fails(self) -> None:
        access = self.access_log()
        self.path.unlink()
        self.path.mkdir()
        with self.assertRaises(ConfigurationError) as refused:
            access.reopen()
        self.assertIn("cannot open", str(refused.exception))
        access.connection_ended(PLAIN)

    def test_first_write_failure_only_is_logged(self) -> None:
        access = self.access_log()
        access._file.close()
        for _ in range(3):
            access.connection_ended(PLAIN)
        self.assertEqual([e["log_format"] for e in self.log].count("the access log cannot be written: {problem}"), 1)
        access.reopen()
        access.connection_ended(PLAIN)
        self.assertEqual(self.path.read_text(), "echoed\n")

    def test_standard_output(self) -> None:
        out = io.StringIO()
        access = AccessLog("-", lambda *_: "line", lambda: NOW, out)
        access.connection_ended(PLAIN)
        access.reopen()
        access.close()
        self.assertEqual(out.getvalue(), "line\n")


class ObserverExceptTests(SynchronousTestCase):
    def test_summaries_with_the_reasons_are_dropped_and_others_are_not(self) -> None:
        memory = MemoryObserver()
        observer = ObserverExcept({CloseReason.HEALTH_CHECK, CloseReason.CUT}, memory)
        for reason in CloseReason:
            observer.connection_ended(PLAIN._replace(reason=reason))
        dropped = set(CloseReason) - set(memory.reasons)
        self.assertEqual(dropped, {CloseReason.HEALTH_CHECK, CloseReason.CUT})
        self.assertEqual(len(memory.summaries), len(CloseReason) - 2)


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


class JSONLogTests(SynchronousTestCase):
    def test_one_object_per_line(self) -> None:
        out = io.StringIO()
        log = Logger(namespace="here", observer=json_observer(out))
        log.info("a {thing}", thing="b\nc")
        log.failure("broken", Failure(ZeroDivisionError()))
        first, second = map(json.loads, out.getvalue().splitlines())
        self.assertEqual(first, {"time": ANY, "level": "info", "namespace": "here", "message": "a b\nc"})
        self.assertEqual((second["level"], second["message"]), ("critical", "broken"))
        self.assertIn("ZeroDivisionError", second["traceback"])

    def test_event_of_the_legacy_log_has_no_level(self) -> None:
        event = json.loads(event_line({"log_time": NOW, "log_format": "x"}))
        self.assertEqual((event["level"], event["namespace"]), ("info", "-"))


class ObserverTests(SynchronousTestCase):
    def test_each_observer_gets_the_summary(self) -> None:
        one, other = MemoryObserver(), MemoryObserver()
        Observers([one, NullObserver(), other]).connection_ended(PLAIN)
        self.assertEqual((one.summaries, other.summaries), ([PLAIN], [PLAIN]))
