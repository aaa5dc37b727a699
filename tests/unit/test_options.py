import math
import tomllib
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from echod.common.defaults import LARGEST_RECORD
from echod.common.errors import ConfigurationError
from echod.common.option_types import Address, Flag, Integer, ListOf, Seconds, Text
from echod.common.options import command_line_layer, configure, file_layer, options_of
from echod.ping.config import PingConfiguration
from echod.server.config import QUIET, ServerConfiguration


def from_words(*given: tuple[str, str]) -> ServerConfiguration:
    return configure(ServerConfiguration, [command_line_layer(ServerConfiguration, given)])


def from_toml(text: str, *given: tuple[str, str]) -> ServerConfiguration:
    table = tomllib.loads(text)
    layers = [file_layer(ServerConfiguration, table, "echod.toml"), command_line_layer(ServerConfiguration, given)]
    return configure(ServerConfiguration, layers)


class KindTests(SynchronousTestCase):
    def check_refuses(self, convert: Any, *values: object) -> None:
        for value in values:
            with self.assertRaises(ValueError, msg=repr(value)):
                convert(value)

    def test_integer(self) -> None:
        self.assertEqual(Integer(1, 9).from_text("9"), 9)
        self.assertEqual(Integer(1).from_text("12345"), 12345)
        self.check_refuses(Integer(1, 9).from_text, "0", "10", "-1", "1.0", "x", "", " 1", "1_0", "²", "9" * 5000)
        self.check_refuses(Integer(1, 9).check, 0, 10, True, 1.0, "1", None)

    def test_seconds(self) -> None:
        self.assertEqual(Seconds().from_text("0.5"), 0.5)
        self.assertEqual(Seconds().check(2), 2.0)
        self.assertEqual(Seconds(zero=True).from_text("0"), 0.0)
        self.check_refuses(Seconds().from_text, "0", "-1", "nan", "inf", "-inf", "1e999", "x", "")
        self.check_refuses(Seconds().check, 0, -0.1, math.nan, math.inf, True, "1")
        self.check_refuses(Seconds(zero=True).from_text, "-0.1", "nan")

    def test_flag(self) -> None:
        self.assertIs(Flag().from_text("true"), True)
        self.assertIs(Flag().from_text("false"), False)
        self.check_refuses(Flag().from_text, "yes", "")
        self.check_refuses(Flag().check, 1, "true", None)

    def test_text(self) -> None:
        self.assertEqual(Text().from_text("x"), "x")
        self.check_refuses(Text().check, "", 1, None)

    def test_address(self) -> None:
        for text in ("::", "0.0.0.0", "fe80::1%eth0"):
            self.assertEqual(Address().from_text(text), text)
        self.assertEqual(Address().from_text("[::1]"), "::1")
        self.check_refuses(Address().check, "localhost", "", "1.2.3", 1)

    def test_many(self) -> None:
        self.assertEqual(ListOf(Integer(1)).from_text("3"), (3,))
        self.assertEqual(ListOf(Integer(1)).check([3, 4]), (3, 4))
        self.check_refuses(ListOf(Integer(1)).check, [0], 3, "3")


