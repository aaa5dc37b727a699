from twisted.trial.unittest import SynchronousTestCase

from echod.load.search import PRECISION, Search


def searched(limit: int, first: int) -> tuple[Search, list[int]]:
    """Search where what holds, holds up to `limit`."""
    search = Search(first)
    tried: list[int] = []
    while not search.over:
        assert len(tried) < 64, tried
        tried.append(search.rate)
        search.record(held=search.rate <= limit)
    return search, tried


class SearchTests(SynchronousTestCase):
    def test_what_is_found_holds_and_little_more_does(self) -> None:
        for limit in (1, 2, 3, 17, 999, 1000, 1001, 123_456):
            for first in (1, 10, 1000, 50_000):
                search, tried = searched(limit, first)
                assert search.holds is not None
                self.assertLessEqual(search.holds, limit)
                self.assertLessEqual(limit - search.holds, max(search.holds * PRECISION, 1), (limit, first))
                self.assertEqual(len(tried), len(set(tried)), "each rate is tried once")

    def test_the_steps(self) -> None:
        self.assertEqual(searched(5000, 1000)[1], [1000, 2000, 4000, 8000, 6000, 5000, 5500, 5250])

    def test_where_it_holds_at_no_rate(self) -> None:
        search, tried = searched(0, 10)
        self.assertIsNone(search.holds)
        self.assertEqual(tried, [10, 5, 2, 1])
