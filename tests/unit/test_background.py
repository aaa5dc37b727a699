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
    """Always has something to read, and takes its time over it."""

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

    def turn(self) -> float:
        """Let it serve once; return how long that took."""
        began = self.outer.seconds()
        self.poller.doRead()
        return self.outer.seconds() - began

    def go_on(self) -> None:
        """Let the time pass until it pauses no more."""
        (call,) = self.outer.getDelayedCalls()
        self.outer.advance(call.getTime() - self.outer.seconds())
        self.assertFalse(self.pausing)

    def worked(self, seconds: float) -> float:
        """Let it serve all it will for so long; return for how much of that it worked."""
        worked, end = 0.0, self.outer.seconds() + seconds
        while self.outer.seconds() < end:
            if self.pausing:
                self.go_on()
            else:
                worked += self.turn()
        return worked

    def test_it_takes_its_share_and_no_more(self) -> None:
        self.add(0.0003, number=8)
        worked = self.worked(10)
        self.assertLessEqual(worked, 10 * SHARE + 2 * BURST)
        self.assertGreaterEqual(worked, 10 * SHARE)
        served = [each.served for each in self.busy]
        self.assertLess(max(served) - min(served), 10)

    def test_what_takes_long_is_paid_for_afterwards(self) -> None:
        self.add(1.0)
        self.assertEqual(self.turn(), 1.0)
        self.assertTrue(self.pausing)
        before = self.outer.seconds()
        self.go_on()
        self.assertAlmostEqual(self.outer.seconds() - before, ((1 - SHARE) * 1.0 - BURST) / SHARE)

    def test_a_burst_does_not_pause_it(self) -> None:
        self.add(2 * TURN)
        for _ in range(2):
            for _ in range(int(BURST / (2 * TURN))):
                self.turn()
                self.assertFalse(self.pausing)
            self.worked(1)
            self.outer.advance(2 * BURST / SHARE)

    def test_others_have_their_turn(self) -> None:
        self.add(TURN / 10, number=30)
        self.assertLess(self.turn(), 2 * TURN)

    def test_it_waits_for_nothing(self) -> None:
        self.add(0.0001)
        self.busy[0]._wire.recv(1)
        self.assertEqual(self.turn(), 0.0)
        self.assertEqual(self.busy[0].served, 0)

    def test_it_ends_while_it_pauses(self) -> None:
        self.add(1.0)
        self.turn()
        self.assertTrue(self.pausing)
        self.poller.removeReader(self.busy[0])
        self.assertEqual(self.outer.getDelayedCalls(), [])
        self.poller.addReader(self.busy[0])
        self.assertFalse(self.pausing)

    def test_it_ends_while_it_serves(self) -> None:
        self.add(0.0)
        self.busy[0].doRead = lambda: self.outer.advance(1) or self.poller.removeReader(self.busy[0])  # type: ignore[func-returns-value, method-assign]  # one expression
        self.turn()
        self.assertEqual(self.outer.getDelayedCalls(), [])

    def test_a_clock_that_goes_back_costs_nothing(self) -> None:
        self.add(0.0001)
        self.turn()
        self.outer.rightNow -= 3600
        self.turn()
        self.busy[0].takes = -3600
        self.turn()
        self.assertFalse(self.pausing)

    def test_plain_twisted_stays_what_it_is(self) -> None:
        self.assertIs(background_reactor(self.outer), self.outer)
