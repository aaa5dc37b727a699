import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from OpenSSL import SSL
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from echod.admin.daemon import Observed, State
from echod.admin.host import listen_overflows
from echod.admin.live import HISTORY, MOST_MISSED, MOST_STREAMS, Live, quantile
from echod.admin.metrics import FRESH, Exposition
from echod.admin.pages import pages
from echod.admin.pulse import Pulse
from echod.admin.totals import Totals
from echod.admin.web import HEADERS, MOST_CONNECTIONS, MOST_HEADER_BYTES, TIMEOUT, AdminChannel, AdminFactory
from echod.core.addresses import HostPort
from echod.core.closing import CloseReason, ConnectionSummary, TLSFacts, TLSFailure
from echod.core.configuration import ServerConfiguration
from echod.server.assembly import make_service
from echod.server.observer import WAIT_BOUNDS
from echod.server.service import EchoService
from echod.server.tls import _failure_of
from tests.support.memory import MemoryTransport
from tests.support.sockets import RECORD

HERE = IPv4Address("TCP", "127.0.0.1", 9305)
ELSEWHERE = IPv4Address("TCP", "192.0.2.1", 9305)


def summary(reason: CloseReason = CloseReason.ECHOED, **given: Any) -> ConnectionSummary:
    facts: dict[str, Any] = {"records": 0, "bytes_received": 0, "bytes_sent": 0, "duration": 0.0} | given
    return ConnectionSummary(peer=HostPort("192.0.2.7", 40000), listener="test", reason=reason, **facts)


class Scene:
    """A daemon in memory, and all that looks at it."""

    def __init__(self, **options: Any) -> None:
        self.reactor = cast("Any", MemoryReactorClock())
        self.totals = Totals()
        options.setdefault("listen", ("tcp:1",))
        configuration = ServerConfiguration(transport="stock", **options)
        self.service: EchoService = make_service(
            configuration, self.reactor, observer=self.totals, waits=self.totals.waits, descriptors=1064
        )
        self.pulse = Pulse(self.reactor)
        self.overflows: int | None = 7
        self.observed = Observed(self.service, self.totals, self.pulse, lambda: self.overflows, lambda: 1_800_000_000.0)
        self.live = Live(self.observed, "1.2.3")
        self.exposition = Exposition(self.observed, self.reactor.seconds)
        self.factory = AdminFactory(self.reactor, pages(self.observed, self.exposition, self.live))

    def connect(self) -> MemoryTransport:
        transport = MemoryTransport()
        transport.connect(self.reactor.tcpServers[0][1].buildProtocol(None))
        return transport

    def metric(self, name: str) -> float:
        self.reactor.advance(FRESH)
        _, text = self.exposition.render("")
        return next(float(line.split()[-1]) for line in text.decode().splitlines() if line.startswith(name + " "))


