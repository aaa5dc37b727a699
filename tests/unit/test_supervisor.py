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
    """Notifications, received on a socket like systemd's."""

    def setUp(self) -> None:
        # Not self.mktemp(), whose paths are long: the path of a Unix socket has 107 bytes at most (unix(7)).
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = str(Path(directory.name) / "notify")
        self.clock = Clock()
        self.socket = self.bind(self.path)

    def bind(self, address: str) -> socket.socket:
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(bound.close)
        bound.setblocking(False)
        bound.bind(address)
        return bound

    def received(self) -> list[list[str]]:
        """Return the datagrams received since the last call, each as a list of lines."""
        datagrams = []
        while True:
            try:
                datagrams.append(self.socket.recv(4096).decode().split("\n"))
            except BlockingIOError:
                return datagrams

    def systemd(self, **environment: str) -> Systemd:
        systemd = Systemd.from_environment({"NOTIFY_SOCKET": self.path} | environment, self.clock)
        assert systemd is not None
        return systemd

    def fill(self) -> int:
        """Fill the socket's queue; return the number of datagrams in it."""
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

    def test_the_notifications_of_each_change_of_state(self) -> None:
        systemd = self.systemd(WATCHDOG_USEC="3000000", WATCHDOG_PID=str(os.getpid()))
        self.assertEqual(self.received(), [])
        systemd.ready(status)
        self.assertEqual(self.received(), [["READY=1", "STATUS=fine"], ["WATCHDOG=1", "STATUS=fine"]])
        systemd.reloading()
        ((reloading, time),) = self.received()
        self.assertEqual(reloading, "RELOADING=1")
        self.assertRegex(time, r"\AMONOTONIC_USEC=[1-9][0-9]+\Z")
        systemd.ready(status)
        self.assertEqual(self.received(), [["READY=1", "STATUS=fine"]])
        systemd.stopping()
        self.assertEqual(self.received(), [["STOPPING=1", "STATUS=draining"]])
        systemd.stopped()
        self.assertEqual(self.received(), [])

    def test_the_watchdog_is_notified_at_half_its_interval_until_the_end(self) -> None:
        systemd = self.systemd(WATCHDOG_USEC="3000000")
        systemd.ready(status)
        self.received()
        self.clock.advance(1.49)
        self.assertEqual(self.received(), [])
        self.clock.advance(0.01)
        self.assertEqual(self.received(), [["WATCHDOG=1", "STATUS=fine"]])
        systemd.stopping()
        self.received()
        self.clock.advance(1.5)
        self.assertEqual(self.received(), [["WATCHDOG=1"]])
        systemd.stopped()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_status_is_sent_at_an_interval_without_a_watchdog(self) -> None:
        for environment in (
            {},
            {"WATCHDOG_USEC": "0"},
            {"WATCHDOG_USEC": "-1"},
            {"WATCHDOG_USEC": "²"},
            {"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getppid())},
            {"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": ""},
        ):
            systemd = self.systemd(**environment)
            systemd.ready(status)
            self.received()
            self.clock.advance(STATUS_INTERVAL - 0.01)
            self.assertEqual(self.received(), [], environment)
            self.clock.advance(0.01)
            self.assertEqual(self.received(), [["WATCHDOG=1", "STATUS=fine"]])
            systemd.stopped()

    def test_an_abstract_address(self) -> None:
        name = f"echod-test-{os.getpid()}"
        self.socket = self.bind(f"\0{name}")
        systemd = self.systemd(NOTIFY_SOCKET=f"@{name}")
        systemd.stopping()
        self.assertEqual(self.received(), [["STOPPING=1", "STATUS=draining"]])

    def test_an_address_without_a_listener_does_not_fail(self) -> None:
        for address in ("/nosuch/notify", "@echod-test-nosuch", "vsock:2:1234", "/" + "x" * 200):
            systemd = self.systemd(NOTIFY_SOCKET=address, WATCHDOG_USEC="3000000")
            systemd.ready(status)
            self.clock.advance(1.5)
            systemd.stopping()
            systemd.stopped()
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_notifications_are_sent_later_and_in_order_if_the_queue_is_full(self) -> None:
        others = self.fill()
        systemd = self.systemd(WATCHDOG_USEC="3000000")
        systemd.ready(status)
        self.clock.pump([RETRY] * 20)  # past the next notification of the watchdog
        systemd.reloading()
        systemd.ready(status)
        self.assertEqual(self.received(), [["another unit"]] * others)
        self.clock.advance(RETRY)
        self.assertEqual([lines[0] for lines in self.received()], ["READY=1", "RELOADING=1", "READY=1"])
        self.clock.advance(1.5)
        self.assertEqual(self.received(), [["WATCHDOG=1", "STATUS=fine"]])
        systemd.stopped()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_no_delayed_call_is_left_if_the_queue_stays_full(self) -> None:
        self.fill()
        systemd = self.systemd(WATCHDOG_USEC="3000000")
        systemd.ready(status)
        systemd.stopping()
        systemd.stopped()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        systemd.stopped()
