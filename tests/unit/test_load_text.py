from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from echod.client.outcomes import Outcome
from echod.common.addresses import HostPort
from echod.load.config import CONDITION, LoadConfiguration
from echod.load.search import SearchStep
from echod.load.statistics import LoadStatistics, Slice
from echod.load.text import found_line, header_line, number, percent, progress_line, step_line, summary_lines
from tests.support.pages import PIPE, output

TARGET = HostPort("::1", 3005)
ASSERTION = CONDITION.from_text("p99<5ms")


def statistics_of(
    echoed: int = 0, refused: int = 0, late: int = 0, detail: str = "connection refused"
) -> LoadStatistics:
    statistics = LoadStatistics(1)
    times = {2000: echoed} if echoed else {}
    statistics.add(
        Slice(
            0,
            0.5,
            connections=3,
            outcomes=Counter({Outcome.ECHOED: echoed, Outcome.REFUSED: refused}),
            details={Outcome.REFUSED: detail} if refused else {},
            response=times,
            service=times,
            lateness={10: echoed + refused - late, 2000: late},
        )
    )
    statistics.finish(0.5, 0, interrupted=False)
    return statistics


class NumberTests(SynchronousTestCase):
    def test_percent(self) -> None:
        for part, whole, text in (
            (0, 0, "0%"), (0, 7, "0%"), (7, 7, "100%"), (1, 3, "33.3%"), (993, 10_000, "9.93%"),
            (3247, 3248, "99.97%"), (999, 1000, "99.9%"), (10**9 - 1, 10**9, "99.9999999%"), (1, 10**6, "0.0001%"),
        ):  # fmt: skip
            self.assertEqual(percent(part, whole), text)

    def test_singular_and_plural(self) -> None:
        self.assertEqual([number(count, "record") for count in (0, 1, 2)], ["0 records", "1 record", "2 records"])
        self.assertEqual(number(2, "process", "processes"), "2 processes")


class HeaderTests(SynchronousTestCase):
    def test_an_open_loop(self) -> None:
        configuration = LoadConfiguration(rate=50, duration=2, warmup=1, size=1, tls=True, tls_insecure=True)
        self.assertEqual(
            header_line(TARGET, configuration, 50, 1),
            "LOAD ::1 port 3005: 50 records/s, uniform, over up to 100 connections, one per record, TLS, the server "
            "not verified, 1 byte per record, for 2 s after 1 s of warm-up, from 1 process",
        )

    def test_a_closed_loop(self) -> None:
        self.assertEqual(
            header_line(TARGET, LoadConfiguration(connections=1, keep_alive=True), None, 2),
            "LOAD ::1 port 3005: closed loop over 1 connection, kept, 250 bytes per record, for 10 s, from 2 processes",
        )


class ProgressTests(SynchronousTestCase):
    def test_the_whole_line(self) -> None:
        page = output(environment={"TERM": "dumb"}, width=100)[0]
        line = progress_line(statistics_of(9, refused=1, late=1), LoadConfiguration(rate=20), page)
        self.assertEqual(line, "0.5/10 s  18/s  p50/p99/p99.9 2.000/2.000/2.000 ms  1 failed  3 open  generator behind")

    def test_a_narrow_terminal_gets_the_first_parts(self) -> None:
        for width in range(1, 100):
            page = output(environment={"TERM": "dumb"}, width=width)[0]
            line = progress_line(statistics_of(9, late=1), LoadConfiguration(rate=20), page)
            self.assertLess(len(line), max(width, 1))
            self.assertTrue("0.5/10 s"[: width - 1].startswith(line[:8]) or line.startswith("0.5/10 s"))

    def test_quantiles(self) -> None:
        statistics = LoadStatistics(1)
        times = dict.fromkeys(range(1, 1001), 1)
        statistics.add(Slice(0, 0.5, outcomes=Counter({Outcome.ECHOED: 1000}), response=times, service=times))
        page = output(environment={"TERM": "dumb"}, width=100)[0]
        line = progress_line(statistics, LoadConfiguration(rate=20), page)
        self.assertIn("p50/p99/p99.9 0.500/0.990/0.999 ms", line)
        self.assertIn("response   0.500  0.900  0.990  0.999  1.000", summary_lines(TARGET, statistics, PIPE))

    def test_a_line_may_fill_all_columns_but_the_last(self) -> None:
        whole = "0.0/10 s  0/s  0 failed"
        for width, line in ((len(whole) + 1, whole), (len(whole), "0.0/10 s  0/s")):
            page = output(environment={"TERM": "dumb"}, width=width)[0]
            self.assertEqual(progress_line(LoadStatistics(1), LoadConfiguration(rate=20), page), line)

    def test_before_the_first_interval(self) -> None:
        page = output(environment={"TERM": "dumb"}, width=100)[0]
        self.assertEqual(progress_line(LoadStatistics(1), LoadConfiguration(rate=20), page), "0.0/10 s  0/s  0 failed")


