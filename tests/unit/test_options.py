import tomllib
from collections.abc import Callable
from dataclasses import dataclass

from twisted.trial.unittest import SynchronousTestCase

from echod.common.defaults import LARGEST_RECORD
from echod.common.errors import ConfigurationError
from echod.common.option_types import Flag, Integer, ListOf, Seconds, Text
from echod.common.options import (
    Layer,
    changed_options,
    check_options,
    command_line_layer,
    configure,
    environment_layer,
    file_layer,
    ignored_variables,
    option,
    options_of,
)
from echod.server.config import QUIET, ServerConfiguration


def from_words(*given: tuple[str, str]) -> ServerConfiguration:
    return configure(ServerConfiguration, [command_line_layer(ServerConfiguration, given)])


def from_toml(text: str, *given: tuple[str, str]) -> ServerConfiguration:
    table = tomllib.loads(text)
    layers = [file_layer(ServerConfiguration, table, "echod.toml"), command_line_layer(ServerConfiguration, given)]
    return configure(ServerConfiguration, layers)


@dataclass(frozen=True, kw_only=True)
class Parent:
    inherited: int = option(7, Integer(0), "an inherited number", short="i")
    sizes: tuple[int, ...] = option((), ListOf(Integer(1)), "sizes")


@dataclass(frozen=True, kw_only=True)
class Example(Parent):
    wait_time: float = option(1.0, Seconds(), "a time")
    name_: str | None = option(None, Text(), "a name", excludes=("wait_time", "inherited"))
    on: bool = option(False, Flag(), "a flag", short="o")

    def __post_init__(self) -> None:
        check_options(self)


def example(*layers: Layer) -> Example:
    return configure(Example, layers)


def words(*given: tuple[str, str]) -> Layer:
    return command_line_layer(Example, given)


def variables(**environment: str) -> Layer:
    return environment_layer(Example, environment)


def table(text: str) -> Layer:
    return file_layer(Example, tomllib.loads(text), "x.toml")


class OptionTests(SynchronousTestCase):
    def test_an_option_is_described_by_its_field(self) -> None:
        names = [(each.field, each.name, each.short, each.help, each.default) for each in options_of(Example)]
        self.assertEqual(names, [
            ("wait_time", "wait-time", "", "a time", 1.0),
            ("name_", "name", "", "a name", None),
            ("on", "on", "o", "a flag", False),
            ("inherited", "inherited", "i", "an inherited number", 7),
            ("sizes", "sizes", "", "sizes", ()),
        ])  # fmt: skip
        self.assertEqual([each.type for each in options_of(Parent)], [Integer(0), ListOf(Integer(1))])
        self.assertEqual([each.excludes for each in options_of(Example)][:2], [(), ("wait-time", "inherited")])

    def test_the_default_is_in_the_usage_message(self) -> None:
        texts = [each.help_with_default for each in options_of(Example)]
        expected = ["a time [default: 1]", "a name", "a flag", "an inherited number [default: 7]", "sizes"]
        self.assertEqual(texts, expected)

    def test_a_flag_has_two_words(self) -> None:
        flag = options_of(Example)[2]
        off = "not --on, whatever the file and the environment say"
        self.assertEqual(flag.flag_words, (("on", "true", "a flag"), ("no-on", "false", off)))


