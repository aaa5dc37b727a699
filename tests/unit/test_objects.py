"""The objects match ping.schema.json, and the schema describes every field."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from twisted.trial.unittest import SynchronousTestCase

from echod.client.outcomes import (
    Attempt,
    CertificateFacts,
    KernelFacts,
    Outcome,
    PhaseTimes,
    ProbeResult,
    Step,
    TLSSession,
)
from echod.common.addresses import HostPort
from echod.common.assertions import TIME_METRICS, Unit, parse_assertion
from echod.common.histogram import Histogram
from echod.ping.json_objects import probe_object, summary_object
from echod.ping.statistics import PHASES, Statistics
from tests.support.results import CERTIFICATE, CORRUPT, FULL, UNTRUSTED, echoed, lost

SCHEMA_FILE = Path(__file__).parents[2] / "src" / "echod" / "ping" / "ping.schema.json"
SCHEMA = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
TARGET = HostPort("localhost", 3005)


def object_schemas(schema: Any) -> list[dict[str, Any]]:
    """Return every part of the schema that describes an object by its properties."""
    parts = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ()
    found = [each for part in parts for each in object_schemas(part)]
    return [schema, *found] if isinstance(schema, dict) and "properties" in schema and "type" in schema else found


class SchemaTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.validator = Draft202012Validator(SCHEMA)
        self.probe = SCHEMA["$defs"]["probe"]["properties"]

    def test_it_is_a_schema(self) -> None:
        Draft202012Validator.check_schema(SCHEMA)

    def test_no_object_allows_further_properties(self) -> None:
        for part in object_schemas(SCHEMA):
            self.assertIs(part["additionalProperties"], False, part)

    def test_every_field_is_described(self) -> None:
        tls = self.probe["tls"]["properties"]
        for kind, properties in (
            (PhaseTimes, self.probe["times"]["properties"]),
            (Attempt, self.probe["attempts"]["items"]["properties"]),
            (TLSSession, tls),
            (CertificateFacts, tls["certificate"]["properties"]),
            (KernelFacts, self.probe["kernel"]["properties"]),
            (HostPort, SCHEMA["$defs"]["hostPort"]["properties"]),
        ):
            self.assertEqual([field.name for field in dataclasses.fields(kind)], list(properties), kind)
        fields = {field.name for field in dataclasses.fields(ProbeResult)}
        self.assertEqual(fields | {"type", "schema"}, set(self.probe))

    def test_the_enums_are_those_of_the_code(self) -> None:
        self.assertEqual(SCHEMA["$defs"]["outcome"]["enum"], [each.value for each in Outcome])
        self.assertEqual(self.probe["step"]["enum"], [each.value for each in Step])
        summary = SCHEMA["$defs"]["summary"]["properties"]
        self.assertEqual(tuple(summary["times"]["properties"]), PHASES)
        self.assertEqual(list(SCHEMA["$defs"]["distribution"]["properties"]), ["count", *TIME_METRICS, "histogram"])
        self.assertEqual(summary["assertions"]["items"]["properties"]["unit"]["enum"], [each.value for each in Unit])

    def test_wrong_objects_are_refused(self) -> None:
        good = json.loads(probe_object(FULL))
        for change in ({"offset": None}, {"more": 1}, {"outcome": "nosuch"}, {"schema": 2}, {"type": "nosuch"}):
            self.assertFalse(self.validator.is_valid(good | change), change)


class ProbeObjectTests(SynchronousTestCase):
    def object(self, result: ProbeResult) -> dict[str, Any]:
        line = probe_object(result)
        self.assertNotIn("\n", line)
        self.assertNotIn("null", line)
        made: dict[str, Any] = json.loads(line)
        Draft202012Validator(SCHEMA).validate(made)
        return made

    def test_a_result_with_every_field(self) -> None:
        made = self.object(FULL)
        self.assertEqual(set(made), set(SCHEMA["$defs"]["probe"]["properties"]) - {"detail", "offset"})
        self.assertEqual((made["type"], made["schema"], made["outcome"]), ("probe", 1, "echoed"))
        self.assertEqual(made["started"], "2026-11-23T07:30:01.000250Z")
        self.assertEqual(made["times"], dataclasses.asdict(FULL.times))
        self.assertEqual([(a.get("outcome"), a["won"]) for a in made["attempts"]],
                         [("refused", False), (None, False), (None, True)])  # fmt: skip
        self.assertEqual(made["tls"]["certificate"]["not_after"], "2027-01-01T12:30:00.000000Z")

    def test_every_outcome(self) -> None:
        for outcome in Outcome:
            for step in Step:
                self.assertEqual(self.object(lost(outcome, step, address=None))["outcome"], outcome.value)

    def test_failures(self) -> None:
        self.assertEqual(self.object(CORRUPT)["offset"], 17)
        made = self.object(UNTRUSTED)
        self.assertEqual(set(made["tls"]), {"certificate", "failed_check"})
        self.assertNotIn("min_rtt", made["kernel"])

    def test_an_offset_of_0_is_one(self) -> None:
        self.assertEqual(self.object(dataclasses.replace(CORRUPT, offset=0))["offset"], 0)

    def test_a_certificate_without_names(self) -> None:
        bare = dataclasses.replace(CERTIFICATE, subject="", issuer="", names=())
        made = self.object(lost(Outcome.TLS_NO_SAN, Step.TLS, tls=TLSSession(certificate=bare)))
        self.assertEqual(made["tls"]["certificate"]["names"], [])

    def test_text_of_a_peer_is_escaped(self) -> None:
        evil = dataclasses.replace(CERTIFICATE, subject='CN=\x1b[2J\u202e\n"}')
        line = probe_object(lost(tls=TLSSession(certificate=evil)))
        self.assertTrue(line.isascii() and line.isprintable())
        self.assertEqual(json.loads(line)["tls"]["certificate"]["subject"], evil.subject)


class SummaryObjectTests(SynchronousTestCase):
    def test_a_run(self) -> None:
        run = Statistics()
        for time in (100, 200, 300):
            run.add(echoed(time))
        run.add(lost())
        run.finish(sent=5, elapsed=1.5)
        verdicts = [parse_assertion(text, PHASES).evaluate(run) for text in ("p50<0.1ms", "lost<50%", "tls.max<1s")]
        made = json.loads(summary_object(TARGET, run, verdicts))
        Draft202012Validator(SCHEMA).validate(made)
        self.assertEqual(
            [made[name] for name in ("sent", "echoed", "lost", "unfinished", "elapsed")], [5, 3, 1, 1, 1_500_000]
        )
        self.assertEqual(made["outcomes"], {"echoed": 3, "refused": 1})
        self.assertEqual(
            [made["times"]["echo"][name] for name in ("count", "min", "mean", "p50", "max")], [3, 100, 200, 200, 300]
        )
        self.assertEqual(Histogram.decode(made["times"]["echo"]["histogram"]).count, 3)
        self.assertEqual(made["assertions"], [
            {"assertion": "p50<0.1ms", "holds": False, "measured": 200, "unit": "us"},
            {"assertion": "lost<50%", "holds": True, "measured": 25, "unit": "%"},
            {"assertion": "tls.max<1s", "holds": False},
        ])  # fmt: skip

    def test_a_run_without_probes(self) -> None:
        made = json.loads(summary_object(TARGET, Statistics(), []))
        Draft202012Validator(SCHEMA).validate(made)
        self.assertEqual((made["outcomes"], made["times"]), ({}, {}))
