"""Record after record on one connection: which record is sent over which, and the result."""

from typing import Any, cast

from twisted.internet.address import IPv6Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone, ConnectionRefusedError
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from echod.client.outcomes import Outcome, ProbeResult, Step
from echod.client.record import Record, described
from echod.probe import Clocks, Session, target
from tests.support.memory import MemoryTransport

PEER = IPv6Address("TCP", "2001:db8::1", 3005)


class SessionTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = cast("Any", MemoryReactorClock())
        self.session = Session(
            self.reactor, target("2001:db8::1"), clocks=Clocks(self.reactor.seconds, self.reactor.seconds)
        )
        self.records: list[Record] = []
        self.addCleanup(lambda: self.assertEqual(self.reactor.getDelayedCalls(), []))

    def probe(self, timeout: float = 5.0) -> "Deferred[ProbeResult]":
        self.records.append(described(1, len(self.records) + 1, 0, 250))
        return self.session.probe(self.records[-1], timeout=timeout)

    def accept(self) -> MemoryTransport:
        """Let the last connection attempt succeed."""
        protocol = self.reactor.tcpClients[-1][2].buildProtocol(PEER)
        transport = MemoryTransport()
        transport.connect(protocol)
        return transport

    @property
    def connections(self) -> int:
        return len(self.reactor.tcpClients)

    def result_of(self, probing: "Deferred[ProbeResult]") -> tuple[Outcome, int, bool]:
        result = self.successResultOf(probing)
        return result.outcome, result.sequence, result.reconnected

    def close(self) -> None:
        self.session.close(at_once=True)


class KeptTests(SessionTestCase):
    def test_record_after_record(self) -> None:
        first = self.probe()
        self.reactor.advance(0.25)
        transport = self.accept()
        self.assertTrue(transport.nodelay)
        self.reactor.advance(0.5)
        transport.receive(self.records[0].data)
        result = self.successResultOf(first)
        self.assertEqual((result.times.connect, result.times.echo, result.times.close), (250_000, 500_000, None))
        self.assertEqual([attempt.won for attempt in result.attempts], [True])
        second = self.probe()
        self.assertEqual(transport.value(), self.records[0].data + self.records[1].data)
        self.reactor.advance(0.125)
        transport.receive(self.records[1].data[:9])
        self.reactor.advance(0.125)
        transport.receive(self.records[1].data[9:])
        result = self.successResultOf(second)
        self.assertEqual((result.sequence, result.times.first_byte, result.times.echo), (2, 125_000, 250_000))
        self.assertEqual((result.times.connect, result.attempts, result.reconnected), (None, (), False))
        self.assertEqual(self.connections, 1)
        self.successResultOf(self.session.close())
        self.assertIsInstance(transport.over, ConnectionDone)

    def test_records_overlap(self) -> None:
        probing = [self.probe() for _ in range(3)]
        transport = self.accept()
        transport.receive(b"".join(record.data for record in self.records))
        for n, each in enumerate(probing):
            self.assertEqual(self.result_of(each), (Outcome.ECHOED, n + 1, False))
        self.close()

    def test_reordered(self) -> None:
        first, second = self.probe(), self.probe()
        transport = self.accept()
        transport.receive(self.records[1].data + self.records[0].data)
        result = self.successResultOf(second)
        self.assertEqual((result.outcome, result.step), (Outcome.REORDERED, Step.ECHO))
        self.assertIn("before record 1", result.detail)
        self.assertTrue(self.successResultOf(first).echoed)
        self.assertTrue(transport.aborted)
        self.assertEqual(self.connections, 1)

    def test_an_echo_that_comes_twice_is_stale_for_the_next_record(self) -> None:
        first = self.probe()
        transport = self.accept()
        transport.receive(self.records[0].data * 2)
        self.assertTrue(self.successResultOf(first).echoed)
        second = self.probe()
        result = self.successResultOf(second)
        self.assertEqual((result.outcome, result.times.echo), (Outcome.STALE, None))
        self.assertIn("record 1 ", result.detail)
        self.assertTrue(transport.aborted)
        third = self.probe()
        self.accept().receive(self.records[2].data)
        self.assertEqual(self.result_of(third), (Outcome.ECHOED, 3, True))
        self.close()

    def test_truncated(self) -> None:
        first, second = self.probe(), self.probe()
        self.accept().receive(self.records[0].data[:100] + self.records[1].data)
        result = self.successResultOf(first)
        self.assertEqual((result.outcome, result.offset), (Outcome.CORRUPT, 100))
        self.assertEqual(result.detail, "the record ends after 100 of 250 bytes, and record 2 follows")
        self.assertTrue(self.successResultOf(second).echoed)


