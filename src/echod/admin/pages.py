"""What the admin server answers, by path."""

from collections.abc import Callable, Mapping
from importlib.resources import files

from echod.admin.daemon import Observed, State
from echod.admin.live import Live
from echod.admin.metrics import Exposition
from echod.admin.web import AdminRequest, Page

__all__ = ["pages"]

STATIC = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
"""The page's own files, in `static` beside this module: file and content type."""


def pages(observed: Observed, exposition: Exposition, live: Live) -> Mapping[str, Page]:
    """Return all there is. The files are read now, and never again."""
    static = files("echod.admin") / "static"
    return {
        "/healthz": _healthy,
        "/readyz": _ready(observed),
        "/metrics": _metrics(exposition),
        "/events": live.page,
        **{path: _file((static / name).read_bytes(), kind) for path, (name, kind) in STATIC.items()},
    }


def _healthy(request: AdminRequest) -> None:
    # A reactor that does not turn answers nobody, so that the answer says all.
    request.answer(200, "text/plain", b"ok\n")


def _ready(observed: Observed) -> Page:
    def answer(request: AdminRequest) -> None:
        state = observed.state
        request.answer(200 if state is State.READY else 503, "text/plain", f"{state.value}\n".encode())

    return answer


def _metrics(exposition: Exposition) -> Page:
    def answer(request: AdminRequest) -> None:
        accept = ",".join(request.requestHeaders.getRawHeaders("accept", []))
        request.answer(200, *exposition.render(accept))

    return answer


def _file(body: bytes, kind: str) -> Callable[[AdminRequest], None]:
    def answer(request: AdminRequest) -> None:
        request.answer(200, kind, body)

    return answer