class TotalsTests(SynchronousTestCase):
    def test_open_connections_count_with_those_that_are_over(self) -> None:
        scene = Scene(keep_alive=True)
        scene.service.startService()
        over, still = scene.connect(), scene.connect()
        over.receive(RECORD * 2)
        over.fin()
        still.receive(RECORD + RECORD[:10])
        figures = scene.observed.figures()
        self.assertEqual((figures.active, figures.records), (1, 3))
        self.assertEqual((figures.bytes_received, figures.bytes_sent), (760, 750))
        self.assertEqual(figures.closed[CloseReason.ECHOED], 1)
        self.assertEqual(scene.metric("echod_connections_accepted_total"), 2)

    def test_waits(self) -> None:
        scene = Scene(keep_alive=True)
        scene.service.startService()
        transport = scene.connect()
        for wait in (0.3, 0.02):
            scene.reactor.advance(wait)
            transport.receive(RECORD)
        transport.receive(RECORD * 3)
        waits = scene.observed.figures().waits
        at = {bound: count for bound, count in zip(WAIT_BOUNDS, waits.counts, strict=False) if count}
        self.assertEqual(at, {0.0001: 3, 0.025: 1, 0.5: 1})
        self.assertAlmostEqual(waits.total, 0.32)
        transport.fin()
        self.assertEqual(scene.observed.figures().waits, waits)

    def test_the_wait_of_the_one_record(self) -> None:
        scene = Scene()
        scene.service.startService()
        transport = scene.connect()
        scene.reactor.advance(29)
        transport.receive(RECORD)
        transport.fin()
        waits = scene.observed.figures().waits
        self.assertEqual((waits.counts[-2], sum(waits.counts), waits.total), (1, 1, 29.0))

    def test_a_stream_has_bytes_and_no_records(self) -> None:
        scene = Scene(stream=True)
        scene.service.startService()
        transport = scene.connect()
        for _ in range(3):
            scene.reactor.advance(1)
            transport.receive(b"x" * 1000)
        figures = scene.observed.figures()
        self.assertEqual((figures.records, figures.bytes_received, figures.bytes_sent), (0, 3000, 3000))
        self.assertEqual(set(figures.waits.counts), {0})
        transport.fin()
        self.assertEqual(scene.observed.figures().records, 0)

    def test_nothing_is_counted_where_nobody_wants_to_know(self) -> None:
        reactor: Any = MemoryReactorClock()
        service = make_service(ServerConfiguration(transport="stock", listen=("tcp:1",), keep_alive=True), reactor)
        service.startService()
        connection = reactor.tcpServers[0][1].buildProtocol(None)
        transport = MemoryTransport()
        transport.connect(connection)
        transport.receive(RECORD)
        self.assertEqual((connection.records, connection.waited), (1, 0.0))
        self.assertNotIn("_came", vars(connection))

    def test_refusals_are_no_connections(self) -> None:
        scene = Scene()
        for reason in (CloseReason.TOO_MANY, CloseReason.NOT_ALLOWED, CloseReason.NOT_ALLOWED, CloseReason.RESET):
            scene.totals.connection_ended(summary(reason))
        self.assertEqual(scene.metric("echod_connections_accepted_total"), 1)
        self.assertEqual(scene.metric('echod_connections_refused_total{reason="not-allowed"}'), 2)
        self.assertEqual(scene.metric("echod_connection_duration_seconds_count"), 1)

    def test_tls(self) -> None:
        scene = Scene()
        scene.totals.connection_ended(summary(tls=TLSFacts("TLSv1.3", "X", None)))
        scene.totals.connection_ended(summary(CloseReason.TLS_FAILED, tls_failure=TLSFailure.NOT_TLS))
        self.assertEqual(scene.metric('echod_tls_handshakes_total{version="TLSv1.3"}'), 1)
        self.assertEqual(scene.metric('echod_tls_handshake_failures_total{kind="not-tls"}'), 1)

    def test_no_label_is_an_address(self) -> None:
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


class ObservedTests(SynchronousTestCase):
    def test_state(self) -> None:
        scene = Scene()
        self.assertIs(scene.observed.state, State.STARTING)
        scene.service.startService()
        self.assertIs(scene.observed.state, State.READY)
        self.assertEqual(scene.metric("echod_ready"), 1)
        scene.service.stopService()
        self.assertIs(scene.observed.state, State.DRAINING)
        self.assertEqual((scene.metric("echod_ready"), scene.metric("echod_draining")), (0, 1))

    def test_limit_and_host(self) -> None:
        scene = Scene()
        self.assertEqual(scene.metric("echod_connections_max"), 1000)
        self.assertEqual(scene.metric("echod_host_listen_overflows_total"), 7)
        scene.overflows = None
        scene.reactor.advance(FRESH)
        self.assertNotIn(b"listen_overflows", scene.exposition.render("")[1])

    def test_what_was_rendered_serves_again_for_a_moment(self) -> None:
        scene = Scene()
        first = scene.exposition.render("")
        scene.totals.connection_ended(summary())
        self.assertIs(scene.exposition.render("")[1], first[1])
        scene.reactor.advance(FRESH)
        self.assertNotEqual(scene.exposition.render("")[1], first[1])

    def test_openmetrics_where_it_is_asked_for(self) -> None:
        kind, text = Scene().exposition.render("application/openmetrics-text; version=1.0.0")
        self.assertTrue(kind.startswith("application/openmetrics-text"))
        self.assertTrue(text.endswith(b"# EOF\n"))


