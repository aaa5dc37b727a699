from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from echod.server.deadlines import Deadlines, Second, Slot


class One:
    """What has a deadline, and notes when it passed."""

    due = 0.0
    slot: Slot = None

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.passed: list[float] = []

    def deadline_passed(self) -> None:
        self.passed.append(self._clock.seconds())


class MovingClock(Clock):
    """A clock that is further on each time it is read."""

    STEP = 0.3

    def seconds(self) -> float:
        self.rightNow += self.STEP
        return self.rightNow


class StrictClock(Clock):
    """A clock that takes no negative delay, as a reactor takes none."""

    def callLater(self, delay: float, callable: Callable[..., object], *args: object, **kw: object) -> IDelayedCall:
        assert delay >= 0, f"a delay of {delay}"
        return super().callLater(delay, callable, *args, **kw)


class StrictMovingClock(StrictClock, MovingClock):
    """Both."""


class DeadlinesTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = StrictClock()
        self.clock.advance(1000.25)
        self.deadlines = Deadlines(self.clock)

    def tearDown(self) -> None:
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def one(self, seconds: float) -> One:
        one = One(self.clock)
        self.deadlines.arm(one, seconds)
        return one


class FiringTests(DeadlinesTestCase):
    def test_to_the_moment(self) -> None:
        for seconds in (0, 0.0625, 0.5, 0.75, 1, 1.625, 30, 3600.125):
            one = self.one(seconds)
            began = self.clock.seconds()
            if seconds:
                self.clock.advance(seconds - 0.03125)
                self.assertEqual(one.passed, [], seconds)
            self.clock.advance(0.03125)
            self.assertEqual(len(one.passed), 1, seconds)
            self.assertIs(one.slot, None)
            self.assertLessEqual(one.passed[0] - began - seconds, 0.03125)
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_many_share_one_delayed_call(self) -> None:
        many = [self.one(2 + n / 1024) for n in range(1024)]
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.pump([1 / 1024] * (3 * 1024))
        for n, one in enumerate(many):
            self.assertEqual(one.passed, [1000.25 + 2 + n / 1024])

    def test_a_due_that_was_moved(self) -> None:
        one = self.one(1.5)
        for _ in range(40):
            self.clock.advance(0.25)
            one.due = self.clock.seconds() + 1.5
        self.assertEqual(one.passed, [])
        self.clock.pump([0.25] * 5)
        self.assertEqual(one.passed, [])
        self.clock.advance(0.25)
        self.assertEqual(one.passed, [1000.25 + 11.5])

    def test_a_due_that_was_moved_in_its_own_second(self) -> None:
        one = self.one(0.5)
        self.clock.advance(0.25)
        one.due += 5
        self.clock.advance(0.25)
        self.assertEqual(one.passed, [])
        self.clock.pump([0.25] * 20)
        self.assertEqual(one.passed, [1000.25 + 5.5])

    def test_a_process_that_slept_through_seconds(self) -> None:
        many = [self.one(seconds) for seconds in (0.5, 1.5, 2.5, 3.5, 20)]
        self.clock.advance(10)
        self.clock.advance(0)
        self.assertEqual([one.passed for one in many], [[1010.25]] * 4 + [[]])
        self.clock.pump([0.5] * 20)
        self.assertEqual(many[-1].passed, [1020.25])

    def test_armed_after_a_sleep_and_before_the_tick(self) -> None:
        self.one(5)
        self.clock.rightNow += 3
        one = self.one(1)
        self.clock.advance(0)
        self.assertEqual(one.passed, [])
        self.clock.pump([0.25] * 4)
        self.assertEqual(one.passed, [1004.25])
        self.clock.pump([0.25] * 4)

    def test_one_that_arms_itself_again(self) -> None:
        deadlines = self.deadlines

        class Again(One):
            def deadline_passed(self) -> None:
                super().deadline_passed()
                if len(self.passed) < 3:
                    deadlines.arm(self, 1.5)

        one = Again(self.clock)
        deadlines.arm(one, 1.5)
        self.clock.pump([0.25] * 24)
        self.assertEqual(one.passed, [1001.75, 1003.25, 1004.75])


