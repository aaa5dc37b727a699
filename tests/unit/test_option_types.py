import math
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from datetime import date

from twisted.trial.unittest import SynchronousTestCase

from echod.common.option_types import (
    PORT,
    Address,
    Choice,
    Flag,
    Host,
    Integer,
    ListOf,
    Network,
    OptionType,
    PortOrEndpoint,
    Seconds,
    SizeRange,
    Text,
    display_value,
)


class OptionTypeTestCase(SynchronousTestCase):
    def refusal(self, convert: Callable[[str], object] | Callable[[object], object], value: object) -> str:
        with self.assertRaises(ValueError, msg=repr(value)) as refused:
            convert(value)  # type: ignore[arg-type]  # a test passes text to `from_text`, anything to `check`
        return str(refused.exception)

    def check_refuses(self, convert: Callable[[str], object] | Callable[[object], object], *values: object) -> None:
        for value in values:
            self.refusal(convert, value)


class DisplayValueTests(SynchronousTestCase):
    def test_as_toml_writes_it(self) -> None:
        for value, shown in (
            (True, "true"), (False, "false"), (3005, "3005"), (1.5, "1.5"), (math.nan, "nan"), ("3005", '"3005"'),
            ("", '""'), ('a"b', r'"a\"b"'), ("bücher", '"bücher"'), ("é\n", r'"\u00e9\n"'), ("\u202e", r'"\u202e"'),
            (["a", True, 1], '["a", true, 1]'), ((), "[]"), ({"a": 1}, "a table"), (date(2026, 1, 2), "2026-01-02"),
        ):  # fmt: skip
            self.assertEqual(display_value(value), shown)