class LayerTests(SynchronousTestCase):
    def refusal(self, make: Callable[[], object]) -> str:
        with self.assertRaises(ConfigurationError) as refused:
            make()
        return str(refused.exception)

    def test_without_layers_the_defaults(self) -> None:
        self.assertEqual(example(), Example())
        self.assertEqual((Example().inherited, Example().wait_time, Example().on), (7, 1.0, False))

    def test_the_last_layer_wins(self) -> None:
        made = example(table("inherited = 1\nwait-time = 2\non = true"), words(("inherited", "3"), ("on", "false")))
        self.assertEqual(made, Example(inherited=3, wait_time=2.0, on=False))

    def test_the_last_word_wins_and_a_repeatable_option_gathers(self) -> None:
        given = (("inherited", "1"), ("sizes", "1"), ("inherited", "2"), ("sizes", "2"))
        self.assertEqual(example(words(*given)), Example(inherited=2, sizes=(1, 2)))
        self.assertEqual(example(table("sizes = [3]"), words(*given)).sizes, (1, 2))

    def test_a_later_option_replaces_those_that_it_excludes(self) -> None:
        self.assertEqual(example(table("wait-time = 2\ninherited = 1"), words(("name", "x"))), Example(name_="x"))
        self.assertEqual(example(table('name = "x"'), words(("wait-time", "2"))), Example(wait_time=2.0))
        self.assertEqual(example(table('name = "x"'), words(("on", "true"))), Example(name_="x", on=True))

    def test_options_of_one_layer_that_exclude_each_other(self) -> None:
        for given in ([("name", "x"), ("wait-time", "2")], [("wait-time", "2"), ("name", "x")]):
            self.assertEqual(
                self.refusal(lambda given=given: example(words(*given))),  # type: ignore[misc]  # a default binds it
                "--name: cannot be combined with --wait-time",
            )
        self.assertEqual(
            self.refusal(lambda: example(table('name = "x"\ninherited = 1'))),
            "x.toml: name: cannot be combined with inherited",
        )

    def test_a_layer_is_of_a_command_line_unless_it_says_otherwise(self) -> None:
        layer = Layer({})
        self.assertIsNone(layer.file)
        self.assertIs(layer.environment, False)

    def test_errors_name_the_option_as_its_user_writes_it(self) -> None:
        why = "must be a finite number of seconds, more than 0, not 0"
        self.assertEqual(self.refusal(lambda: words(("wait-time", "0"))), f"--wait-time: {why}")
        self.assertEqual(self.refusal(lambda: table("wait-time = 0")), f"x.toml: wait-time: {why}")
        self.assertEqual(self.refusal(lambda: Example(wait_time=0)), f"wait_time: {why}")
        self.assertEqual(self.refusal(lambda: table("wait_time = 1")), "x.toml: unknown key 'wait_time'")
        self.assertEqual(
            self.refusal(lambda: table("sizes = [5, true]")),
            "x.toml: sizes: item 2: must be a whole number of 1 or more, not true",
        )

    def test_one_error_has_the_problems_of_a_whole_layer(self) -> None:
        for make, problems in (
            (
                lambda: table("x = 1\nwait-time = 0"),
                (
                    "x.toml: unknown key 'x'",
                    "x.toml: wait-time: must be a finite number of seconds, more than 0, not 0",
                ),
            ),
            (
                lambda: words(("inherited", "x"), ("sizes", "0")),
                (
                    "--inherited: must be a whole number of 0 or more, not x",
                    "--sizes: must be a whole number of 1 or more, not 0",
                ),
            ),
            (
                lambda: variables(ECHOD_INHERITED="x", ECHOD_ON="on"),
                (
                    "ECHOD_ON: must be true or false (or yes, no, 1, 0), not on",
                    "ECHOD_INHERITED: must be a whole number of 0 or more, not x",
                ),
            ),
            (
                lambda: example(words(("name", "x"), ("wait-time", "2"), ("inherited", "1"))),
                ("--name: cannot be combined with --wait-time", "--name: cannot be combined with --inherited"),
            ),
        ):
            with self.assertRaises(ConfigurationError) as refused:
                make()
            self.assertEqual(refused.exception.problems, problems)
            self.assertEqual(str(refused.exception), problems[0])

    def test_a_checked_value_is_kept_in_its_checked_form(self) -> None:
        made = Example(wait_time=2, sizes=[3])  # type: ignore[arg-type]  # as a program without types gives it
        self.assertEqual((type(made.wait_time), made.sizes), (float, (3,)))


