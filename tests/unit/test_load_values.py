from twisted.trial.unittest import SynchronousTestCase

from echod.load.schedule import Arrival
from echod.load.search import Search


class ArrivalTests(SynchronousTestCase):
    def test_the_values_of_the_option(self) -> None:
        self.assertEqual([arrival.value for arrival in Arrival], ["uniform", "poisson"])


class SearchTests(SynchronousTestCase):
    def test_the_rates_tried_are_whole_numbers(self) -> None:
        search = Search(1000)
        tried: list[int] = []
        while not search.over:
            assert len(tried) < 16, tried
            tried.append(search.rate)
            search.record(held=search.rate <= 1001)
        self.assertEqual(tried, [1000, 2000, 1500, 1250, 1125, 1062, 1031])