class NumberTests(OptionTypeTestCase):
    def test_integer(self) -> None:
        self.assertEqual([Integer(1, 9).from_text(text) for text in ("1", "9", "007")], [1, 9, 7])
        self.assertEqual([Integer(1, 9).check(value) for value in (1, 9)], [1, 9])
        self.assertEqual(Integer(1).from_text("9" * 18), 10**18 - 1)
        self.assertEqual(Integer(0).from_text("0"), 0)
        self.check_refuses(Integer(1, 9).from_text, "0", "10", "-1", "1.0", "x", "", " 1", "1_0", "²", "9" * 5000)
        self.check_refuses(Integer(1).from_text, "9" * 19)
        self.check_refuses(Integer(0, 9).check, -1, 10, True, False, 1.0, "1", None)

    def test_integer_refusals(self) -> None:
        self.assertEqual(self.refusal(PORT.from_text, "0"), "must be a whole number from 1 to 65535, not 0")
        self.assertEqual(self.refusal(PORT.from_text, "65536"), "must be a whole number from 1 to 65535, not 65536")
        self.assertEqual(self.refusal(PORT.from_text, "x"), "must be a whole number from 1 to 65535, not x")
        self.assertEqual(self.refusal(Integer(2).from_text, "1"), "must be a whole number of 2 or more, not 1")

    def test_a_refused_value_of_another_type_is_shown_as_in_the_file(self) -> None:
        self.assertEqual(self.refusal(PORT.check, "3005"), 'must be a whole number from 1 to 65535, not "3005"')
        self.assertEqual(self.refusal(PORT.check, True), "must be a whole number from 1 to 65535, not true")
        self.assertEqual(self.refusal(Seconds().check, "5"), 'must be a finite number of seconds, more than 0, not "5"')
        self.assertEqual(
            self.refusal(Seconds().check, False), "must be a finite number of seconds, more than 0, not false"
        )
        self.assertEqual(self.refusal(Flag().check, "true"), 'must be true or false, not "true"')
        self.assertEqual(self.refusal(Address().check, True), "must be an IPv4 or IPv6 address, not true")
        self.assertEqual(self.refusal(Host().check, ["a"]), 'must be a host, not ["a"]')
        self.assertEqual(self.refusal(Network().check, 1), "must be a network, not 1")
        self.assertEqual(self.refusal(Text().check, True), "must be text that is not empty, not true")
        self.assertEqual(self.refusal(ListOf(PORT).check, "80"), 'must be a list, not "80"')

    def test_text_that_would_not_be_seen_is_quoted(self) -> None:
        for text, shown in (("", '""'), (" ", '" "'), ("1\n2", r'"1\n2"'), ("\x1b[m", r'"\u001b[m"')):
            for option_type in (Integer(1), Seconds(), SizeRange(1, 9), Address(), Choice(("a", "b"))):
                self.assertTrue(self.refusal(option_type.from_text, text).endswith(f", not {shown}"), option_type)

    def test_port(self) -> None:
        self.assertEqual([PORT.check(number) for number in (1, 65535)], [1, 65535])

    def test_seconds(self) -> None:
        self.assertEqual(Seconds().from_text("0.5"), 0.5)
        self.assertIsInstance(Seconds().check(2), float)
        self.assertEqual(Seconds().check(5e-324), 5e-324)
        self.assertEqual(Seconds(zero=True).from_text("0"), 0.0)
        self.check_refuses(Seconds().from_text, "0", "-1", "nan", "inf", "-inf", "1e999", "x", "")
        self.check_refuses(Seconds().check, 0, -0.1, math.nan, math.inf, True, False, "1", None)
        self.check_refuses(Seconds(zero=True).check, -5e-324, False)
        self.assertEqual(
            self.refusal(Seconds().from_text, "0"), "must be a finite number of seconds, more than 0, not 0"
        )
        self.assertEqual(
            self.refusal(Seconds(zero=True).from_text, "-1"), "must be a finite number of seconds, 0 or more, not -1"
        )

    def test_flag(self) -> None:
        self.assertIs(Flag().from_text("true"), True)
        self.assertIs(Flag().from_text("false"), False)
        self.assertIs(Flag().check(False), False)
        self.check_refuses(Flag().from_text, "yes", "", "True")
        self.check_refuses(Flag().check, 1, 0, "true", None)

    def test_size_range(self) -> None:
        sizes = SizeRange(2, 9)
        self.assertEqual(sizes.from_text("2:9"), range(2, 10))
        self.assertEqual(sizes.from_text("3:3"), range(3, 4))
        self.assertEqual(list(sizes.from_text("2:9:3")), [2, 5, 8])
        self.assertEqual(sizes.from_text("2:10:5"), range(2, 11, 5), "the last size is 7")
        self.check_refuses(sizes.from_text, "1:9", "2:10", "9:2", "2", "2:3:1:1", "2:9:0", "2:x", ":", "2:9:-1", "")
        self.check_refuses(sizes.check, range(9, 1, -1), range(2, 2), range(1, 9), range(2, 11), (2, 3), "2:9", None)

    def test_a_refused_size_range_is_shown_as_it_was_given(self) -> None:
        for text in ("2:10", "1:9", "9:2", "2:x"):
            expected = f"must be FIRST:LAST or FIRST:LAST:STEP, from 2 to 9, not {text}"
            self.assertEqual(self.refusal(SizeRange(2, 9).from_text, text), expected)


