"""The report as an SVG: a panel for each case, a bar for each server's median, a whisker from its least to its most."""

from collections.abc import Iterator
from html import escape

from bench.report import CaseReport, Report, number

__all__ = ["picture"]

COLUMNS = 2
"""Panels side by side. All lengths below are in pixels."""
WIDTH = 520
"""Width of a panel."""
LEFT = 100
"""Distance of the bars from the left edge of their panel."""
BAR = 250
"""Distance from the beginning of the bars to the end of the longest whisker."""
ROW = 24
"""Height of a server's row."""
HEAD = 46
"""Height of a panel's two lines of text."""
MARGIN = 20
COLOURS = {
    "echod": "#1b6ca8",
    "baseline": "#c98a2b",
    "echod-admin": "#4d91c1",
    "baseline-admin": "#dcb06f",
    "echod-stock": "#7fb2d9",
}
OTHER_COLOUR = "#b9bec4"
"""Colour of the servers that are not echod."""
INK = "#22262a"
FAINT = "#5c656d"


def picture(report: Report) -> str:
    """Return the report as an SVG document."""
    cases = [case for case in report.cases if case.samples]
    rows = max((len(case.samples) for case in cases), default=0)
    height = HEAD + rows * ROW + MARGIN
    total_width = COLUMNS * WIDTH + MARGIN
    total_height = -(-len(cases) // COLUMNS) * height + 2 * MARGIN + 24
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total_width} {total_height}"'
        f' width="{total_width}" height="{total_height}" font-family="sans-serif" font-size="13">',
        "<title>echod and other echo servers</title>",
        f'<rect width="{total_width}" height="{total_height}" fill="#ffffff"/>',
    ]
    for index, case in enumerate(cases):
        x, y = MARGIN + index % COLUMNS * WIDTH, MARGIN + index // COLUMNS * height
        parts += [f'<g transform="translate({x} {y})">', *_panel(case), "</g>"]
    note = (
        f"Bars: medians of {report.settings['runs']:g} interleaved runs. Whiskers: least to most."
        " Less is better, except in scrapes."
    )
    machine = f"{report.machine['processor']}, {report.machine['system']}, Python {report.machine['python']}"
    parts += [
        _text(MARGIN, total_height - MARGIN - 14, note, FAINT),
        _text(MARGIN, total_height - MARGIN + 4, machine, FAINT),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _panel(case: CaseReport) -> Iterator[str]:
    spreads = case.spreads()
    scale = BAR / (max(spread.most for spread in spreads.values()) or 1)
    yield _text(0, 14, f"{case.name} ({case.unit})", INK, weight="bold")
    yield _text(0, 32, case.about, FAINT)
    for row, (server, spread) in enumerate(spreads.items()):
        top = HEAD + row * ROW
        middle = top + (ROW - 6) / 2
        least, most = LEFT + spread.least * scale, LEFT + spread.most * scale
        yield _text(LEFT - 8, middle + 4, server, INK, anchor="end")
        yield (
            f'<rect x="{LEFT}" y="{top}" width="{spread.median * scale:.1f}" height="{ROW - 6}"'
            f' fill="{COLOURS.get(server, OTHER_COLOUR)}"/>'
        )
        yield (
            f'<path d="M{least:.1f} {middle - 4}v8m0 -4H{most:.1f}m0 -4v8" stroke="{INK}" stroke-width="1.2"'
            ' fill="none"/>'
        )
        ratio = case.ratios(server).get("uvloop")
        comparison = "" if ratio is None or server == "uvloop" else f"  ({ratio:.2f} of uvloop)"
        yield _text(most + 8, middle + 4, number(spread.median) + comparison, INK)


def _text(x: float, y: float, text: str, colour: str, *, anchor: str = "start", weight: str = "normal") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}" font-weight="{weight}">'
        f"{escape(text)}</text>"
    )
