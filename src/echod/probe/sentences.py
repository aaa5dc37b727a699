"""From the matcher's verdict on a record to the probe's outcome, and the words for it."""

from echod.core.matcher import Finding, Verdict
from echod.core.outcomes import Outcome

__all__ = ["differs", "sentence"]


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
            return Outcome.CORRUPT, "something came back before the record was sent"
        case Verdict.CORRUPT:
            return Outcome.CORRUPT, differs(finding.offset)


def differs(offset: int | None) -> str:
    """Return the words for a byte that is not as it was sent."""
    return f"the byte at offset {offset} is not what was sent"
