import json
from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from echod.client.outcomes import Outcome
from echod.load.statistics import LoadStatistics, Slice


def part(index: int = 0, times: dict[int, int] | None = None, refused: int = 0, late: int = 0) -> Slice:
    times = {100: 9, 5000: 1} if times is None else times
    number = sum(times.values())
    return Slice(
        index,
        (index + 1) * 0.5,
        connections=2,
        outcomes=Counter({Outcome.ECHOED: number, Outcome.REFUSED: refused}),
        details={Outcome.REFUSED: "connection refused"} if refused else {},
        response=times,
        service={50: number} if number else {},
        lateness={10: number + refused - late, 2000: late},
    )


class SliceTests(SynchronousTestCase):
    def test_the_way_through_json_changes_nothing(self) -> None:
        sent = part(3, refused=2, late=1)
        self.assertEqual(Slice.of(json.loads(json.dumps(sent.plain()))), sent)


class LoadStatisticsTests(SynchronousTestCase):
    def test_merging_loses_none(self) -> None:
        statistics = LoadStatistics(2)
        for index in range(10):
            for times in ({100: 3, 70_000_000: 1, 0: 1}, {123_456: 5}):
                statistics.add(part(index, times))
        statistics.finish(5.0, 0, interrupted=False)
        self.assertEqual(statistics.echoed, 100)
        for name in ("response", "service"):
            self.assertEqual(statistics.times[name].count, 100)
            self.assertEqual(sum(number for _, number in statistics.times[name]), 100)
        self.assertEqual(sum(each.echoed for each in statistics.intervals), 100)
        self.assertEqual(statistics.rate, 20)

    def test_a_slice_is_told_when_each_generator_has(self) -> None:
        statistics = LoadStatistics(2)
        statistics.add(part(0))
        statistics.add(part(1))
        self.assertEqual(statistics.intervals, [])
        statistics.add(part(0, {200: 10}, refused=3))
        (interval,) = statistics.intervals
        self.assertEqual((interval.until, interval.echoed, interval.failed, interval.connections), (0.5, 20, 3, 4))
        self.assertEqual(interval.response, (200, 5000, 5000, 5000))
        statistics.finish(1.0, 0, interrupted=False)
        self.assertEqual(len(statistics.intervals), 2)

    def test_half_of_them_failed(self) -> None:
        statistics = LoadStatistics(1)
        statistics.add(part(0, refused=10))
        statistics.finish(0.5, 4, interrupted=True)
        self.assertEqual((statistics.sent, statistics.echoed, statistics.lost, statistics.unfinished), (24, 10, 10, 4))
        self.assertEqual(statistics.lost_percent, 50)
        self.assertEqual(statistics.details, {Outcome.REFUSED: "connection refused"})
        self.assertEqual(statistics.times["response"].count, 10)

    def test_nothing_echoed(self) -> None:
        statistics = LoadStatistics(1)
        statistics.add(part(0, {}, refused=5))
        self.assertEqual((statistics.times, statistics.intervals[0].response, statistics.rate), ({}, None, 0))

    def test_behind_is_more_than_one_in_a_hundred(self) -> None:
        for late, behind in ((1, False), (2, True)):
            statistics = LoadStatistics(1)
            statistics.add(part(0, {100: 100}, late=late))
            self.assertEqual((statistics.late, statistics.behind), (late, behind))

    def test_what_is_left_of_a_slice_after_the_end_is_not_told(self) -> None:
        statistics = LoadStatistics(1)
        statistics.add(part(0))
        statistics.add(Slice(1, 0.503))
        self.assertEqual(len(statistics.intervals), 1)
