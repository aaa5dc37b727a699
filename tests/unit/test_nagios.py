import re

from twisted.trial.unittest import SynchronousTestCase

from echod.common.addresses import HostPort
from echod.common.assertions import Assertion, parse_assertion
from echod.ping.nagios import PluginState, plugin_line, plugin_result
from echod.ping.statistics import PHASES, Statistics
from tests.support.results import FULL, echoed, lost

TARGET = HostPort("::1", 3005)

LABEL = r"[a-z_0-9.]+"
RANGE = r"@?(-?[\d.]+:?)?([\d.]+)?"
DATUM = re.compile(rf"{LABEL}=[\d.]+(us|ms|s|%)?;{RANGE};{RANGE};0?;(100)?")
"""One item of performance data, in the format of the guidelines."""


def run_of(*round_trips: int, losses: int = 0) -> Statistics:
    run = Statistics()
    for time in round_trips:
        run.add(echoed(time))
    for _ in range(losses):
        run.add(lost())
    return run


def thresholds(*texts: str) -> tuple[Assertion, ...]:
    return tuple(parse_assertion(text, PHASES) for text in texts)


class PluginResultTests(SynchronousTestCase):
    def state(self, run: Statistics, warning: tuple[str, ...] = (), critical: tuple[str, ...] = ()) -> PluginState:
        return plugin_result(run, thresholds(*warning), thresholds(*critical)).state

    def test_the_states_are_exit_statuses(self) -> None:
        self.assertEqual(
            [*map(int, (PluginState.OK, PluginState.WARNING, PluginState.CRITICAL, PluginState.UNKNOWN))], [0, 1, 2, 3]
        )

    def test_any_loss_is_critical_by_default(self) -> None:
        self.assertIs(self.state(run_of(100)), PluginState.OK)
        self.assertIs(self.state(run_of(100, losses=1)), PluginState.CRITICAL)
        self.assertIs(self.state(run_of(100, losses=1), ("p99>1s",), ("max>2s",)), PluginState.CRITICAL)

    def test_thresholds_about_losses(self) -> None:
        run = run_of(*[100] * 9, losses=1)
        self.assertIs(self.state(run, critical=("lost>20%",)), PluginState.OK)
        self.assertIs(self.state(run, ("lost>0",), ("lost>20%",)), PluginState.WARNING)
        self.assertIs(self.state(run, critical=("echoed<9",)), PluginState.OK)

    def test_critical_is_checked_before_warning(self) -> None:
        run = run_of(60_000)
        self.assertIs(self.state(run, ("p99>20ms",), ("p99>50ms",)), PluginState.CRITICAL)
        self.assertIs(self.state(run, ("p99>20ms",), ("p99>70ms",)), PluginState.WARNING)
        self.assertIs(self.state(run, ("p99>65ms",), ("p99>70ms",)), PluginState.OK)

    def test_a_threshold_without_samples_is_met(self) -> None:
        self.assertIs(self.state(run_of(100), ("tls.p99>1s",)), PluginState.WARNING)
        self.assertIs(self.state(run_of(losses=3), ("lost>90%",), ("p99>1s",)), PluginState.CRITICAL)

    def test_no_probe_ended(self) -> None:
        result = plugin_result(run_of(), (), ())
        self.assertEqual((result.state, result.reasons), (PluginState.UNKNOWN, ("no probe ended",)))

    def test_reasons(self) -> None:
        run = run_of(60_000, losses=1)
        limits = thresholds("p99>20ms"), thresholds("max>50ms", "p50>90ms", "tls.max>1s")
        self.assertEqual(
            plugin_result(run, *limits).reasons, ("max>50ms: 60.000 ms", "tls.max>1s: no samples", "lost>0: 1")
        )
        self.assertEqual(plugin_result(run_of(100), (), ()).reasons, ())


