"""What the admin server answers, and how an answer looks on the wire. No Twisted, no I/O."""

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

__all__ = ["HEADERS", "TEXT", "Answer", "Asked", "Page", "always"]

TEXT = "text/plain; charset=utf-8"

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

_HEADERS = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())


@dataclass(frozen=True, slots=True)
class Answer:
    """What a page says."""

    status: int
    kind: str
    """The content type."""
    body: bytes
    allow: str = ""
    """The methods that would have been answered, where the one that was used is not (RFC 9110 section 15.5.6)."""


Page = Callable[[str], Answer]
"""What answers at a path. It is given the request's Accept header, all else being the same to it."""


def always(answer: Answer) -> Page:
    """Return the page that says `answer`, whatever is asked."""
    return lambda _: answer


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, as far as the answer depends on it: the same is asked by whoever sends the same bytes."""

    page: Page
    accept: str = ""
    head: bool = False
    """Whether nothing but the head of the answer is wanted."""
    last: bool = False
    """Whether the connection ends with the answer."""

    def answered(self, date: str) -> bytes:
        """Return the whole answer as it is at this moment, which `date` is, in the form of RFC 9110 section 5.6.7."""
        answer = self.page(self.accept)
        head = (
            f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}\r\nDate: {date}\r\n"
            f"Content-Type: {answer.kind}\r\nContent-Length: {len(answer.body)}\r\n{_HEADERS}"
        )
        if answer.allow:
            head += f"Allow: {answer.allow}\r\n"
        if self.last:
            head += "Connection: close\r\n"
        return f"{head}\r\n".encode("ascii") + (b"" if self.head else answer.body)
