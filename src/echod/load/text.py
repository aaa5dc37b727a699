"""The terminal output of `echod load`: pure functions from values to lines."""

from echod.cli.layout import TextOutput, folded, format_milliseconds
from echod.cli.terminal import Colour
from echod.client.outcomes import Outcome
from echod.common.addresses import HostPort
from echod.common.assertions import Assertion
from echod.common.text import printable
from echod.load.config import LOAD_TIMES, RESPONSE, LoadConfiguration
from echod.load.search import SearchStep
from echod.load.statistics import LATE, LoadStatistics

__all__ = ["found_line", "header_line", "number", "percent", "progress_line", "step_line", "summary_lines"]

DIGITS = range(3, 17)
"""Significant digits of a percentage: three, or as many as it takes to tell it from 100%."""


def header_line(target: HostPort, configuration: LoadConfiguration, rate: int | None, processes: int) -> str:
    """Return the first line: target and load."""
    connections = number(configuration.most_connections, "connection")
    if rate is None:
        load = f"closed loop over {connections}"
    else:
        load = f"{rate} records/s, {configuration.arrival}, over up to {connections}"
    size = number(configuration.size, "byte")
    reuse = "kept" if configuration.keep_alive else "one per record"
    tls = "" if not configuration.tls else ", TLS, the server not verified" if configuration.tls_insecure else ", TLS"
    warmup = f" after {configuration.warmup:g} s of warm-up" if configuration.warmup else ""
    return (
        f"LOAD {target.host} port {target.port}: {load}, {reuse}{tls}, {size} per record, "
        f"for {configuration.duration:g} s{warmup}, from {number(processes, 'process', 'processes')}"
    )


def progress_line(statistics: LoadStatistics, configuration: LoadConfiguration, page: TextOutput) -> str:
    """Return the live line: time, rate, percentiles, failures, connections; the last ones are left out if too long."""
    last = statistics.intervals[-1] if statistics.intervals else None
    elapsed = last.until if last is not None else 0.0
    rate = last.echoed / last.seconds if last is not None else 0.0
    words = [f"{elapsed:.1f}/{configuration.duration:g} s", f"{rate:.0f}/s"]
    times = statistics.times.get(RESPONSE)
    if times is not None:
        shown = "/".join(format_milliseconds(time) for time in times.percentiles((50, 99, 99.9)))
        words.append(f"p50/p99/p99.9 {shown} ms")
    words.append(f"{statistics.lost} failed")
    if last is not None:
        words.append(f"{last.connections} open")
    if statistics.behind:
        words.append("generator behind")
    room = page.width - 1  # some terminals wrap when the last column is written
    while len("  ".join(words)) > room and len(words) > 1:
        words.pop()
    return page.coloured("  ".join(words)[:room], Colour.BAD if statistics.lost else Colour.GOOD)


def step_line(step: SearchStep) -> str:
    """Return the line of one step of a search."""
    line = f"{step.rate} records/s: {step.verdict.assertion.text}: {step.verdict.display}"
    if step.held:
        return f"{line}: holds"
    reasons = [number(step.lost, "failed record")] if step.lost else []
    if step.behind:
        reasons.append("the generator fell behind")
    return f"{line}: failed ({', '.join(reasons)})" if reasons else f"{line}: failed"


def found_line(assertion: Assertion, found: int | None) -> str:
    """Return the result of a search: `found` is the highest rate at which the assertion held."""
    if found is None:
        return f"found: {assertion.text} holds at none of the rates tried"
    return f"found: {assertion.text} holds up to {found} records/s"


def summary_lines(target: HostPort, statistics: LoadStatistics, page: TextOutput) -> list[str]:
    """Return the summary of a run."""
    title = f"--- {target.host} port {target.port} load statistics ---"
    unfinished = f", {statistics.unfinished} unfinished" if statistics.unfinished else ""
    counts = (
        f"{statistics.sent} sent, {statistics.echoed} echoed, {statistics.lost} failed "
        f"({percent(statistics.lost, statistics.echoed + statistics.lost)}){unfinished}, "
        f"time {statistics.elapsed * 1000:.0f} ms, {statistics.rate:.1f} echoed/s"
    )
    lines = ["", *(page.coloured(line, Colour.TITLE) for line in folded(title, page)), *folded(counts, page)]
    for outcome in Outcome:
        if outcome is not Outcome.ECHOED and statistics.outcomes[outcome]:
            detail = printable(statistics.details.get(outcome, ""))
            example = f", for example: {detail}" if detail else ""
            line = f"failed: {statistics.outcomes[outcome]} {outcome.value}{example}"
            lines += (page.coloured(piece, Colour.BAD) for piece in folded(line, page))
    lines += _table(statistics)
    if statistics.late:
        lines += (page.coloured(line, Colour.BAD) for line in folded(_lateness(statistics), page))
    return lines


def percent(part: int, whole: int) -> str:
    """Return a part in percent of the whole; "100%" only if it is the whole, "0%" if the whole is 0."""
    share = 100 * part / whole if whole else 0.0
    for digits in DIGITS:
        text = f"{share:.{digits}g}"
        if text != "100" or part == whole:
            break
    return f"{text}%"


def number(count: int, one: str, more: str = "") -> str:
    """Return a number with its noun in the singular or plural."""
    return f"{count} {one if count == 1 else more or one + 's'}"


def _table(statistics: LoadStatistics) -> list[str]:
    if not statistics.times:
        return []
    lines = [f"{'ms':<9}{'p50':>7}{'p90':>7}{'p99':>7}{'p99.9':>7}{'max':>7}"]
    for name in LOAD_TIMES:
        times = statistics.times[name]
        shown = (*times.percentiles((50, 90, 99, 99.9)), times.maximum)
        lines.append(f"{name:<9}" + "".join(f"{format_milliseconds(time):>7}" for time in shown))
    return lines


def _lateness(statistics: LoadStatistics) -> str:
    was = "was" if statistics.late == 1 else "were"
    share = percent(statistics.late, statistics.lateness.count)
    late = f"{number(statistics.late, 'record')} ({share}) {was} sent more than {LATE / 1000:g} ms late"
    p99, largest = map(format_milliseconds, (statistics.lateness.percentile(99), statistics.lateness.maximum))
    times = f"p99 {p99} ms, max {largest} ms"
    if statistics.behind:
        return f"The generator fell behind its schedule: {late}, {times}. The response times include this delay."
    return f"generator: {late}, {times}"
