"""The parser of an HTTP request's head: bytes in; a request, or the status of a refusal, out.

Strict, after RFC 9112, whose sections the comments cite: what that RFC lets a server refuse is refused, because the
clients of an admin server are few and correct. So no request has two meanings.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

__all__ = ["MAX_BYTES", "MAX_FIELDS", "HTTPRequest", "Refusal", "RequestReader"]

MAX_BYTES = 8192
"""Bytes of a request's head: request line, header fields, empty line."""

MAX_FIELDS = 64

MAX_CACHED = 64
"""A scraper sends the same bytes each time, and they take 13 µs to parse (measured, CPython 3.11)."""

INVALID_LINE = "the request line is not valid"

_END = b"\r\n\r\n"

_FORBIDDEN = re.compile(rb"[^\t\r\n\x20-\x7e\x80-\xff]|(?<!\r)\n|\r(?!\n|\Z)")
"""Control characters, NUL among them (RFC 9110 section 5.5), and a CR or LF alone (section 2.2)."""

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - RFC 9110 section 5.6.2, no secret
_REQUEST_LINE = re.compile(rf"({_TOKEN}) ([\x21-\x7e]+) HTTP/([0-9])\.([0-9])")
_FIELD_NAME = re.compile(_TOKEN)
_ABSOLUTE_FORM = re.compile(r"http://([^/?#]+)([/?].*)?", re.IGNORECASE)
_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._~!$&'()*+,;=%-]*)(?::[0-9]{0,5})?", re.IGNORECASE)
"""A host, with or without a port (RFC 9110 section 7.2)."""


@dataclass(frozen=True, slots=True)
class HTTPRequest:
    """The parts of a request on which a response depends."""

    method: str
    path: str
    """Without the query."""
    host: str | None
    """The host that the request names, in lower case, an IPv6 address without brackets; None: HTTP/1.0 without Host."""
    accept: str
    """The Accept header; empty without one."""
    has_body: bool
    keep_open: bool
    """Whether the connection may have another request after this one."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The response to bytes that are no valid request. The connection cannot be used after it."""

    status: int
    reason: str
    head_only: bool
    """Whether the method is HEAD."""


class _InvalidRequestError(Exception):
    def __init__(self, status: int, reason: str) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason


class RequestReader:
    """Reads one request from a stream of bytes, at every fragmentation."""

    def __init__(self) -> None:
        self._held = b""
        self._checked = 0
        """Bytes of `_held` that have no forbidden one, except for a CR at their end."""
        self._began = False

    def feed(self, data: bytes) -> HTTPRequest | Refusal | None:
        """Take `data`; return the request or its refusal once that is known, None before.

        Bytes behind the head are dropped; then `keep_open` is false: RFC 9112 section 9.3.2 requires pipelining clients
        to handle that.
        """
        if not self._held and len(data) <= MAX_BYTES and (known := _read_at_once(data)) is not None:
            return known
        return self._feed(data)

    def _feed(self, data: bytes) -> HTTPRequest | Refusal | None:
        self._held += data
        if not self._began and len(self._held) >= 2:  # noqa: PLR2004 - the bytes of an empty line
            # One empty line before a request is ignored (section 2.2).
            self._held = self._held.removeprefix(b"\r\n")
            self._began = True
        end = self._held.find(_END)
        head = self._held if end < 0 else self._held[: end + len(_END)]
        try:
            return self._read(head, complete=end >= 0, followed=len(self._held) > len(head))
        except _InvalidRequestError as problem:
            return Refusal(problem.status, problem.reason, head_only=head.startswith(b"HEAD "))

    def _read(self, head: bytes, *, complete: bool, followed: bool) -> HTTPRequest | None:
        if head.startswith(b"\r\n"):
            raise _InvalidRequestError(400, INVALID_LINE)
        if _FORBIDDEN.search(head, self._checked, MAX_BYTES):
            raise _InvalidRequestError(400, "a control character or a line end is not valid")
        self._checked = max(0, len(head) - 1)
        if len(head) > MAX_BYTES:
            if b"\r\n" not in head[:MAX_BYTES]:
                raise _InvalidRequestError(414, f"the request line is longer than {MAX_BYTES} bytes")
            raise _InvalidRequestError(431, f"the header is longer than {MAX_BYTES} bytes")
        return _parse(head.removesuffix(_END), followed=followed) if complete else None


@lru_cache(MAX_CACHED)
def _read_at_once(data: bytes) -> HTTPRequest | Refusal | None:
    """Return the result for the first bytes of a connection, or the first after a response."""
    return RequestReader()._feed(data)  # noqa: SLF001 - the function is a part of the class, without its state


def _parse(head: bytes, *, followed: bool) -> HTTPRequest:
    request_line, *field_lines = head.decode("latin-1").split("\r\n")  # any byte may be in a value (RFC 9110, 5.5)
    match = _REQUEST_LINE.fullmatch(request_line)
    if match is None:
        raise _InvalidRequestError(400, INVALID_LINE)
    method, target, major, minor = match.groups()
    if major != "1":
        raise _InvalidRequestError(505, "the version must be HTTP/1.0 or HTTP/1.1")
    fields = _parse_fields(field_lines)
    host = _parse_host(fields.get("host", []), required=minor != "0")
    path = target
    if not target.startswith("/") and target != "*" and method != "CONNECT":
        # The host of an absolute form takes the place of the Host header (section 3.2.2). The other forms are those of
        # OPTIONS and CONNECT.
        absolute = _ABSOLUTE_FORM.fullmatch(target)
        if absolute is None:
            raise _InvalidRequestError(400, "the request target must be a path or an http URL")
        host, path = _parse_host([absolute[1]], required=True), absolute[2] or "/"
    path = path.partition("?")[0] or "/"
    options = {option.strip(" \t").lower() for value in fields.get("connection", []) for option in value.split(",")}
    has_body = "transfer-encoding" in fields or any(value.strip("0") for value in fields.get("content-length", []))
    return HTTPRequest(
        method=method,
        path=path,
        host=host,
        accept=",".join(fields.get("accept", [])),
        has_body=has_body,
        keep_open=minor != "0" and "close" not in options and not has_body and not followed,
    )


def _parse_fields(lines: list[str]) -> dict[str, list[str]]:
    """Return the values of each header field, by its name in lower case."""
    if len(lines) > MAX_FIELDS:
        raise _InvalidRequestError(431, f"the header has more than {MAX_FIELDS} fields")
    fields: dict[str, list[str]] = {}
    for line in lines:
        # Also refused: white space before the colon (section 5.1), and a folded line (section 5.2).
        name, colon, value = line.partition(":")
        if not colon or _FIELD_NAME.fullmatch(name) is None:
            raise _InvalidRequestError(400, "a header field is not valid")
        fields.setdefault(name.lower(), []).append(value.strip(" \t"))
    return fields


def _parse_host(values: list[str], *, required: bool) -> str | None:
    """Return the host of the Host header. HTTP/1.1 requires exactly one, HTTP/1.0 none (section 3.2)."""
    if not values and not required:
        return None
    match = _AUTHORITY.fullmatch(values[0]) if len(values) == 1 else None
    if match is None:
        raise _InvalidRequestError(400, "the request must have one valid Host header")
    return match[1].strip("[]").lower()
