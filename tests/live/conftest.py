"""The check that a test over real sockets leaves the reactor clean, and the certificates that several tests use."""

import gc
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
import pytest_twisted
from twisted.internet import reactor as installed
from twisted.internet.task import deferLater
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import provider

if TYPE_CHECKING:
    from tests.support.paths import Files

reactor: Any = installed


def _selectables() -> set[object]:
    return {*reactor.getReaders(), *reactor.getWriters()} - set(reactor._internalReaders)


def _left_over(before: set[object]) -> list[object]:
    return [*reactor.getDelayedCalls(), *(_selectables() - before)]


@pytest.fixture(autouse=True)
def clean_reactor() -> Iterator[list[LogEvent]]:
    """Fail the test that leaves a delayed call, a socket, a logged failure or an unhandled Deferred.

    It yields the list of logged failures: a test that expects some removes them from it.
    """
    failures: list[LogEvent] = []

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        if "log_failure" in event or event.get("isError"):
            failures.append(event)

    before = _selectables()
    globalLogPublisher.addObserver(observe)
    yield failures
    for _ in range(5):  # a close takes one or two turns of the reactor
        if not _left_over(before):
            break
        pytest_twisted.blockon(deferLater(reactor, 0))
    gc.collect()  # an unhandled error in a Deferred is logged when the Deferred is collected
    globalLogPublisher.removeObserver(observe)
    assert _left_over(before) == []
    assert failures == []


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> "Files":
    """Return the certificates of a server and of a client."""
    # Not imported above: test_clean_reactor runs this file where the package `tests` cannot be imported.
    from tests.support.certificates import Authority
    from tests.support.paths import Files

    authority = Authority(tmp_path_factory.mktemp("certificates"))
    server = authority.issue("localhost", "::1", file="server")
    client = authority.issue(subject="a client", file="client")
    return Files(authority.certificate, server.certificate, server.key, client.certificate, client.key)
