from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from OpenSSL import SSL
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from echod.admin.connection_totals import BATCH
from echod.admin.daemon_view import listen_overflows
from echod.admin.metrics import FRESH
from echod.admin.reactor_lag import ReactorLag
from echod.admin.snapshot import DaemonState
from echod.common.addresses import HostPort
from echod.common.errors import ConfigurationError
from echod.server.assembly import make_service
from echod.server.config import ServerConfiguration
from echod.server.summary import WAIT_BOUNDS, CloseReason, ConnectionSummary, TLSFacts, TLSFailure
from echod.server.tls import _failure_of
from tests.support.admin import Scene
from tests.support.memory import MemoryTransport
from tests.support.sockets import RECORD


def summary(reason: CloseReason = CloseReason.ECHOED, **given: Any) -> ConnectionSummary:
    facts: dict[str, Any] = {"records": 0, "bytes_received": 0, "bytes_sent": 0, "duration": 0.0} | given
    return ConnectionSummary(peer=HostPort("192.0.2.7", 40000), listener="test", reason=reason, **facts)


class ConnectionTotalsTests(SynchronousTestCase):
    def test_open_and_ended_connections_are_added(self) -> None:
        scene = Scene(keep_alive=True)
        scene.service.startService()
        over, still = scene.connect(), scene.connect()
        over.receive(RECORD * 2)
        over.fin()
        still.receive(RECORD + RECORD[:10])
        counts = scene.view.counts()
        self.assertEqual((counts.active, counts.records), (1, 3))
        self.assertEqual((counts.bytes_received, counts.bytes_sent), (760, 750))
        self.assertEqual(counts.closed[CloseReason.ECHOED], 1)
        self.assertEqual(scene.metric("echod_connections_accepted_total"), 2)

    def test_waits(self) -> None:
        scene = Scene(keep_alive=True)
        scene.service.startService()
        transport = scene.connect()
        for wait in (0.3, 0.02):
            scene.reactor.advance(wait)
            transport.receive(RECORD)
        transport.receive(RECORD * 3)
        waits = scene.view.counts().waits
        at = {bound: count for bound, count in zip(WAIT_BOUNDS, waits.counts, strict=False) if count}
        self.assertEqual(at, {0.0001: 3, 0.025: 1, 0.5: 1})
        self.assertAlmostEqual(waits.total, 0.32)
        transport.fin()
        self.assertEqual(scene.view.counts().waits, waits)

    def test_time_after_the_last_record_is_not_counted(self) -> None:
        for end in ("deadline", "drain", "fin", "another record", "half a record"):
            scene = Scene(keep_alive=True, drain_timeout=10.0)
            scene.service.startService()
            transport = scene.connect()
            scene.reactor.advance(1)
            transport.receive(RECORD)
            expected = [1.0]
            if end == "deadline":
                scene.reactor.pump([1.0] * 40)
            elif end == "fin":
                scene.reactor.advance(7)
                transport.fin()
            elif end == "half a record":
                transport.receive(RECORD[:10])
                scene.reactor.pump([1.0] * 40)
            else:
                scene.reactor.advance(2)
                scene.service.stopService()
                scene.reactor.advance(0.1)
                if end == "another record":
                    transport.receive(RECORD)
                    expected.append(2.1)
                scene.reactor.pump([0.1] * 60)
            self.assertIsNotNone(transport.over, end)
            waits = scene.view.counts().waits
            self.assertAlmostEqual(waits.total, sum(expected), msg=end)
            counted = [bound for bound, count in zip(WAIT_BOUNDS, waits.counts, strict=False) for _ in range(count)]
            self.assertEqual(counted, [min(each for each in WAIT_BOUNDS if each >= wait) for wait in expected], end)

    def test_wait_of_a_single_record(self) -> None:
        scene = Scene()
        scene.service.startService()
        transport = scene.connect()
        scene.reactor.advance(29)
        transport.receive(RECORD)
        transport.fin()
        waits = scene.view.counts().waits
        self.assertEqual((waits.counts[-2], sum(waits.counts), waits.total), (1, 1, 29.0))

    def test_stream_counts_bytes_and_no_records(self) -> None:
        scene = Scene(stream=True)
        scene.service.startService()
        transport = scene.connect()
        for _ in range(3):
            scene.reactor.advance(1)
            transport.receive(b"x" * 1000)
        counts = scene.view.counts()
        self.assertEqual((counts.records, counts.bytes_received, counts.bytes_sent), (0, 3000, 3000))
        self.assertEqual(set(counts.waits.counts), {0})
        transport.fin()
        self.assertEqual(scene.view.counts().records, 0)

    def test_waits_are_not_counted_without_a_list_for_them(self) -> None:
        reactor: Any = MemoryReactorClock()
        service = make_service(ServerConfiguration(transport="stock", listen=("tcp:1",), keep_alive=True), reactor)
        service.startService()
        connection = reactor.tcpServers[0][1].buildProtocol(None)
        transport = MemoryTransport()
        transport.connect(connection)
        transport.receive(RECORD)
        self.assertEqual((connection.records, connection.waited), (1, 0.0))
        self.assertNotIn("_waited", vars(connection))

    def test_refusals_are_not_accepted_connections(self) -> None:
        scene = Scene()
        for reason in (CloseReason.TOO_MANY, CloseReason.NOT_ALLOWED, CloseReason.NOT_ALLOWED, CloseReason.RESET):
            scene.totals.connection_ended(summary(reason))
        self.assertEqual(scene.metric("echod_connections_accepted_total"), 1)
        self.assertEqual(scene.metric('echod_connections_refused_total{reason="not-allowed"}'), 2)
        self.assertEqual(scene.metric("echod_connection_duration_seconds_count"), 1)

    def test_several_batches(self) -> None:
        scene = Scene()
        for _ in range(2 * BATCH + 3):
            scene.totals.connection_ended(summary(records=2, bytes_received=600, bytes_sent=500, duration=0.3))
        counts = scene.view.counts()
        self.assertEqual(counts.closed[CloseReason.ECHOED], 2 * BATCH + 3)
        self.assertEqual((counts.records, counts.bytes_received), (4 * BATCH + 6, 600 * (2 * BATCH + 3)))
        self.assertEqual(sum(counts.durations.counts), 2 * BATCH + 3)
        self.assertAlmostEqual(counts.durations.total, 0.3 * (2 * BATCH + 3))

    def test_tls(self) -> None:
        scene = Scene()
        scene.totals.connection_ended(summary(tls=TLSFacts("TLSv1.3", "X", None)))
        scene.totals.connection_ended(summary(CloseReason.TLS_FAILED, tls_failure=TLSFailure.NOT_TLS))
        self.assertEqual(scene.metric('echod_tls_handshakes_total{version="TLSv1.3"}'), 1)
        self.assertEqual(scene.metric('echod_tls_handshake_failures_total{kind="not-tls"}'), 1)

    def test_no_label_holds_an_address(self) -> None:
        scene = Scene()
        scene.totals.connection_ended(summary())
        self.assertNotIn(b"192.0.2", scene.exposition.render("")[1])


