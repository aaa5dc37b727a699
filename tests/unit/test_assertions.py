from twisted.trial.unittest import SynchronousTestCase

from echod.client.outcomes import PhaseTimes
from echod.common.assertions import (
    TIME_METRICS,
    Assertion,
    AssertionResult,
    AssertionType,
    Unit,
    assertion_object,
    parse_assertion,
    run_succeeded,
)
from echod.common.histogram import Histogram
from echod.ping.statistics import PHASES, Statistics
from tests.support.results import echoed, lost


def evaluated(text: str, run: Statistics) -> AssertionResult:
    return parse_assertion(text, PHASES).evaluate(run)


class GrammarTests(SynchronousTestCase):
    def test_times(self) -> None:
        for text, metric, bound in (
            ("p99<50ms", "p99", 50_000), ("p99.9 <= 1.5s", "p99.9", 1_500_000), ("p999>7us", "p99.9", 7),
            (" max == 0.0007 s ", "max", 700), ("mean>=0.3ms", "mean", 300), ("min<1us", "min", 1),
        ):  # fmt: skip
            made = parse_assertion(text, PHASES)
            self.assertEqual((made.phase, made.metric, made.bound), ("echo", metric, bound), text)
            self.assertIs(made.unit, Unit.MICROSECONDS)
            self.assertEqual(made.text, text.replace(" ", ""))

    def test_phases(self) -> None:
        for text, phase in (
            ("connect.p99<10ms", "connect"),
            ("first_byte . max < 1s", "first_byte"),
            ("echo.p50<1s", "echo"),
        ):
            self.assertEqual(parse_assertion(text, PHASES).phase, phase)

    def test_counts(self) -> None:
        for text, unit in (
            ("lost<1%", Unit.PERCENT),
            ("lost==0", Unit.COUNT),
            ("sent>=10", Unit.COUNT),
            ("echoed>0", Unit.COUNT),
        ):
            made = parse_assertion(text, PHASES)
            self.assertEqual((made.phase, made.unit), (None, unit))

    def test_refused_with_what_is_allowed(self) -> None:
        for text, words in (
            ("", "such as p99<50ms, connect.max<=1s or lost<1%, with a comparator of < <= > >= ==, not ''"),
            ("p99", "METRIC COMPARATOR BOUND"), ("p99=5ms", "< <= > >= =="), ("p99!=5ms", "not 'p99!=5ms'"),
            ("p99<-5ms", "not 'p99<-5ms'"), ("p99<5mss", "not 'p99<5mss'"),
            ("p99<1e3ms", "not "), ("p99<nanms", "not "),
            ("p99<5ms lost<1%", "not "), ("p99<" + "9" * 5000 + "ms", "not "), ("p99<\u0665ms", "not "),
            ("p98<5ms", "one of min, mean, p50, p90, p95, p99, p99.9, max, sent, echoed, lost, not p98"),
            ("connect.lost<5", "one of min, mean, p50, p90, p95, p99, p99.9, max, not lost"),
            ("dns.p99<5ms", "one of the phases resolve, connect, tls, idle, first_byte, echo, close, not dns"),
            ("p99<5", "p99 in us, ms, s, not a bare number"), ("p99<5%", "p99 in us, ms, s, not %"),
            ("lost<5ms", "must give a number or a percentage for lost, not ms"),
            ("echoed>99%", "must give a number for echoed, not %"),
        ):  # fmt: skip
            with self.assertRaises(ValueError, msg=text) as refused:
                parse_assertion(text, PHASES)
            self.assertTrue(str(refused.exception).startswith("must "), refused.exception)
            self.assertIn(words, str(refused.exception))

    def test_as_an_option_type(self) -> None:
        option_type = AssertionType(PHASES)
        self.assertEqual((option_type.metavar, option_type.repeatable), ("EXPR", False))
        made = option_type.from_text("p99<50ms")
        self.assertIsInstance(made, Assertion)
        self.assertIs(option_type.check(made), made)
        self.assertEqual(option_type.check("p99<50ms"), made)
        with self.assertRaises(ValueError) as refused:
            option_type.check(True)
        self.assertEqual(str(refused.exception), "must be text such as p99<50ms, not true")

    def test_the_default_phase(self) -> None:
        self.assertEqual(AssertionType(PHASES).from_text("p99<1s").phase, "echo")
        self.assertEqual(AssertionType(("a", "b"), "b").from_text("p99<1s").phase, "b")
        self.assertEqual(AssertionType(("a", "b"), "b").from_text("a.p99<1s").phase, "a")
        self.assertEqual(parse_assertion("max<1s", ("a", "b"), "b").phase, "b")

    def test_the_longest_numbers(self) -> None:
        self.assertEqual(parse_assertion("sent<" + "9" * 15, PHASES).bound, 999_999_999_999_999)
        self.assertEqual(parse_assertion("lost<0.123456789%", PHASES).bound, 0.123456789)
        for text in ("sent<" + "9" * 16, "lost<0.1234567890%", "lost<.5%", "lost<5.%"):
            with self.assertRaises(ValueError, msg=text):
                parse_assertion(text, PHASES)


class TimeMetricTests(SynchronousTestCase):
    def test_each_is_of_its_name(self) -> None:
        times = Histogram()
        for time in range(1, 1001):
            times.record(time)
        self.assertEqual({name: metric(times) for name, metric in TIME_METRICS.items()}, {
            "min": 1, "mean": 500.5, "p50": 500, "p90": 900, "p95": 950, "p99": 990, "p99.9": 999, "max": 1000,
        })  # fmt: skip


class EvaluationTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.run_ = Statistics()
        for time in range(1, 100):
            self.run_.add(echoed(time * 1000, times=PhaseTimes(connect=10, echo=time * 1000)))
        self.run_.add(lost())

    def test_comparators(self) -> None:
        for text, holds in (
            ("max<99ms", False), ("max<=99ms", True), ("max==99ms", True), ("max>99ms", False), ("max>=99ms", True),
            ("max<99.001ms", True), ("p50>=50ms", True), ("connect.max<=10us", True), ("connect.min<10us", False),
            ("mean==50ms", True), ("p99.9>98ms", True), ("p90<91ms", True), ("p95<94ms", False),
        ):  # fmt: skip
            self.assertIs(evaluated(text, self.run_).holds, holds, text)

    def test_counts(self) -> None:
        for text, holds in (
            ("lost<1%", False), ("lost<=1%", True), ("lost==1", True), ("sent==100", True), ("echoed>=99", True),
            ("echoed>99", False),
        ):  # fmt: skip
            self.assertIs(evaluated(text, self.run_).holds, holds, text)

    def test_the_measured_value_is_shown(self) -> None:
        for text, shown in (
            ("p50<1ms", "50.015 ms"),
            ("max<1ms", "99.000 ms"),
            ("lost<1%", "1%"),
            ("lost<1", "1"),
            ("sent>1000", "100"),
        ):
            verdict = evaluated(text, self.run_)
            self.assertEqual((verdict.holds, verdict.display), (False, shown))

    def test_the_percentage_is_of_the_probes_that_ended(self) -> None:
        run = Statistics()
        for result in (echoed(), lost(), lost(), lost()):
            run.add(result)
        run.finish(sent=8, elapsed=1.0)
        self.assertEqual((evaluated("lost<1%", run).value, evaluated("lost<1", run).value), (75.0, 3))

    def test_the_units(self) -> None:
        self.assertEqual([each.value for each in Unit], ["us", "%", "count"])

    def test_percentages_have_three_digits(self) -> None:
        verdict = AssertionResult(parse_assertion("lost<1%", PHASES), 100 / 3, holds=False)
        self.assertEqual(verdict.display, "33.3%")

    def test_as_an_object(self) -> None:
        self.assertEqual(
            assertion_object(evaluated("mean<1us", self.run_)),
            {"assertion": "mean<1us", "holds": False, "measured": 50_000.0, "unit": "us"},
        )
        third = AssertionResult(parse_assertion("lost < 50%", PHASES), 100 / 3, holds=True)
        self.assertEqual(
            assertion_object(third), {"assertion": "lost<50%", "holds": True, "measured": 33.333, "unit": "%"}
        )
        self.assertEqual(
            assertion_object(evaluated("tls.p50<1s", self.run_)), {"assertion": "tls.p50<1s", "holds": False}
        )

    def test_without_samples_nothing_holds(self) -> None:
        empty = Statistics()
        for text in ("tls.p50<1s", "tls.p50>=0us"):
            self.assertEqual(
                evaluated(text, self.run_), AssertionResult(parse_assertion(text, PHASES), None, holds=False)
            )
        for text in ("p50<1s", "lost<1%", "lost==0"):
            verdict = evaluated(text, empty)
            self.assertEqual((verdict.value, verdict.holds, verdict.display), (None, False, "no samples"))
        self.assertTrue(evaluated("sent==0", empty).holds)

    def test_unfinished_probes_are_not_lost(self) -> None:
        run = Statistics()
        run.add(echoed())
        run.finish(sent=2, elapsed=1.0)
        self.assertTrue(evaluated("lost==0", run).holds)
        self.assertTrue(evaluated("sent==2", run).holds)

    def test_an_empty_histogram_has_no_samples(self) -> None:
        run = Statistics()
        run.times["echo"] = Histogram()
        self.assertIsNone(evaluated("p50<1s", run).value)


class RunSucceededTests(SynchronousTestCase):
    def succeeded(self, run: Statistics, *texts: str, judged_by: tuple[str, ...] = ()) -> bool:
        others = [parse_assertion(text, PHASES) for text in judged_by]
        return run_succeeded(run, [evaluated(text, run) for text in texts], *others)

    def setUp(self) -> None:
        self.good, self.lossy, self.empty = Statistics(), Statistics(), Statistics()
        self.good.add(echoed())
        self.lossy.add(echoed())
        self.lossy.add(lost())

    def test_a_loss_is_a_failure(self) -> None:
        self.assertTrue(self.succeeded(self.good))
        self.assertFalse(self.succeeded(self.lossy))
        self.assertFalse(self.succeeded(self.empty))
        self.assertFalse(self.succeeded(self.lossy, "sent==2", "p50>1us"))

    def test_an_assertion_may_allow_losses(self) -> None:
        self.assertTrue(self.succeeded(self.lossy, "lost<=50%"))
        self.assertTrue(self.succeeded(self.lossy, "echoed>=1"))
        self.assertFalse(self.succeeded(self.lossy, "lost<50%"))
        self.assertTrue(self.succeeded(self.lossy, judged_by=("lost<1",)))
        self.assertFalse(self.succeeded(self.lossy, judged_by=("p50<1s",)))

    def test_every_assertion_has_to_hold(self) -> None:
        self.assertTrue(self.succeeded(self.good, "p50>1us", "sent==1"))
        self.assertFalse(self.succeeded(self.good, "p50>1us", "sent==2"))
        self.assertFalse(self.succeeded(self.good, "p50<1us", "sent==1"))
