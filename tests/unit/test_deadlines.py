from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from echod.server.deadlines import Deadlines, Second, Slot


class Owner:
    """An object with a deadline, which keeps the times at which it passed."""

    due = 0.0
    slot: Slot = None

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.passed: list[float] = []

    def deadline_passed(self) -> None:
        self.passed.append(self._clock.seconds())


class MovingClock(Clock):
    """A clock that advances by STEP seconds each time it is read."""

    STEP = 0.3

    def seconds(self) -> float:
        self.rightNow += self.STEP
        return self.rightNow


class StrictClock(Clock):
    """A clock that refuses negative delays, as a reactor does."""

    def callLater(self, delay: float, callable: Callable[..., object], *args: object, **kw: object) -> IDelayedCall:
        assert delay >= 0, f"a delay of {delay}"
        return super().callLater(delay, callable, *args, **kw)


class StrictMovingClock(StrictClock, MovingClock):
    """A clock that advances with each read and refuses negative delays."""


class DeadlinesTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = StrictClock()
        self.clock.advance(1000.25)
        self.deadlines = Deadlines(self.clock)

    def tearDown(self) -> None:
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def armed(self, seconds: float) -> Owner:
        """Return an owner whose deadline is `seconds` from now."""
        owner = Owner(self.clock)
        self.deadlines.arm(owner, seconds)
        return owner


class PassingTests(DeadlinesTestCase):
    def test_a_deadline_passes_at_its_own_moment(self) -> None:
        for seconds in (0, 0.0625, 0.5, 0.75, 1, 1.625, 30, 3600.125):
            owner = self.armed(seconds)
            began = self.clock.seconds()
            if seconds:
                self.clock.advance(seconds - 0.03125)
                self.assertEqual(owner.passed, [], seconds)
            self.clock.advance(0.03125)
            self.assertEqual(len(owner.passed), 1, seconds)
            self.assertIs(owner.slot, None)
            self.assertLessEqual(owner.passed[0] - began - seconds, 0.03125)
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_many_deadlines_share_one_delayed_call(self) -> None:
        many = [self.armed(2 + n / 1024) for n in range(1024)]
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.pump([1 / 1024] * (3 * 1024))
        for n, owner in enumerate(many):
            self.assertEqual(owner.passed, [1000.25 + 2 + n / 1024])

    def test_a_deadline_that_is_set_to_later_times_passes_once_at_the_last(self) -> None:
        owner = self.armed(1.5)
        for _ in range(40):
            self.clock.advance(0.25)
            owner.due = self.clock.seconds() + 1.5
        self.assertEqual(owner.passed, [])
        self.clock.pump([0.25] * 5)
        self.assertEqual(owner.passed, [])
        self.clock.advance(0.25)
        self.assertEqual(owner.passed, [1000.25 + 11.5])

    def test_a_deadline_that_is_set_to_a_later_time_within_its_last_second(self) -> None:
        owner = self.armed(0.5)
        self.clock.advance(0.25)
        owner.due += 5
        self.clock.advance(0.25)
        self.assertEqual(owner.passed, [])
        self.clock.pump([0.25] * 20)
        self.assertEqual(owner.passed, [1000.25 + 5.5])

    def test_the_deadlines_of_seconds_that_the_process_slept_through(self) -> None:
        many = [self.armed(seconds) for seconds in (0.5, 1.5, 2.5, 3.5, 20)]
        self.clock.advance(10)
        self.clock.advance(0)
        self.assertEqual([owner.passed for owner in many], [[1010.25]] * 4 + [[]])
        self.clock.pump([0.5] * 20)
        self.assertEqual(many[-1].passed, [1020.25])

    def test_a_deadline_that_is_armed_after_a_sleep_and_before_the_tick(self) -> None:
        self.armed(5)
        self.clock.rightNow += 3
        owner = self.armed(1)
        self.clock.advance(0)
        self.assertEqual(owner.passed, [])
        self.clock.pump([0.25] * 4)
        self.assertEqual(owner.passed, [1004.25])
        self.clock.pump([0.25] * 4)

    def test_a_deadline_that_is_armed_again_when_it_passes(self) -> None:
        deadlines = self.deadlines

        class Again(Owner):
            def deadline_passed(self) -> None:
                super().deadline_passed()
                if len(self.passed) < 3:
                    deadlines.arm(self, 1.5)

        owner = Again(self.clock)
        deadlines.arm(owner, 1.5)
        self.clock.pump([0.25] * 24)
        self.assertEqual(owner.passed, [1001.75, 1003.25, 1004.75])


