"""The lines that `echod ping` prints: pure functions from values to text."""

from collections.abc import Iterator, Sequence

from echod.cli.charts import bins
from echod.cli.layout import INDENT, TextOutput, folded, format_milliseconds
from echod.cli.terminal import Colour
from echod.client.config import ClientTLS
from echod.client.outcomes import Outcome, ProbeResult, Step
from echod.common.addresses import HostPort
from echod.common.assertions import ROUND_TRIP
from echod.common.histogram import Histogram
from echod.common.text import printable
from echod.ping.statistics import PHASES, Statistics

__all__ = ["header_line", "live_line", "result_lines", "status_lines", "summary_lines"]

HISTOGRAM_FROM = 10
"""Round trips from which the summary has a histogram; fewer are easier to read from the probes' lines."""

BINS = 8
"""Rows of the histogram."""

WIDEST = 100
"""The largest width of a histogram row, in columns; longer rows are hard to follow."""

LONGEST_SPARKLINE = 40
"""Characters."""

SHORTEST_SPARKLINE = 10
"""Characters that must fit beside the long form of the live line; otherwise its short form is used."""

_STEPS = {
    Step.RESOLVE: "name resolution",
    Step.CONNECT: "connect",
    Step.TLS: "TLS handshake",
    Step.IDLE: "silence",
    Step.ECHO: "echo",
}
_PHASES = {ROUND_TRIP: "round trip", "first_byte": "first byte"}


def header_line(target: HostPort, sizes: range, tls: ClientTLS | None = None) -> str:
    """Return the first line of a run: target and record size."""
    size = f"{sizes[0]} to {sizes[-1]}" if len(sizes) > 1 else f"{sizes[0]}"
    over = "" if tls is None else " over TLS, the server not verified" if tls.insecure else " over TLS"
    return f"ECHO {target.host} port {target.port}{over}: {size} bytes a record"


def result_lines(result: ProbeResult, page: TextOutput, *, verbose: bool = False) -> list[str]:
    """Return the line of one probe, folded to the page; with `verbose`, its details below."""
    lines = folded(_result_line(result, page), page)
    if not result.echoed:
        lines = [page.coloured(line, Colour.BAD) for line in lines]
    if verbose:
        lines += [line for detail in _details(result) for line in folded(INDENT + detail, page)]
    return lines


def live_line(statistics: Statistics, recent: Sequence[int | None], page: TextOutput) -> str:
    """Return the live line: counts, loss, percentiles, and a sparkline of the `recent` round trips (None: lost)."""
    width = page.width - 1  # some terminals wrap a line that reaches the last column
    ended, lost = statistics.ended, statistics.lost
    counts = f"{statistics.echoed} echoed, {lost} lost ({statistics.lost_percent:.3g}%)"
    short_counts = f"{lost}/{ended} lost"
    times = short_times = ""
    if statistics.round_trips is not None:
        p50, p99 = map(_milliseconds, statistics.round_trips.percentiles((50, 99)))
        times, short_times = f"  p50 {p50}  p99 {p99} ms", f" p50/p99 {p50}/{p99} ms"
    if len(counts + times) + 2 + SHORTEST_SPARKLINE > width:
        counts, times = short_counts, short_times
    cells = min(width - len(counts + times) - 2, LONGEST_SPARKLINE)
    sparkline = page.marks.sparkline(recent[-cells:]) if cells > 0 else ""
    counts, times = counts[:width], times[: max(width - len(counts), 0)]
    colour = Colour.BAD if lost else Colour.GOOD
    return page.coloured(counts, colour) + times + (f"  {page.coloured(sparkline, Colour.BARS)}" if sparkline else "")


def summary_lines(target: HostPort, statistics: Statistics, page: TextOutput) -> list[str]:
    """Return the lines at the end of a run."""
    title = f"--- {target.host} port {target.port} echo statistics ---"
    lines = ["", *(page.coloured(line, Colour.TITLE) for line in folded(title, page))]
    lines += folded(f"{_counts(statistics)}, time {statistics.elapsed * 1000:.0f} ms", page)
    if statistics.lost:
        lines += (page.coloured(line, Colour.BAD) for line in folded(_losses(statistics), page))
    if statistics.round_trips is not None:
        lines += folded(f"round trip {_min_median_p99_max(statistics.round_trips)}", page)
    lines += _table(statistics)
    if statistics.round_trips is not None and statistics.round_trips.count >= HISTOGRAM_FROM:
        lines += _bars(statistics.round_trips, page)
    return lines


def status_lines(statistics: Statistics, page: TextOutput) -> list[str]:
    """Return the line about an unfinished run, folded to the page."""
    times = statistics.round_trips
    shown = "" if times is None else f", {_min_median_p99_max(times)}"
    return folded(f"{_counts(statistics)}{shown}", page)


def _milliseconds(microseconds: float) -> str:
    """Return a time in milliseconds with three decimals, without the unit."""
    return f"{microseconds / 1000:.3f}"


