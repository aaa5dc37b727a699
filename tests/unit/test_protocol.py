import socket
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv6Address
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from echod.common.addresses import HostPort
from echod.server.admission import AccessList, Admission
from echod.server.config import CHECK_TIME, LINGER, QUIET, ExchangeRules, ServerConfiguration
from echod.server.connections import Connections
from echod.server.factory import EchoFactory, ServerContext
from echod.server.summary import CloseReason, ConnectionSummary
from tests.support.memory import MemoryObserver, MemoryTransport
from tests.support.sockets import RECORD
from tests.unit.test_records import split

ONE_RECORD = ExchangeRules(record_size=250, timeout=30.0, keep_alive=False, linger=LINGER, quiet=QUIET)
KEEP_ALIVE = replace(ONE_RECORD, keep_alive=True)
STREAM = ServerConfiguration(stream=True).rules


class Connection:
    """One connection over a memory transport, on a clock that the test steps."""

    def __init__(self, rules: ExchangeRules, flushing: bool = True, transport: MemoryTransport | None = None) -> None:
        self.clock = Clock()
        self.observer = MemoryObserver()
        self.connections = Connections()
        self.transport = transport or MemoryTransport(flushing)
        self.transport.peerAddr = IPv6Address("TCP", "::ffff:192.0.2.1", 40000)
        self.admission = Admission(AccessList(()), None, None)
        context = ServerContext(rules, self.clock, self.connections, self.admission, self.observer)
        self.factory = EchoFactory(context, "test")
        echo = self.factory.buildProtocol(self.transport.peerAddr)
        assert echo is not None
        self.echo = echo
        self.transport.connect(echo)

    def send(self, data: bytes) -> None:
        self.transport.receive(data)

    @property
    def echoed(self) -> bytes:
        value: bytes = self.transport.value()
        return value

    @property
    def reasons(self) -> list[CloseReason]:
        return self.observer.reasons


class ProtocolTestCase(SynchronousTestCase):
    def connect(self, rules: ExchangeRules = ONE_RECORD, flushing: bool = True) -> Connection:
        self.connection = Connection(rules, flushing)
        self.addCleanup(self.check_clean_end)
        return self.connection

    def check_clean_end(self) -> None:
        """No delayed call is pending, no connection is open, and its end was reported once."""
        self.assertEqual(self.connection.clock.getDelayedCalls(), [])
        self.assertEqual(len(self.connection.connections), 0)
        self.assertEqual(len(self.connection.reasons), 1)


