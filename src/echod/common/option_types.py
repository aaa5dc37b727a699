"""Types of option values, each with its one check.

A type converts the text of a command line (`from_text`) or checks a value from a TOML file or from Python (`check`).
Both raise ValueError with the rest of a sentence that begins with the option's name: "must be a whole number from 1 to
65535, not 0".
"""

import json
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol

from echod.common.addresses import parse_address, parse_host, parse_network

__all__ = [
    "PORT",
    "Address",
    "Choice",
    "Flag",
    "Host",
    "Integer",
    "ListOf",
    "Network",
    "OptionType",
    "PortOrEndpoint",
    "Seconds",
    "SizeRange",
    "Text",
    "display_value",
]


class OptionType(Protocol):
    """The interface of an option type."""

    @property
    def metavar(self) -> str:
        """The placeholder of the value in a usage message; empty if the option takes no value."""

    @property
    def repeatable(self) -> bool:
        """Whether the option may be given more than once."""

    def from_text(self, text: str) -> object:
        """Return the value of a command line's `text`. Raises ValueError."""

    def check(self, value: object) -> object:
        """Return the checked `value`. Raises ValueError."""


def display_value(value: object) -> str:
    """Return a refused value as TOML writes it: text in quotes, `true` and `false` in lower case."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=not value.isprintable())  # TOML's escapes are a superset of JSON's
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(display_value, value))}]"
    if isinstance(value, dict):
        return "a table"
    return str(value)


def _display_text(text: str) -> str:
    """Return refused text without quotes, except if it would be invisible or break the line."""
    return text if text.strip() and text.isprintable() else display_value(text)


_DIGITS = 18
"""Digits of the longest whole number read: more than any option's range needs."""


@dataclass(frozen=True)
class Integer:
    """A whole number from `low` to `high`; without `high`, of `low` or more."""

    low: int
    high: int | None = None
    metavar: str = "N"
    repeatable: bool = False

    def from_text(self, text: str) -> int:
        """Return the number in `text`: ASCII digits only."""
        if len(text) > _DIGITS or not (text.isascii() and text.isdigit()):
            raise self._refusal(_display_text(text))
        return self.check(int(text))

    def check(self, value: object) -> int:
        """Return `value` if it is a number in the range. True and False are not numbers."""
        if not isinstance(value, int) or isinstance(value, bool) or value < self.low:
            raise self._refusal(display_value(value))
        if self.high is not None and value > self.high:
            raise self._refusal(display_value(value))
        return value

    def _refusal(self, shown: str) -> ValueError:
        bounds = f"of {self.low} or more" if self.high is None else f"from {self.low} to {self.high}"
        return ValueError(f"must be a whole number {bounds}, not {shown}")


PORT = Integer(1, 65535)
"""A TCP port: 16 bits, and 0 is reserved (RFC 6335 section 6)."""


@dataclass(frozen=True)
class Seconds:
    """A finite number of seconds above 0; with `zero`, 0 is allowed."""

    zero: bool = False
    metavar: str = "S"
    repeatable: bool = False

    def from_text(self, text: str) -> float:
        """Return the number in `text`, whole or decimal."""
        try:
            return self.check(float(text))
        except ValueError:
            raise self._refusal(_display_text(text)) from None

    def check(self, value: object) -> float:
        """Return `value` if it is a number in the range. NaN and infinity are refused."""
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            raise self._refusal(display_value(value))
        if value < 0 or (value == 0 and not self.zero):
            raise self._refusal(display_value(value))
        return float(value)

    def _refusal(self, shown: str) -> ValueError:
        bounds = "0 or more" if self.zero else "more than 0"
        return ValueError(f"must be a finite number of seconds, {bounds}, not {shown}")


@dataclass(frozen=True)
class Flag:
    """On or off. It takes no value on the command line; a TOML file has true or false."""

    metavar: str = ""
    repeatable: bool = False

    def from_text(self, text: str) -> bool:
        """Return True for "true" and False for "false": the texts of `Option.flag_words`."""
        return self.check({"true": True, "false": False}.get(text, text))

    def from_word(self, text: str) -> bool:
        """Return the value of an environment variable: true, yes or 1; false, no or 0, in upper or lower case."""
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if text.lower() not in words:
            raise ValueError(f"must be true or false (or yes, no, 1, 0), not {_display_text(text)}")
        return words[text.lower()]

    def check(self, value: object) -> bool:
        """Return `value` if it is True or False."""
        if not isinstance(value, bool):
            raise ValueError(f"must be true or false, not {display_value(value)}")
        return value


