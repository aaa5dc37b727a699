"""Which requests are answered: GET and HEAD of what is in a table, for whoever may ask.

- Paths are looked up, so that there is nowhere to climb to.
- A page in a browser that reaches us under a name of its own (DNS rebinding) is refused: on a loopback address
  the Host header has to be a loopback address too, or localhost.
"""

import re
from collections.abc import Callable
from io import BytesIO
from ipaddress import ip_address
from typing import TYPE_CHECKING

from twisted.web.http import Request

from echod.admin.responses import HEADERS, TEXT, Answer, Asked, Page, always

if TYPE_CHECKING:
    from echod.admin.http_server import AdminChannel

__all__ = ["METHODS", "NOT_ALLOWED", "WITH_A_BODY", "AdminRequest", "Stream", "is_loopback"]

METHODS = (b"GET", b"HEAD")

NOT_ALLOWED = always(Answer(405, TEXT, b"only GET and HEAD\n", allow="GET, HEAD"))
WITH_A_BODY = always(Answer(400, TEXT, b"no request here has a body\n"))
MISDIRECTED = always(Answer(421, TEXT, b"the Host header names another host\n"))
NOT_FOUND = always(Answer(404, TEXT, b"no such page\n"))

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
        """Answer with what is at the path, where the request is one that is answered at all."""
        path = self.path.decode("ascii", "replace")
        if self.method not in METHODS:
            self.answer(NOT_ALLOWED)
        elif not self._host_is_ours():
            self.answer(MISDIRECTED)
        elif path in self.channel.streams:
            self.channel.streams[path](self)
        elif path in self.channel.pages:
            asked = self._asked(self.channel.pages[path])
            self.channel.learn(asked)
            self._answer(asked)
        else:
            self.answer(NOT_FOUND)

    def answer(self, page: Page) -> None:
        """Send the whole answer."""
        self._answer(self._asked(page))

    def begin(self, kind: str) -> None:
        """Set what goes before a body that has no end yet: `kind` is its content type."""
        for name, value in {"Date": self.channel.date(), "Content-Type": kind, **HEADERS}.items():
            self.setHeader(name, value)

    def _asked(self, page: Page) -> Asked:
        return Asked(
            page,
            ",".join(self._given(b"accept")),
            head=self.method == b"HEAD",
            last=not self.channel.persistent,
        )

    def _answer(self, asked: Asked) -> None:
        self.channel.send(asked)
        self.startedWriting = 1  # or Twisted would now write a head of its own
        self.finish()

    def _given(self, name: bytes) -> list[str]:
        """Return the values of a header. They may be any bytes (RFC 9110 section 5.5), not UTF-8 alone."""
        return [each.decode("latin-1") for each in self.requestHeaders.getRawHeaders(name, [])]

    def _host_is_ours(self) -> bool:
        if not self.channel.on_loopback:
            return True
        given = self._given(b"host")
        if not given:
            # HTTP/1.0 knows no Host, and a balancer's check may do without. A browser, which rebinding takes, sends it.
            return self.clientproto == b"HTTP/1.0"
        named = _HOST.fullmatch(given[0]) if len(given) == 1 else None
        if named is None:
            return False
        host = named["host"].strip("[]").lower()
        return host == "localhost" or is_loopback(host)


Stream = Callable[[AdminRequest], None]
"""What answers at a path for as long as it likes."""


def is_loopback(host: str) -> bool:
    """Whether `host` is the text of a loopback address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
