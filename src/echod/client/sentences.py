"""From the matcher's verdict on a record to the probe's outcome, and the words for it."""

from echod.client.matcher import Finding, Verdict
from echod.client.outcomes import Outcome
from echod.client.speakers import speaker

__all__ = ["differs", "sentence", "silence_before"]


def sentence(finding: Finding, *, sent: bool) -> tuple[Outcome, str]:
    """Return what a verdict amounts to. Without `sent`, it was given before the record was sent at all."""
    size = len(finding.record.data)
    match finding.verdict:
        case Verdict.ECHOED:
            return Outcome.ECHOED, ""
        case Verdict.STALE:
            return Outcome.STALE, f"record {finding.other} of this run came back instead"
        case Verdict.FOREIGN:
            return Outcome.FOREIGN, "a record of another run came back"
        case Verdict.REORDERED:
            return Outcome.REORDERED, f"it came back before record {finding.other}, which was sent earlier"
        case Verdict.TRUNCATED:
            ends = f"the record ends after {finding.offset} of {size} bytes"
            return Outcome.CORRUPT, f"{ends}, and record {finding.other} follows"
        case Verdict.CORRUPT if not sent:
            return Outcome.CORRUPT, f"something came back before the record was sent{_whose(finding.came)}"
        case Verdict.CORRUPT:
            return Outcome.CORRUPT, differs(finding.offset, finding.came)


def differs(offset: int | None, came: bytes) -> str:
    """Return the words for a byte that is not as it was sent, where `came` came instead of the record."""
    return f"the byte at offset {offset} is not what was sent{_whose(came)}"


def silence_before(idle: int | None) -> str:
    """Return what to add to the end of an echo that never began; `idle` is the silence before it in microseconds."""
    return "" if idle is None else f"; the connection had been silent for {idle / 1e6:.3g} s before"


def _whose(came: bytes) -> str:
    who = speaker(came)
    return "" if who is None else f": {who} answers"