def _result_line(result: ProbeResult, page: TextOutput) -> str:
    endpoint = result.address or result.target
    peer = f"{endpoint.host} port {endpoint.port}"
    if result.times.echo is not None and result.echoed:
        time = _milliseconds(result.times.echo)
        again = " (reconnected)" if result.reconnected else ""
        line = f"{result.received} bytes from {peer}: seq={result.sequence} time={time} ms{again}"
        short = f"seq={result.sequence} {time} ms {endpoint.host}{again}"
    else:
        reason = f"{_STEPS[result.step]} failed: {printable(result.detail) or result.outcome.value}"
        line = f"no echo from {peer}: seq={result.sequence} {reason}"
        short = f"seq={result.sequence} {reason}, {endpoint.host}"
    return short if page.is_terminal and len(line) > page.width else line


def _details(result: ProbeResult) -> Iterator[str]:
    times = [(phase, getattr(result.times, phase)) for phase in PHASES]
    phases = [f"{_phase(phase)} {_milliseconds(time)}" for phase, time in times if time is not None]
    if phases:
        yield f"phases: {', '.join(phases)} ms"
    if result.source is not None:
        yield f"from: {result.source.host} port {result.source.port}"
    for each in result.attempts:
        if each.outcome is not None:
            end = f"{printable(each.detail) or each.outcome.value}, after {_milliseconds(each.time)} ms"
        else:
            end = f"{'connected' if each.won else 'cancelled'} after {_milliseconds(each.time)} ms"
        yield f"attempt: {each.address.host} port {each.address.port}: {end}"
    yield from _tls_details(result)
    if result.kernel is not None:
        kernel = result.kernel
        minimum = "" if kernel.min_rtt is None else f", min {_milliseconds(kernel.min_rtt)}"
        yield (
            f"kernel: rtt {_milliseconds(kernel.rtt)} +/- {_milliseconds(kernel.rtt_variation)}{minimum} ms, "
            f"{kernel.retransmits} retransmitted, mss {kernel.mss}, path mtu {kernel.path_mtu}"
        )


def _tls_details(result: ProbeResult) -> Iterator[str]:
    tls = result.tls
    if tls is None:
        return
    if tls.version is not None:
        yield f"tls: {', '.join(filter(None, (tls.version, tls.cipher)))}"
    if tls.certificate is not None:
        facts = tls.certificate
        names = ", ".join(map(printable, facts.names)) or "no name"
        yield f"certificate: {printable(facts.subject) or 'no subject'}, for {names}"
        yield f"issuer: {printable(facts.issuer)}"
        yield f"valid: {facts.not_before:%Y-%m-%d %H:%M:%S} to {facts.not_after:%Y-%m-%d %H:%M:%S} UTC"
        yield f"sha-256: {facts.fingerprint}"
    if tls.failed_check is not None:
        yield f"check failed: {printable(tls.failed_check)}"


def _counts(statistics: Statistics) -> str:
    counts = f"{statistics.sent} sent, {statistics.echoed} echoed, {statistics.lost} lost"
    unfinished = f", {statistics.unfinished} unfinished" if statistics.unfinished else ""
    return f"{counts} ({statistics.lost_percent:.3g}%){unfinished}"


def _losses(statistics: Statistics) -> str:
    """Return the numbers of lost probes by outcome, in the order of `Outcome`."""
    counts = ((outcome.value, statistics.outcomes[outcome]) for outcome in Outcome if outcome is not Outcome.ECHOED)
    return f"lost: {', '.join(f'{count} {outcome}' for outcome, count in counts if count)}"


def _table(statistics: Statistics) -> list[str]:
    """Return a table of the phases other than the round trip, at most 40 columns wide."""
    phases = [phase for phase in PHASES if phase in statistics.times and phase != ROUND_TRIP]
    if not phases:
        return []
    lines = [f"{'ms':<10}{'min':>7}{'median':>7}{'p99':>7}{'max':>7}"]
    for phase in phases:
        shown = map(format_milliseconds, _quartet(statistics.times[phase]))
        lines.append(f"{_phase(phase):<10}" + "".join(f"{time:>7}" for time in shown))
    return lines


def _bars(times: Histogram, page: TextOutput) -> list[str]:
    histogram = bins(times, BINS)
    texts = [(_milliseconds(each.low), _milliseconds(each.high), str(each.count)) for each in histogram]
    low_width, high_width, count_width = (max(map(len, column)) for column in zip(*texts, strict=True))
    bar_width = max(min(page.width, WIDEST) - low_width - high_width - count_width - len(" -  ms  "), 1)
    most = max(each.count for each in histogram)
    rows = (
        f"{low:>{low_width}} - {high:>{high_width}} ms {count:>{count_width}} "
        + page.coloured(page.marks.bar(each.count / most, bar_width), Colour.BARS)
        for each, (low, high, count) in zip(histogram, texts, strict=True)
    )
    return ["", *(row.rstrip() for row in rows)]


def _min_median_p99_max(times: Histogram) -> str:
    return f"min/median/p99/max = {'/'.join(map(_milliseconds, _quartet(times)))} ms"


def _quartet(times: Histogram) -> tuple[int, ...]:
    """Return minimum, median, p99 and maximum in microseconds."""
    return times.minimum, *times.percentiles((50, 99)), times.maximum


def _phase(phase: str) -> str:
    return _PHASES.get(phase, phase)