class LineTests(SynchronousTestCase):
    def line(self, run: Statistics, warning: tuple[str, ...] = (), critical: tuple[str, ...] = ()) -> str:
        limits = thresholds(*warning), thresholds(*critical)
        line = plugin_line(TARGET, run, plugin_result(run, *limits), *limits)
        words, _, data = line.partition(" | ")
        self.assertNotIn("|", words + data)
        self.assertNotIn("\n", line)
        for datum in data.split(" "):
            self.assertTrue(DATUM.fullmatch(datum), datum)
        labels = [datum.partition("=")[0] for datum in data.split()]
        self.assertEqual(len(labels), len(set(labels)))
        return line

    def test_ok(self) -> None:
        self.assertEqual(
            self.line(run_of(100, 300)),
            "ECHOD OK - ::1 port 3005, 2 of 2 echoed, p50 0.100 ms | sent=2;;;0; echoed=2;;;0; lost=0;;0;0; "
            "loss=0.000%;;;0;100 rtt_min=0.100ms;;;0; rtt_p50=0.100ms;;;0; rtt_p99=0.300ms;;;0; rtt_max=0.300ms;;;0;",
        )

    def test_the_thresholds_that_were_met_are_shown_with_the_measured_value(self) -> None:
        line = self.line(run_of(100, 60_000), ("p99>20ms", "lost>0"), ("lost>50%",))
        self.assertTrue(
            line.startswith("ECHOD WARNING - ::1 port 3005, 2 of 2 echoed, p50 0.100 ms, p99>20ms: 60.000 ms |")
        )
        self.assertIn(" lost=0;0;;0; loss=0.000%;;50;0;100 ", line)
        self.assertIn(" rtt_p99=60.000ms;20;;0; ", line)

    def test_the_median_is_in_milliseconds(self) -> None:
        self.assertTrue(
            self.line(run_of(60_000)).startswith("ECHOD OK - ::1 port 3005, 1 of 1 echoed, p50 60.000 ms |")
        )

    def test_nothing_echoed(self) -> None:
        line = self.line(run_of(losses=2))
        self.assertTrue(line.startswith("ECHOD CRITICAL - ::1 port 3005, 0 of 2 echoed, lost>0: 2 | sent=2;"), line)
        self.assertNotIn("rtt", line)

    def test_thresholds_as_ranges(self) -> None:
        run = run_of(5000)
        for text, range_ in (
            ("p99>7ms", "7"), ("p99>=7ms", "@7:"), ("p99<2us", "0.002:"), ("p99<=0.5ms", "@0.5"),
            ("p99==1s", "@1000:1000"), ("p99>10ms", "10"), ("p99>0us", "0"), ("p99>1.5us", "0.0015"),
        ):  # fmt: skip
            self.assertIn(f" rtt_p99=5.000ms;{range_};;0;", self.line(run, (text,)))

    def test_counts_as_ranges(self) -> None:
        line = self.line(run_of(5000), ("sent<10", "sent<5"), ("lost>=20%", "echoed<=1"))
        for datum in ("sent=1;10:;;0;", "echoed=1;;@1;0;", "lost=0;;;0;", "loss=0.000%;;@20:;0;100"):
            self.assertIn(f" {datum} ", line)

    def test_the_first_threshold_about_a_value_is_its_range(self) -> None:
        self.assertIn(" rtt_p99=5.000ms;7;9;0;", self.line(run_of(5000), ("p99>7ms", "p99>8ms"), ("p99>9ms",)))

    def test_phases_of_the_thresholds_are_in_the_performance_data(self) -> None:
        run = Statistics()
        run.add(FULL)
        line = self.line(run, ("connect.p99.9>1s", "tls.max>5ms"), ("tls.max>9ms", "mean>1s"))
        for datum in ("connect_p99.9=250.300ms;1000;;0;", "tls_max=4.100ms;5;9;0;", "rtt_mean=0.539ms;;1000;0;"):
            self.assertIn(f" {datum}", line)
