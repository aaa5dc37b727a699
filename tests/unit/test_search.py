from twisted.trial.unittest import SynchronousTestCase

from echod.load.search import PRECISION, Search


def run_search(limit: int, first: int) -> tuple[Search, list[int]]:
    """Run a search whose assertion holds up to `limit`; return it and the rates tried."""
    search = Search(first)
    tried: list[int] = []
    while not search.over:
        assert len(tried) < 64, tried
        tried.append(search.rate)
        search.record(held=search.rate <= limit)
    return search, tried


class SearchTests(SynchronousTestCase):
    def test_the_rate_found_holds_and_is_close_to_the_limit(self) -> None:
        for limit in (1, 2, 3, 17, 999, 1000, 1001, 123_456):
            for first in (1, 10, 1000, 50_000):
                search, tried = run_search(limit, first)
                assert search.holds is not None
                self.assertLessEqual(search.holds, limit)
                self.assertLessEqual(limit - search.holds, max(search.holds * PRECISION, 1), (limit, first))
                self.assertEqual(len(tried), len(set(tried)), "each rate is tried once")

    def test_the_rates_tried(self) -> None:
        self.assertEqual(run_search(5000, 1000)[1], [1000, 2000, 4000, 8000, 6000, 5000, 5500, 5250])

    def test_the_bounds_of_small_rates_are_neighbours(self) -> None:
        search, tried = run_search(5, 1)
        self.assertEqual((tried, search.holds, search.fails), ([1, 2, 4, 8, 6, 5], 5, 6))

    def test_an_assertion_that_holds_at_no_rate(self) -> None:
        search, tried = run_search(0, 10)
        self.assertIsNone(search.holds)
        self.assertEqual(tried, [10, 5, 2, 1])
