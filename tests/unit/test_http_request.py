from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from echod.admin.http_request import MAX_BYTES, MAX_FIELDS, HTTPRequest, Refusal, RequestReader, _read_at_once

HOST = b"Host: localhost\r\n"
REQUEST = b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n"
DIGITS = b"9" * 4301
"""More than int() converts."""


def request(
    method: str = "GET",
    path: str = "/healthz",
    host: str | None = "localhost",
    accept: str = "",
    has_body: bool = False,
    keep_open: bool = True,
) -> HTTPRequest:
    return HTTPRequest(
        method=method, path=path, host=host, accept=accept, has_body=has_body, keep_open=keep_open and not has_body
    )


def get(*fields: bytes, version: bytes = b"1.1") -> bytes:
    return b"GET /healthz HTTP/%s\r\n%s\r\n" % (version, b"".join(each + b"\r\n" for each in fields))


class RequestReaderTests(SynchronousTestCase):
    def check(self, data: bytes, expected: HTTPRequest | Refusal) -> None:
        """Compare the result for data that come whole and byte by byte."""
        self.assertEqual(RequestReader().feed(data), expected, data)
        reader = RequestReader()
        result = None
        for each in data:
            result = reader.feed(bytes([each]))
            if result is not None:
                break
        self.assertEqual(result, expected, data)

    def refused(self, status: int, reason: str, *requests: bytes) -> None:
        for data in requests:
            self.check(data, Refusal(status, reason, head_only=False))

    def test_requests(self) -> None:
        for data, expected in (
            (REQUEST, request()),
            (b"\r\n" + REQUEST, request()),
            (b"HEAD /a?b?c HTTP/1.1\r\nhost:[::1]:9305 \t\r\n\r\n", request("HEAD", "/a", "::1")),
            (b"GET ?x HTTP/1.1\r\n" + HOST + b"\r\n", None),
            (b"GET http://LOCALHOST HTTP/1.1\r\nHost: other\r\n\r\n", request(path="/")),
            (b"GET HTTP://a:80?x=/ HTTP/1.1\r\n" + HOST + b"\r\n", request(path="/", host="a")),
            (b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", request("OPTIONS", "*")),
            (b"CONNECT a:1 HTTP/1.1\r\n" + HOST + b"\r\n", request("CONNECT", "a:1")),
            (get(version=b"1.0"), request(host=None, keep_open=False)),
            (get(b"Host: a", b"Connection: keep-alive", version=b"1.0"), request(host="a", keep_open=False)),
            (get(b"Host: a:", version=b"1.2"), request(host="a")),
            (get(b"Host:"), request(host="")),
            (get(b"Host: localhost", b"Connection: x,\tCLOSE"), request(keep_open=False)),
            (get(b"Host: localhost", b"Connection: \xff"), request()),
            (get(b"Host: localhost", b"Accept: a", b"accept: \xff"), request(accept="a,\xff")),
            (get(b"Host: localhost", b"Expect: 100-continue"), request()),
            (get(b"Host: localhost", b"Content-Length: 000"), request()),
            (get(b"Host: Xbox"), request(host="xbox")),
            (get(b"Host: localhost", b"Accept: XX"), request(accept="XX")),
            (get(b"Host: localhost", b"Connection: x,close"), request(keep_open=False)),
            (get(b"Host: localhost", b"Connection: Xclose"), request()),
            # White space is blanks and tabs (section 5.6.3 of RFC 9110), and no other character of latin-1.
            (get(b"Host: localhost", b"Accept: \xa0a\x85"), request(accept="\xa0a\x85")),
            (get(b"Host: localhost", b"Connection: \xa0close"), request()),
        ):
            if expected is None:
                self.refused(400, "the request target must be a path or an http URL", data)
            else:
                self.check(data, expected)

    def test_requests_with_a_body(self) -> None:
        for field in (
            b"Content-Length: 5",
            b"Content-Length: " + DIGITS,
            b"Content-Length: -1",
            b"Content-Length: X",
            b"Content-Length: 0, 5",
            b"Content-Length: \xb2",
            b"Transfer-Encoding: chunked",
            b"Transfer-Encoding: identity",
            b"Transfer-Encoding: ",
        ):
            self.check(get(b"Host: localhost", field), request(has_body=True))
            self.check(get(b"Host: localhost", b"Content-Length: 0", field), request(has_body=True))

    def test_bytes_behind_a_request(self) -> None:
        for behind in (b"\r\n", b"GET", REQUEST, b"\0", b"x" * MAX_BYTES):
            self.assertEqual(RequestReader().feed(REQUEST + behind), request(keep_open=False))

    def test_request_lines(self) -> None:
        self.refused(
            400,
            "the request line is not valid",
            b"\r\n\r\n",
            b"GET\r\n\r\n",
            b"GET /\r\n\r\n",
            b"GET  / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1 \r\n\r\n",
            b"GET / http/1.1\r\n\r\n",
            b"GET / HTTP/11\r\n\r\n",
            b"GET / HTTP/1.1x\r\n\r\n",
            b"GET /\xff HTTP/1.1\r\n\r\n",
            b"GET / x HTTP/1.1\r\n\r\n",
            b"G\xc9T / HTTP/1.1\r\n\r\n",
            b"GET: / HTTP/1.1\r\n\r\n",
            b" GET / HTTP/1.1\r\n\r\n",
        )
        self.refused(505, "the version must be HTTP/1.0 or HTTP/1.1", b"PRI * HTTP/2.0\r\n\r\n", get(version=b"0.9"))

    def test_targets(self) -> None:
        reason = "the request target must be a path or an http URL"
        for target in (b"healthz", b"https://localhost/", b"http:///x", b"http://", b"ftp://localhost/"):
            self.refused(400, reason, b"GET " + target + b" HTTP/1.1\r\n" + HOST + b"\r\n")

    def test_hosts(self) -> None:
        reason = "the request must have one valid Host header"
        self.refused(400, reason, get(), get(b"Host: a", b"Host: a"), get(b"Host: a", b"host: a", version=b"1.0"))
        for host in (b"::1", b"[::1", b"[x]", b"a:b", b"a:1:2", b"a:123456", b"a b", b"a@b", b"\xff", b"a/b", b'"'):
            self.refused(400, reason, get(b"Host: " + host))
        for authority in (b"user@localhost", b"[", b"a:b"):
            self.refused(400, reason, b"GET http://" + authority + b"/ HTTP/1.1\r\n" + HOST + b"\r\n")
        # The Host header is checked even if the host of the target takes its place.
        self.refused(400, reason, b"GET http://localhost/ HTTP/1.1\r\n\r\n")

    def test_fields(self) -> None:
        for field in (b"A", b": x", b"A : x", b" A: x", b"\tA: x", b"A\t: x", b"\xff: x", b"A(: x", b'"A": x'):
            self.refused(400, "a header field is not valid", get(b"Host: localhost", field), get(field))
        # A folded line (obs-fold).
        self.refused(400, "a header field is not valid", get(b"Host: localhost", b"A: x", b" y"))

    def test_control_characters_and_line_ends(self) -> None:
        reason = "a control character or a line end is not valid"
        for byte in (*range(9), *range(10, 32), 127):
            if byte != 13:
                self.refused(400, reason, b"GET /" + bytes([byte]), b"GET / HTTP/1.1\r\nA: " + bytes([byte]))
        self.refused(400, reason, b"GET / HTTP/1.1\n", b"GET / HTTP/1.1\rA", b"GET / HTTP/1.1\r\r\n", b"\x16\x03\x01")
        self.refused(400, reason, *(each + REQUEST for each in (b"\0", b"\r", b"\n")))

    def test_refusal_of_a_head_request(self) -> None:
        data = b"HEAD / HTTP/1.1\r\n\r\n"
        self.check(data, Refusal(400, "the request must have one valid Host header", head_only=True))

    def test_limits(self) -> None:
        line = f"the request line is longer than {MAX_BYTES} bytes"
        header = f"the header is longer than {MAX_BYTES} bytes"
        fields = "the header has more than 64 fields"
        self.refused(414, line, b"x" * (MAX_BYTES + 1), b"GET /" + b"x" * MAX_BYTES)
        self.refused(431, header, b"GET / HTTP/1.1\r\nA: " + b"x" * MAX_BYTES)
        self.refused(431, header, b"GET / HTTP/1.1\r\nA: " + b"x" * MAX_BYTES + b"\0")
        self.refused(431, header, get(b"Host: localhost", *(b"A: " + b"x" * 1000 for _ in range(9))))
        self.refused(431, fields, get(*(b"A: b" for _ in range(MAX_FIELDS + 1))))
        self.check(get(b"Host: localhost", *(b"A: b" for _ in range(MAX_FIELDS - 1))), request())
        longest = REQUEST[:-2] + b"A: " + b"x" * (MAX_BYTES - len(REQUEST) - 5) + b"\r\n\r\n"
        self.assertEqual(len(longest), MAX_BYTES)
        self.check(longest, request())
        self.assertEqual(RequestReader().feed(longest + b"x"), request(keep_open=False))
        self.refused(431, header, REQUEST[:-2] + b"A: " + b"x" * (MAX_BYTES - len(REQUEST) - 4) + b"\r\n\r\n")

    def test_few_requests_are_kept(self) -> None:
        for number in range(100):
            RequestReader().feed(b"GET /%d HTTP/1.0\r\n\r\n" % number)
        self.assertEqual(_read_at_once.cache_info().currsize, 64)

    def test_incomplete_requests(self) -> None:
        for length in range(len(REQUEST)):
            self.assertIsNone(RequestReader().feed(REQUEST[:length]))

    @settings(deadline=None)
    @given(st.binary(max_size=40), st.integers(0, len(REQUEST)))
    def test_fragmentation_does_not_change_the_result(self, inserted: bytes, position: int) -> None:
        data = REQUEST[:position] + inserted + REQUEST[position:]
        reader = RequestReader()
        for index in range(len(data)):
            result = reader.feed(data[index : index + 1])
            if result is not None:
                break
        whole = RequestReader().feed(data)
        if isinstance(result, HTTPRequest):
            # Byte by byte, it is not known yet whether bytes follow.
            assert isinstance(whole, HTTPRequest)
            self.assertEqual((result.method, result.path, result.host), (whole.method, whole.path, whole.host))
        else:
            self.assertEqual(result, whole)
