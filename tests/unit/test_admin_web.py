from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IAddress
from twisted.trial.unittest import SynchronousTestCase

from echod.admin.http_request import MAX_BYTES
from echod.admin.http_server import FINISH, LINGER, MAX_CONNECTIONS, TIMEOUT
from echod.admin.live_page import MAX_STREAMS
from echod.admin.pages import HEADERS
from tests.support.admin import LOCAL, Client, Scene

REMOTE = IPv4Address("TCP", "192.0.2.1", 9305)
PIECES = st.binary(max_size=20) | st.sampled_from(
    [
        *(b"GET ", b"HEAD ", b"POST ", b"/", b"/metrics", b"/events", b"?", b" HTTP/1.1", b" HTTP/1.0", b" HTTP/2.0"),
        *(b"\r\n", b"\r\n\r\n", b"\n", b": ", b",", b";", b"Host: localhost\r\n", b"Accept: "),
        *(b"Connection: close\r\n", b"Expect: 100-continue\r\n"),
        *(b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
        *(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    ]
)
REQUEST = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


class HTTPServerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.scene = Scene()
        self.clients: list[Client] = []

    def client(self, local: IAddress = LOCAL) -> Client:
        made = Client(self.scene.factory, local)
        self.clients.append(made)
        return made

    def tearDown(self) -> None:
        for each in self.clients:
            if not each.refused:
                each.leave()
        self.assertEqual(self.scene.reactor.getDelayedCalls(), [])

    def check(self, status: int, response: bytes) -> None:
        self.assertEqual(int(response.split()[1]), status, response)
        self.assertEqual(response.count(b"HTTP/1.1 "), 1)

    def test_pages(self) -> None:
        for path, kind in (
            ("/", "text/html; charset=utf-8"),
            ("/page.js", "text/javascript; charset=utf-8"),
            ("/page.css", "text/css; charset=utf-8"),
            ("/icon.svg", "image/svg+xml"),
            ("/metrics", "text/plain; version="),
            ("/healthz?x=/../..", "text/plain; charset=utf-8"),
        ):
            response = self.client().get(path)
            self.check(200, response)
            self.assertIn(f"Content-Type: {kind}".encode(), response)

    def test_every_response_has_the_security_headers(self) -> None:
        for response in (self.client().get("/"), self.client().get("/no"), self.client().get(method="PUT")):
            for name, value in HEADERS.items():
                self.assertIn(f"{name}: {value}\r\n".encode(), response)

    def test_readiness(self) -> None:
        self.check(503, self.client().get("/readyz"))
        self.scene.service.startService()
        self.check(200, self.client().get("/readyz"))
        self.scene.service.stopService()
        response = self.client().get("/readyz")
        self.check(503, response)
        self.assertTrue(response.endswith(b"draining\n"))
        self.check(200, self.client().get("/healthz"))

    def test_head_has_no_body(self) -> None:
        for path in ("/healthz", "/events", "/metrics"):
            response = self.client().get(path, method="HEAD")
            self.check(200, response)
            self.assertTrue(response.endswith(b"\r\n\r\n"), path)

    def test_other_methods(self) -> None:
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get", "X" * 1000):
            response = self.client().get(method=method)
            self.check(405, response)
            self.assertIn(b"Allow: GET, HEAD\r\n", response)

    def test_paths_outside_the_table(self) -> None:
        for path in (
            "/../../etc/passwd",
            "/%2e%2e/page.js",
            "//",
            "/page.html",
            "/static/page.js",
        ):
            self.check(404, self.client().get(path))

    def test_host_on_a_loopback_address(self) -> None:
        for host in ("localhost", "LOCALHOST:9305", "127.0.0.1:9305", "127.1.2.3", "[::1]:9305", "[::1]"):
            self.check(200, self.client().get(host=host))
        for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil", "192.0.2.1", ""):
            self.check(421, self.client().get(host=host))
        self.check(421, self.client(IPv6Address("TCP", "::ffff:127.0.0.1", 1)).get(host="evil.example"))
        self.check(421, self.client(IPv6Address("TCP", "::1", 1)).get(host="evil.example"))

    def test_host_of_the_absolute_form(self) -> None:
        self.check(200, self.client().get("http://localhost:9305/healthz", host="evil.example"))
        self.check(421, self.client().get("http://evil.example/healthz"))

    def test_requests_without_one_valid_host(self) -> None:
        for local in (LOCAL, REMOTE):
            self.check(400, self.client(local).get(host=None))
            self.check(400, self.client(local).get(more="Host: localhost\r\n"))
            for host in ("::1", "[::1", "a:b:c", "a b", "localhost, localhost", "\xff"):
                self.check(400, self.client(local).get(host=host))

    def test_any_host_on_other_addresses(self) -> None:
        self.check(200, self.client(REMOTE).get(host="echo.example.net"))
        self.check(200, self.client(UNIXAddress(b"/run/x")).get(host="x"))

    def test_http_1_0_needs_no_host(self) -> None:
        response = self.client().send(b"GET /healthz HTTP/1.0\r\n\r\n")
        self.check(200, response)
        self.assertIn(b"Connection: close\r\n", response)

    def test_bodies_are_refused_unread(self) -> None:
        for header in ("Content-Length: 99999999999", "Transfer-Encoding: chunked", "Content-Length: 5"):
            for method, status in (("POST", 405), ("GET", 400)):
                client = self.client()
                response = client.get(method=method, more=f"{header}\r\n")
                self.check(status, response)
                self.assertTrue(client.over)
                self.assertEqual(client.send(b"5\r\nhello\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n"), response)

    def test_a_refusal_has_a_plain_response_and_a_lingering_close(self) -> None:
        client = self.client()
        response = client.get(more=f"A: {'x' * MAX_BYTES}\r\n")
        self.check(431, response)
        head, _, body = response.partition(b"\r\n\r\n")
        fields = head.split(b"\r\n")
        self.assertIn(b"Connection: close", fields)
        self.assertIn(f"Content-Length: {len(body)}".encode(), fields)
        self.assertEqual(body, b"the header is longer than 8192 bytes\n")
        self.assertEqual(client.send(REQUEST), response)
        self.scene.reactor.advance(LINGER - 0.1)
        self.assertIsNone(client.transport.over)
        self.scene.reactor.advance(0.1)
        self.assertIsInstance(client.transport.over, ConnectionDone)

    def test_a_lingering_connection_ends_at_the_clients_fin(self) -> None:
        client = self.client()
        client.get(host=None)
        client.transport.fin()
        self.assertIsInstance(client.transport.over, ConnectionDone)

    def test_a_client_that_half_closes_gets_its_response(self) -> None:
        client = self.client()
        client.transport.flushing = False
        self.check(200, client.get())
        client.transport.fin()
        self.assertIsNone(client.transport.over)
        client.transport.flush()
        self.assertIsInstance(client.transport.over, ConnectionDone)

    def test_a_client_that_does_not_read_is_read_no_further(self) -> None:
        client = self.client()
        client.transport.flushing = False
        client.get()
        client.transport.fill()
        self.assertEqual(client.transport.producerState, "paused")
        client.transport.flush()
        client.transport.clear()
        self.check(200, client.get())

    def test_a_client_that_does_not_read_its_last_response_is_cut_off(self) -> None:
        client = self.client()
        client.transport.flushing = False
        client.get(more="Connection: close\r\n")
        self.scene.reactor.advance(TIMEOUT - 1)
        self.assertIsNone(client.transport.over)
        self.scene.reactor.advance(1)
        self.assertIsInstance(client.transport.over, ConnectionAborted)

    def test_a_stream_ends_at_the_clients_fin(self) -> None:
        client = self.client()
        client.get("/events")
        client.transport.fin()
        self.assertIsInstance(client.transport.over, ConnectionAborted)

    @settings(deadline=None)
    @given(st.lists(PIECES, max_size=12))
    def test_no_input_raises(self, pieces: list[bytes]) -> None:
        client = self.client()
        for piece in pieces:
            if not client.over:
                client.send(piece)
        output = bytes(client.transport.value())
        self.assertTrue(output == b"" or output.startswith(b"HTTP/1.1 "), output)
        client.leave()

    def test_drips_do_not_extend_the_deadline(self) -> None:
        client = self.client()
        client.send(b"GET /healthz HTTP/1.1\r\n")
        for _ in range(int(TIMEOUT) - 1):
            self.scene.reactor.advance(1)
            client.send(b"A: b\r\n")
        self.assertFalse(client.over)
        self.scene.reactor.advance(1)
        self.assertTrue(client.over)

    def test_deadline_restarts_after_a_response(self) -> None:
        client = self.client()
        client.get()
        self.scene.reactor.advance(TIMEOUT - 1)
        client.transport.clear()
        self.check(200, client.get())
        self.scene.reactor.advance(TIMEOUT - 1)
        self.assertFalse(client.over)
        self.scene.reactor.advance(1)
        self.assertTrue(client.over)

    def test_pipelining_client_gets_one_response(self) -> None:
        for behind in (REQUEST, b"GET", b"\r\n"):
            client = self.client()
            response = client.send(REQUEST + behind)
            self.check(200, response)
            self.assertIn(b"Connection: close\r\n", response)
            self.assertTrue(client.over)

    def test_date(self) -> None:
        for path in ("/healthz", "/events"):
            self.assertIn(b"\r\nDate: Fri, 15 Jan 2027 08:00:00 GMT\r\n", self.client().get(path))

    def test_connection_above_the_limit_replaces_the_longest_idle(self) -> None:
        many = [self.client() for _ in range(MAX_CONNECTIONS)]
        many[0].get()
        late = self.client()
        self.assertFalse(late.refused)
        self.assertEqual([each.over for each in many[:3]], [False, True, False])
        self.check(200, late.get())

    def test_stream_limit_leaves_connections_for_pages(self) -> None:
        streams = [self.client() for _ in range(MAX_STREAMS)]
        for each in streams:
            self.check(200, each.get("/events"))
        self.check(503, self.client().get("/events"))
        self.check(200, self.client().get("/healthz"))
        streams[0].leave()
        self.check(200, self.client().get("/events"))

    def test_abort_all(self) -> None:
        idle, streaming = self.client(), self.client()
        streaming.get("/events")
        self.scene.factory.abort_all()
        self.assertTrue(idle.over and streaming.over)

    def test_finish_without_connections(self) -> None:
        self.successResultOf(self.scene.factory.finish())
        self.assertEqual(self.scene.reactor.getDelayedCalls(), [])

    def test_finish_closes_in_order_and_responds_to_a_client_without_a_response(self) -> None:
        idle, silent, streaming = self.client(), self.client(), self.client()
        idle.get()
        streaming.get("/events")
        finished = self.scene.factory.finish()
        self.assertTrue(idle.transport.write_shut)
        self.assertIsInstance(streaming.transport.over, ConnectionAborted)
        self.assertFalse(silent.over)
        self.assertIn(b"\r\nConnection: close\r\n", silent.get())
        self.assertTrue(silent.transport.write_shut)
        idle.transport.fin()
        self.assertNoResult(finished)
        silent.transport.fin()
        self.successResultOf(finished)
        self.assertEqual(self.scene.reactor.getDelayedCalls(), [])

    def test_finish_does_not_wait_longer_than_half_a_second(self) -> None:
        silent = self.client()
        finished = self.scene.factory.finish()
        self.scene.reactor.advance(FINISH - 0.01)
        self.assertNoResult(finished)
        self.assertFalse(silent.over)
        self.scene.reactor.advance(0.01)
        self.successResultOf(finished)
        self.assertTrue(silent.over)
        self.assertEqual(self.scene.reactor.getDelayedCalls(), [])
