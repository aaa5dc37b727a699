"""`echod report`: runs of load side by side, in one page."""

import argparse
import json
import sys
from pathlib import Path

from echod.cli.client_command import output_errors, write_result
from echod.common.errors import ConfigurationError
from echod.load.report_page import Result, page_of

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("files", metavar="FILE", nargs="+", help="what echod load --json wrote")
    parser.add_argument("--html", metavar="FILE", help="write the page there (default: standard output)")


def run(namespace: argparse.Namespace) -> int:
    """Write the page; return 0. Raises EchodError."""
    page = page_of([_read(path) for path in namespace.files])
    if namespace.html is None:
        with output_errors():
            sys.stdout.write(page)
            sys.stdout.flush()
        return 0
    write_result("html", namespace.html, page)
    return 0


def _read(path: str) -> Result:
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as problem:
        raise ConfigurationError(f"cannot read {path}: {problem.strerror}") from None
    except (ValueError, RecursionError):  # no JSON, no UTF-8, a path with a null byte; nested without end
        raise ConfigurationError(f"{path}: is no JSON") from None
    try:
        return Result.of(Path(path).stem, found)
    except ValueError as problem:
        raise ConfigurationError(f"{path}: {problem}") from None
