import json
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from echod.client.outcomes import ProbeResult
from echod.common.addresses import HostPort
from echod.ping.config import PingConfiguration
from echod.ping.statistics import Statistics
from echod.ping.views import LIVE_INTERVAL, View, make_view
from tests.support.pages import output
from tests.support.results import FULL, echoed, lost

TARGET = HostPort("::1", 3005)
ERASE = "\r\x1b[J"


class ViewTestCase(SynchronousTestCase):
    def view(self, *, terminal: bool = False, width: int = 100, **options: Any) -> View:
        self.clock = Clock()
        self.config = PingConfiguration(**options)
        self.statistics = Statistics()
        self.output, self.stream = output(terminal=terminal, width=width)
        self.made = make_view(TARGET, self.config, self.statistics, self.output, self.clock.seconds)
        return self.made

    def add(self, *results: ProbeResult) -> None:
        for result in results:
            self.statistics.add(result)
            self.made.on_result(result)

    def end(self) -> int:
        self.statistics.finish(self.statistics.ended, 1.0)
        return self.made.end([each.evaluate(self.statistics) for each in self.config.assert_])

    @property
    def lines(self) -> list[str]:
        return self.stream.written.splitlines()


class LineViewTests(ViewTestCase):
    def test_a_run(self) -> None:
        self.view().begin()
        self.add(echoed(), lost(sequence=2))
        self.assertEqual(self.end(), 1)
        begins = ["ECHO", "250 ", "no e", "", "--- ", "2 se", "lost", "roun", "ms  ", "conn"]
        self.assertEqual([line[:4] for line in self.lines], begins)
        self.assertNotIn("\x1b", self.stream.written)

    def test_quiet(self) -> None:
        self.view(quiet=True, terminal=True).begin()
        self.add(echoed())
        self.assertEqual(len(self.lines), 1)
        self.made.redraw()
        self.assertEqual(self.end(), 0)
        self.assertIn("1 sent, 1 echoed", self.stream.written)

    def test_verbose(self) -> None:
        self.view(verbose=True)
        self.add(FULL)
        self.assertIn("    tls: TLSv1.3", self.stream.written)

    def test_the_live_line(self) -> None:
        self.view(terminal=True)
        self.made.redraw()
        self.assertEqual(self.stream.written, "")
        self.add(echoed(100))
        self.assertIn("1 echoed", self.stream.written)
        self.add(echoed(100))
        self.clock.advance(LIVE_INTERVAL - 0.001)
        self.add(echoed(100))
        self.assertNotIn("2 echoed", self.stream.written)
        self.assertNotIn("3 echoed", self.stream.written)
        self.clock.advance(0.001)
        self.add(echoed(100))
        self.assertIn("4 echoed", self.stream.written)

    def test_a_changed_width_redraws_it_at_once(self) -> None:
        self.view(terminal=True)
        self.add(echoed(100))
        self.output.columns = 40
        before = len(self.stream.written)
        self.made.redraw()
        self.assertTrue(self.stream.written[before:].startswith(f"{ERASE}\x1b[32m0/1 lost"))


class StatusTests(ViewTestCase):
    def status(self, *results: ProbeResult, **options: Any) -> int:
        self.view(**options)
        self.add(*results)
        return self.end()

    def test_without_assertions_any_loss_is_a_failure(self) -> None:
        for results, status in (((echoed(),), 0), ((echoed(), lost()), 1), ((lost(),), 1), ((), 1)):
            for options in ({}, {"json": True}):
                self.assertEqual(self.status(*results, **options), status)

    def test_with_assertions(self) -> None:
        some = (echoed(100), lost())
        for results, texts, status in (
            ((echoed(100),), ("p99<50ms",), 0), ((echoed(100),), ("p99<50us",), 1),
            ((echoed(100),), ("p99<50ms", "max<1us"), 1),
            (some, ("p99<50ms",), 1), (some, ("lost<=50%",), 0), (some, ("lost<1",), 1),
            (some, ("echoed>=1", "p99<50ms"), 0),
            (some, ("sent==2",), 1), ((lost(),), ("lost<1%",), 1), ((), ("lost<1%",), 1),
        ):  # fmt: skip
            self.assertEqual(self.status(*results, assert_=texts), status, texts)


class ObjectViewTests(ViewTestCase):
    def objects(self) -> list[Any]:
        return [json.loads(line) for line in self.lines]

    def test_probes_only(self) -> None:
        self.view(json=True, terminal=True).begin()
        self.add(echoed(), lost())
        self.end()
        self.assertEqual([each["outcome"] for each in self.objects()], ["echoed", "refused"])

    def test_with_the_summary(self) -> None:
        self.view(json=True, summary=True, assert_=("p99<1us",))
        self.add(echoed())
        self.assertEqual(self.end(), 1)
        self.assertEqual([each["type"] for each in self.objects()], ["probe", "summary"])
        self.assertIs(self.objects()[1]["assertions"][0]["holds"], False)

    def test_quiet(self) -> None:
        self.view(json=True, quiet=True)
        self.add(echoed())
        self.end()
        self.assertEqual([each["type"] for each in self.objects()], ["summary"])


class PluginViewTests(ViewTestCase):
    def test_one_line_and_its_status(self) -> None:
        for results, warning, status in (
            ((echoed(),), (), 0),
            ((echoed(),), ("p99>1us",), 1),
            ((lost(),), (), 2),
            ((), (), 3),
        ):
            self.view(nagios=True, warning=warning, terminal=True).begin()
            self.add(*results)
            self.assertEqual(self.end(), status)
            self.assertEqual(len(self.lines), 1)
            self.assertTrue(self.lines[0].startswith("ECHOD "))
