from itertools import chain, pairwise
from math import log
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from echod.load.schedule import Arrival, arrivals

PARTS = (1, 2, 3, 7)


def no_random() -> float:
    raise AssertionError("uniform arrivals use no random numbers")


class UniformTests(SynchronousTestCase):
    def test_records_are_due_at_equal_gaps(self) -> None:
        self.assertEqual(list(arrivals(Arrival.UNIFORM, 4, 1.0, no_random)), [0, 0.25, 0.5, 0.75])

    def test_rounding_errors_do_not_accumulate(self) -> None:
        moments = list(arrivals(Arrival.UNIFORM, 3_000, 100.0, no_random))
        self.assertEqual(len(moments), 300_000)
        self.assertEqual(moments[-1], 299_999 / 3_000)

    def test_the_union_of_the_parts_is_the_schedule(self) -> None:
        for parts in PARTS:
            union = list(chain(*(arrivals(Arrival.UNIFORM, 100, 2.0, no_random, part, parts) for part in range(parts))))
            self.assertEqual(sorted(union), list(arrivals(Arrival.UNIFORM, 100, 2.0, no_random)))


class PoissonTests(SynchronousTestCase):
    def test_the_gaps_are_the_quantiles_of_an_exponential_distribution(self) -> None:
        moments = list(arrivals(Arrival.POISSON, 10, 0.25, lambda: 0.5))
        self.assertEqual([round(moment, 9) for moment in moments], [round(log(2) / 10 * n, 9) for n in (1, 2, 3)])

    def test_the_seed_determines_the_schedule(self) -> None:
        first, again, other = (list(arrivals(Arrival.POISSON, 50, 5.0, Random(seed).random)) for seed in (1, 1, 2))
        self.assertEqual(first, again)
        self.assertNotEqual(first, other)

    def test_the_union_of_the_parts_is_the_schedule(self) -> None:
        whole = list(arrivals(Arrival.POISSON, 300, 10.0, Random(1).random))
        for parts in PARTS:
            each = [list(arrivals(Arrival.POISSON, 300, 10.0, Random(1).random, part, parts)) for part in range(parts)]
            self.assertEqual(sorted(chain(*each)), whole)
            lengths = [len(moments) for moments in each]
            self.assertLessEqual(max(lengths) - min(lengths), 1)

    def test_rate_and_gaps_are_those_of_a_poisson_process(self) -> None:
        for parts in PARTS:
            moments = sorted(
                chain(*(arrivals(Arrival.POISSON, 100, 200.0, Random(1).random, part, parts) for part in range(parts)))
            )
            self.assertTrue(all(0 < moment < 200 for moment in moments))
            # The standard deviation of the number is its root, 141; 1/e of exponential gaps exceed their mean.
            self.assertLess(abs(len(moments) - 20_000), 5 * 141)
            gaps = [later - earlier for earlier, later in pairwise(moments)]
            self.assertTrue(all(gap >= 0 for gap in gaps))
            self.assertLess(abs(sum(gap > 0.01 for gap in gaps) / len(gaps) - 0.368), 0.02)

    def test_a_part_has_its_share_of_the_rate(self) -> None:
        moments = list(arrivals(Arrival.POISSON, 300, 100.0, Random(1).random, part=1, parts=3))
        self.assertLess(abs(len(moments) - 10_000), 500)
