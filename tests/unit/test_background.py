import socket

from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from echod.transport import background_reactor
from echod.transport.background import BURST, SHARE, TURN, BackgroundPoller
from tests.support.memory import ReadingClock


@implementer(IReadDescriptor)
class Busy:
    """Always readable; each doRead takes `takes` seconds of the clock."""

    def __init__(self, clock: Clock, takes: float) -> None:
        self._clock = clock
        self.takes = takes
        self.served = 0
        self._wire, self._peer = socket.socketpair()
        self._peer.send(b"x")

    def fileno(self) -> int:
        return self._wire.fileno()

    def doRead(self) -> None:
        self.served += 1
        self._clock.rightNow += self.takes

    def logPrefix(self) -> str:
        return "busy"

    def connectionLost(self, reason: object) -> None:
        self._wire.close()
        self._peer.close()


class BackgroundTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.outer = ReadingClock()
        self.poller = BackgroundPoller(self.outer)
        self.busy: list[Busy] = []
        self.addCleanup(self.end)

    def end(self) -> None:
        for each in self.busy:
            self.poller.removeReader(each)
            each.connectionLost(None)
        self.assertEqual(self.outer.getDelayedCalls(), [])
        self.assertEqual(self.outer.readers, set())

    def add(self, takes: float, number: int = 1) -> None:
        for _ in range(number):
            self.busy.append(Busy(self.outer, takes))
            self.poller.addReader(self.busy[-1])

    @property
    def pausing(self) -> bool:
        return self.poller not in self.outer.readers

    def serve(self) -> float:
        """Call doRead once; return the seconds it took."""
        began = self.outer.seconds()
        self.poller.doRead()
        return self.outer.seconds() - began

    def resume(self) -> None:
        """Advance the clock to the end of the pause."""
        (call,) = self.outer.getDelayedCalls()
        self.outer.advance(call.getTime() - self.outer.seconds())
        self.assertFalse(self.pausing)

    def worked(self, seconds: float) -> float:
        """Serve for `seconds`; return the seconds of work among them."""
        worked, end = 0.0, self.outer.seconds() + seconds
        while self.outer.seconds() < end:
            if self.pausing:
                self.resume()
            else:
                worked += self.serve()
        return worked

    def test_work_is_limited_to_the_share(self) -> None:
        self.add(0.0003, number=8)
        worked = self.worked(10)
        self.assertLessEqual(worked, 10 * SHARE + 2 * BURST)
        self.assertGreaterEqual(worked, 10 * SHARE)
        served = [each.served for each in self.busy]
        self.assertLess(max(served) - min(served), 10)

    def test_a_long_call_is_followed_by_a_long_pause(self) -> None:
        self.add(1.0)
        self.assertEqual(self.serve(), 1.0)
        self.assertTrue(self.pausing)
        before = self.outer.seconds()
        self.resume()
        self.assertAlmostEqual(self.outer.seconds() - before, ((1 - SHARE) * 1.0 - BURST) / SHARE)

    def test_a_burst_causes_no_pause(self) -> None:
        self.add(2 * TURN)
        for _ in range(2):
            for _ in range(int(BURST / (2 * TURN))):
                self.serve()
                self.assertFalse(self.pausing)
            self.worked(1)
            self.outer.advance(2 * BURST / SHARE)

    def test_one_call_is_limited_to_a_turn(self) -> None:
        self.add(TURN / 10, number=30)
        self.assertLess(self.serve(), 2 * TURN)

    def test_doRead_does_not_wait(self) -> None:
        self.add(0.0001)
        self.busy[0]._wire.recv(1)
        self.assertEqual(self.serve(), 0.0)
        self.assertEqual(self.busy[0].served, 0)

    def test_the_last_removal_cancels_a_pause(self) -> None:
        self.add(1.0)
        self.serve()
        self.assertTrue(self.pausing)
        self.poller.removeReader(self.busy[0])
        self.assertEqual(self.outer.getDelayedCalls(), [])
        self.poller.addReader(self.busy[0])
        self.assertFalse(self.pausing)

    def test_the_last_removal_inside_a_call_causes_no_pause(self) -> None:
        self.add(0.0)
        self.busy[0].doRead = lambda: self.outer.advance(1) or self.poller.removeReader(self.busy[0])  # type: ignore[func-returns-value, method-assign]  # one expression
        self.serve()
        self.assertEqual(self.outer.getDelayedCalls(), [])

    def test_a_clock_that_goes_back_causes_no_pause(self) -> None:
        self.add(0.0001)
        self.serve()
        self.outer.rightNow -= 3600
        self.serve()
        self.busy[0].takes = -3600
        self.serve()
        self.assertFalse(self.pausing)

    def test_the_stock_transport_has_no_background_poller(self) -> None:
        self.assertIs(background_reactor(self.outer), self.outer)
