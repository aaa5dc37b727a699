"""`echod report`: results of `echod load` side by side in one page."""

import argparse
import os
import sys
from pathlib import Path

from echod.cli.client_command import output_errors, refuse_unwritable, write_result
from echod.common.errors import ConfigurationError
from echod.common.text import printable
from echod.load.report_page import page_of
from echod.load.result_reader import StoredResult

__all__ = ["add_arguments", "run"]

LARGEST_FILE = 64
"""MiB. A run of a day has 86,400 intervals, in about 30 MiB."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("files", metavar="FILE", nargs="+", help="a file that echod load --json wrote")
    parser.add_argument("--html", metavar="FILE", help="write the page to this file (default: standard output)")


def run(namespace: argparse.Namespace) -> int:
    """Write the page; return 0. Raises EchodError."""
    if namespace.html is not None:
        refuse_unwritable("html", namespace.html)
    page = page_of([_read(path) for path in namespace.files])
    if namespace.html is not None:
        write_result("html", namespace.html, page)
    else:
        with output_errors():
            sys.stdout.buffer.write(page)  # UTF-8, as the page says, whatever the locale
            sys.stdout.flush()
    return 0


def _read(path: str) -> StoredResult:
    """Return the result in a file. Its label is the file's name without suffix."""
    label = os.fsencode(Path(path).stem).decode("utf-8", "replace")
    shown = printable(path)
    try:
        with Path(path).open("rb") as file:
            data = file.read((LARGEST_FILE << 20) + 1)
        if len(data) > LARGEST_FILE << 20:
            raise ConfigurationError(f"{shown}: is larger than {LARGEST_FILE} MiB")
        return StoredResult.from_json(label, data)
    except OSError as problem:
        raise ConfigurationError(f"cannot read {shown}: {problem.strerror}") from None
    except ValueError as problem:  # also of a path with a null byte
        raise ConfigurationError(f"{shown}: {problem}") from None
