"""What `echod load` prints, as text: pure functions from values to lines."""

from echod.cli.layout import Page, folded, format_milliseconds
from echod.cli.terminal import Colour, printable
from echod.client.outcomes import Outcome
from echod.common.addresses import HostPort
from echod.load.config import LOAD_TIMES, RESPONSE, LoadConfiguration
from echod.load.search import SearchStep
from echod.load.statistics import LATE, LoadStatistics

__all__ = ["asked_line", "progress_line", "step_line", "summary_lines"]


def asked_line(target: HostPort, configuration: LoadConfiguration, rate: int | None, processes: int) -> str:
    """Return the line that says what load is about to be generated."""
    connections = configuration.most_connections
    if rate is None:
        how = f"closed loop over {_number(connections, 'connection')}"
    else:
        how = f"{rate} records/s, {configuration.arrival}, over up to {_number(connections, 'connection')}"
    kept = "kept" if configuration.keep_alive else "one a record"
    over = "" if not configuration.tls else ", TLS, the server not verified" if configuration.tls_insecure else ", TLS"
    warm = f" after {configuration.warmup:g} s of warm-up" if configuration.warmup else ""
    return (
        f"LOAD {target.host} port {target.port}: {how}, {kept}{over}, {configuration.size} bytes a record, "
        f"for {configuration.duration:g} s{warm}, from {_number(processes, 'process', 'processes')}"
    )


def progress_line(statistics: LoadStatistics, configuration: LoadConfiguration, page: Page) -> str:
    """Return the line that is redrawn: elapsed, rate, percentiles, failures, connections; as much as there is room."""
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
        words.append("BEHIND")
    room = page.width - 1  # in the last column some terminals wrap at once
    while len("  ".join(words)) > room and len(words) > 1:
        words.pop()
    return page.coloured("  ".join(words)[:room], Colour.BAD if statistics.lost else Colour.GOOD)


def step_line(step: SearchStep) -> str:
    """Return the line of one step of a search."""
    told = f"{step.rate} records/s: {step.verdict.assertion.text}: {step.verdict.display}"
    if step.held:
        return f"{told}: holds"
    failed = f", {step.lost} failed" if step.lost else ""
    return f"{told}: does not do{failed}{', the generator fell behind' if step.behind else ''}"


def summary_lines(target: HostPort, statistics: LoadStatistics, page: Page) -> list[str]:
    """Return the lines that close a run."""
    title = f"--- {target.host} port {target.port} load statistics ---"
    unfinished = f", {statistics.unfinished} unfinished" if statistics.unfinished else ""
    counts = (
        f"{statistics.sent} sent, {statistics.echoed} echoed, {statistics.lost} failed "
        f"({statistics.lost_percent:.3g}%){unfinished}, time {statistics.elapsed * 1000:.0f} ms, "
        f"{statistics.rate:.1f} echoed/s"
    )
    lines = ["", *(page.coloured(line, Colour.TITLE) for line in folded(title, page)), *folded(counts, page)]
    for outcome in Outcome:
        if outcome is not Outcome.ECHOED and statistics.outcomes[outcome]:
            words = printable(statistics.details.get(outcome, ""))
            told = f"failed: {statistics.outcomes[outcome]} {outcome.value}{f', as: {words}' if words else ''}"
            lines += (page.coloured(line, Colour.BAD) for line in folded(told, page))
    lines += _table(statistics)
    if statistics.late:
        lines += (page.coloured(line, Colour.BAD) for line in folded(_lateness(statistics), page))
    return lines


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
    late = f"{statistics.late} records ({statistics.late_percent:.3g}%) were sent more than {LATE / 1000:g} ms late"
    p99, most = map(format_milliseconds, (statistics.lateness.percentile(99), statistics.lateness.maximum))
    worst = f"p99 {p99} ms, at worst {most} ms"
    if statistics.behind:
        return f"THE GENERATOR FELL BEHIND: {late}, {worst}; the response times are in part its own"
    return f"generator: {late}, {worst}"


def _number(number: int, one: str, more: str = "") -> str:
    return f"{number} {one if number == 1 else more or one + 's'}"
