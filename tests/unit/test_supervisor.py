import os
import socket
import tempfile
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from echod.server.supervisor import RETRY, STATUS_INTERVAL, Systemd


def status() -> str:
    return "fine"


class SystemdTests(SynchronousTestCase):
    """Against a socket such as systemd's own."""

    def setUp(self) -> None:
        # Not mktemp(): a Unix socket's path has room for 107 bytes.
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = str(Path(directory.name) / "notify")
        self.clock = Clock()
        self.wire = self.listen(self.path)

    def listen(self, address: str) -> socket.socket:
        wire = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(wire.close)
        wire.setblocking(False)
        wire.bind(address)
        return wire

    def heard(self) -> list[list[str]]:
        """What has come since the last time, a list of lines for each datagram."""
        datagrams = []
        while True:
            try:
                datagrams.append(self.wire.recv(4096).decode().split("\n"))
            except BlockingIOError:
                return datagrams

    def started(self, **environment: str) -> Systemd:
        systemd = Systemd.from_environment({"NOTIFY_SOCKET": self.path} | environment, self.clock)
        assert systemd is not None
        return systemd

    def fill(self) -> int:
        """Fill the socket's queue; return how many datagrams it took."""
        count = 0
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            other.setblocking(False)
            while True:
                try:
                    other.sendto(b"another unit", self.path)
                except BlockingIOError:
                    return count
                count += 1

    def test_no_systemd(self) -> None:
        self.assertIsNone(Systemd.from_environment({}, self.clock))
        self.assertIsNone(Systemd.from_environment({"NOTIFY_SOCKET": "", "WATCHDOG_USEC": "1000000"}, self.clock))

    def test_a_life(self) -> None:
        systemd = self.started(WATCHDOG_USEC="3000000", WATCHDOG_PID=str(os.getpid()))
        self.assertEqual(self.heard(), [])
        systemd.ready(status)
        self.assertEqual(self.heard(), [["READY=1", "STATUS=fine"], ["WATCHDOG=1", "STATUS=fine"]])
        systemd.reloading()
        ((reloading, when),) = self.heard()
        self.assertEqual(reloading, "RELOADING=1")
        self.assertRegex(when, r"\AMONOTONIC_USEC=[1-9][0-9]+\Z")
        systemd.ready(status)
        self.assertEqual(self.heard(), [["READY=1", "STATUS=fine"]])
        systemd.stopping()
        self.assertEqual(self.heard(), [["STOPPING=1", "STATUS=draining"]])
        systemd.stopped()
        self.assertEqual(self.heard(), [])

    def test_the_watchdog_is_fed_at_half_its_interval_until_the_end(self) -> None:
        systemd = self.started(WATCHDOG_USEC="3000000")
        systemd.ready(status)
        self.heard()
        self.clock.advance(1.49)
        self.assertEqual(self.heard(), [])
        self.clock.advance(0.01)
        self.assertEqual(self.heard(), [["WATCHDOG=1", "STATUS=fine"]])
        systemd.stopping()
        self.heard()
        self.clock.advance(1.5)
        self.assertEqual(self.heard(), [["WATCHDOG=1"]])
        systemd.stopped()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_status_is_told_without_a_watchdog_too(self) -> None:
        for environment in (
            {},
            {"WATCHDOG_USEC": "0"},
            {"WATCHDOG_USEC": "-1"},
            {"WATCHDOG_USEC": "²"},
            {"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getppid())},
            {"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": ""},
        ):
            systemd = self.started(**environment)
            systemd.ready(status)
            self.heard()
            self.clock.advance(STATUS_INTERVAL - 0.01)
            self.assertEqual(self.heard(), [], environment)
            self.clock.advance(0.01)
            self.assertEqual(self.heard(), [["WATCHDOG=1", "STATUS=fine"]])
            systemd.stopped()

    def test_an_abstract_address(self) -> None:
        name = f"echod-test-{os.getpid()}"
        self.wire = self.listen(f"\0{name}")
        systemd = self.started(NOTIFY_SOCKET=f"@{name}")
        systemd.stopping()
        self.assertEqual(self.heard(), [["STOPPING=1", "STATUS=draining"]])

    def test_nobody_listens(self) -> None:
        for address in ("/nosuch/notify", "@echod-test-nosuch", "vsock:2:1234", "/" + "x" * 200):
            systemd = self.started(NOTIFY_SOCKET=address, WATCHDOG_USEC="3000000")
            systemd.ready(status)
            self.clock.advance(1.5)
            systemd.stopping()
            systemd.stopped()
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_finds_no_room_is_told_later_and_in_order(self) -> None:
        others = self.fill()
        systemd = self.started(WATCHDOG_USEC="3000000")
        systemd.ready(status)
        self.clock.pump([RETRY] * 20)  # beyond the next feeding
        systemd.reloading()
        systemd.ready(status)
        self.assertEqual(self.heard(), [["another unit"]] * others)
        self.clock.advance(RETRY)
        self.assertEqual([said[0] for said in self.heard()], ["READY=1", "RELOADING=1", "READY=1"])
        self.clock.advance(1.5)
        self.assertEqual(self.heard(), [["WATCHDOG=1", "STATUS=fine"]])
        systemd.stopped()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nothing_is_left_where_there_was_never_room(self) -> None:
        self.fill()
        systemd = self.started(WATCHDOG_USEC="3000000")
        systemd.ready(status)
        systemd.stopping()
        systemd.stopped()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        systemd.stopped()
