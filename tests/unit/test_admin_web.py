from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.trial.unittest import SynchronousTestCase

from echod.admin.http_server import MAX_CACHED_REQUESTS, MAX_CONNECTIONS, MAX_HEADER_BYTES, TIMEOUT, RequestKey
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
            "http://x/metrics",
            "*",
        ):
            self.check(404, self.client().get(path))

    def test_host_header_on_a_loopback_address(self) -> None:
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

    def test_any_host_header_on_other_addresses(self) -> None:
        self.check(200, self.client(REMOTE).get(host="echo.example.net"))
        self.check(200, self.client(UNIXAddress(b"/run/x")).get(host="x"))

    def test_http_1_0_needs_no_host(self) -> None:
        self.assertIn(b" 200 ", self.client().send(b"GET /healthz HTTP/1.0\r\n\r\n"))

    def test_bodies_are_refused_unread(self) -> None:
        for header in ("Content-Length: 99999999999", "Transfer-Encoding: chunked", "Content-Length: 5"):
            for method, status in (("POST", 405), ("GET", 400)):
                client = self.client()
                response = client.get(method=method, more=f"{header}\r\n")
                self.check(status, response)
                self.assertTrue(client.over)
                self.assertEqual(client.send(b"5\r\nhello\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n"), response)

    def test_header_limits(self) -> None:
        for flood in (
            b"GET /" + b"x" * MAX_HEADER_BYTES,
            b"GET / HTTP/1.1\r\n" + b"A: " + b"x" * MAX_HEADER_BYTES,
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

    def test_headers_of_any_bytes(self) -> None:
        for header, status in (
            (b"Accept: \xff", 200),
            (b"Accept: application/openmetrics-text;version=zzz", 200),
            (b"Connection: \xff", 200),
            (b"\xff: \xff", 400),
            (b"Host: \xff", 421),
        ):
            response = self.client().send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n" + header + b"\r\n\r\n")
            self.check(status, response)
        self.check(421, self.client().send(b"GET /metrics HTTP/1.1\r\nHost: \xff\r\n\r\n"))

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

    def test_cached_request_gets_the_response_of_a_parsed_one(self) -> None:
        for request in (
            REQUEST,
            b"HEAD /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
            b"GET /healthz HTTP/1.0\r\n\r\n",
            b"GET /metrics HTTP/1.1\r\nHost: [::1]\r\nAccept: application/openmetrics-text\r\n\r\n",
        ):
            first, second = self.client(), self.client()
            response = first.send(request)
            self.assertIsNotNone(self.scene.factory.cached(RequestKey(True, request)), request)
            self.assertEqual(second.send(request), response)
            self.assertEqual(second.over, first.over)
            if not first.over:
                self.assertEqual(first.send(request), 2 * response)

    def test_cached_request_gets_the_current_response(self) -> None:
        client = self.client()
        self.check(503, client.get("/readyz"))
        self.scene.service.startService()
        client.transport.clear()
        self.check(200, client.get("/readyz"))
        self.scene.service.stopService()

    def test_cached_request_restarts_the_deadline(self) -> None:
        client = self.client()
        for _ in range(3):
            client.send(REQUEST)
            self.scene.reactor.advance(TIMEOUT - 1)
        self.assertFalse(client.over)
        self.scene.reactor.advance(1)
        self.assertTrue(client.over)

    def test_host_check_of_a_cached_request(self) -> None:
        self.check(200, self.client(REMOTE).get(host="evil.example"))
        self.check(421, self.client().get(host="evil.example"))
        self.check(200, self.client(REMOTE).get(host="evil.example"))

    def test_bytes_of_a_cached_request_inside_another(self) -> None:
        self.client().send(REQUEST)
        within = self.client()
        within.send(b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\nX: ")
        self.check(421, within.send(REQUEST))  # the second Host of one request
        streaming = self.client()
        before = streaming.get("/events")
        self.assertEqual(streaming.send(REQUEST), before)
        refused = self.client()
        response = refused.get(method="POST", more="Content-Length: 9999\r\n")
        self.assertEqual(refused.send(REQUEST), response)

    def test_requests_that_are_not_cached(self) -> None:
        self.client().get("/nowhere")
        self.client().get(host="evil.example")
        self.client().get(method="PUT")
        self.client().send(REQUEST + b"GET")
        in_pieces = self.client()
        in_pieces.send(REQUEST[:10])
        self.check(200, in_pieces.send(REQUEST[10:]))
        self.assertEqual(self.scene.factory._cached, {})

    def test_cache_limit(self) -> None:
        client = self.client()
        for number in range(3 * MAX_CACHED_REQUESTS):
            client.get(f"/healthz?{number}")
        self.assertLessEqual(len(self.scene.factory._cached), MAX_CACHED_REQUESTS)

    def test_deadline_after_the_last_response(self) -> None:
        client = self.client()
        client.get(more="Connection: close\r\n")
        self.assertTrue(client.transport.disconnecting)
        self.assertFalse(client.transport.over)
        self.scene.reactor.advance(TIMEOUT)
        self.assertTrue(client.transport.over)

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

    def test_connection_is_removed_if_its_request_raises_at_the_end(self) -> None:
        def raises(*_: object) -> None:
            raise ZeroDivisionError

        client = self.client()
        client.get("/events")
        (channel,) = self.scene.factory._busy
        self.patch(channel.requests[0], "connectionLost", raises)
        self.assertRaises(ZeroDivisionError, client.leave)
        self.assertEqual(self.scene.factory._busy, set())
        channel.setTimeout(None)