class HandshakeFailureTests(SynchronousTestCase):
    def test_kinds(self) -> None:
        for words, kind in (
            ("http request", TLSFailure.NOT_TLS),
            ("unsupported protocol", TLSFailure.VERSION),
            ("no shared cipher", TLSFailure.CIPHER),
            ("peer did not return a certificate", TLSFailure.CLIENT_CERTIFICATE),
            ("tlsv1 alert unknown ca", TLSFailure.CLIENT_REFUSED),
            ("something new", TLSFailure.OTHER),
        ):
            self.assertIs(_failure_of(Failure(SSL.Error([("SSL routines", "", words)]))), kind, words)
        self.assertIs(_failure_of(Failure(SSL.SysCallError(-1, "Unexpected EOF"))), TLSFailure.INCOMPLETE)
        self.assertIs(_failure_of(Failure(OSError())), TLSFailure.INCOMPLETE)


class DaemonViewTests(SynchronousTestCase):
    def test_state(self) -> None:
        scene = Scene()
        self.assertIs(scene.view.state, DaemonState.STARTING)
        scene.service.startService()
        self.assertIs(scene.view.state, DaemonState.READY)
        self.assertEqual(scene.metric("echod_ready"), 1)
        scene.service.stopService()
        self.assertIs(scene.view.state, DaemonState.DRAINING)
        self.assertEqual((scene.metric("echod_ready"), scene.metric("echod_draining")), (0, 1))

    def test_dropped_log_lines(self) -> None:
        scene = Scene()
        scene.log_lines_dropped["access"] = 3
        self.assertEqual(scene.metric('echod_log_lines_dropped_total{log="access"}'), 3)
        self.assertEqual(scene.metric('echod_log_lines_dropped_total{log="daemon"}'), 0)

    def test_connection_limit_and_listen_overflows(self) -> None:
        scene = Scene()
        scene.service.startService()
        self.assertEqual(scene.metric("echod_connections_max"), 1000)
        self.assertEqual(scene.metric("echod_host_listen_overflows_total"), 7)
        scene.overflows = None
        scene.reactor.advance(FRESH)
        self.assertNotIn(b"listen_overflows", scene.exposition.render("")[1])

    def test_the_last_reload(self) -> None:
        scene = Scene()
        scene.service.startService()
        success, time = "echod_config_last_reload_successful", "echod_config_last_reload_success_timestamp_seconds"
        started = scene.service.last_reload.succeeded_at
        self.assertEqual((scene.metric(success), scene.metric(time)), (1, started))

        def refuse() -> ServerConfiguration:
            raise ConfigurationError("port: is bad")

        scene.service.reload(refuse)
        self.assertEqual((scene.metric(success), scene.metric(time)), (0, started))
        scene.service.stopService()

    def test_rendered_text_is_reused_while_fresh(self) -> None:
        scene = Scene()
        first = scene.exposition.render("")
        scene.totals.connection_ended(summary())
        self.assertIs(scene.exposition.render("")[1], first[1])
        scene.reactor.advance(FRESH)
        self.assertNotEqual(scene.exposition.render("")[1], first[1])

    def test_openmetrics_if_the_accept_header_names_it(self) -> None:
        kind, text = Scene().exposition.render("application/openmetrics-text; version=1.0.0")
        self.assertTrue(kind.startswith("application/openmetrics-text"))
        self.assertTrue(text.endswith(b"# EOF\n"))

    def test_any_accept_header_selects_one_of_two_formats(self) -> None:
        scene = Scene()
        kinds = set()
        for version in ("1.0.0", "0.0.1", "zzz", "", "1.0.0.1", "\xb2", "9" * 1000):
            for kind in ("application/openmetrics-text", "text/plain", "text/plain;q=0.5,application/openmetrics-text"):
                kinds.add(scene.exposition.render(f"{kind};version={version};escaping={version}")[0])
        self.assertEqual(len(kinds), 2)
        self.assertEqual(len(scene.exposition._rendered), 2)


