"""What `echod ping` prints, as text."""

from echod.core.addresses import HostPort
from echod.core.configuration import ClientTLS
from echod.core.outcomes import ProbeResult, Step
from echod.core.statistics import Tally

__all__ = ["header_line", "result_line", "summary_lines"]

_STEPS = {Step.RESOLVE: "name resolution", Step.CONNECT: "connect", Step.TLS: "TLS handshake", Step.ECHO: "echo"}


def header_line(target: HostPort, size: int, tls: ClientTLS | None = None) -> str:
    """Return the line that says what is about to be probed."""
    over = "" if tls is None else " over TLS, the server not verified" if tls.insecure else " over TLS"
    return f"ECHO {target.host} port {target.port}{over}: {size} bytes a record"


def result_line(sequence: int, result: ProbeResult) -> str:
    """Return the line that tells of one probe."""
    at = result.address or result.target
    if result.round_trip is None:
        return f"no echo from {at.host} port {at.port}: seq={sequence} {_STEPS[result.step]} failed: {result.detail}"
    time = _milliseconds(result.round_trip)
    return f"{result.received} bytes from {at.host} port {at.port}: seq={sequence} time={time} ms"


def summary_lines(target: HostPort, tally: Tally) -> list[str]:
    """Return the lines that close a run."""
    counts = f"{tally.sent} sent, {tally.echoed} echoed, {tally.lost} lost ({tally.lost_percent:.3g}%)"
    if tally.unfinished:
        counts += f", {tally.unfinished} unfinished"
    lines = [
        "",
        f"--- {target.host} port {target.port} echo statistics ---",
        f"{counts}, time {tally.elapsed * 1000:.0f} ms",
    ]
    if tally.round_trips is not None:
        times = tally.round_trips
        shown = "/".join(map(_milliseconds, (times.minimum, times.median, times.p99, times.maximum)))
        lines.append(f"round trip min/median/p99/max = {shown} ms")
    return lines


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.3f}"