class DisarmTests(DeadlinesTestCase):
    def test_no_delayed_call_is_left_when_the_last_deadline_is_disarmed(self) -> None:
        for seconds in (0.25, 5):
            first, last = self.armed(seconds), self.armed(seconds)
            self.deadlines.disarm(first)
            self.assertNotEqual(self.clock.getDelayedCalls(), [])
            self.deadlines.disarm(last)
            self.assertEqual(self.clock.getDelayedCalls(), [])
            self.deadlines.disarm(last)
            self.clock.advance(10)
            self.assertEqual((first.passed, last.passed), ([], []))

    def test_a_deadline_that_was_never_armed(self) -> None:
        self.deadlines.disarm(Owner(self.clock))

    def test_a_deadline_in_its_last_second(self) -> None:
        owner = self.armed(3)
        self.clock.pump([0.25] * 11)
        self.assertNotIsInstance(owner.slot, Second)
        self.deadlines.disarm(owner)
        self.clock.advance(1)
        self.assertEqual(owner.passed, [])

    def test_a_deadline_disarmed_by_an_earlier_one_of_the_same_second(self) -> None:
        deadlines = self.deadlines
        other = self.armed(1.5)

        class Disarms(Owner):
            def deadline_passed(self) -> None:
                super().deadline_passed()
                deadlines.disarm(other)

        owner = Disarms(self.clock)
        deadlines.arm(owner, 1.25)
        self.clock.pump([0.25] * 8)
        self.assertEqual((len(owner.passed), other.passed), (1, []))


class ArmAgainTests(DeadlinesTestCase):
    def test_the_new_deadline_takes_the_place_of_the_present_one(self) -> None:
        for first in (0.25, 1.5, 5):
            for second in (0.5, 2, 10):
                owner = self.armed(first)
                self.deadlines.arm(owner, second)
                due = self.clock.seconds() + second
                self.clock.pump([0.25] * 48)
                self.assertEqual(owner.passed, [due], (first, second))


class MovingClockTests(SynchronousTestCase):
    def test_a_second_begins_between_two_reads_of_the_clock(self) -> None:
        clock = StrictMovingClock()
        deadlines = Deadlines(clock)
        many = [Owner(clock) for _ in range(50)]
        for n, owner in enumerate(many):
            deadlines.arm(owner, n * 0.37)
        for _ in range(200):
            clock.advance(0.1)
        self.assertEqual([len(owner.passed) for owner in many], [1] * 50)
        for owner in many:
            self.assertGreaterEqual(owner.passed[0], owner.due)
        self.assertEqual(clock.getDelayedCalls(), [])


TICKS = 16
"""In a second. All times of the model are whole ticks, so that their sums are exact."""

TIMES = st.integers(0, 5 * TICKS).map(lambda n: n / TICKS)
STEPS = st.one_of(
    st.tuples(st.just("arm"), st.integers(0, 5), TIMES),
    st.tuples(st.just("move"), st.integers(0, 5), TIMES),
    st.tuples(st.just("disarm"), st.integers(0, 5), st.just(0.0)),
    st.tuples(st.just("advance"), st.just(0), TIMES),
)


class ModelTests(SynchronousTestCase):
    @settings(max_examples=300, deadline=None)
    @given(st.lists(STEPS, max_size=40))
    def test_deadlines_pass_as_if_each_had_a_delayed_call(self, steps: list[tuple[str, int, float]]) -> None:
        clock = StrictClock()
        clock.advance(7.5)
        deadlines = Deadlines(clock)
        owners = [Owner(clock) for _ in range(6)]
        due: dict[int, float] = {}
        expected: list[list[float]] = [[] for _ in owners]

        def advance(seconds: float) -> None:
            for _ in range(int(seconds * TICKS)):
                clock.advance(1 / TICKS)
                for number, time in list(due.items()):
                    if time <= clock.seconds():
                        expected[number].append(clock.seconds())
                        del due[number]

        for step, number, seconds in steps:
            if step == "arm":
                deadlines.arm(owners[number], seconds)
                due[number] = clock.seconds() + seconds
            elif step == "move" and number in due:
                due[number] += seconds
                owners[number].due += seconds
            elif step == "disarm":
                deadlines.disarm(owners[number])
                due.pop(number, None)
            elif step == "advance":
                advance(seconds)
            self.assertEqual({n for n, owner in enumerate(owners) if owner.slot is not None}, set(due))
        advance(60)
        self.assertEqual([owner.passed for owner in owners], expected)
        self.assertEqual(clock.getDelayedCalls(), [])