class DisarmTests(DeadlinesTestCase):
    def test_the_last_one_leaves_no_delayed_call(self) -> None:
        for seconds in (0.25, 5):
            first, last = self.one(seconds), self.one(seconds)
            self.deadlines.disarm(first)
            self.assertNotEqual(self.clock.getDelayedCalls(), [])
            self.deadlines.disarm(last)
            self.assertEqual(self.clock.getDelayedCalls(), [])
            self.deadlines.disarm(last)
            self.clock.advance(10)
            self.assertEqual((first.passed, last.passed), ([], []))

    def test_one_that_never_was_armed(self) -> None:
        self.deadlines.disarm(One(self.clock))

    def test_one_that_is_about_to_pass(self) -> None:
        one = self.one(3)
        self.clock.pump([0.25] * 11)
        self.assertNotIsInstance(one.slot, Second)
        self.deadlines.disarm(one)
        self.clock.advance(1)
        self.assertEqual(one.passed, [])

    def test_by_another_that_passes_in_the_same_moment(self) -> None:
        deadlines = self.deadlines
        other = self.one(1.5)

        class Ends(One):
            def deadline_passed(self) -> None:
                super().deadline_passed()
                deadlines.disarm(other)

        one = Ends(self.clock)
        deadlines.arm(one, 1.25)
        self.clock.pump([0.25] * 8)
        self.assertEqual((len(one.passed), other.passed), (1, []))


class ArmAgainTests(DeadlinesTestCase):
    def test_in_place_of_the_one_before(self) -> None:
        for first in (0.25, 1.5, 5):
            for second in (0.5, 2, 10):
                one = self.one(first)
                self.deadlines.arm(one, second)
                due = self.clock.seconds() + second
                self.clock.pump([0.25] * 48)
                self.assertEqual(one.passed, [due], (first, second))


class MovingClockTests(SynchronousTestCase):
    def test_a_second_turns_between_two_reads(self) -> None:
        clock = StrictMovingClock()
        deadlines = Deadlines(clock)
        many = [One(clock) for _ in range(50)]
        for n, one in enumerate(many):
            deadlines.arm(one, n * 0.37)
        for _ in range(200):
            clock.advance(0.1)
        self.assertEqual([len(one.passed) for one in many], [1] * 50)
        for one in many:
            self.assertGreaterEqual(one.passed[0], one.due)
        self.assertEqual(clock.getDelayedCalls(), [])


TICKS = 16
"""Of a second: what times are made of here, so that sums of them are exact."""

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
    def test_as_a_delayed_call_for_each(self, steps: list[tuple[str, int, float]]) -> None:
        clock = StrictClock()
        clock.advance(7.5)
        deadlines = Deadlines(clock)
        ones = [One(clock) for _ in range(6)]
        due: dict[int, float] = {}
        expected: list[list[float]] = [[] for _ in ones]

        def advance(seconds: float) -> None:
            for _ in range(int(seconds * TICKS)):
                clock.advance(1 / TICKS)
                for who, when in list(due.items()):
                    if when <= clock.seconds():
                        expected[who].append(clock.seconds())
                        del due[who]

        for what, who, seconds in steps:
            if what == "arm":
                deadlines.arm(ones[who], seconds)
                due[who] = clock.seconds() + seconds
            elif what == "move" and who in due:
                due[who] += seconds
                ones[who].due += seconds
            elif what == "disarm":
                deadlines.disarm(ones[who])
                due.pop(who, None)
            elif what == "advance":
                advance(seconds)
            self.assertEqual({n for n, one in enumerate(ones) if one.slot is not None}, set(due))
        advance(60)
        self.assertEqual([one.passed for one in ones], expected)
        self.assertEqual(clock.getDelayedCalls(), [])
