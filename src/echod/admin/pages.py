"""What the admin server answers, by path."""

from collections.abc import Mapping
from importlib.resources import files

from echod.admin.daemon_view import DaemonState, Observed
from echod.admin.metrics import Exposition
from echod.admin.responses import TEXT, Answer, Page, always

__all__ = ["pages"]

STATIC = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
"""The page's own files, in `static` beside this module: file and content type."""


def pages(observed: Observed, exposition: Exposition) -> Mapping[str, Page]:
    """Return all there is, but for the events. The files are read now, and never again."""
    static = files("echod.admin") / "static"
    return {
        # A reactor that does not turn answers nobody, so that the answer says all.
        "/healthz": always(Answer(200, TEXT, b"ok\n")),
        "/readyz": _ready(observed),
        "/metrics": _metrics(exposition),
        **{path: always(Answer(200, kind, (static / name).read_bytes())) for path, (name, kind) in STATIC.items()},
    }


def _ready(observed: Observed) -> Page:
    def page(_: str) -> Answer:
        state = observed.state
        return Answer(200 if state is DaemonState.READY else 503, TEXT, f"{state.value}\n".encode())

    return page


def _metrics(exposition: Exposition) -> Page:
    return lambda accept: Answer(200, *exposition.render(accept))
