"""What `echod ping` prints, as text."""

from echod.core.addresses import HostPort
from echod.core.configuration import ClientTLS
from echod.core.outcomes import ProbeResult, Step
from echod.core.statistics import Tally

__all__ = ["header_line", "result_line", "summary_lines"]

_STEPS = {
    Step.RESOLVE: "name resolution",
    Step.CONNECT: "connect",
    Step.TLS: "TLS handshake",
    Step.IDLE: "silence",
    Step.ECHO: "echo",
}


def header_line(target: HostPort, sizes: range, tls: ClientTLS | None = None) -> str:
    """Return the line that says what is about to be probed."""
    over = "" if tls is None else " over TLS, the server not verified" if tls.insecure else " over TLS"
    size = f"{sizes[0]} to {sizes[-1]}" if len(sizes) > 1 else f"{sizes[0]}"
    return f"ECHO {target.host} port {target.port}{over}: {size} bytes a record"


def result_line(result: ProbeResult) -> str:
    """Return the line that tells of one probe."""
    at = result.address or result.target
    which = f"{at.host} port {at.port}: seq={result.sequence}"
    if result.times.echo is None:
        return f"no echo from {which} {_STEPS[result.step]} failed: {result.detail}"
    reconnected = " (reconnected)" if result.reconnected else ""
    return f"{result.received} bytes from {which} time={_milliseconds(result.times.echo / 1e6)} ms{reconnected}"


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
