"""The kinds of value an option takes, each with its one rule.

A kind turns what a user typed (`from_text`) or what a TOML file or a program gave
(`check`) into a checked value. Both raise ValueError with the end of a sentence
that begins with the option's name: "must be a whole number from 1 to 65535, not 0".
"""

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
]


class OptionType(Protocol):
    """One kind of option value."""

    @property
    def metavar(self) -> str:
        """What stands for the value in a usage line; empty where the option takes none."""

    @property
    def repeatable(self) -> bool:
        """True where the option may be given more than once."""

    def from_text(self, text: str) -> object:
        """Return the value that a command line's `text` means."""

    def check(self, value: object) -> object:
        """Return `value` where it is one of this kind."""


_DIGITS = 18
"""Digits of the longest whole number read: more than any option's range needs."""


@dataclass(frozen=True)
class Integer:
    """A whole number from `low` to `high`; without `high`, from `low` up."""

    low: int
    high: int | None = None
    metavar: str = "N"
    repeatable: bool = False

    def from_text(self, text: str) -> int:
        """Return the number in `text`: decimal digits, nothing else."""
        if len(text) > _DIGITS or not (text.isascii() and text.isdigit()):
            raise self._refusal(text)
        return self.check(int(text))

    def check(self, value: object) -> int:
        """Return `value` where it is in range. True and False are no numbers here."""
        if not isinstance(value, int) or isinstance(value, bool) or value < self.low:
            raise self._refusal(value)
        if self.high is not None and value > self.high:
            raise self._refusal(value)
        return value

    def _refusal(self, value: object) -> ValueError:
        bounds = f"of {self.low} or more" if self.high is None else f"from {self.low} to {self.high}"
        return ValueError(f"must be a whole number {bounds}, not {value}")


PORT = Integer(1, 65535)
"""A TCP port: 16 bits, and 0 is reserved (RFC 6335 section 6)."""


@dataclass(frozen=True)
class Seconds:
    """A finite number of seconds above 0; with `zero`, 0 too."""

    zero: bool = False
    metavar: str = "S"
    repeatable: bool = False

    def from_text(self, text: str) -> float:
        """Return the number in `text`, whole or decimal."""
        try:
            return self.check(float(text))
        except ValueError:
            raise self._refusal(text) from None

    def check(self, value: object) -> float:
        """Return `value` where it is in range: neither NaN nor infinite."""
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            raise self._refusal(value)
        if value < 0 or (value == 0 and not self.zero):
            raise self._refusal(value)
        return float(value)

    def _refusal(self, value: object) -> ValueError:
        bounds = "0 or more" if self.zero else "more than 0"
        return ValueError(f"must be a finite number of seconds, {bounds}, not {value}")


@dataclass(frozen=True)
class Flag:
    """On or off. It takes no value on the command line; a TOML file says true or false."""

    metavar: str = ""
    repeatable: bool = False

    def from_text(self, text: str) -> bool:
        """Return True for "true", False for "false": what a command line's bare flag is turned into."""
        return self.check({"true": True, "false": False}.get(text, text))

    def check(self, value: object) -> bool:
        """Return `value` where it is True or False."""
        if not isinstance(value, bool):
            raise ValueError(f"must be true or false, not {value}")
        return value


@dataclass(frozen=True)
class SizeRange:
    """Sizes from `low` to `high` in bytes, as `first:last` or `first:last:step`: both ends belong to it."""

    low: int
    high: int
    metavar: str = "A:B[:STEP]"
    repeatable: bool = False

    def from_text(self, text: str) -> range:
        """Return the sizes that `text` means; without a step, every one."""
        parts = text.split(":")
        if len(parts) not in (2, 3):
            raise self._refusal(text)
        try:
            first, last, *step = (Integer(1).from_text(part) for part in parts)
        except ValueError:
            raise self._refusal(text) from None
        # The end that is told is part of it where the steps reach it; here as everywhere a range's own end is not.
        return self.check(range(first, last + 1, *step))

    def check(self, value: object) -> range:
        """Return `value` where it is a range that ascends and has at least one size."""
        if not isinstance(value, range) or not value or value.step < 1:
            raise self._refusal(value)
        if value[0] < self.low or value[-1] > self.high:
            raise self._refusal(value)
        return value

    def _refusal(self, value: object) -> ValueError:
        return ValueError(f"must be FIRST:LAST or FIRST:LAST:STEP, from {self.low} to {self.high}, not {value}")


