"""Settings for all tests under pytest."""

import os
import signal

import pytest

collect_ignore = ["conformance"]
"""Run by trial only: each of those tests replaces the global reactor, which is the one that pytest-twisted runs."""

EVERYTHING = "ECHOD_TEST_EVERYTHING"
"""Environment variable: if it is set, a skipped test fails the run, so that no test is left out in CI unnoticed."""


def pytest_configure() -> None:
    # A shell starts background commands with SIGINT ignored, and child processes inherit that: SIGINT would then end
    # none of the commands that the tests start. A signal with a handler is reset to its default in a child.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get(EVERYTHING) and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
