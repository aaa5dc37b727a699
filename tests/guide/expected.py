"""Compares the output of a command with the output that a document shows; times, dates and spaces may differ."""

import json
import re
from collections.abc import Sequence

__all__ = ["differs", "pattern_of"]

_VARIABLE = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z|\d+\.\d+|(?<=time )\d+(?= ms)| +")


def differs(shown: str, actual: str, rules: Sequence[tuple[str, str]] = ()) -> str:
    """Return why `actual` is not what the document shows; empty if it is.

    `rules` are (pattern, pattern) pairs: what the first matches in a line of the document, the second matches in the
    output.
    """
    wanted, lines = ([line.rstrip() for line in text.splitlines()] for text in (shown, actual))
    if len(wanted) == len(lines) and all(_same(*pair, rules) for pair in zip(wanted, lines, strict=True)):
        return ""
    return f"shown:\n{shown}\nactual:\n{actual}"


def pattern_of(line: str, rules: Sequence[tuple[str, str]] = ()) -> str:
    """Return the pattern of a line: decimal fractions, dates and the lengths of spaces are free, all else is exact."""
    for found, replacement in rules:
        parts = re.split(f"({found})", line, maxsplit=1)
        if len(parts) > 1:
            return pattern_of(parts[0], rules) + replacement + pattern_of(line[len(parts[0]) + len(parts[1]) :], rules)
    pieces = []
    end = 0
    for variable in _VARIABLE.finditer(line):
        pieces += [re.escape(line[end : variable.start()]), _free(variable[0])]
        end = variable.end()
    return "".join([*pieces, re.escape(line[end:])])


def _same(wanted: str, line: str, rules: Sequence[tuple[str, str]]) -> bool:
    if wanted.startswith("{") and wanted.endswith("}"):
        return _shape(json.loads(wanted)) == _shape(json.loads(line))
    return re.fullmatch(pattern_of(wanted, rules), line) is not None


def _free(variable: str) -> str:
    if variable.isspace():
        return " +"
    return r"\d+" if variable.isdigit() else r"[\d.:TZ-]+"


def _shape(value: object) -> object:
    """Return a JSON value with each number, and each string that has digits, replaced by its type."""
    if isinstance(value, dict):
        return {key: _shape(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_shape(member) for member in value]
    if isinstance(value, str) and not re.search(r"\d{4}", value):
        return value
    return value if isinstance(value, bool) else type(value).__name__