class TextTypeTests(OptionTypeTestCase):
    def test_text(self) -> None:
        self.assertEqual(Text().from_text("x"), "x")
        self.check_refuses(Text().check, "", 1, None)
        self.assertEqual(self.refusal(Text().from_text, ""), 'must be text that is not empty, not ""')

    def test_address(self) -> None:
        for text in ("::", "0.0.0.0", "fe80::1%eth0"):
            self.assertEqual(Address().from_text(text), text)
        self.assertEqual(Address().from_text("[::1]"), "::1")
        self.check_refuses(Address().check, "localhost", "", "1.2.3", "[::1", "::1]", "[]", 1)
        self.assertEqual(self.refusal(Address().check, "eth0"), "must be an IPv4 or IPv6 address, not eth0")

    def test_host(self) -> None:
        for text, host in (("a.example", "a.example"), ("[::1]", "::1"), ("192.0.2.1", "192.0.2.1")):
            self.assertEqual(Host().from_text(text), host)
        self.assertEqual(self.refusal(Host().check, "a b"), "must be a host: 'a b' is not a host name")

    def test_network(self) -> None:
        for text in ("192.0.2.0/24", "2001:db8::/32", "192.0.2.1"):
            self.assertEqual(Network().from_text(text), text)
        self.check_refuses(Network().check, "192.0.2.1/24", "a.example", "", "192.0.2.0/33")
        self.assertTrue(self.refusal(Network().check, "x").startswith("must be a network: 'x' "))

    def test_port_or_endpoint(self) -> None:
        for value, text in ((80, "80"), ("80", "80"), ("0080", "80"), ("tcp:80", "tcp:80"), ("unix:/x", "unix:/x")):
            self.assertEqual(PortOrEndpoint().check(value), text)
        self.check_refuses(PortOrEndpoint().check, 0, "0", 65536, "65536", "", True, 1.5, "²")

    def test_choice(self) -> None:
        choice = Choice(("fast", "stock"))
        self.assertEqual((choice.metavar, choice.from_text("stock")), ("fast|stock", "stock"))
        self.assertEqual(self.refusal(choice.check, "x"), "must be fast or stock, not x")
        self.assertEqual(self.refusal(choice.check, True), "must be fast or stock, not true")


class ListTests(OptionTypeTestCase):
    def test_members(self) -> None:
        self.assertEqual(ListOf(Integer(1)).from_text("3"), (3,))
        self.assertEqual(ListOf(Integer(1)).check([3, 4]), (3, 4))
        self.assertEqual(ListOf(Integer(1)).check((3,)), (3,))
        self.assertEqual(ListOf(Integer(1)).check([]), ())
        self.check_refuses(ListOf(Integer(1)).check, [0], 3, "3", {"a": 1})
        self.check_refuses(ListOf(Integer(1)).from_text, "0")

    def test_a_wrong_member_is_named_by_its_number(self) -> None:
        self.assertEqual(
            self.refusal(ListOf(Text()).check, ["tcp:1", 5]), "item 2: must be text that is not empty, not 5"
        )
        self.assertTrue(self.refusal(ListOf(Text()).check, [5]).startswith("item 1: "))


class FrozenTests(SynchronousTestCase):
    def test_option_types_are_values(self) -> None:
        for make in (Seconds, Flag, Text, Address, Host, Network, PortOrEndpoint):
            self.assertEqual(hash(make()), hash(make()), make)
            with self.assertRaises(FrozenInstanceError):
                make().metavar = "x"  # type: ignore[misc]  # the assignment is the test
        self.assertEqual(hash(Integer(1, 9)), hash(Integer(1, 9)))
        self.assertEqual(hash(SizeRange(1, 9)), hash(SizeRange(1, 9)))
        self.assertEqual(hash(Choice(("a",))), hash(Choice(("a",))))
        self.assertEqual(hash(ListOf(Flag())), hash(ListOf(Flag())))


class UsageTests(SynchronousTestCase):
    def test_placeholders_and_what_may_be_repeated(self) -> None:
        types: tuple[tuple[OptionType, str], ...] = (
            (Integer(1), "N"), (Seconds(), "S"), (Flag(), ""), (SizeRange(1, 2), "A:B[:STEP]"), (Text(), "TEXT"),
            (Text("FILE"), "FILE"), (Address(), "ADDR"), (Host(), "NAME"), (Network(), "CIDR"),
            (PortOrEndpoint(), "PORT|ENDPOINT"), (Choice(("a", "b")), "a|b"),
        )  # fmt: skip
        for option_type, metavar in types:
            self.assertEqual((option_type.metavar, option_type.repeatable), (metavar, False))
            many = ListOf(option_type)
            self.assertEqual((many.metavar, many.repeatable), (metavar, True))
