"""The conclusion on a record: its outcome, and the sentence that explains it, from the bytes received."""

from dataclasses import dataclass
from typing import NamedTuple

from echod.client.matcher import Finding, Matcher, Verdict
from echod.client.outcomes import Outcome, Step
from echod.client.record import Record

__all__ = [
    "Conclusion",
    "Failing",
    "difference_detail",
    "excess",
    "failing_of",
    "may_be_sent_again",
    "peer_service",
    "silence_detail",
    "unfinished",
]


class Failing(NamedTuple):
    """Why a record was not echoed."""

    outcome: Outcome
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Conclusion:
    """The end of a record that was not echoed."""

    outcome: Outcome
    step: Step
    detail: str = ""
    offset: int | None = None
    """As in `ProbeResult`."""
    received: int = 0
    """Bytes received in its place."""
    first_byte_at: float | None = None
    """Time of the first of them, by `Clocks.now`."""


def failing_of(finding: Finding, *, sent: bool) -> Failing:
    """Return why the record of `finding` failed; its verdict is not ECHOED.

    Without `sent`, the verdict was reached by bytes that had come before the record was sent.
    """
    size = len(finding.record.data)
    match finding.verdict:
        case Verdict.STALE:
            return Failing(Outcome.STALE, f"record {finding.other} of this run came back instead")
        case Verdict.FOREIGN:
            return Failing(Outcome.FOREIGN, "a record of another run came back")
        case Verdict.REORDERED:
            return Failing(Outcome.REORDERED, f"it came back before record {finding.other}, which was sent earlier")
        case Verdict.TRUNCATED:
            ends = f"the record ends after {finding.offset} of {size} bytes"
            return Failing(Outcome.CORRUPT, f"{ends}, and record {finding.other} follows")
        case _ if not sent:
            return Failing(
                Outcome.CORRUPT, f"something came back before the record was sent{_service_detail(finding.beginning)}"
            )
        case _:
            return Failing(Outcome.CORRUPT, difference_detail(finding.offset, finding.beginning))


def excess(size: int) -> Failing:
    """Return the failing of a record of `size` bytes whose echo is followed by further bytes."""
    detail = f"more came back than was sent: the byte at offset {size} is one too many"
    return Failing(Outcome.CORRUPT, detail)


def unfinished(
    record: Record, matcher: Matcher, *, end: Failing | None, timeout: float, idle: int | None
) -> tuple[Failing, int | None]:
    """Return why the incomplete echo of `record` failed, and the offset of the first byte that differs.

    A byte that differs is the first reason; the second is `end`, the end of the connection. With neither, the time
    limit of `timeout` seconds has passed. `idle` is the silence before the record, in microseconds; None without one.
    """
    received, offset = matcher.received(record), matcher.difference(record)
    if offset is not None:
        failing = Failing(Outcome.CORRUPT, difference_detail(offset, matcher.beginning(record)))
    elif end is not None:
        failing = end
    else:
        detail = f"{received} of {len(record.data)} bytes were back after {timeout:g} s"
        failing = Failing(Outcome.TIMEOUT, detail)
    if not received:
        failing = Failing(failing.outcome, failing.detail + silence_detail(idle))
    return failing, offset


def may_be_sent_again(*, kept: bool, echoed_others: bool, begun: bool, closed_in_order: bool) -> bool:
    """Say whether a record that was out when its connection ended may be sent over another one.

    It may if the peer closed in order (`closed_in_order`) a connection that was kept, on which it had echoed others,
    before it began to echo this one: the record was on its way while the peer was closing.
    """
    return kept and echoed_others and not begun and closed_in_order


def difference_detail(offset: int | None, received: bytes) -> str:
    """Return the sentence for a byte at `offset` that differs; `received` is the beginning of what came back."""
    return f"the byte at offset {offset} is not what was sent{_service_detail(received)}"


def silence_detail(idle: int | None) -> str:
    """Return the addition to the detail of an echo that never began after `idle` microseconds of silence."""
    return "" if idle is None else f"; the connection had been silent for {idle / 1e6:.3g} s before"


_GREETINGS = {
    b"HTTP/": "an HTTP server",  # RFC 9112 section 4
    b"SSH-": "an SSH server",  # RFC 4253 section 4.2
    b"220 ": "an SMTP or FTP server",  # RFC 5321 section 4.2, RFC 959 section 4.2
    b"220-": "an SMTP or FTP server",
    b"* OK": "an IMAP server",  # RFC 9051 section 7.1.1
    b"+OK": "a POP3 server",  # RFC 1939 section 3
}

_TLS_TYPES = range(20, 24)
"""ContentType of RFC 8446 section 5.1: change_cipher_spec, alert, handshake, application_data."""

_TLS_VERSIONS = range(5)
"""The minor numbers of legacy_record_version, from SSL 3.0 up; the major one is always 3."""


def peer_service(received: bytes) -> str | None:
    """Return the kind of service that begins with the bytes `received`; None if they identify none."""
    for greeting, service in _GREETINGS.items():
        if received.startswith(greeting):
            return service
    if len(received) > 2 and received[0] in _TLS_TYPES and received[1] == 3 and received[2] in _TLS_VERSIONS:  # noqa: PLR2004  # the tables above
        return "a TLS server"
    return None


def _service_detail(received: bytes) -> str:
    service = peer_service(received)
    return "" if service is None else f": {service} answers"