class EnvironmentTests(SynchronousTestCase):
    def test_the_name_of_a_variable(self) -> None:
        self.assertEqual([each.variable for each in options_of(Example)][:2], ["ECHOD_WAIT_TIME", "ECHOD_NAME"])

    def test_values(self) -> None:
        made = example(variables(ECHOD_WAIT_TIME="2", ECHOD_INHERITED="3", ECHOD_SIZES="4, 5,", OTHER="1"))
        self.assertEqual(made, Example(wait_time=2.0, inherited=3, sizes=(4, 5)))

    def test_flags(self) -> None:
        for text, value in (("true", True), ("YES", True), ("1", True), ("False", False), ("no", False), ("0", False)):
            self.assertEqual(variables(ECHOD_ON=text).values, {"on": value})

    def test_an_empty_variable_counts_as_not_set(self) -> None:
        self.assertEqual(variables(ECHOD_WAIT_TIME="", ECHOD_ON="").values, {})

    def test_the_environment_wins_over_the_file_and_the_command_line_over_both(self) -> None:
        layers = table("inherited = 1\nwait-time = 1\non = true"), variables(ECHOD_INHERITED="2", ECHOD_WAIT_TIME="2")
        self.assertEqual(example(*layers, words(("inherited", "3"))), Example(inherited=3, wait_time=2.0, on=True))
        self.assertEqual(example(table("wait-time = 3"), variables(ECHOD_NAME="x")), Example(name_="x"))

    def test_variables_that_exclude_each_other(self) -> None:
        with self.assertRaises(ConfigurationError) as refused:
            example(variables(ECHOD_NAME="x", ECHOD_WAIT_TIME="2"))
        self.assertEqual(str(refused.exception), "ECHOD_NAME: cannot be combined with ECHOD_WAIT_TIME")

    def test_an_address_that_kubernetes_sets_is_ignored(self) -> None:
        self.assertEqual(variables(ECHOD_INHERITED="tcp://10.0.0.1:3005").values, {})

    def test_variables_that_are_no_options(self) -> None:
        environment = {"ECHOD_ON": "1", "ECHOD_CONFIG": "x", "ECHOD_ONN": "1", "ECHO": "1", "PATH": "/bin"}
        self.assertEqual(
            ignored_variables(Example, environment, "ECHOD_CONFIG"), ["ECHOD_ONN: ignored, there is no such option"]
        )
        self.assertEqual(ignored_variables(Example, {"ECHOD_ON": "1"}), [])

    def test_variables_of_kubernetes(self) -> None:
        address = "tcp://10.0.0.1:3005"
        environment = {
            "ECHOD_INHERITED": address,
            "ECHOD_PORT": address,
            "ECHOD_PORT_3005_TCP": address,
            "ECHOD_PORT_3005_TCP_PORT": "3005",
            "ECHOD_PORT_3005_TCP_PROTO": "tcp",
            "ECHOD_SERVICE_HOST": "10.0.0.1",
            "ECHOD_SERVICE_PORT_ECHO": "3005",
            "ECHOD_TLS_SERVICE_PORT": "3006",
        }
        self.assertEqual(
            ignored_variables(Example, environment),
            [
                f"{', '.join(environment)}: ignored, Kubernetes sets such variables for a service whose name begins "
                "with echod (enableServiceLinks: false in the pod's specification prevents it)"
            ],
        )


class ChangedOptionsTests(SynchronousTestCase):
    def test_options_with_other_values(self) -> None:
        changed = changed_options(Example(inherited=1, on=True), Example(inherited=2, on=True, wait_time=3.0))
        self.assertEqual([each.name for each in changed], ["wait-time", "inherited"])
        self.assertEqual(changed_options(Example(), Example()), [])


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

    def test_listen_takes_the_place_of_port_and_interface(self) -> None:
        self.assertEqual(from_toml("port = 4000", ("listen", "tcp:1")), ServerConfiguration(listen=("tcp:1",)))
        self.assertEqual(from_toml('listen = ["tcp:1"]', ("port", "5")), ServerConfiguration(port=5))
        for given, other in (
            ((("listen", "tcp:1"), ("port", "5")), "port"),
            ((("interface", "::1"), ("listen", "tcp:1")), "interface"),
        ):
            with self.assertRaises(ConfigurationError) as refused:
                from_words(*given)
            self.assertEqual(str(refused.exception), f"--listen: cannot be combined with --{other}")
        with self.assertRaises(ConfigurationError) as refused:
            from_toml('listen = ["tcp:1"]\ninterface = "::"')
        self.assertEqual(str(refused.exception), "echod.toml: listen: cannot be combined with interface")

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
        for line, why in (
            ("port = 70000", "must be a whole number from 1 to 65535, not 70000"),
            ('port = "3005"', 'must be a whole number from 1 to 65535, not "3005"'),
            ("port = true", "must be a whole number from 1 to 65535, not true"),
            ("interface = 1", "must be an IPv4 or IPv6 address, not 1"),
            ("backlog = true", "must be a whole number from 1 to 65535, not true"),
            ("record-size = 1.5", f"must be a whole number from 1 to {LARGEST_RECORD}, not 1.5"),
            ("timeout = nan", "must be a finite number of seconds, more than 0, not nan"),
            ("timeout = inf", "must be a finite number of seconds, more than 0, not inf"),
            ('keep-alive = "yes"', 'must be true or false, not "yes"'),
            ('listen = "tcp:1"', 'must be a list, not "tcp:1"'),
            ('listen = ["tcp:1", 1]', "item 2: must be text that is not empty, not 1"),
        ):
            with self.assertRaises(ConfigurationError, msg=line) as refused:
                from_toml(line)
            self.assertEqual(str(refused.exception), f"echod.toml: {line.split()[0]}: {why}")

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

    def test_every_option_has_a_help_text(self) -> None:
        for each in options_of(ServerConfiguration):
            self.assertTrue(each.help)