class SearchTests(SynchronousTestCase):
    def test_steps(self) -> None:
        for echoed, lost, behind, held, text in (
            (9, 0, False, True, "100 records/s: p99<5ms: 2.000 ms: holds"),
            (9, 0, True, True, "100 records/s: p99<5ms: 2.000 ms: holds"),
            (9, 0, False, False, "100 records/s: p99<5ms: 2.000 ms: failed"),
            (9, 1, False, False, "100 records/s: p99<5ms: 2.000 ms: failed (1 failed record)"),
            (
                9,
                2,
                True,
                False,
                "100 records/s: p99<5ms: 2.000 ms: failed (2 failed records, the generator fell behind)",
            ),
            (0, 0, False, False, "100 records/s: p99<5ms: no samples: failed"),
        ):
            verdict = ASSERTION.evaluate(statistics_of(echoed))
            step = SearchStep(rate=100, achieved=90, verdict=verdict, lost=lost, behind=behind, held=held)
            self.assertEqual(step_line(step), text)

    def test_the_result(self) -> None:
        self.assertEqual(found_line(ASSERTION, 50), "found: p99<5ms holds up to 50 records/s")
        self.assertEqual(found_line(ASSERTION, None), "found: p99<5ms holds at none of the rates tried")


class SummaryTests(SynchronousTestCase):
    def test_counts_and_times(self) -> None:
        self.assertEqual(
            summary_lines(TARGET, statistics_of(9), PIPE),
            [
                "",
                "--- ::1 port 3005 load statistics ---",
                "9 sent, 9 echoed, 0 failed (0%), time 500 ms, 18.0 echoed/s",
                "ms           p50    p90    p99  p99.9    max",
                "response   2.000  2.000  2.000  2.000  2.000",
                "service    2.000  2.000  2.000  2.000  2.000",
            ],
        )

    def test_nearly_all_records_failed(self) -> None:
        lines = summary_lines(TARGET, statistics_of(1, refused=3247), PIPE)
        self.assertIn("3248 sent, 1 echoed, 3247 failed (99.97%), time 500 ms, 2.0 echoed/s", lines)
        self.assertIn("failed: 3247 refused, for example: connection refused", lines)

    def test_an_interrupted_run(self) -> None:
        statistics = LoadStatistics(1)
        statistics.finish(0.25, 7, interrupted=True)
        self.assertIn("7 sent, 0 echoed, 0 failed (0%), 7 unfinished, time 250 ms, 0.0 echoed/s",
                      summary_lines(TARGET, statistics, PIPE))  # fmt: skip

    def test_lateness(self) -> None:
        for late, text in (
            (1, "generator: 1 record (1%) was sent more than 1 ms late, p99 0.010 ms, max 2.000 ms"),
            (
                2,
                "The generator fell behind its schedule: 2 records (2%) were sent more than 1 ms late, p99 2.000 ms, "
                "max 2.000 ms. The response times include this delay.",
            ),
        ):
            self.assertEqual(summary_lines(TARGET, statistics_of(100, late=late), PIPE)[-1], text)

    def test_text_of_a_peer_moves_no_cursor(self) -> None:
        for line in summary_lines(TARGET, statistics_of(0, refused=1, detail="\x1b[2J\r\n\u202e"), PIPE):
            self.assertTrue(line.isprintable() or not line, line)
