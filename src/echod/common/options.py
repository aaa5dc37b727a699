"""Options: declared once as the fields of a frozen dataclass, used by every command line and by TOML.

A configuration is a frozen dataclass whose fields are made by `option()`. Each carries
its kind, its help and its short name, so that the usage texts, the parsers and the file
format cannot drift apart. A *layer* is what one source gave (a file, a command line);
`configure` lays the layers over each other and makes the configuration.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from inspect import get_annotations
from typing import Any, TypeVar, cast

from echod.common.errors import ConfigurationError
from echod.common.option_types import OptionType

__all__ = [
    "Layer",
    "Option",
    "check_options",
    "command_line_layer",
    "configure",
    "file_layer",
    "option",
    "options_of",
]

_KEY = "echod"


C = TypeVar("C")


@dataclass(frozen=True)
class _Declaration:
    type: OptionType
    help: str
    short: str
    excludes: tuple[str, ...]


@dataclass(frozen=True)
class Option:
    """One option: everything that a command line, a usage text or a file needs to know of it."""

    field: str
    name: str
    """As users write it: words joined by hyphens, no leading ones."""
    short: str
    """One letter, or empty."""
    type: OptionType
    help: str
    default: object
    excludes: tuple[str, ...]
    """Names of the options whose place this one takes."""

    @property
    def help_with_default(self) -> str:
        """The option's text in a usage message, its default at the end."""
        if self.default in (None, (), False):
            return self.help
        shown = f"{self.default:g}" if isinstance(self.default, float) else self.default
        return f"{self.help} [default: {shown}]"

    @property
    def flag_words(self) -> tuple[tuple[str, str, str], ...]:
        """The command-line words of a flag, without leading hyphens: (word, text of the value, help).

        The second word, `no-NAME`, switches off on the command line what a file switches on.
        """
        return (
            (self.name, "true", self.help),
            (f"no-{self.name}", "false", f"not --{self.name}, whatever the configuration file says"),
        )


@dataclass(frozen=True)
class Layer:
    """Checked values by option name, from one source."""

    values: Mapping[str, object]
    say: Callable[[str], str]
    """Turns an option's name into the words by which this source's user knows it."""


def option(default: object, type: OptionType, help: str, *, short: str = "", excludes: Sequence[str] = ()) -> Any:
    """Declare one option as a dataclass field.

    `excludes` names options (by field) that one source may not give together with this
    one, and that a later source's use of this one sets aside.
    """
    declaration = _Declaration(type, help, short, tuple(excludes))
    return dataclasses.field(default=default, metadata={_KEY: declaration})


def options_of(configuration: type[object]) -> tuple[Option, ...]:
    """Return the options of a configuration class in their order: those that it declares before those it inherits."""
    own = get_annotations(configuration)
    declarations = sorted(dataclasses.fields(cast("Any", configuration)), key=lambda field: field.name not in own)
    return tuple(
        Option(
            field=field.name,
            name=_hyphens(field.name),
            short=declared.short,
            type=declared.type,
            help=declared.help,
            default=field.default,
            excludes=tuple(map(_hyphens, declared.excludes)),
        )
        for field in declarations
        for declared in [field.metadata[_KEY]]
    )


def check_options(configuration: object) -> None:
    """Check every field of a configuration: for its `__post_init__`.

    Raises ConfigurationError that names the field.
    """
    for each in options_of(type(configuration)):
        value = getattr(configuration, each.field)
        if value != each.default:
            object.__setattr__(configuration, each.field, _refusing(each.field, each.type.check, value))


def command_line_layer(configuration: type[object], given: Iterable[tuple[str, str]]) -> Layer:
    """Return the layer of a command line: (option name, text) pairs in the order they were given.

    A repeatable option gathers its values; of any other the last one counts, as in most
    commands. Raises ConfigurationError.
    """
    by_name = {each.name: each for each in options_of(configuration)}
    values: dict[str, Any] = {}
    for name, text in given:
        option_type = by_name[name].type
        value: Any = _refusing(f"--{name}", option_type.from_text, text)
        values[name] = values.get(name, ()) + value if option_type.repeatable else value
    return Layer(values, lambda name: f"--{name}")


def file_layer(configuration: type[object], table: Mapping[str, object], source: str) -> Layer:
    """Return the layer of a parsed TOML `table`; `source` names the file in errors.

    Raises ConfigurationError, for an unknown key too.
    """
    by_name = {each.name: each for each in options_of(configuration)}
    values = {}
    for name, value in table.items():
        if name not in by_name:
            raise ConfigurationError(f"{source}: unknown key {name!r}")
        values[name] = _refusing(f"{source}: {name}", by_name[name].type.check, value)
    return Layer(values, lambda name: f"{source}: {name}")


def configure(configuration: type[C], layers: Sequence[Layer]) -> C:
    """Return the configuration that `layers` make, the later ones winning.

    Raises ConfigurationError where one layer gives an option and another whose place it takes.
    """
    options = options_of(configuration)
    merged: dict[str, object] = {}
    for layer in layers:
        for each in options:
            for other in each.excludes:
                _set_aside(merged, layer, each.name, other)
        merged.update(layer.values)
    fields = {each.name: each.field for each in options}
    make: Callable[..., C] = configuration
    return make(**{fields[name]: value for name, value in merged.items()})


def _set_aside(merged: dict[str, object], layer: Layer, name: str, other: str) -> None:
    """Let the layer's use of `name` or of `other` replace an earlier layer's use of its rival."""
    if name in layer.values and other in layer.values:
        raise ConfigurationError(f"{layer.say(name)}: is given instead of {layer.say(other)}, not with it")
    if name in layer.values:
        merged.pop(other, None)
    if other in layer.values:
        merged.pop(name, None)


def _refusing(name: str, convert: Callable[[Any], object], value: object) -> object:
    try:
        return convert(value)
    except ValueError as problem:
        raise ConfigurationError(f"{name}: {problem}") from None


def _hyphens(field: str) -> str:
    return field.rstrip("_").replace("_", "-")  # a field that would be a keyword ends in an underscore
