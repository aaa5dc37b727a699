import json
import re
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from twisted.trial.unittest import SynchronousTestCase

import echod.load
from echod.client.outcomes import Outcome
from echod.common.addresses import HostPort
from echod.common.assertions import Assertion, Unit
from echod.load.config import CONDITION, LoadConfiguration
from echod.load.report_page import page_of
from echod.load.result import LoadResult, result_json, result_object
from echod.load.result_reader import Measured, StoredResult
from echod.load.search import SearchStep
from echod.load.statistics import Interval, LoadStatistics, Slice

SCHEMA = Draft202012Validator(
    json.loads((Path(echod.load.__file__).parent / "load.schema.json").read_text(encoding="utf-8"))
)
EVIL = "</script><script>alert(1)</script>\x1b'\"&\ud800"


def report_of(*, detail: str = "connection refused", echoed: int = 300, late: int = 0) -> Any:
    """Return the JSON object of a search with failures and assertions."""
    statistics = LoadStatistics(1)
    for index in range(2):
        times = {100 + 7 * time: 1 for time in range(echoed // 2)}
        statistics.add(
            Slice(
                index,
                (index + 1) * 0.5,
                outcomes=Counter({Outcome.ECHOED: echoed // 2, Outcome.REFUSED: 1}),
                details={Outcome.REFUSED: detail},
                response=times,
                service=times,
                lateness={20: 300, 5000: late},
            )
        )
    statistics.finish(1.0, 1, interrupted=True)
    condition = CONDITION.from_text("p99<20ms")
    configuration = LoadConfiguration(rate=300, find_max=condition, tls=True, duration=1)
    verdict = condition.evaluate(statistics)
    step = SearchStep(rate=300, achieved=300.0, verdict=verdict, lost=2, behind=True, held=False)
    result = LoadResult(rate=300, processes=1, statistics=statistics, steps=(step,), found=150)
    return result_object(
        HostPort("::1", 3005),
        configuration,
        result,
        [verdict, CONDITION.from_text("lost<1%").evaluate(statistics)],
        datetime(2026, 1, 2, 3, 4, 5, 678000, UTC),
        {"name": "host", "system": "Linux 6", "machine": "x86_64", "cores": 2, "python": "3.11"},
    )


def object_of(result: LoadResult, *, find_max: Assertion | None = None) -> Any:
    """Return the JSON object of a result."""
    configuration = LoadConfiguration(rate=300, find_max=find_max)
    return result_object(HostPort("::1", 3005), configuration, result, (), datetime(2026, 1, 2, tzinfo=UTC), {})


def read(report: Any) -> StoredResult:
    return StoredResult.from_json("run", result_json(report))


class WriterTests(SynchronousTestCase):
    def test_the_object_is_what_the_schema_says(self) -> None:
        for report in (report_of(), report_of(echoed=0), report_of(echoed=2, late=9)):
            SCHEMA.validate(report)
            SCHEMA.validate(json.loads(result_json(report)))

    def test_times(self) -> None:
        times = report_of()["response_time_us"]
        del times["histogram"]
        curve = times.pop("curve")
        self.assertEqual(
            times,
            {"count": 300, "min": 100, "mean": 621.5, "p50": 618, "p90": 1038, "p99": 1136, "p999": 1143, "max": 1143},
        )
        self.assertEqual((len(curve), curve[0], curve[-1]), (50, [10.874906, 212], [100, 1143]))

    def test_rates(self) -> None:
        report = report_of(echoed=2)
        self.assertEqual((report["rate"], report["elapsed"]), (2, 1))
        interval = report["intervals"][0]
        self.assertEqual((interval["echoed_per_second"], interval["failed_per_second"]), (2, 2))

    def test_numbers_are_rounded(self) -> None:
        statistics = LoadStatistics(1)
        outcomes = Counter({Outcome.ECHOED: 3, Outcome.REFUSED: 2})
        statistics.add(Slice(0, 0.34567, 7, outcomes=outcomes, response={1: 1, 2: 2}))
        statistics.finish(0.34567891, 0, interrupted=False)
        report = object_of(LoadResult(rate=None, processes=1, statistics=statistics))
        self.assertEqual((report["elapsed"], report["rate"]), (0.345679, 8.679))
        self.assertEqual(report["response_time_us"]["mean"], 1.7)
        self.assertEqual(
            report["intervals"],
            [
                {
                    "until": 0.346,
                    "echoed": 3,
                    "failed": 2,
                    "echoed_per_second": 8.7,
                    "failed_per_second": 5.8,
                    "connections": 7,
                    "response_time_us": {"p50": 2, "p99": 2, "p999": 2, "max": 2},
                }
            ],
        )

    def test_an_interval_needs_a_value_for_each_quantile(self) -> None:
        statistics = LoadStatistics(1)
        statistics.intervals.append(
            Interval(until=0.5, seconds=0.5, echoed=1, failed=0, connections=1, response=(1, 1, 1), service=None)
        )
        with self.assertRaises(ValueError):
            object_of(LoadResult(rate=None, processes=1, statistics=statistics))

    def test_a_single_time_is_the_whole_curve(self) -> None:
        statistics = LoadStatistics(1)
        statistics.add(Slice(0, 0.5, outcomes=Counter({Outcome.ECHOED: 1}), response={9: 1}))
        report = object_of(LoadResult(rate=None, processes=1, statistics=statistics))
        self.assertEqual(report["response_time_us"]["curve"], [[100, 9]])

    def test_failures_without_a_detail(self) -> None:
        statistics = LoadStatistics(1)
        outcomes = Counter({Outcome.REFUSED: 1, Outcome.RESET: 2})
        statistics.add(Slice(0, 0.5, outcomes=outcomes, details={Outcome.REFUSED: "connection refused"}))
        self.assertEqual(
            object_of(LoadResult(rate=None, processes=1, statistics=statistics))["failures"],
            [
                {"outcome": "refused", "count": 1, "detail": "connection refused"},
                {"outcome": "reset", "count": 2, "detail": ""},
            ],
        )

    def test_the_steps_of_a_search(self) -> None:
        condition = CONDITION.from_text("p99<20ms")
        empty, full = LoadStatistics(1), LoadStatistics(1)
        full.add(Slice(0, 0.5, outcomes=Counter({Outcome.ECHOED: 1}), response={9: 1}))
        steps = (
            SearchStep(rate=100, achieved=99.98765, verdict=condition.evaluate(full), lost=0, behind=False, held=True),
            SearchStep(rate=200, achieved=0.0, verdict=condition.evaluate(empty), lost=3, behind=True, held=False),
        )
        result = LoadResult(rate=100, processes=1, statistics=full, steps=steps, found=100)
        first = {"rate": 100, "achieved": 99.988, "holds": True, "failed": 0, "behind": False}
        second = {"rate": 200, "achieved": 0, "holds": False, "failed": 3, "behind": True}
        self.assertEqual(
            object_of(result, find_max=condition)["search"],
            {"assertion": "p99<20ms", "steps": [first | {"measured": 9, "unit": "us"}, second], "found": 100},
        )

    def test_a_run_that_is_no_search(self) -> None:
        result = LoadResult(rate=300, processes=1, statistics=LoadStatistics(1))
        self.assertEqual((result.steps, result.found), ((), None))
        self.assertNotIn("search", object_of(result))

    def test_each_level_of_the_text_is_indented_by_one_space(self) -> None:
        text = b'{\n "rate": 1,\n "host": {\n  "cores": 2\n }\n}\n'
        self.assertEqual(result_json({"rate": 1, "host": {"cores": 2}}), text)

    def test_numbers_that_json_does_not_have_are_refused(self) -> None:
        with self.assertRaises(ValueError):
            result_json(report_of() | {"rate": float("nan")})


class ReaderTests(SynchronousTestCase):
    def test_every_field_of_the_page_is_read(self) -> None:
        report = report_of(late=9)
        result = read(report)
        self.assertEqual(result, StoredResult.from_object("run", report))
        self.assertEqual((result.label, result.target), ("run", HostPort("::1", 3005)))
        self.assertEqual((result.rate, result.connections), (300, 100))
        self.assertEqual((result.sent, result.echoed, result.failed, result.unfinished), (303, 300, 2, 1))
        self.assertEqual((result.started, result.interrupted), ("2026-01-02T03:04:05.678Z", True))
        self.assertEqual(result.echoed_per_second, 300)
        self.assertEqual((result.behind, result.late, result.worst_lateness), (True, 18, 5000))
        self.assertEqual([(each.outcome, each.count) for each in result.failures], [("refused", 2)])
        self.assertEqual(result.times["response"].quantiles["p50"], report["response_time_us"]["p50"])
        self.assertEqual([list(point) for point in result.times["service"].curve], report["service_time_us"]["curve"])
        self.assertEqual([each.until for each in result.intervals], [0.5, 1.0])
        self.assertEqual(result.intervals[1].times["response"], report["intervals"][1]["response_time_us"])
        self.assertEqual([each.holds for each in result.assertions], [True, True])
        self.assertEqual(result.assertions[1].measured, Measured(0.662, Unit.PERCENT))
        assert result.search is not None
        (step,) = result.search.steps
        self.assertEqual((result.search.found, step.behind, step.holds), (150, True, False))
        self.assertEqual(result.configuration["tls"], True)

    def test_a_result_without_echoes(self) -> None:
        result = read(report_of(echoed=0))
        self.assertEqual((result.times["response"].count, result.times["response"].quantiles), (0, {}))
        self.assertEqual(result.intervals[0].times, {})

    def test_unknown_fields_are_ignored(self) -> None:
        report = report_of()
        report["later"] = report["target"]["later"] = report["intervals"][0]["later"] = [float(1)]
        self.assertEqual(read(report), read(report_of()))

    def test_a_closed_loop_has_no_lateness(self) -> None:
        report = report_of()
        del report["generator"]["lateness_us"]
        self.assertIsNone(read(report).worst_lateness)

    def test_the_numbers_of_intervals_and_steps(self) -> None:
        result = read(report_of(echoed=6))
        self.assertEqual([(each.echoed_per_second, each.failed_per_second) for each in result.intervals], [(6, 2)] * 2)
        assert result.search is not None
        self.assertEqual(result.search.steps[0].measured, Measured(114, Unit.MICROSECONDS))

    def test_the_bounds_of_numbers_are_allowed(self) -> None:
        report = put(report_of(), ("sent",), 2**53)
        put(report, ("rate",), 2**53)
        put(report, ("generator", "late_percent"), 100)
        put(report, ("response_time_us", "curve"), [[0.5, 0], [100, 60_000_000]])
        result = read(report)
        self.assertEqual((result.sent, result.echoed_per_second, result.late_percent), (2**53, 2**53, 100))
        self.assertEqual(result.times["response"].curve, ((0.5, 0), (100, 60_000_000)))

    def test_a_missing_field_is_named(self) -> None:
        for path, problem in (
            (("sent",), "sent: is missing"),
            (("target", "port"), "target.port: is missing"),
            (("intervals", 1, "until"), "intervals[1].until: is missing"),
            (("search", "steps", 0, "holds"), "search.steps[0].holds: is missing"),
        ):
            report = report_of()
            inner: Any = report
            for key in path[:-1]:
                inner = inner[key]
            del inner[path[-1]]
            self.refused(report, problem)

    def test_a_wrong_field_is_named(self) -> None:
        whole, real = f"must be a whole number from 0 to {2**53}", f"must be a number from 0 to {2**53}"
        curve = "must be an array of [percent, microseconds]"
        for path, value, rule, shown in (
            ("sent", 1.5, whole, "1.5"),
            ("sent", True, whole, "True"),
            ("sent", -1, whole, "-1"),
            ("sent", 2**53 + 1, whole, f"{2**53 + 1}"),
            ("rate", True, real, "True"),
            ("rate", "x\x1b", real, "'x\\x1b'"),
            ("rate", 10**400, real, "100000000000000000...0000000000000000000"),
            ("target.port", 65536, "must be a whole number from 1 to 65535", "65536"),
            ("target", [], "must be an object", "[]"),
            ("failures", {}, "must be an array", "{}"),
            ("failures[0].detail", None, "must be text", "None"),
            ("interrupted", 1, "must be true or false", "1"),
            ("generator.late_percent", 100.1, "must be a number from 0 to 100", "100.1"),
            ("response_time_us.p99", 60_000_001, "must be a whole number from 0 to 60000000", "60000001"),
            ("response_time_us.curve", [[1, 2, 3]], curve, "[[1, 2, 3]]"),
            ("response_time_us.curve", [[0, 2]], curve, "[[0, 2]]"),
            ("response_time_us.curve", [[50, 9], [40, 9]], "must ascend", "[[50, 9], [40, 9]]"),
            ("configuration.size", None, "must be text", "None"),
            ("host.'a b'", {}, "must be text", "{}"),
        ):
            report = put(report_of(), tuple(key_of(word) for word in re.findall(r"'[^']+'|\w+", path)), value)
            self.refused(report, f"{path}: {rule}, not {shown}")
        report = put(report_of(), ("assertions", 0, "unit"), "m")
        self.refused(report, f"assertions[0].measured: {real} with a unit of us, %, count")

    def test_a_name_of_more_than_64_characters_is_shortened(self) -> None:
        for name, shown in (("x" * 64, "x" * 64), ("x" * 65, f"'{'x' * 12}...{'x' * 13}'")):
            self.refused(put(report_of(), ("host", name), {}), f"host.{shown}: must be text, not {{}}")

    def test_intervals_ascend(self) -> None:
        with self.assertRaisesRegex(ValueError, "intervals: must ascend"):
            read(put(report_of(), ("intervals", 0, "until"), 9.5))

    def test_infinite_numbers_are_refused(self) -> None:
        """In an object of a program, and in JSON text: as a constant, and as a number too large for a float."""
        for value in (float("nan"), float("inf"), 1e300):
            for path in (("rate",), ("intervals", 0, "until"), ("host", "cores"), ("assertions", 0, "measured")):
                with self.assertRaisesRegex(ValueError, "must be a number"):
                    StoredResult.from_object("run", put(report_of(), path, value))
        for text, problem in (
            ("NaN", "is not JSON"),
            ("Infinity", "is not JSON"),
            ("-Infinity", "is not JSON"),
            ("9" * 5000, "is not JSON"),
            ("1e999", f"is not a valid result of echod load: rate: must be a number from 0 to {2**53}, not inf"),
        ):
            data = result_json(put(report_of(), ("rate",), "HERE")).replace(b'"HERE"', text.encode())
            with self.assertRaises(ValueError) as caught:
                StoredResult.from_json("run", data)
            self.assertEqual(str(caught.exception), problem)

    def test_other_files_are_refused(self) -> None:
        for data, problem in (
            (b"", "is not JSON"),
            (b"\xff", "is not JSON"),
            (b"[" * 100_000, "is not JSON"),
            (b"[]", "is not a result of echod load"),
            (b'{"type": "ping"}', "is not a result of echod load"),
            (b'{"type": "load"}', "has version None of the schema; this echod reads version 1"),
            (b'{"type": "load", "schema": [2]}', "has version [2] of the schema; this echod reads version 1"),
        ):
            with self.assertRaises(ValueError) as caught:
                StoredResult.from_json("run", data)
            self.assertEqual(str(caught.exception), problem)

    def refused(self, report: Any, problem: str) -> None:
        with self.assertRaises(ValueError) as caught:
            read(report)
        self.assertEqual(str(caught.exception), f"is not a valid result of echod load: {problem}")


class PageTests(SynchronousTestCase):
    def text(self, *reports: Any) -> str:
        results = [StoredResult.from_object(f"run {number}", report) for number, report in enumerate(reports)]
        return page_of(results).decode("utf-8")

    def test_the_text_of_a_result_is_escaped(self) -> None:
        clean = self.text(report_of())
        report = report_of(detail=EVIL)
        put(report, ("host", EVIL), EVIL)
        put(report, ("search", "assertion"), EVIL)
        put(report, ("started",), EVIL)
        put(report, ("failures", 0, "outcome"), EVIL)
        page = self.text(report)
        self.assertEqual(page.count("<script"), clean.count("<script"))
        self.assertEqual(page.count("</script"), clean.count("</script"))
        self.assertIn("&lt;/script&gt;&lt;script&gt;alert(1)", page)

    def test_a_label_is_escaped_in_the_data_too(self) -> None:
        label = EVIL.replace("\ud800", "")
        page = page_of([StoredResult.from_object(label, report_of())]).decode("utf-8")
        data = page.partition('id="data">')[2].partition("</script>")[0]
        self.assertEqual(set("<>&") & set(data), set())
        self.assertEqual(json.loads(data)[0]["label"], label)

    def test_the_numbers_of_the_charts(self) -> None:
        report = report_of()
        page = self.text(report)
        (data,) = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
        self.assertEqual((data["until"], data["failed"]), ([0.5, 1.0], [2.0, 2.0]))
        one_in = data["response"]["one_in"]
        self.assertEqual((one_in[19], one_in[-1], one_in), (10, 300, sorted(one_in)))
        self.assertEqual(data["response"]["ms"][-1], report["response_time_us"]["max"] / 1000)
        times = report["intervals"][0]["service_time_us"]
        self.assertEqual(data["service"]["over_time"]["p999"][0], times["p999"] / 1000)

    def test_scripts_and_styles_are_the_files(self) -> None:
        page = self.text(report_of())
        static = Path(echod.load.__file__).parent / "static"
        for name in ("uPlot.iife.min.js", "page.js", "page.css", "uPlot.min.css"):
            text = (static / name).read_text(encoding="utf-8")
            self.assertIn(text, page)
            for end in ("</script", "</style", "]]>", "<!--"):
                self.assertNotIn(end, text)

    def test_the_rows(self) -> None:
        page = self.text(report_of(late=9))
        for words in (
            "<td>::1 port 3005</td>", "<td>2026-01-02 03:04:05.678 UTC</td>", "<td>300 records/s</td>",
            '<th scope="row">refused</th><td>2</td>', "0.66%", "p99&lt;20ms holds up to 150 records/s.",
            "failed (2 failed records, the generator fell behind)", "Unfinished records: 1.",
            "The generator fell behind its schedule. Late records: 18 (2.913%), at most 5.000 ms late.",
        ):  # fmt: skip
            self.assertIn(words, page)

    def test_a_single_result_has_no_label_in_its_sections(self) -> None:
        report = report_of()
        del report["assertions"], report["search"]
        page = self.text(report)
        self.assertNotIn("run 0: ", page)
        body = page.partition("<main>")[2].partition("</main>")[0]
        for words in ("<h3>", "<h2>Assertions</h2>", "<h2>Search</h2>", "differs"):
            self.assertNotIn(words, body)
        self.assertEqual(body.count("<thead>"), 1)  # of the failures

    def test_bars(self) -> None:
        for sent, width, text in ((4, "50.00", "50%"), (1, "100.00", "200%"), (0, "100.00", "0%")):
            page = self.text(report_of() | {"sent": sent})
            self.assertIn(f'<span class="bar"><i style="width: {width}%"></i></span> {text}</td>', page)

    def test_several_results_have_a_column_each(self) -> None:
        page = self.text(report_of(), report_of(echoed=0))
        self.assertIn('<th scope="col"><i class="run1"></i>run 1</th>', page)
        self.assertIn('<tr class="differs"><th scope="row">Echoed</th><td>300</td><td>0</td></tr>', page)
        self.assertIn("run 1: Nothing was echoed.", page)
        self.assertIn("<h3>run 1</h3>", page)


def key_of(word: str) -> str | int:
    """Return the key of a JSON object or the index of an array."""
    return int(word) if word.isdigit() else word.strip("'")


def put(report: Any, path: tuple[str | int, ...], value: object) -> Any:
    """Set a field of an object; return the object."""
    *parents, last = path
    inner = report
    for key in parents:
        inner = inner[key]
    inner[last] = value
    return report