class HostTests(SynchronousTestCase):
    def told(self, text: str) -> int | None:
        with TemporaryDirectory() as directory:
            path = Path(directory, "netstat")
            path.write_text(text)
            return listen_overflows(path)

    def test_listen_overflows(self) -> None:
        self.assertEqual(self.told("IpExt: A\nIpExt: 1\nTcpExt: A ListenOverflows B\nTcpExt: 1 42 3\n"), 42)
        for text in ("", "TcpExt: A\nTcpExt: 1\n", "TcpExt: ListenOverflows\nTcpExt: x\n", "TcpExt: ListenOverflows\n"):
            self.assertIsNone(self.told(text), text)
        self.assertIsNone(listen_overflows(Path("/nonexistent")))


class PulseTests(SynchronousTestCase):
    def test_how_late_it_beats(self) -> None:
        clock = Clock()
        pulse = Pulse(clock)
        beats: list[float] = []
        pulse.start(lambda: beats.append(round(pulse.latest, 3)))
        clock.advance(1)
        clock.advance(1.2)
        self.assertEqual(beats, [0.0, 0.2])
        self.assertEqual(sum(pulse.lag.counts), 2)
        self.assertAlmostEqual(pulse.lag.total, 0.2)
        pulse.stop()
        self.assertEqual(clock.getDelayedCalls(), [])
        pulse.stop()


class QuantileTests(SynchronousTestCase):
    def test_as_promql_has_it(self) -> None:
        self.assertIsNone(quantile((1.0, 2.0), (0, 0, 0), 0.5))
        self.assertEqual(quantile((1.0, 2.0), (0, 4, 0), 0.5), 1.5)
        self.assertEqual(quantile((1.0, 2.0), (2, 2, 0), 0.5), 1.0)
        self.assertEqual(quantile((1.0, 2.0), (0, 0, 9), 0.5), 2.0)


class Client:
    """A client of the admin server, in memory."""

    def __init__(self, factory: AdminFactory, local: IAddress = HERE) -> None:
        self.transport = AbortableTransport(hostAddress=local)
        channel = factory.buildProtocol(None)
        self.refused = channel is None
        if channel is not None:
            self.transport.protocol = channel
            channel.makeConnection(self.transport)

    def send(self, data: bytes) -> bytes:
        """Send, and return all that has come."""
        self.transport.protocol.dataReceived(data)
        return bytes(self.transport.value())

    def get(self, path: str = "/healthz", host: str | None = "localhost", method: str = "GET", more: str = "") -> bytes:
        named = "" if host is None else f"Host: {host}\r\n"
        return self.send(f"{method} {path} HTTP/1.1\r\n{named}{more}\r\n".encode())

    @property
    def over(self) -> bool:
        return self.transport.over or self.transport.disconnecting

    def leave(self) -> None:
        if not self.transport.over:
            self.transport.abortConnection()


class AbortableTransport(StringTransport):
    protocol: AdminChannel
    over = False

    def abortConnection(self) -> None:
        self.over = True
        self.protocol.connectionLost(Failure(ConnectionAbortedError()))

    def unregisterProducer(self) -> None:
        if self.producer is not None:
            super().unregisterProducer()


class WebTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.scene = Scene()
        self.clients: list[Client] = []

    def client(self, local: IAddress = HERE) -> Client:
        made = Client(self.scene.factory, local)
        self.clients.append(made)
        return made

    def tearDown(self) -> None:
        for each in self.clients:
            if not each.refused:
                each.leave()
        self.assertEqual(self.scene.reactor.getDelayedCalls(), [])

    def check(self, status: int, answer: bytes) -> None:
        self.assertEqual(int(answer.split()[1]), status, answer)
        self.assertEqual(answer.count(b"HTTP/1.1 "), 1)

    def test_pages(self) -> None:
        for path, kind in (
            ("/", "text/html; charset=utf-8"),
            ("/page.js", "text/javascript; charset=utf-8"),
            ("/page.css", "text/css; charset=utf-8"),
            ("/icon.svg", "image/svg+xml"),
            ("/metrics", "text/plain; version="),
            ("/healthz?x=/../..", "text/plain; charset=utf-8"),
        ):
            answer = self.client().get(path)
            self.check(200, answer)
            self.assertIn(f"Content-Type: {kind}".encode(), answer)

    def test_every_answer_has_the_headers(self) -> None:
        for answer in (self.client().get("/"), self.client().get("/no"), self.client().get(method="PUT")):
            for name, value in HEADERS.items():
                self.assertIn(f"{name}: {value}\r\n".encode(), answer)

    def test_readiness(self) -> None:
        self.check(503, self.client().get("/readyz"))
        self.scene.service.startService()
        self.check(200, self.client().get("/readyz"))
        self.scene.service.stopService()
        answer = self.client().get("/readyz")
        self.check(503, answer)
        self.assertTrue(answer.endswith(b"draining\n"))
        self.check(200, self.client().get("/healthz"))

    def test_head_has_no_body(self) -> None:
        for path in ("/healthz", "/events", "/metrics"):
            answer = self.client().get(path, method="HEAD")
            self.check(200, answer)
            self.assertTrue(answer.endswith(b"\r\n\r\n"), path)

    def test_other_methods(self) -> None:
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get", "X" * 1000):
            answer = self.client().get(method=method)
            self.check(405, answer)
            self.assertIn(b"Allow: GET, HEAD\r\n", answer)

    def test_nowhere_to_climb_to(self) -> None:
        for path in (
            "/../../etc/passwd",
            "/%2e%2e/page.js",
            "//",
            "/page.html",
            "/static/page.js",
            "http://x/metrics",
            "*",
        ):
            self.check(404, self.client().get(path))

    def test_rebinding(self) -> None:
        for host in ("localhost", "LOCALHOST:9305", "127.0.0.1:9305", "127.1.2.3", "[::1]:9305", "[::1]"):
            self.check(200, self.client().get(host=host))
        for host in (
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil",
            "192.0.2.1",
            "::1",
            "[::1",
            "",
            "a:b:c",
        ):
            self.check(421, self.client().get(host=host))
        self.check(421, self.client().get(host=None))
        self.check(421, self.client().get(more="Host: localhost\r\n"))
        self.check(421, self.client(IPv6Address("TCP", "::ffff:127.0.0.1", 1)).get(host="evil.example"))
        self.check(421, self.client(IPv6Address("TCP", "::1", 1)).get(host="evil.example"))

    def test_elsewhere_any_name_is_ours(self) -> None:
        self.check(200, self.client(ELSEWHERE).get(host="echo.example.net"))
        self.check(200, self.client(UNIXAddress(b"/run/x")).get(host="x"))

    def test_a_balancers_check_has_no_host(self) -> None:
        self.assertIn(b" 200 ", self.client().send(b"GET /healthz HTTP/1.0\r\n\r\n"))

    def test_bodies_are_not_read(self) -> None:
        for header in ("Content-Length: 99999999999", "Transfer-Encoding: chunked", "Content-Length: 5"):
            client = self.client()
            answer = client.get(method="POST", more=f"{header}\r\n")
            self.check(400, answer)
            self.assertTrue(client.over)
            self.assertEqual(client.send(b"5\r\nhello\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n"), answer)

    def test_headers_are_bounded(self) -> None:
        for flood in (
            b"GET /" + b"x" * MOST_HEADER_BYTES,
            b"GET / HTTP/1.1\r\n" + b"A: " + b"x" * MOST_HEADER_BYTES,
            b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 100 + b"\r\n",
            b"GET / HTTP/1.1\r\n" + (b"A: " + b"x" * 1000 + b"\r\n") * 9,
        ):
            client = self.client()
            client.send(flood + b"x")
            self.assertTrue(client.over, flood[:40])

    def test_garbage(self) -> None:
        for data in (
            b"\x16\x03\x01\x02\0\r\n\r\n",
            b"GET\r\n\r\n",
            b"GET / HTTP/9.9 x\r\n\r\n",
            b"GET / HTTP/1.1\r\n: x\r\n\r\n",
        ):
            client = self.client()
            client.send(data)
            self.assertTrue(client.over or b" 4" in client.transport.value(), data)

    def test_drips_do_not_extend_the_deadline(self) -> None:
        client = self.client()
        client.send(b"GET /healthz HTTP/1.1\r\n")
        for _ in range(int(TIMEOUT) - 1):
            self.scene.reactor.advance(1)
            client.send(b"A: b\r\n")
        self.assertFalse(client.over)
        self.scene.reactor.advance(1)
        self.assertTrue(client.over)

    def test_a_kept_connection_has_the_deadline_anew(self) -> None:
        client = self.client()
        client.get()
        self.scene.reactor.advance(TIMEOUT - 1)
        client.transport.clear()
        self.check(200, client.get())
        self.scene.reactor.advance(TIMEOUT - 1)
        self.assertFalse(client.over)
        self.scene.reactor.advance(1)
        self.assertTrue(client.over)

    def test_pipelined_requests_are_answered_in_turn(self) -> None:
        answer = self.client().send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3)
        self.assertEqual(answer.count(b" 200 OK"), 3)

    def test_one_too_many_takes_the_place_of_the_idlest(self) -> None:
        many = [self.client() for _ in range(MOST_CONNECTIONS)]
        many[0].get()
        late = self.client()
        self.assertFalse(late.refused)
        self.assertEqual([each.over for each in many[:3]], [False, True, False])
        self.check(200, late.get())

    def test_streams_are_bounded_and_leave_room(self) -> None:
        streams = [self.client() for _ in range(MOST_STREAMS)]
        for each in streams:
            self.check(200, each.get("/events"))
        self.check(503, self.client().get("/events"))
        self.check(200, self.client().get("/healthz"))
        streams[0].leave()
        self.check(200, self.client().get("/events"))

    def test_end_all(self) -> None:
        idle, streaming = self.client(), self.client()
        streaming.get("/events")
        self.scene.factory.end_all()
        self.assertTrue(idle.over and streaming.over)


class LiveTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.scene = Scene()
        self.scene.service.startService()

    def stream(self) -> Client:
        client = Client(self.scene.factory)
        client.get("/events")
        self.addCleanup(client.leave)
        return client

    def events(self, client: Client) -> list[tuple[str, Any]]:
        text = client.transport.value().decode().partition("\r\n\r\n")[2]
        lines = [line for line in text.splitlines() if line.startswith(("event: ", "data: "))]
        return [(kind[7:], json.loads(data[6:])) for kind, data in zip(lines[::2], lines[1::2], strict=True)]

    def test_beats(self) -> None:
        client = self.stream()
        transport = self.scene.connect()
        transport.receive(RECORD)
        transport.fin()
        self.scene.live.beat()
        (first, history), (second, beat) = self.events(client)
        self.assertEqual((first, history["points"], second), ("history", [], "beat"))
        self.assertEqual((beat["point"]["accepted"], beat["point"]["records"]), (1.0, 1.0))
        self.assertEqual((beat["state"]["state"], beat["state"]["closed"]), ("ready", {"echoed": 1}))
        self.scene.live.beat()
        self.assertEqual(self.events(client)[-1][1]["point"]["records"], 0.0)

    def test_who_comes_later_has_the_history(self) -> None:
        for _ in range(HISTORY + 10):
            self.scene.live.beat()
        ((_, history),) = self.events(self.stream())
        self.assertEqual(len(history["points"]), HISTORY)

    def test_who_does_not_read_misses_beats_and_then_goes(self) -> None:
        client = self.stream()
        assert client.transport.producer is not None
        client.transport.producer.pauseProducing()
        before = len(client.transport.value())
        for _ in range(MOST_MISSED):
            self.scene.live.beat()
        self.assertEqual((len(client.transport.value()), client.over), (before, False))
        self.scene.live.beat()
        self.assertTrue(client.over)

    def test_who_reads_again_goes_on(self) -> None:
        client = self.stream()
        assert client.transport.producer is not None
        client.transport.producer.pauseProducing()
        self.scene.live.beat()
        client.transport.producer.resumeProducing()
        self.scene.live.beat()
        self.assertEqual([kind for kind, _ in self.events(client)], ["history", "beat"])

    def test_draining_is_told(self) -> None:
        client = self.stream()
        self.scene.service.stopService()
        self.scene.live.beat()
        self.assertEqual(self.events(client)[-1][1]["state"]["state"], "draining")