@dataclass(frozen=True)
class SizeRange:
    """Sizes in bytes, from `low` to `high`, written `first:last` or `first:last:step`; both ends are included."""

    low: int
    high: int
    metavar: str = "A:B[:STEP]"
    repeatable: bool = False

    def from_text(self, text: str) -> range:
        """Return the range of sizes in `text`; the default step is 1."""
        parts = text.split(":")
        if len(parts) not in (2, 3):
            raise self._refusal(_display_text(text))
        try:
            first, last, *step = (Integer(1).from_text(part) for part in parts)
            return self.check(range(first, last + 1, *step))  # a range excludes its end, `first:last` includes it
        except ValueError:
            raise self._refusal(_display_text(text)) from None

    def check(self, value: object) -> range:
        """Return `value` if it is an ascending range of at least one size, within the bounds."""
        if not isinstance(value, range) or not value or value.step < 1:
            raise self._refusal(display_value(value))
        if value[0] < self.low or value[-1] > self.high:
            raise self._refusal(display_value(value))
        return value

    def _refusal(self, shown: str) -> ValueError:
        return ValueError(f"must be FIRST:LAST or FIRST:LAST:STEP, from {self.low} to {self.high}, not {shown}")


class _TextType(ABC):
    """Base of the types whose value is text."""

    @property
    def repeatable(self) -> bool:
        """False: one value for each option."""
        return False

    def from_text(self, text: str) -> str:
        """Return the checked `text` of a command line. Raises ValueError."""
        return self.check(text)

    @abstractmethod
    def check(self, value: object) -> str:
        """Return the checked `value`. Raises ValueError."""


@dataclass(frozen=True)
class Text(_TextType):
    """Text of at least one character."""

    metavar: str = "TEXT"

    def check(self, value: object) -> str:
        """Return `value` if it is text and not empty."""
        if not isinstance(value, str) or not value:
            raise ValueError(f"must be text that is not empty, not {display_value(value)}")
        return value


@dataclass(frozen=True)
class Address(_TextType):
    """An IPv4 or IPv6 address, a scope id allowed. Brackets are removed."""

    metavar: str = "ADDR"

    def check(self, value: object) -> str:
        """Return `value`, without brackets, if it is an address."""
        if not isinstance(value, str):
            raise self._refusal(display_value(value))
        bare = value[1:-1] if value.startswith("[") and value.endswith("]") else value
        if parse_address(bare) is None:
            raise self._refusal(_display_text(value))
        return bare

    def _refusal(self, shown: str) -> ValueError:
        return ValueError(f"must be an IPv4 or IPv6 address, not {shown}")


@dataclass(frozen=True)
class Host(_TextType):
    """A host name or an IP address, a scope id allowed. Brackets are removed."""

    metavar: str = "NAME"

    def check(self, value: object) -> str:
        """Return `value`, without brackets, if it is a host."""
        if not isinstance(value, str):
            raise ValueError(f"must be a host, not {display_value(value)}")
        try:
            return parse_host(value)
        except ValueError as problem:
            raise ValueError(f"must be a host: {problem}") from None


@dataclass(frozen=True)
class Network(_TextType):
    """An IPv4 or IPv6 network in CIDR notation, or a single address."""

    metavar: str = "CIDR"

    def check(self, value: object) -> str:
        """Return `value` if it is a network."""
        if not isinstance(value, str):
            raise ValueError(f"must be a network, not {display_value(value)}")
        try:
            parse_network(value)
        except ValueError as problem:
            raise ValueError(f"must be a network: {problem}") from None
        return value


@dataclass(frozen=True)
class PortOrEndpoint(_TextType):
    """A TCP port, or a Twisted server endpoint. A TOML file may have the port as a number."""

    metavar: str = "PORT|ENDPOINT"

    def check(self, value: object) -> str:
        """Return `value` as text if it is a port or other text that is not empty."""
        if isinstance(value, int):
            return str(PORT.check(value))
        text = Text().check(value)
        return str(PORT.from_text(text)) if text.isdigit() else text


@dataclass(frozen=True)
class Choice(_TextType):
    """One of a few words."""

    words: tuple[str, ...]

    @property
    def metavar(self) -> str:
        """The words, separated as in a usage message."""
        return "|".join(self.words)

    def check(self, value: object) -> str:
        """Return `value` if it is one of the words."""
        if not isinstance(value, str) or value not in self.words:
            shown = _display_text(value) if isinstance(value, str) else display_value(value)
            raise ValueError(f"must be {' or '.join(self.words)}, not {shown}")
        return value


@dataclass(frozen=True)
class ListOf:
    """Any number of values of one type: a repeatable option, an array in TOML."""

    each: OptionType
    repeatable: bool = True

    @property
    def metavar(self) -> str:
        """The metavar of a single value."""
        return self.each.metavar

    def from_text(self, text: str) -> tuple[object, ...]:
        """Return a tuple of the one value in `text`."""
        return (self.each.from_text(text),)

    def check(self, value: object) -> tuple[object, ...]:
        """Return the checked members of a list or tuple. An error names the member by its number, from 1."""
        if not isinstance(value, list | tuple):
            raise ValueError(f"must be a list, not {display_value(value)}")
        return tuple(self._check_member(number, member) for number, member in enumerate(value, 1))

    def _check_member(self, number: int, member: object) -> object:
        try:
            return self.each.check(member)
        except ValueError as problem:
            raise ValueError(f"item {number}: {problem}") from None