class ListenOverflowTests(SynchronousTestCase):
    def overflows(self, text: str) -> int | None:
        with TemporaryDirectory() as directory:
            path = Path(directory, "netstat")
            path.write_text(text)
            return listen_overflows(path)

    def test_listen_overflows(self) -> None:
        self.assertEqual(self.overflows("IpExt: A\nIpExt: 1\nTcpExt: A ListenOverflows B\nTcpExt: 1 42 3\n"), 42)
        for text in ("", "TcpExt: A\nTcpExt: 1\n", "TcpExt: ListenOverflows\nTcpExt: x\n", "TcpExt: ListenOverflows\n"):
            self.assertIsNone(self.overflows(text), text)
        self.assertIsNone(listen_overflows(Path("/nonexistent")))


class ReactorLagTests(SynchronousTestCase):
    def test_lag_of_each_tick(self) -> None:
        clock = Clock()
        reactor_lag = ReactorLag(clock)
        lags: list[float] = []
        reactor_lag.on_tick = lambda: lags.append(round(reactor_lag.latest, 3))
        reactor_lag.startService()
        clock.advance(1)
        clock.advance(1.2)
        self.assertEqual(lags, [0.0, 0.2])
        self.assertEqual(sum(reactor_lag.lags.counts), 2)
        self.assertAlmostEqual(reactor_lag.lags.total, 0.2)
        reactor_lag.stopService()
        self.assertEqual(clock.getDelayedCalls(), [])
        reactor_lag.stopService()

    def test_ticks_go_on_after_one_that_raises(self) -> None:
        clock = Clock()
        reactor_lag = ReactorLag(clock)
        reactor_lag.on_tick = lambda: 1 / 0  # type: ignore[assignment]  # it never returns
        reactor_lag.startService()
        for _ in range(2):
            with self.assertRaises(ZeroDivisionError):
                clock.advance(1)
        self.assertEqual(sum(reactor_lag.lags.counts), 2)
        reactor_lag.stopService()
        self.assertEqual(clock.getDelayedCalls(), [])
