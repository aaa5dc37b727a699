import json
from collections import Counter
from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from echod.client.outcomes import Outcome
from echod.load.statistics import LATE, SHORTEST, SLICE, LoadStatistics, Slice


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
    def test_json_and_back(self) -> None:
        sent = part(3, refused=2, late=1)
        self.assertEqual(Slice.from_object(json.loads(json.dumps(sent.to_object()))), sent)


class LoadStatisticsTests(SynchronousTestCase):
    def test_merging_keeps_every_record(self) -> None:
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

    def test_an_interval_is_complete_with_a_slice_of_each_generator(self) -> None:
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

    def test_half_of_the_records_failed(self) -> None:
        statistics = LoadStatistics(1)
        statistics.add(part(0, refused=10))
        statistics.finish(0.5, 4, interrupted=True)
        self.assertEqual((statistics.sent, statistics.echoed, statistics.lost, statistics.unfinished), (24, 10, 10, 4))
        self.assertEqual(statistics.details, {Outcome.REFUSED: "connection refused"})
        self.assertEqual(statistics.times["response"].count, 10)

    def test_nothing_echoed(self) -> None:
        statistics = LoadStatistics(1)
        statistics.add(part(0, {}, refused=5))
        self.assertEqual((statistics.times, statistics.intervals[0].response, statistics.rate), ({}, None, 0))

    def test_behind_is_more_than_one_in_a_hundred(self) -> None:
        for late, behind in ((10, False), (11, True)):
            statistics = LoadStatistics(1)
            statistics.add(part(0, {100: 1000}, late=late))
            self.assertEqual((statistics.late, statistics.behind), (late, behind))

    def test_before_the_first_slice(self) -> None:
        statistics = LoadStatistics(1)
        self.assertEqual((statistics.sent, statistics.unfinished, statistics.elapsed, statistics.rate), (0, 0, 0, 0))
        self.assertEqual((statistics.late, statistics.behind, statistics.intervals), (0, False, []))
        self.assertEqual(Slice(0, 0.5).connections, 0)

    def test_the_short_rest_of_a_slice_after_the_end_is_no_interval(self) -> None:
        statistics = LoadStatistics(1)
        statistics.add(part(0))
        statistics.add(Slice(1, 0.503))
        self.assertEqual(len(statistics.intervals), 1)

    def test_an_empty_interval_of_half_a_slice_counts(self) -> None:
        statistics = LoadStatistics(1)
        statistics.add(Slice(0, SLICE / 2))
        self.assertEqual([(each.until, each.seconds) for each in statistics.intervals], [(0.25, 0.25)])
        statistics.add(Slice(1, SLICE * 1.49))
        self.assertEqual(len(statistics.intervals), 1)
        statistics.add(Slice(2, SLICE * 2.9))
        self.assertEqual([each.until for each in statistics.intervals], [0.25, 1.45])

    def test_the_length_of_an_interval_is_that_from_its_own_start(self) -> None:
        statistics = LoadStatistics(1)
        for index, until in enumerate((0.5, 1.25, 1.75)):
            statistics.add(replace(part(index), until=until))
        self.assertEqual([each.seconds for each in statistics.intervals], [0.5, 0.75, 0.75])
        statistics.add(replace(part(3), until=1.5))
        self.assertEqual(statistics.intervals[-1].seconds, SHORTEST)

    def test_the_last_generator_ends_an_interval(self) -> None:
        statistics = LoadStatistics(2)
        statistics.add(replace(part(1), until=0.9))
        statistics.add(replace(part(1), until=1.0))
        self.assertEqual((statistics.intervals[0].until, statistics.intervals[0].seconds), (1.0, 0.5))

    def test_quantiles_of_an_interval(self) -> None:
        statistics = LoadStatistics(1)
        statistics.add(replace(part(0, dict.fromkeys(range(1, 1001), 1)), service={7: 1000}))
        (interval,) = statistics.intervals
        self.assertEqual((interval.response, interval.service), ((500, 990, 999, 1000), (7, 7, 7, 7)))

    def test_a_record_is_late_above_the_limit(self) -> None:
        statistics = LoadStatistics(1)
        statistics.add(replace(part(0), lateness={LATE: 5, LATE + 1: 3, 0: 2}))
        self.assertEqual((statistics.late, statistics.late_percent, statistics.lateness.count), (3, 30, 10))

    def test_the_rate_of_an_unfinished_run_is_that_of_its_intervals(self) -> None:
        statistics = LoadStatistics(1)
        self.assertEqual((statistics.rate, statistics.late_percent), (0, 0))
        statistics.add(part(0))
        statistics.add(part(1))
        self.assertEqual(statistics.rate, 20)
        statistics.finish(4.0, 0, interrupted=False)
        self.assertEqual(statistics.rate, 5)

    def test_the_first_detail_of_an_outcome_stays(self) -> None:
        statistics = LoadStatistics(1)
        for index, detail in enumerate(("first", "second")):
            statistics.add(replace(part(index, refused=1), details={Outcome.REFUSED: detail}))
        self.assertEqual(statistics.details, {Outcome.REFUSED: "first"})