class PeerClosesTests(SessionTestCase):
    def test_between_records(self) -> None:
        first = self.probe()
        transport = self.accept()
        transport.receive(self.records[0].data)
        transport.fin()
        self.assertEqual(self.result_of(first), (Outcome.ECHOED, 1, False))
        second = self.probe()
        self.assertEqual(self.connections, 2)
        self.accept().receive(self.records[1].data)
        self.assertEqual(self.result_of(second), (Outcome.ECHOED, 2, True))
        self.close()

    def test_records_under_way_go_over_the_next_connection(self) -> None:
        probing = [self.probe() for _ in range(3)]
        for n, each in enumerate(probing):
            transport = self.accept()
            self.assertEqual(transport.value(), b"".join(record.data for record in self.records[n:]))
            transport.receive(self.records[n].data)
            transport.fin()
            self.assertEqual(self.result_of(each), (Outcome.ECHOED, n + 1, n > 0))
        self.assertEqual(self.connections, 3)

    def test_not_if_nothing_was_echoed_before(self) -> None:
        probing = [self.probe() for _ in range(2)]
        self.accept().fin()
        for each in probing:
            self.assertEqual(self.result_of(each)[0], Outcome.CLOSED_EARLY)
        self.assertEqual(self.connections, 1)

    def test_not_a_record_whose_echo_had_begun(self) -> None:
        first, second = self.probe(), self.probe()
        transport = self.accept()
        transport.receive(self.records[0].data + self.records[1].data[:9])
        transport.fin()
        self.assertTrue(self.successResultOf(first).echoed)
        result = self.successResultOf(second)
        self.assertEqual((result.outcome, result.received), (Outcome.CLOSED_EARLY, 9))
        self.assertEqual(result.detail, "closed by the peer after 9 of 250 bytes")

    def test_not_upon_a_reset(self) -> None:
        first, second = self.probe(), self.probe()
        transport = self.accept()
        transport.receive(self.records[0].data)
        transport.reset()
        self.assertTrue(self.successResultOf(first).echoed)
        self.assertEqual(self.result_of(second)[0], Outcome.RESET)
        self.assertEqual(self.connections, 1)


class TimeTests(SessionTestCase):
    def test_after_a_timeout_the_next_goes_over_another_connection(self) -> None:
        first = self.probe()
        stuck = self.accept()
        self.reactor.advance(4)
        second = self.probe()
        self.reactor.advance(1)
        result = self.successResultOf(first)
        self.assertEqual((result.outcome, result.detail), (Outcome.TIMEOUT, "0 of 250 bytes were back after 5 s"))
        third = self.probe()
        self.assertEqual(self.connections, 2)
        stuck.receive(self.records[0].data + self.records[1].data)
        self.assertEqual(self.result_of(second), (Outcome.ECHOED, 2, False))
        self.assertTrue(stuck.aborted)
        self.accept().receive(self.records[2].data)
        self.assertEqual(self.result_of(third), (Outcome.ECHOED, 3, True))
        self.close()

    def test_queued_records_fail_with_the_connection(self) -> None:
        first, second = self.probe(), self.probe()
        self.reactor.tcpClients[0][2].clientConnectionFailed(
            self.reactor.connectors[0], Failure(ConnectionRefusedError())
        )
        self.assertEqual(self.result_of(first), (Outcome.REFUSED, 1, False))
        self.assertEqual(self.result_of(second), (Outcome.REFUSED, 2, False))
        third = self.probe()
        self.accept().receive(self.records[2].data)
        self.assertEqual(self.result_of(third), (Outcome.ECHOED, 3, False))
        self.close()

    def test_no_connection_in_time(self) -> None:
        first, second = self.probe(), self.probe(timeout=2)
        self.reactor.advance(2)
        self.assertEqual(self.result_of(second)[0], Outcome.TIMEOUT)
        self.reactor.advance(3)
        self.assertEqual(self.result_of(first)[0], Outcome.CONNECT_TIMEOUT)

    def test_a_corrupt_one_whose_rest_does_not_come(self) -> None:
        first = self.probe()
        self.accept().receive(self.records[0].data[:4] + b"x")
        self.reactor.advance(5)
        result = self.successResultOf(first)
        self.assertEqual((result.outcome, result.offset), (Outcome.CORRUPT, 4))


class EndTests(SessionTestCase):
    def test_close_cancels_probes_under_way(self) -> None:
        out = self.probe()
        transport = self.accept()
        closed = self.session.close()
        self.failureResultOf(out, CancelledError)
        self.successResultOf(closed)
        self.assertTrue(transport.over)

    def test_close_while_connecting(self) -> None:
        waiting = [self.probe(), self.probe()]
        closed = self.session.close()
        for each in waiting:
            self.failureResultOf(each, CancelledError)
        self.successResultOf(closed)

    def test_close_with_nothing_open(self) -> None:
        self.successResultOf(self.session.close())

    def test_cancelling_one_leaves_the_others(self) -> None:
        first, second = self.probe(), self.probe()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        transport = self.accept()
        self.assertEqual(transport.value(), self.records[1].data)
        transport.receive(self.records[1].data)
        self.assertEqual(self.result_of(second)[0], Outcome.ECHOED)
        self.close()

    def test_plain_bytes_are_numbered(self) -> None:
        probing = [self.session.probe(b"abc", timeout=5) for _ in range(2)]
        self.accept().receive(b"abcabc")
        self.assertEqual([self.successResultOf(each).sequence for each in probing], [1, 2])
        self.close()