class OneRecordTests(ProtocolTestCase):
    @given(cuts=st.lists(st.integers(0, 600), max_size=12), size=st.integers(1, 600), excess=st.integers(0, 80))
    def test_a_record_is_echoed_at_every_fragmentation(self, cuts: list[int], size: int, excess: int) -> None:
        connection = self.connect(replace(ONE_RECORD, record_size=size))
        data = bytes(n % 251 for n in range(size + excess))
        for piece in split(data, cuts):
            if piece:
                connection.send(piece)
        self.assertEqual(connection.echoed, data[:size])
        self.assertTrue(connection.transport.write_shut)
        connection.transport.fin()
        self.assertEqual(connection.reasons, [CloseReason.ECHOED])

    @given(cuts=st.lists(st.integers(0, 249), max_size=12), length=st.integers(0, 249))
    def test_an_incomplete_record_is_not_echoed(self, cuts: list[int], length: int) -> None:
        connection = self.connect()
        for piece in split(RECORD[:length], cuts):
            if piece:
                connection.send(piece)
        connection.transport.fin()
        self.assertEqual(connection.echoed, b"")
        self.assertEqual(connection.reasons, [CloseReason.INCOMPLETE if length else CloseReason.HEALTH_CHECK])

    def test_the_summary_of_a_connection(self) -> None:
        connection = self.connect()
        connection.clock.advance(1.5)
        connection.send(RECORD + b"xyz")
        connection.transport.fin()
        (summary,) = connection.observer.summaries
        self.assertEqual(summary.peer, HostPort("192.0.2.1", 40000))
        self.assertEqual((summary.listener, summary.reason), ("test", CloseReason.ECHOED))
        self.assertEqual((summary.records, summary.bytes_received, summary.bytes_sent), (1, 253, 250))
        self.assertEqual(summary.duration, 1.5)

    def test_a_silent_connection_is_closed_at_the_deadline(self) -> None:
        connection = self.connect()
        connection.clock.advance(29.999)
        self.assertEqual(connection.reasons, [])
        connection.clock.advance(0.001)
        self.assertEqual(connection.reasons, [CloseReason.TIMEOUT])
        self.assertFalse(connection.transport.aborted)

    def test_dripping_bytes_do_not_extend_the_deadline(self) -> None:
        connection = self.connect()
        for _ in range(249):
            connection.send(b"x")
            connection.clock.advance(0.12)
        self.assertEqual(connection.reasons, [])
        connection.clock.advance(0.12)
        self.assertEqual(connection.reasons, [CloseReason.TIMEOUT])
        self.assertEqual(connection.echoed, b"")

    def test_excess_input_is_discarded_until_the_linger_is_over(self) -> None:
        connection = self.connect()
        connection.send(RECORD)
        for _ in range(19):
            connection.clock.advance(0.1)
            connection.send(b"x" * 65536)
        self.assertEqual(connection.reasons, [])
        connection.clock.advance(0.1)
        self.assertEqual(connection.reasons, [CloseReason.ECHOED])
        self.assertFalse(connection.transport.aborted)
        self.assertEqual(connection.echoed, RECORD)

    def test_the_linger_starts_when_the_echo_is_sent(self) -> None:
        connection = self.connect(flushing=False)
        connection.send(RECORD)
        connection.clock.advance(20)
        self.assertEqual(connection.reasons, [])
        connection.transport.flush()
        connection.clock.advance(1.9)
        self.assertEqual(connection.reasons, [])
        connection.clock.advance(0.1)
        self.assertEqual(connection.reasons, [CloseReason.ECHOED])

    def test_a_client_that_does_not_read_its_echo_is_reset_at_the_deadline(self) -> None:
        connection = self.connect(flushing=False)
        connection.clock.advance(10)
        connection.send(RECORD)
        connection.clock.advance(19.9)
        self.assertEqual(connection.reasons, [])
        connection.clock.advance(0.1)
        self.assertEqual(connection.reasons, [CloseReason.STALLED])
        self.assertTrue(connection.transport.aborted)

    def test_a_half_closed_client_gets_its_echo_before_the_close(self) -> None:
        connection = self.connect(flushing=False)
        connection.send(RECORD)
        connection.transport.fin()
        self.assertEqual(connection.reasons, [])
        connection.transport.flush()
        self.assertEqual(connection.reasons, [CloseReason.ECHOED])

    def test_a_half_closed_client_that_does_not_read_its_echo_is_reset_at_the_deadline(self) -> None:
        connection = self.connect(flushing=False)
        connection.send(RECORD)
        connection.transport.fin()
        connection.clock.advance(30)
        self.assertEqual(connection.reasons, [CloseReason.STALLED])

    def test_a_reset_ends_the_connection(self) -> None:
        for sent in (b"", RECORD[:100], RECORD):
            connection = self.connect()
            if sent:
                connection.send(sent)
            connection.transport.reset()
            self.assertEqual(connection.reasons, [CloseReason.RESET if sent else CloseReason.HEALTH_CHECK])

    def test_a_client_that_closes_after_the_check_time_is_no_check(self) -> None:
        for rules in (ONE_RECORD, KEEP_ALIVE, STREAM):
            connection = self.connect(rules)
            connection.clock.advance(CHECK_TIME)
            connection.transport.fin()
            self.assertEqual(connection.reasons, [CloseReason.NO_DATA])
            connection = self.connect(rules)
            connection.clock.advance(CHECK_TIME)
            connection.transport.reset()
            self.assertEqual(connection.reasons, [CloseReason.RESET])

    def test_a_transport_that_cannot_half_close(self) -> None:
        connection = self.connect()
        connection.clock.advance(CHECK_TIME - 0.001)
        connection.echo.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(connection.reasons, [CloseReason.HEALTH_CHECK])

    def test_an_error_of_the_server_is_the_reason_error(self) -> None:
        connection = self.connect()
        connection.echo.connectionLost(Failure(ZeroDivisionError()))
        self.assertEqual(connection.reasons, [CloseReason.ERROR])


