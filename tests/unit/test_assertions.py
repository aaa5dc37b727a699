from twisted.trial.unittest import SynchronousTestCase

from echod.client.outcomes import PhaseTimes
from echod.common.assertions import Assertion, AssertionResult, AssertionType, Unit, parse_assertion
from echod.ping.statistics import PHASES, Statistics
from tests.support.results import echoed, lost


def judged(text: str, run: Statistics) -> AssertionResult:
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
            ("", "METRIC COMPARATOR BOUND"), ("p99", "METRIC COMPARATOR BOUND"), ("p99=5ms", "< <= > >= =="),
            ("p99<-5ms", "not 'p99<-5ms'"), ("p99<5mss", "not 'p99<5mss'"),
            ("p99<1e3ms", "not "), ("p99<nanms", "not "),
            ("p99<5ms lost<1%", "not "), ("p99<" + "9" * 5000 + "ms", "not "), ("p99<\u0665ms", "not "),
            ("p98<5ms", "one of min, mean, p50, p90, p95, p99, p99.9, max, sent, echoed, lost, not p98"),
            ("connect.lost<5", "one of min, mean, p50, p90, p95, p99, p99.9, max, not lost"),
            ("dns.p99<5ms", "a phase of resolve, connect, tls, idle, first_byte, echo, close, not dns"),
            ("p99<5", "p99 in us, ms, s, not a bare number"), ("p99<5%", "p99 in us, ms, s, not %"),
            ("lost<5ms", "a number or a percentage for lost, not ms"), ("echoed>99%", "a number for echoed, not %"),
        ):  # fmt: skip
            with self.assertRaises(ValueError, msg=text) as refused:
                parse_assertion(text, PHASES)
            self.assertTrue(str(refused.exception).startswith("must "), refused.exception)
            self.assertIn(words, str(refused.exception))

    def test_as_the_kind_of_an_option(self) -> None:
        kind = AssertionType(PHASES)
        made = kind.from_text("p99<50ms")
        self.assertIsInstance(made, Assertion)
        self.assertEqual(kind.check(made), made)
        self.assertEqual(kind.check("p99<50ms"), made)
        with self.assertRaises(ValueError):
            kind.check(5)


class JudgementTests(SynchronousTestCase):
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
            self.assertIs(judged(text, self.run_).holds, holds, text)

    def test_counts(self) -> None:
        for text, holds in (
            ("lost<1%", False), ("lost<=1%", True), ("lost==1", True), ("sent==100", True), ("echoed>=99", True),
            ("echoed>99", False),
        ):  # fmt: skip
            self.assertIs(judged(text, self.run_).holds, holds, text)

    def test_what_was_measured_is_told(self) -> None:
        for text, shown in (("p50<1ms", "50.01"), ("lost<1%", "1%"), ("lost<1", "1"), ("sent>1000", "100")):
            verdict = judged(text, self.run_)
            self.assertFalse(verdict.holds)
            self.assertTrue(verdict.display.startswith(shown), verdict.display)

    def test_of_what_has_no_samples_nothing_holds(self) -> None:
        nothing = Statistics()
        for text in ("tls.p50<1s", "tls.p50>=0us"):
            self.assertEqual(judged(text, self.run_), AssertionResult(parse_assertion(text, PHASES), None, holds=False))
        for text in ("p50<1s", "lost<1%", "lost==0"):
            verdict = judged(text, nothing)
            self.assertEqual((verdict.value, verdict.holds, verdict.display), (None, False, "no samples"))
        self.assertTrue(judged("sent==0", nothing).holds)

    def test_probes_under_way_are_no_losses(self) -> None:
        run = Statistics()
        run.add(echoed())
        run.finish(sent=2, elapsed=1.0)
        self.assertTrue(judged("lost==0", run).holds)
        self.assertTrue(judged("sent==2", run).holds)
