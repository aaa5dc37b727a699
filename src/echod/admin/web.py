"""An HTTP server that only answers: GET and HEAD of a few paths, and nothing that a client sends is kept.

What keeps hostile clients off the echo service:

- A request has a deadline, from the connection or the answer before to the end of its headers. Bytes that drip in do
  not extend it.
- Request line and headers are bounded together; a request with a body is refused before the body is read.
- Connections are bounded. One more takes the place of the one that has been idle for longest.
- Paths are looked up in a table, so that there is nowhere to climb to.
- A page in a browser that reaches us under a name of its own (DNS rebinding) is refused: on a loopback address
  the Host header has to be a loopback address too, or localhost.
"""

import re
from collections.abc import Callable, Mapping
from io import BytesIO
from ipaddress import ip_address
from typing import Any

from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Factory, connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, Request

from echod.core.addresses import shown_host

__all__ = ["AdminFactory", "AdminRequest", "Page"]

TIMEOUT = 20.0
"""Seconds for a request to come. No usual interval of scrapes, so none meets the close of an idle connection."""

MOST_CONNECTIONS = 32
"""Half of the descriptors that the daemon keeps from its clients: `echod.server.assembly.DESCRIPTOR_RESERVE`."""

MOST_HEADERS = 64
MOST_HEADER_BYTES = 8192

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Of every answer."""

BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

_HOST = re.compile(r"(?P<host>\[[0-9a-f:.]+\]|[^:\[\]]+)(:[0-9]{1,5})?", re.IGNORECASE)
"""RFC 9110 section 7.2."""


class AdminRequest(Request):
    """A request: answered from the table of pages."""

    channel: "AdminChannel"

    def gotLength(self, length: int | None) -> None:
        """Keep no body: there is none, or the channel refuses it."""
        self.content = BytesIO()

    def parseCookies(self) -> None:
        """Leave them: nobody asks for any."""

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Answer. What follows a question mark is nobody's."""
        self.method, self.uri, self.clientproto = command, path, version
        self.path = path.partition(b"?")[0]
        self.process()

    def process(self) -> None:
        """Answer with the page at the path, where the request is one that is answered at all."""
        page = self.channel.pages.get(self.path.decode("ascii", "replace"))
        if self.method not in (b"GET", b"HEAD"):
            self.setHeader("Allow", "GET, HEAD")
            self.answer(405, "text/plain", b"only GET and HEAD\n")
        elif not self._host_is_ours():
            self.answer(421, "text/plain", b"the Host header names another host\n")
        elif page is None:
            self.answer(404, "text/plain", b"no such page\n")
        else:
            page(self)

    def answer(self, status: int, kind: str, body: bytes) -> None:
        """Send the whole answer: `kind` is its content type."""
        self.begin(status, kind)
        self.setHeader("Content-Length", str(len(body)))
        self.write(body)
        self.finish()

    def begin(self, status: int, kind: str) -> None:
        """Set what goes before the body."""
        self.setResponseCode(status)
        for name, value in HEADERS.items():
            self.setHeader(name, value)
        self.setHeader(
            "Content-Type", f"{kind}; charset=utf-8" if kind.startswith("text/") and ";" not in kind else kind
        )

    def _host_is_ours(self) -> bool:
        if not _is_loopback(shown_host(getattr(self.getHost(), "host", ""))):
            return True
        given = self.requestHeaders.getRawHeaders("host")
        if given is None:
            # HTTP/1.0 knows no Host, and a balancer's check may do without. A browser, which rebinding takes, sends it.
            return self.clientproto == b"HTTP/1.0"
        named = _HOST.fullmatch(given[0]) if len(given) == 1 else None
        if named is None:
            return False
        host = named["host"].strip("[]").lower()
        return host == "localhost" or _is_loopback(host)


Page = Callable[[AdminRequest], None]


class AdminChannel(HTTPChannel):
    """A connection."""

    maxHeaders = MOST_HEADERS
    totalHeadersSize = MOST_HEADER_BYTES
    MAX_LENGTH = MOST_HEADER_BYTES
    requestFactory = AdminRequest
    timeOut: float | None = TIMEOUT  # type: ignore[assignment]  # Twisted says int, and takes any number
    transport: Any

    def __init__(self, server: "AdminFactory") -> None:
        super().__init__()
        self.callLater = server.clock.callLater  # type: ignore[method-assign, assignment]  # how Twisted's factory does it
        self.pages = server.pages
        self._server = server
        self._refused = False

    def connectionMade(self) -> None:
        """Wait for a request."""
        super().connectionMade()
        self._server.waiting(self)

    def resetTimeout(self) -> None:
        """Do nothing: what drips in extends no deadline."""

    def allHeadersReceived(self) -> None:
        """Refuse a request with a body."""
        if self.length == 0:
            super().allHeadersReceived()
        else:
            self._refused = True
            self.transport.write(BAD_REQUEST)
            self.loseConnection()

    def rawDataReceived(self, data: bytes) -> None:
        """Drop the body of a refused request; keep what comes while an answer is under way."""
        if not self._refused:
            super().rawDataReceived(data)

    def allContentReceived(self) -> None:
        """Answer."""
        self._server.answering(self)
        super().allContentReceived()

    def requestDone(self, request: AdminRequest) -> None:
        """Wait for the next request."""
        self._server.waiting(self)
        super().requestDone(request)

    def timeoutConnection(self) -> None:
        """End a connection whose request does not come."""
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Let go of it."""
        super().connectionLost(reason)
        self._server.gone(self)


class AdminFactory(Factory):
    """Makes the connections of the admin server, and bounds them."""

    noisy = False

    def __init__(self, clock: IReactorTime, pages: Mapping[str, Page]) -> None:
        self.clock = clock
        self.pages = pages
        self._waiting: dict[AdminChannel, None] = {}
        """Those without a request under way; the one that waits for longest comes first."""
        self._answering: set[AdminChannel] = set()

    def buildProtocol(self, addr: IAddress | None) -> AdminChannel | None:
        """Make a connection. Where there are too many, an idle one ends; where none is idle, this one is refused."""
        if len(self._waiting) + len(self._answering) >= MOST_CONNECTIONS:
            if not self._waiting:
                return None
            idle = next(iter(self._waiting))
            self.gone(idle)
            idle.transport.abortConnection()
        return AdminChannel(self)

    def waiting(self, channel: AdminChannel) -> None:
        """Take note that `channel` waits for a request."""
        self.gone(channel)
        self._waiting[channel] = None

    def answering(self, channel: AdminChannel) -> None:
        """Take note that `channel` has one."""
        self.gone(channel)
        self._answering.add(channel)

    def gone(self, channel: AdminChannel) -> None:
        """Let go of `channel`."""
        self._waiting.pop(channel, None)
        self._answering.discard(channel)

    def end_all(self) -> None:
        """End every connection now."""
        for each in (*self._waiting, *self._answering):
            each.transport.abortConnection()


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
