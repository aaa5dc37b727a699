from twisted.trial.unittest import SynchronousTestCase

from echod.common.defaults import LARGEST_RECORD
from echod.common.errors import ConfigurationError
from echod.common.options import command_line_layer, configure, options_of
from echod.ping.config import PingConfiguration


class PingConfigurationTests(SynchronousTestCase):
    def configured(self, *given: tuple[str, str]) -> PingConfiguration:
        return configure(PingConfiguration, [command_line_layer(PingConfiguration, given)])

    def refusal(self, *given: tuple[str, str]) -> str:
        with self.assertRaises(ConfigurationError, msg=str(given)) as refused:
            self.configured(*given)
        return str(refused.exception)

    def test_every_option_has_a_help_text(self) -> None:
        for each in options_of(PingConfiguration):
            self.assertTrue(each.help, each.name)

    def test_short_names(self) -> None:
        names = {each.short: each.name for each in options_of(PingConfiguration) if each.short}
        expected = {
            "c": "count", "i": "interval", "W": "timeout", "w": "deadline", "s": "size", "v": "verbose", "q": "quiet",
            "4": "ipv4", "6": "ipv6",
        }  # fmt: skip
        self.assertEqual(names, expected)

    def test_defaults(self) -> None:
        defaults = self.configured()
        self.assertEqual(
            (defaults.count, defaults.interval, defaults.timeout, defaults.deadline), (None, 1.0, 5.0, None)
        )
        self.assertEqual((defaults.size, defaults.sweep, defaults.payload, defaults.idle), (None, None, None, None))
        flags = ("each_address", "keep_alive", "verbose", "quiet", "json", "summary", "nagios")
        self.assertEqual([getattr(defaults, name) for name in flags], [False] * len(flags))
        self.assertEqual((defaults.metrics, defaults.assert_, defaults.warning, defaults.critical), (None, (), (), ()))

    def test_bounds(self) -> None:
        for name, text in (
            ("count", "0"), ("interval", "-1"), ("timeout", "0"), ("deadline", "0"), ("size", "0"), ("idle", "0"),
            ("size", str(LARGEST_RECORD + 1)), ("sweep", "0:1"), ("sweep", f"1:{LARGEST_RECORD + 1}"),
        ):  # fmt: skip
            self.assertTrue(self.refusal((name, text)).startswith(f"--{name}: must be "), name)
        for name, text in (
            ("count", "1"), ("interval", "0"), ("size", "1"), ("size", str(LARGEST_RECORD)),
            ("sweep", f"1:{LARGEST_RECORD}"),
        ):  # fmt: skip
            self.configured((name, text))

    def test_records(self) -> None:
        for given, sizes, probes in (
            ((), range(250, 251), None),
            ((("count", "3"), ("size", "9")), range(9, 10), 3),
            ((("sweep", "1:9:4"),), range(1, 10, 4), 3),
            ((("sweep", "1:9:4"), ("count", "2")), range(1, 10, 4), 6),
        ):
            made = self.configured(*given)
            self.assertEqual((made.sizes, made.probes), (sizes, probes))

    def test_a_payload_that_is_a_file(self) -> None:
        for payload, path in (("random", None), ("zero", None), ("./random", "./random")):
            self.assertEqual(self.configured(("payload", payload)).payload_file, path)
        self.assertIsNone(self.configured().payload_file)

    def test_records_that_exclude_each_other(self) -> None:
        sweep = ("sweep", "1:9")
        for given, message in (
            ((sweep, ("size", "9")), "sweep: cannot be combined with size"),
            ((sweep, ("payload", "x")), "sweep: cannot be combined with a payload file, which has one size"),
            (
                (("idle", "1"), ("keep-alive", "true")),
                "idle: cannot be combined with keep-alive, where the interval is the silence",
            ),
        ):
            self.assertEqual(self.refusal(*given), message)
        self.configured(sweep, ("payload", "zero"))

    def test_output_formats_that_exclude_each_other(self) -> None:
        for names, message in (
            (("json", "nagios"), "json: cannot be combined with nagios"),
            (("json", "verbose"), "json: cannot be combined with verbose"),
            (("nagios", "verbose"), "nagios: cannot be combined with verbose"),
            (("quiet", "verbose"), "quiet: cannot be combined with verbose"),
            (("quiet", "nagios"), "quiet: cannot be combined with nagios"),
            (("summary",), "summary: requires json"),
            (("summary", "nagios"), "summary: requires json"),
        ):
            self.assertEqual(self.refusal(*((name, "true") for name in names)), message)

    def test_thresholds_require_the_plugin(self) -> None:
        for name in ("warning", "critical"):
            self.assertEqual(self.refusal((name, "lost>0")), f"{name}: requires nagios")
        message = "assert: cannot be combined with nagios; use warning and critical"
        self.assertEqual(self.refusal(("nagios", "true"), ("assert", "lost<1")), message)

    def test_assertions_are_gathered(self) -> None:
        made = self.configured(("assert", "p99<50ms"), ("assert", "lost < 1%"))
        self.assertEqual([each.text for each in made.assert_], ["p99<50ms", "lost<1%"])
        self.assertEqual(made, PingConfiguration(assert_=("p99<50ms", "lost<1%")))  # type: ignore[arg-type]  # from text
        self.assertTrue(self.refusal(("assert", "lost<1ms")).startswith("--assert: must give a number or a percentage"))

    def test_what_can_be_combined(self) -> None:
        on = "true"
        self.configured(("json", on), ("quiet", on), ("summary", on), ("assert", "p99<1s"))
        self.configured(("nagios", on), ("warning", "p99>1s"), ("critical", "lost>5%"))
        self.configured(("idle", "1"), ("count", "1"))
        self.configured(("keep-alive", on))

    def test_placeholders(self) -> None:
        metavars = {each.name: each.type.metavar for each in options_of(PingConfiguration)}
        self.assertEqual((metavars["payload"], metavars["metrics"]), ("random|zero|FILE", "FILE"))
        self.assertEqual((metavars["assert"], metavars["sweep"]), ("EXPR", "A:B[:STEP]"))

    def test_it_is_a_value(self) -> None:
        self.assertEqual(hash(PingConfiguration(count=1)), hash(PingConfiguration(count=1)))
