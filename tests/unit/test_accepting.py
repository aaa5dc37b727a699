import errno
import socket
import sys
from typing import Any

from twisted.internet.task import Clock
from twisted.internet.tcp import Port
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from echod.server.accept_pause import LOG_INTERVAL, PAUSE, AcceptPause
from echod.server.port_close import close_without_loss
from tests.support.memory import ReadingClock
from tests.unit.test_limits import LimitsTestCase


class FailingSocket:
    """A listening socket whose accept fails with `error`, an error number; None: it accepts."""

    def __init__(self, real: socket.socket) -> None:
        self._real = real
        self.error: int | None = None
        self.accepts = 0
        """How many times accept was called."""

    def __getattr__(self, name: str) -> object:
        return getattr(self._real, name)

    def accept(self) -> tuple[socket.socket, Any]:
        self.accepts += 1
        if self.error is not None:
            raise OSError(self.error, "")
        return self._real.accept()


class AcceptPauseTests(LimitsTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.reactor: Any = ReadingClock()
        self.port: Any = Port(0, self.factory(), interface="127.0.0.1", reactor=self.reactor)
        self.port.startListening()
        self.addCleanup(self.close)
        self.listening = self.port.socket = FailingSocket(self.port.socket)
        self.pause = AcceptPause(self.port, self.reactor)
        self.log = EventLoggingObserver()
        globalLogPublisher.addObserver(self.log)
        self.addCleanup(globalLogPublisher.removeObserver, self.log)

    def close(self) -> None:
        if self.port.connected:
            close_without_loss(self.port)
        self.pause.stop()
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def turn(self) -> None:
        """Act as the reactor in a turn in which the queue has a connection."""
        if self.port in self.reactor.readers:
            self.port.doRead()

    def logged(self) -> list[str]:
        """The log lines about failed accepts: the number of failures, and the last one."""
        return [f"{e['failures']}: {e['problem']}" for e in self.log if "failures" in e]

    def test_accepts_pause_after_a_failure_and_resume(self) -> None:
        self.listening.error = errno.ENFILE
        for _ in range(100):
            self.turn()
        self.assertEqual(self.listening.accepts, 1)
        self.assertEqual(self.logged(), ["1: Could not accept new connection (ENFILE)"])
        self.reactor.advance(PAUSE)
        self.listening.error = None
        with socket.create_connection(self.port.socket.getsockname(), timeout=5):
            self.turn()
        self.assertEqual(len(self.connections), 1)
        self.connections.cut()
        self.reactor.advance(0)

    def test_the_failures_between_two_log_lines_are_summed(self) -> None:
        self.listening.error = errno.ENOMEM
        for _ in range(int(LOG_INTERVAL / PAUSE) + 1):
            self.turn()
            self.reactor.advance(PAUSE)
        self.assertEqual([line.split(":")[0] for line in self.logged()], ["1", str(int(LOG_INTERVAL / PAUSE))])
        self.assertEqual(len(self.log), 2)

    def test_a_port_that_closes_during_the_pause_leaves_no_delayed_call(self) -> None:
        self.listening.error = errno.ENOBUFS
        self.turn()
        self.assertEqual(len(self.reactor.getDelayedCalls()), 1)


class OtherPortTests(SynchronousTestCase):
    def test_a_port_without_twisteds_logger_is_left_alone(self) -> None:
        AcceptPause(object(), Clock()).stop()  # type: ignore[arg-type]  # any object


class RecordingPort:
    """A port that records the options set on its socket."""

    addressFamily = socket.AF_INET6
    numberAccepts = 1

    def __init__(self) -> None:
        self.options: list[int] = []
        self.accepted = self.closed = False

    @property
    def socket(self) -> "RecordingPort":
        return self

    def setsockopt(self, level: int, option: int, value: bytes) -> None:
        self.options.append(option)

    def doRead(self) -> None:
        self.accepted = True

    def stopReading(self) -> None:
        assert self.accepted

    def connectionLost(self, reason: Failure) -> None:
        self.closed = True


class SocketFilterTests(SynchronousTestCase):
    def test_the_socket_filter_is_set_on_linux_only(self) -> None:
        """Option 26 is SO_ATTACH_FILTER on Linux, and another option elsewhere."""
        for platform, options in (("linux", [26]), ("freebsd14", []), ("darwin", [])):
            self.patch(sys, "platform", platform)
            port = RecordingPort()
            close_without_loss(port)  # type: ignore[arg-type]  # a part of a port
            self.assertEqual((port.options, port.accepted, port.closed), (options, True, True))