class ServerConfigurationTests(SynchronousTestCase):
    def test_defaults_are_the_descriptions_numbers(self) -> None:
        defaults = ServerConfiguration()
        self.assertEqual((defaults.port, defaults.interface, defaults.backlog), (3005, "::", 10))
        self.assertEqual((defaults.record_size, defaults.timeout, defaults.keep_alive), (250, 30.0, False))
        self.assertEqual(defaults.listen, ())

    def test_command_line(self) -> None:
        made = from_words(("port", "1"), ("port", "2"), ("keep-alive", "true"), ("timeout", "2.5"))
        self.assertEqual(made, ServerConfiguration(port=2, keep_alive=True, timeout=2.5))

    def test_repeatable_options_gather(self) -> None:
        self.assertEqual(from_words(("listen", "tcp:1"), ("listen", "tcp:2")).listen, ("tcp:1", "tcp:2"))

    def test_file(self) -> None:
        made = from_toml('port = 4000\nrecord-size = 100\nkeep-alive = true\ntimeout = 3\ninterface = "::1"')
        self.assertEqual(
            made, ServerConfiguration(port=4000, record_size=100, keep_alive=True, timeout=3.0, interface="::1")
        )

    def test_the_command_line_wins(self) -> None:
        made = from_toml("port = 4000\nbacklog = 20\nkeep-alive = true", ("port", "5000"), ("keep-alive", "false"))
        self.assertEqual(made, ServerConfiguration(port=5000, backlog=20))

    def test_listen_takes_the_place_of_port_interface_and_backlog(self) -> None:
        self.assertEqual(from_toml("port = 4000", ("listen", "tcp:1")), ServerConfiguration(listen=("tcp:1",)))
        self.assertEqual(from_toml('listen = ["tcp:1"]', ("port", "5")), ServerConfiguration(port=5))
        for given in ((("listen", "tcp:1"), ("port", "5")), (("backlog", "5"), ("listen", "tcp:1"))):
            with self.assertRaises(ConfigurationError) as refused:
                from_words(*given)
            self.assertIn("--listen: is given instead of --", str(refused.exception))
        with self.assertRaises(ConfigurationError) as refused:
            from_toml('listen = ["tcp:1"]\ninterface = "::"')
        self.assertIn("echod.toml: listen", str(refused.exception))

    def test_refused_on_the_command_line(self) -> None:
        for name, text in (
            ("port", "0"), ("port", "70000"), ("interface", "eth0"), ("backlog", "0"), ("record-size", "0"),
            ("record-size", str(LARGEST_RECORD + 1)), ("timeout", "nan"), ("timeout", "-1"), ("timeout", "0"),
            ("listen", ""),
        ):  # fmt: skip
            with self.assertRaises(ConfigurationError, msg=name) as refused:
                from_words((name, text))
            self.assertTrue(str(refused.exception).startswith(f"--{name}: must be "), str(refused.exception))
            self.assertNotIn("\n", str(refused.exception))

    def test_refused_in_a_file(self) -> None:
        for line in (
            "port = 70000", 'port = "3005"', "interface = 1", "backlog = true", "record-size = 1.5",
            "timeout = nan", "timeout = inf", 'keep-alive = "yes"', 'listen = "tcp:1"', "listen = [1]",
        ):  # fmt: skip
            with self.assertRaises(ConfigurationError, msg=line) as refused:
                from_toml(line)
            self.assertTrue(str(refused.exception).startswith(f"echod.toml: {line.split()[0]}: must be "))

    def test_an_unknown_key_in_a_file_is_an_error(self) -> None:
        for line in ("record_size = 3", "prot = 1", "[echod]\nport = 1"):
            with self.assertRaises(ConfigurationError) as refused:
                from_toml(line)
            self.assertIn("echod.toml: unknown key", str(refused.exception))

    def test_the_wait_for_a_last_record_ends_before_the_drain_does(self) -> None:
        self.assertEqual(ServerConfiguration().rules.quiet, QUIET)
        self.assertEqual(ServerConfiguration(drain_timeout=0.2).rules.quiet, 0.1)

    def test_made_in_python_it_is_checked_too(self) -> None:
        with self.assertRaises(ConfigurationError) as refused:
            ServerConfiguration(port=70000)
        self.assertTrue(str(refused.exception).startswith("port: must be "))

    def test_every_option_is_told(self) -> None:
        for each in (*options_of(ServerConfiguration), *options_of(PingConfiguration)):
            self.assertTrue(each.help)


class PingOutputTests(SynchronousTestCase):
    """What of the probe's output goes together."""

    def refused(self, *given: tuple[str, str]) -> str:
        with self.assertRaises(ConfigurationError, msg=given) as refusal:
            configure(PingConfiguration, [command_line_layer(PingConfiguration, given)])
        return str(refusal.exception)

    def asked(self, **options: Any) -> PingConfiguration:
        return PingConfiguration(**options)

    def test_assertions_are_gathered(self) -> None:
        given = [("assert", "p99<50ms"), ("assert", "lost < 1%")]
        made = configure(PingConfiguration, [command_line_layer(PingConfiguration, given)])
        self.assertEqual([each.text for each in made.assert_], ["p99<50ms", "lost<1%"])
        self.assertEqual(made, self.asked(assert_=("p99<50ms", "lost<1%")))

    def test_what_excludes_each_other(self) -> None:
        for names, words in (
            (("json", "nagios"), "json: of use only without nagios"),
            (("json", "verbose"), "json: of use only without verbose"),
            (("nagios", "verbose"), "nagios: of use only without verbose"),
            (("quiet", "verbose"), "quiet: of use only without verbose"),
            (("quiet", "nagios"), "quiet: of use only without nagios"),
            (("summary",), "summary: of use only with json"),
        ):
            self.assertEqual(self.refused(*((name, "true") for name in names)), words)

    def test_what_needs_the_plugin(self) -> None:
        for name in ("warning", "critical"):
            self.assertEqual(self.refused((name, "lost>0")), f"{name}: of use only with nagios")
        self.assertIn("of use only without nagios", self.refused(("nagios", "true"), ("assert", "lost<1")))
        self.assertTrue(self.refused(("assert", "lost<1ms")).startswith("--assert: must give a number or a percentage"))

    def test_what_goes_together(self) -> None:
        self.asked(json=True, quiet=True, summary=True, assert_=("p99<1s",))
        self.asked(nagios=True, warning=("p99>1s",), critical=("lost>5%",))
