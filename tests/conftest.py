"""What holds for every test under pytest."""

import os
import signal

import pytest

collect_ignore = ["conformance"]
"""Under trial alone: each of those tests puts a reactor of its own in the place of the one that pytest-twisted runs."""

EVERYTHING = "ECHOD_TEST_EVERYTHING"
"""In the environment: a test that is skipped fails the run, so that CI shows nobody a gap as a success."""


def pytest_configure() -> None:
    # A shell starts what it puts in the background with SIGINT ignored, and commands hand that on to their children:
    # then Ctrl-C ends none of those that the tests start. What has a handler here begins anew in them.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get(EVERYTHING) and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