class KeepAliveTests(ProtocolTestCase):
    @given(cuts=st.lists(st.integers(0, 900), max_size=12), length=st.integers(0, 900))
    def test_every_whole_record_is_echoed(self, cuts: list[int], length: int) -> None:
        connection = self.connect(KEEP_ALIVE)
        data = bytes(n % 251 for n in range(length))
        for piece in split(data, cuts):
            if piece:
                connection.send(piece)
        connection.transport.fin()
        self.assertEqual(connection.echoed, data[: length - length % 250])
        self.assertEqual(connection.observer.summaries[0].records, length // 250)

    def test_the_close_reason_when_the_client_closes(self) -> None:
        for sent, reason in (
            (b"", CloseReason.HEALTH_CHECK),
            (RECORD[:1], CloseReason.INCOMPLETE),
            (RECORD * 3 + RECORD[:125], CloseReason.INCOMPLETE),
            (RECORD * 3, CloseReason.ECHOED),
        ):
            connection = self.connect(KEEP_ALIVE)
            if sent:
                connection.send(sent)
            connection.transport.fin()
            self.assertEqual(connection.reasons, [reason])

    def test_the_deadline_counts_from_the_end_of_the_record_before(self) -> None:
        connection = self.connect(KEEP_ALIVE)
        for _ in range(3):
            connection.clock.advance(29)
            connection.send(RECORD)
        connection.send(RECORD[:249])
        connection.clock.advance(29.9)
        self.assertEqual(connection.reasons, [])
        connection.clock.advance(0.1)
        self.assertEqual(connection.reasons, [CloseReason.TIMEOUT])

    def test_a_silent_connection_is_idle_after_a_record(self) -> None:
        connection = self.connect(KEEP_ALIVE)
        connection.send(RECORD)
        connection.clock.advance(30)
        self.assertEqual(connection.reasons, [CloseReason.IDLE])

    def test_a_silent_connection_times_out_before_the_first_record(self) -> None:
        connection = self.connect(KEEP_ALIVE)
        connection.clock.advance(30)
        self.assertEqual(connection.reasons, [CloseReason.TIMEOUT])

    def test_a_client_that_does_not_read_is_paused_and_reset_at_the_deadline(self) -> None:
        connection = self.connect(KEEP_ALIVE, flushing=False)
        connection.send(RECORD * 300)
        connection.transport.fill()
        self.assertEqual(connection.transport.producerState, "paused")
        connection.clock.advance(30)
        self.assertEqual(connection.reasons, [CloseReason.STALLED])
        self.assertTrue(connection.transport.aborted)

    def test_a_client_that_reads_again_is_resumed(self) -> None:
        connection = self.connect(KEEP_ALIVE, flushing=False)
        connection.send(RECORD * 300)
        connection.transport.fill()
        connection.transport.flush()
        self.assertEqual(connection.transport.producerState, "producing")
        connection.transport.fin()
        self.assertEqual(connection.reasons, [CloseReason.ECHOED])

    def test_an_unsent_echo_is_reset_after_the_deadline_and_the_linger(self) -> None:
        connection = self.connect(KEEP_ALIVE, flushing=False)
        connection.send(RECORD)  # too few bytes for the transport to pause its producer
        connection.clock.advance(30)
        self.assertEqual(connection.reasons, [])
        connection.clock.advance(LINGER)
        self.assertEqual(connection.reasons, [CloseReason.STALLED])

    def test_keep_alive_switches_nagles_algorithm_off(self) -> None:
        connection = self.connect(KEEP_ALIVE)
        self.assertTrue(connection.transport.nodelay)
        connection.transport.fin()

    def test_stop_producing_is_a_no_op(self) -> None:
        connection = self.connect(KEEP_ALIVE)
        connection.echo.stopProducing()
        connection.transport.reset()
        self.assertEqual(connection.reasons, [CloseReason.HEALTH_CHECK])


class StreamTests(ProtocolTestCase):
    @given(cuts=st.lists(st.integers(0, 900), max_size=12), length=st.integers(1, 900))
    def test_every_piece_is_echoed_as_it_is_received(self, cuts: list[int], length: int) -> None:
        connection = self.connect(STREAM)
        data = bytes(n % 251 for n in range(length))
        echoed = b""
        for piece in split(data, cuts):
            if piece:
                connection.send(piece)
                echoed += piece
            self.assertEqual(connection.echoed, echoed)
        connection.transport.fin()
        self.assertEqual(connection.reasons, [CloseReason.ECHOED])
        self.assertEqual(connection.observer.summaries[0].bytes_sent, length)

    def test_each_piece_moves_the_deadline(self) -> None:
        connection = self.connect(STREAM)
        for _ in range(3):
            connection.clock.advance(29.9)
            connection.send(b"x")
        self.assertEqual(connection.reasons, [])
        connection.clock.advance(30)
        self.assertEqual(connection.reasons, [CloseReason.IDLE])

    def test_a_client_that_does_not_read_is_paused_and_reset_at_the_deadline(self) -> None:
        connection = self.connect(STREAM, flushing=False)
        connection.send(b"x" * 100_000)
        connection.transport.fill()
        self.assertEqual(connection.transport.producerState, "paused")
        connection.clock.advance(30)
        self.assertEqual(connection.reasons, [CloseReason.STALLED])

    def test_a_drain_ends_after_the_quiet_time_without_bytes(self) -> None:
        connection = self.connect(STREAM)
        connection.send(b"abc")
        connection.echo.drain()
        for _ in range(3):
            connection.clock.advance(QUIET * 0.9)
            connection.send(b"defgh")
        self.assertFalse(connection.transport.write_shut)
        self.assertEqual(connection.echoed, b"abc" + b"defgh" * 3)
        connection.clock.advance(QUIET)
        self.assertTrue(connection.transport.write_shut)
        connection.transport.fin()
        self.assertEqual(connection.reasons, [CloseReason.DRAINED])

    def test_a_drain_ends_a_stream_without_bytes_after_the_quiet_time(self) -> None:
        connection = self.connect(STREAM)
        connection.echo.drain()
        connection.clock.advance(QUIET)
        connection.transport.fin()
        self.assertEqual(connection.reasons, [CloseReason.DRAINED])


class DrainTests(ProtocolTestCase):
    def test_a_record_in_progress_is_finished(self) -> None:
        for rules in (ONE_RECORD, KEEP_ALIVE):
            connection = self.connect(rules)
            connection.send(RECORD[:100])
            connection.echo.drain()
            self.assertEqual(connection.reasons, [])
            connection.send(RECORD[100:])
            connection.transport.fin()
            self.assertEqual(connection.echoed, RECORD)
            self.assertEqual(connection.reasons, [CloseReason.ECHOED])

    def test_a_connection_without_a_record_may_still_send_one(self) -> None:
        connection = self.connect(KEEP_ALIVE)
        connection.echo.drain()
        connection.send(RECORD * 2)
        connection.transport.fin()
        self.assertEqual(connection.echoed, RECORD)

    def test_a_connection_between_two_records_ends_after_the_quiet_time(self) -> None:
        connection = self.connect(KEEP_ALIVE)
        connection.send(RECORD)
        connection.echo.drain()
        self.assertFalse(connection.transport.write_shut)
        connection.clock.advance(QUIET)
        self.assertTrue(connection.transport.write_shut)
        connection.transport.fin()
        self.assertEqual(connection.reasons, [CloseReason.DRAINED])

    def test_a_paused_connection_gets_its_echoes_before_the_end(self) -> None:
        connection = self.connect(KEEP_ALIVE, flushing=False)
        connection.send(RECORD * 300)
        connection.transport.fill()
        connection.echo.drain()
        connection.clock.advance(QUIET)
        self.assertFalse(connection.transport.write_shut)
        connection.transport.flush()
        self.assertTrue(connection.transport.write_shut)
        connection.transport.fin()
        self.assertEqual(connection.echoed, RECORD * 300)
        self.assertEqual(connection.reasons, [CloseReason.DRAINED])

    def test_a_record_that_arrives_within_the_quiet_time_is_echoed(self) -> None:
        connection = self.connect(KEEP_ALIVE)
        connection.send(RECORD)
        connection.echo.drain()
        connection.clock.advance(QUIET / 2)
        connection.send(RECORD * 2)
        connection.transport.fin()
        self.assertEqual(connection.echoed, RECORD * 2)
        self.assertEqual(connection.reasons, [CloseReason.ECHOED])

    def test_a_record_that_begins_within_the_quiet_time_has_its_full_timeout(self) -> None:
        connection = self.connect(KEEP_ALIVE)
        connection.send(RECORD)
        connection.echo.drain()
        connection.send(RECORD[:1])
        connection.clock.advance(QUIET)
        self.assertEqual(connection.reasons, [])
        connection.clock.advance(30)
        self.assertEqual(connection.reasons, [CloseReason.TIMEOUT])

    def test_a_cut_connection_has_the_reason_cut(self) -> None:
        connection = self.connect()
        connection.send(RECORD[:100])
        connection.echo.cut()
        self.assertEqual(connection.reasons, [CloseReason.CUT])


class FaultTests(ProtocolTestCase):
    def test_a_connection_is_discarded_if_its_observer_fails(self) -> None:
        connection = self.connect()

        def fail(summary: ConnectionSummary) -> None:
            connection.observer.summaries.append(summary)
            raise ZeroDivisionError

        connection.echo._owner._notify = fail  # type: ignore[attr-defined]  # the factory's
        drained = connection.connections.drain()
        connection.transport.fin()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.successResultOf(drained)

    def test_a_connection_whose_start_fails_is_counted_once(self) -> None:
        class Broken(MemoryTransport):
            def setTcpNoDelay(self, enabled: bool) -> None:
                raise OSError

        connection = self.connect(KEEP_ALIVE)
        connection.transport.reset()
        broken = Broken()
        echo = connection.factory.buildProtocol(broken.peerAddr)
        assert echo is not None
        with self.assertRaises(OSError):
            broken.connect(echo)
        self.assertEqual(len(connection.connections), 1)
        broken.reset()
        self.assertEqual(connection.reasons, [CloseReason.HEALTH_CHECK] * 2)
        self.assertEqual(connection.admission._open, 0)
        del connection.observer.summaries[0]

    def test_the_last_echo_of_a_drain_without_tcp_cork(self) -> None:
        class SocketTransport(MemoryTransport):
            def getHandle(self) -> socket.socket:
                return handle

        with socket.socket() as handle:
            connection = Connection(KEEP_ALIVE, transport=SocketTransport())
            self.connection = connection
            self.addCleanup(self.check_clean_end)
            connection.send(RECORD)
            connection.echo.drain()
            name = "TCP_CORK"
            if hasattr(socket, name):
                cork = getattr(socket, name)
                delattr(socket, name)
                self.addCleanup(setattr, socket, name, cork)
            connection.send(RECORD)
        self.assertEqual(connection.echoed, RECORD * 2)
        connection.transport.fin()
        self.assertEqual(connection.reasons, [CloseReason.ECHOED])
