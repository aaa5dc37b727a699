"""The report of a start that fails after twistd has forked: the hooks around the fork, without a fork."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorDaemonize
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import alsoProvides

from echod.cli.daemonizing import ReportingService
from echod.common.errors import ListenError


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class Failing(Service):
    """A service whose privileged start raises `problem`; None: it succeeds."""

    def __init__(self, problem: Exception | None) -> None:
        self.problem = problem

    def privilegedStartService(self) -> None:
        if self.problem is not None:
            raise self.problem


class ReportingServiceTests(SynchronousTestCase):
    def setUp(self) -> None:
        """Put a pipe in the place of standard error."""
        kept = os.dup(2)
        self.reading, writing = os.pipe()
        os.dup2(writing, 2)
        os.close(writing)
        self.addCleanup(os.close, self.reading)
        self.addCleanup(os.close, kept)
        self.addCleanup(os.dup2, kept, 2)
        self.reactor: Any = SimpleNamespace()

    def printed(self) -> str:
        """Return what has been written to standard error, once every writer has closed it."""
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)
        os.close(null)
        return os.read(self.reading, 1000).decode()

    def test_an_error_of_echod_is_printed_although_standard_error_is_silent(self) -> None:
        problem = ListenError("cannot listen on [::]:3005: address already in use")
        service = ReportingService(self.reactor, Failing(problem))
        self.assertTrue(IReactorDaemonize.providedBy(self.reactor))
        self.reactor.beforeDaemonize()
        self.reactor.afterDaemonize()
        os.write(2, b"An error has occurred: b'...'")  # as twistd
        self.assertIs(self.assertRaises(ListenError, service.privilegedStartService), problem)
        self.assertEqual(self.printed(), "echod: cannot listen on [::]:3005: address already in use\n")

    def test_another_error_is_printed_with_its_class(self) -> None:
        service = ReportingService(self.reactor, Failing(ValueError("no")))
        self.reactor.beforeDaemonize()
        self.assertRaises(ValueError, service.privilegedStartService)
        self.assertEqual(
            self.printed(), "echod: the start failed, and the log file of twistd has the traceback: ValueError('no')\n"
        )

    def test_a_start_prints_nothing_and_keeps_no_descriptor(self) -> None:
        service = ReportingService(self.reactor, Failing(None))
        before = open_descriptors()
        self.reactor.beforeDaemonize()
        service.privilegedStartService()
        service.startService()
        self.assertEqual(open_descriptors(), before)
        self.assertEqual(self.printed(), "")
        self.successResultOf(service.stopService())

    def test_without_a_fork_the_error_is_raised_only(self) -> None:
        service = ReportingService(self.reactor, Failing(ListenError("no")))
        self.assertRaises(ListenError, service.privilegedStartService)
        self.assertEqual(self.printed(), "")

    def test_the_hook_of_the_reactor_is_called_too(self) -> None:
        calls: list[str] = []
        self.reactor.beforeDaemonize = lambda: calls.append("before")
        self.reactor.afterDaemonize = lambda: calls.append("after")
        alsoProvides(self.reactor, IReactorDaemonize)
        service = ReportingService(self.reactor, Failing(None))
        self.reactor.beforeDaemonize()
        self.reactor.afterDaemonize()
        service.startService()
        self.assertEqual(calls, ["before", "after"])
        self.successResultOf(service.stopService())

    def test_a_closed_standard_error(self) -> None:
        service = ReportingService(self.reactor, Failing(ListenError("no")))
        os.close(2)
        self.reactor.beforeDaemonize()
        self.assertRaises(ListenError, service.privilegedStartService)
        self.assertRaises(OSError, os.fstat, 2)