class _Written(ABC):
    """A kind whose value is what was written, in its checked form."""

    @property
    def repeatable(self) -> bool:
        """False."""
        return False

    def from_text(self, text: str) -> str:
        """Return the value that a command line's `text` means."""
        return self.check(text)

    @abstractmethod
    def check(self, value: object) -> str:
        """Return `value` where it is one of this kind."""


@dataclass(frozen=True)
class Text(_Written):
    """Any text that is not empty."""

    metavar: str = "TEXT"

    def check(self, value: object) -> str:
        """Return `value` where it is text."""
        if not isinstance(value, str) or not value:
            raise ValueError(f"must be text that is not empty, not {value!r}")
        return value


@dataclass(frozen=True)
class Address(_Written):
    """An IPv4 or IPv6 address of this host, a scope id allowed; brackets are taken off."""

    metavar: str = "ADDR"

    def check(self, value: object) -> str:
        """Return `value` where it is an address."""
        if isinstance(value, str):
            bare = value[1:-1] if value.startswith("[") and value.endswith("]") else value
            if parse_address(bare) is not None:
                return bare
        raise ValueError(f"must be an IPv4 or IPv6 address, not {value}")


@dataclass(frozen=True)
class Host(_Written):
    """A host name or an IP address, a scope id allowed; brackets are taken off."""

    metavar: str = "NAME"

    def check(self, value: object) -> str:
        """Return `value` where it is a host."""
        try:
            if isinstance(value, str):
                return parse_host(value)
        except ValueError as problem:
            raise ValueError(f"must be a host: {problem}") from None
        raise ValueError(f"must be a host, not {value!r}")


@dataclass(frozen=True)
class Network(_Written):
    """An IPv4 or IPv6 network in CIDR notation, or one address."""

    metavar: str = "CIDR"

    def check(self, value: object) -> str:
        """Return `value` where it is a network."""
        try:
            if isinstance(value, str):
                parse_network(value)
                return value
        except ValueError as problem:
            raise ValueError(f"must be a network: {problem}") from None
        raise ValueError(f"must be a network, not {value!r}")


@dataclass(frozen=True)
class PortOrEndpoint(_Written):
    """A TCP port, or a Twisted server endpoint. A file may have the port as a number."""

    metavar: str = "PORT|ENDPOINT"

    def check(self, value: object) -> str:
        """Return `value` where it is a port or any other text that is not empty."""
        if isinstance(value, int):
            return str(PORT.check(value))
        text = Text().check(value)
        return str(PORT.from_text(text)) if text.isdigit() else text


@dataclass(frozen=True)
class Choice(_Written):
    """One of a few words."""

    words: tuple[str, ...]

    @property
    def metavar(self) -> str:
        """The words, as a usage line shows a choice."""
        return "|".join(self.words)

    def check(self, value: object) -> str:
        """Return `value` where it is one of the words."""
        if not isinstance(value, str) or value not in self.words:
            raise ValueError(f"must be {' or '.join(self.words)}, not {value}")
        return value


@dataclass(frozen=True)
class ListOf:
    """Any number of values of one kind: a repeatable option, an array in TOML."""

    each: OptionType
    repeatable: bool = True

    @property
    def metavar(self) -> str:
        """The single value's."""
        return self.each.metavar

    def from_text(self, text: str) -> tuple[object, ...]:
        """Return the one value in `text`, in a tuple of its own."""
        return (self.each.from_text(text),)

    def check(self, value: object) -> tuple[object, ...]:
        """Return `value`'s members, each checked, as a tuple."""
        if not isinstance(value, list | tuple):
            raise ValueError(f"must be a list, not {value!r}")
        return tuple(self.each.check(member) for member in value)
