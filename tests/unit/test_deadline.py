"""The time limit of one record."""

from twisted.trial.unittest import SynchronousTestCase

from echod.client.deadline import Deadline, microseconds
from tests.support.clocks import StrictClock


class DeadlineTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = StrictClock()
        self.expired: list[float] = []
        self.deadline = Deadline(self.clock, 5.0, lambda: self.expired.append(self.clock.seconds()))
        self.addCleanup(lambda: self.assertEqual(self.clock.getDelayedCalls(), []))

    def test_it_expires_once(self) -> None:
        self.deadline.start()
        self.clock.advance(4.9)
        self.assertEqual(self.expired, [])
        self.clock.advance(0.1)
        self.assertEqual(self.expired, [5.0])

    def test_the_time_on_hold_does_not_count(self) -> None:
        self.deadline.start()
        self.clock.advance(2)
        self.deadline.hold()
        self.clock.advance(60)
        self.deadline.resume()
        self.clock.advance(2.9)
        self.assertEqual(self.expired, [])
        self.clock.advance(0.1)
        self.assertEqual(self.expired, [65.0])

    def test_held_when_it_is_overdue(self) -> None:
        self.deadline.start()
        self.clock.block(6)
        self.deadline.hold()
        self.deadline.resume()
        self.clock.advance(0)
        self.assertEqual(self.expired, [6.0])

    def test_a_negative_limit_expires_at_once(self) -> None:
        deadline = Deadline(self.clock, -0.5, lambda: self.expired.append(self.clock.seconds()))
        deadline.start()
        self.clock.advance(0)
        self.assertEqual(self.expired, [0.0])

    def test_cancelled(self) -> None:
        self.deadline.cancel()
        self.deadline.start()
        self.deadline.cancel()
        self.deadline.cancel()
        self.clock.advance(6)
        self.assertEqual(self.expired, [])

    def test_cancelled_on_hold(self) -> None:
        self.deadline.start()
        self.deadline.hold()
        self.deadline.cancel()
        self.clock.advance(6)
        self.assertEqual(self.expired, [])

    def test_cancelled_when_it_has_expired(self) -> None:
        self.deadline.start()
        self.clock.advance(5)
        self.deadline.hold()
        self.deadline.cancel()
        self.assertEqual(self.expired, [5.0])


class MicrosecondsTests(SynchronousTestCase):
    def test_between_two_readings(self) -> None:
        self.assertEqual(microseconds(1.0, 1.5), 500_000)
        self.assertEqual(microseconds(None, 1.5), None)
        self.assertEqual(microseconds(1.0, None), None)
