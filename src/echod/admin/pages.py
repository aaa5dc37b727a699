"""The pages of the admin server: the response of each path, and its bytes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from importlib.resources import files

from echod.admin.metrics import Exposition
from echod.admin.process_group import ProcessGroup
from echod.admin.snapshot import DaemonState

__all__ = ["HEADERS", "TEXT", "Page", "Response", "constant_page", "pages", "response_bytes", "stream_head"]

TEXT = "text/plain; charset=utf-8"

STATIC = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
"""Files of the live page in `static`, beside this module: name and content type by path."""

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
"""Header fields of every response."""

_HEADERS = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())


@dataclass(frozen=True, slots=True)
class Response:
    """Status and content of a response."""

    status: int
    content_type: str
    body: bytes
    allow: str = ""
    """Allowed methods, for status 405 (RFC 9110 section 15.5.6)."""


Page = Callable[[str], Response]
"""Returns the response for a request's Accept header, the only part of a request that changes one."""


def constant_page(response: Response) -> Page:
    """Return a page whose response is always `response`."""
    return lambda _: response


def response_bytes(response: Response, date: str, *, head_only: bool, close: bool) -> bytes:
    """Return a whole response.

    `date` is the Date header (RFC 9110 section 5.6.7). `head_only`: the method is HEAD. `close`: the connection ends
    after the response.
    """
    fields = f"Content-Length: {len(response.body)}\r\n"
    if response.allow:
        fields += f"Allow: {response.allow}\r\n"
    if close:
        fields += "Connection: close\r\n"
    return _head(response.status, response.content_type, date, fields) + (b"" if head_only else response.body)


def stream_head(content_type: str, date: str) -> bytes:
    """Return the head of a response whose body ends with the connection."""
    return _head(200, content_type, date, "Connection: close\r\n")


def _head(status: int, content_type: str, date: str, fields: str) -> bytes:
    return (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nDate: {date}\r\nContent-Type: {content_type}\r\n"
        f"{fields}{_HEADERS}\r\n"
    ).encode("ascii")


def pages(group: ProcessGroup, exposition: Exposition) -> Mapping[str, Page]:
    """Return every page by its path, the event stream excepted. Static files are read once, in this call."""
    static = files("echod.admin") / "static"
    return {
        # Always 200: a blocked reactor sends no response, which is the failure a health check looks for.
        "/healthz": constant_page(Response(200, TEXT, b"ok\n")),
        "/readyz": _readiness(group),
        "/metrics": lambda accept: Response(200, *exposition.render(accept)),
        **{
            path: constant_page(Response(200, kind, (static / name).read_bytes()))
            for path, (name, kind) in STATIC.items()
        },
    }


def _readiness(group: ProcessGroup) -> Page:
    def page(_: str) -> Response:
        state = group.own().state
        if state is not DaemonState.READY:  # then it depends on the others
            state = group.snapshot().state
        return Response(200 if state is DaemonState.READY else 503, TEXT, f"{state.value}\n".encode())

    return page
