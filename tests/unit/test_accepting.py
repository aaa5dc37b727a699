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


class Poor:
    """A listening socket of a host that is out of something."""

    def __init__(self, real: socket.socket) -> None:
        self._real = real
        self.lacks: int | None = None
        self.accepts = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._real, name)

    def accept(self) -> tuple[socket.socket, Any]:
        self.accepts += 1
        if self.lacks is not None:
            raise OSError(self.lacks, "")
        return self._real.accept()


class AcceptRestTests(LimitsTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.reactor: Any = ReadingClock()
        self.port: Any = Port(0, self.factory(), interface="127.0.0.1", reactor=self.reactor)
        self.port.startListening()
        self.addCleanup(self.close)
        self.poor = self.port.socket = Poor(self.port.socket)
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
        """A turn of the reactor, with someone in the queue."""
        if self.port in self.reactor.readers:
            self.port.doRead()

    def told(self) -> list[str]:
        return [f"{e['failures']}: {e['problem']}" for e in self.log if "failures" in e]

    def test_it_rests_and_goes_on(self) -> None:
        self.poor.lacks = errno.ENFILE
        for _ in range(100):
            self.turn()
        self.assertEqual(self.poor.accepts, 1)
        self.assertEqual(self.told(), ["1: Could not accept new connection (ENFILE)"])
        self.reactor.advance(PAUSE)
        self.poor.lacks = None
        with socket.create_connection(self.port.socket.getsockname(), timeout=5):
            self.turn()
        self.assertEqual(len(self.connections), 1)
        self.connections.cut()
        self.reactor.advance(0)

    def test_failures_are_summed(self) -> None:
        self.poor.lacks = errno.ENOMEM
        for _ in range(int(LOG_INTERVAL / PAUSE) + 1):
            self.turn()
            self.reactor.advance(PAUSE)
        self.assertEqual([line.split(":")[0] for line in self.told()], ["1", str(int(LOG_INTERVAL / PAUSE))])
        self.assertEqual(len(self.log), 2)

    def test_a_port_that_closes_while_it_rests(self) -> None:
        self.poor.lacks = errno.ENOBUFS
        self.turn()
        self.assertEqual(len(self.reactor.getDelayedCalls()), 1)


class OtherPortTests(SynchronousTestCase):
    def test_a_port_that_is_not_twisteds(self) -> None:
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
    def test_linux_alone_has_the_socket_filter(self) -> None:
        """Option 26 is SO_ATTACH_FILTER on Linux, and another option elsewhere."""
        for platform, options in (("linux", [26]), ("freebsd14", []), ("darwin", [])):
            self.patch(sys, "platform", platform)
            port = RecordingPort()
            close_without_loss(port)  # type: ignore[arg-type]  # a part of a port
            self.assertEqual((port.options, port.accepted, port.closed), (options, True, True))
