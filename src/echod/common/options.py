"""Options: declared once as the fields of a frozen dataclass, used by every command line and by TOML files.

A configuration is a frozen dataclass whose fields are made by `option()`. A field carries the option's type, help and
short name; the usage messages, the parsers, the environment variables and the file format follow from it. A *layer*
holds the options of one source (a file, the environment, a command line); `configure` merges the layers and makes the
configuration.
"""

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import get_annotations
from typing import Any, TypeVar, cast

from echod.common.errors import ConfigurationError, Problems
from echod.common.option_types import Flag, OptionType

__all__ = [
    "Layer",
    "Option",
    "changed_options",
    "check_options",
    "command_line_layer",
    "configure",
    "environment_layer",
    "file_layer",
    "ignored_variables",
    "option",
    "options_of",
]

_KEY = "echod"
"""The key of a declaration in a field's metadata."""

_PREFIX = "ECHOD_"
"""The beginning of the name of each environment variable."""

_SERVICE_ADDRESS = re.compile(r"(tcp|udp|sctp)://")
_SERVICE_VARIABLE = re.compile(r"_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$")
"""Variables that Kubernetes sets in each container of a namespace, for each service in it.

For a service `echod` they include ECHOD_SERVICE_HOST and ECHOD_PORT=tcp://10.0.0.1:3005.
"""

C = TypeVar("C")


@dataclass(frozen=True)
class _Declaration:
    type: OptionType
    help: str
    short: str
    excludes: tuple[str, ...]
    reloadable: bool


@dataclass(frozen=True)
class Option:
    """One option: its names, type, help and default."""

    field: str
    name: str
    """The name that users write: words joined by hyphens, no leading hyphens."""
    short: str
    """One letter, or empty."""
    type: OptionType
    help: str
    default: object
    excludes: tuple[str, ...]
    """Names of the options that this one replaces."""
    reloadable: bool
    """Whether a running daemon applies a changed value at a reload; else only a restart does."""

    @property
    def variable(self) -> str:
        """The name of the option's environment variable."""
        return _variable(self.name)

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
            (f"no-{self.name}", "false", f"not --{self.name}, whatever the file and the environment say"),
        )


@dataclass(frozen=True)
class Layer:
    """Checked values by option name, from one source."""

    values: Mapping[str, object]
    file: str | None = None
    """The name of the file; None for a command line and for the environment."""
    environment: bool = False
    """Whether the source is the environment."""

    def display_name(self, name: str) -> str:
        """Return an option's name as the user of this source writes it."""
        if self.environment:
            return _variable(name)
        return f"--{name}" if self.file is None else name

    def error(self, name: str, message: object) -> ConfigurationError:
        """Return the error of the option `name`."""
        place = "" if self.file is None else f"{self.file}: "
        return ConfigurationError(f"{place}{self.display_name(name)}: {message}")


def option(
    default: object,
    type: OptionType,
    help: str,
    *,
    short: str = "",
    excludes: Sequence[str] = (),
    reloadable: bool = False,
) -> Any:
    """Declare one option as a dataclass field.

    `excludes` names the options (by field) that this one replaces: they cannot be combined with it in one layer, and of
    two layers the later one decides. `reloadable` is as in `Option`.
    """
    declaration = _Declaration(type, help, short, tuple(excludes), reloadable)
    return dataclasses.field(default=default, metadata={_KEY: declaration})


def options_of(configuration: type[object]) -> tuple[Option, ...]:
    """Return the options of a configuration class in their order, its own before the inherited ones."""
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
            reloadable=declared.reloadable,
        )
        for field in declarations
        for declared in [field.metadata[_KEY]]
    )


def check_options(configuration: object) -> None:
    """Check every field of a configuration and store the checked value: for `__post_init__`.

    Raises ConfigurationError that names the field.
    """
    for each in options_of(type(configuration)):
        value = getattr(configuration, each.field)
        if value != each.default:
            try:
                checked = each.type.check(value)
            except ValueError as problem:
                raise ConfigurationError(f"{each.field}: {problem}") from None
            object.__setattr__(configuration, each.field, checked)


def changed_options(old: object, new: object) -> list[Option]:
    """Return the options whose values differ between two configurations of one class."""
    return [each for each in options_of(type(new)) if getattr(old, each.field) != getattr(new, each.field)]


def command_line_layer(configuration: type[object], given: Iterable[tuple[str, str]]) -> Layer:
    """Return the layer of a command line: (option name, text) pairs in their order.

    The values of a repeatable option are gathered; of any other option the last one counts. Raises ConfigurationError.
    """
    types = {each.name: each.type for each in options_of(configuration)}
    values: dict[str, Any] = {}
    layer = Layer(values)
    problems = Problems()
    for name, text in given:
        with problems.collected():
            value: Any = _convert(layer, name, types[name].from_text, text)
            values[name] = values.get(name, ()) + value if types[name].repeatable else value
    problems.raise_if_any()
    return layer


def environment_layer(configuration: type[object], environment: Mapping[str, str]) -> Layer:
    """Return the layer of the environment variables: ECHOD_ and an option's name in upper case, with underscores.

    The members of a repeatable option are separated by commas. A variable that is empty counts as not set; one that
    Kubernetes sets is ignored. Raises ConfigurationError.
    """
    values: dict[str, object] = {}
    layer = Layer(values, environment=True)
    problems = Problems()
    for each in options_of(configuration):
        text = environment.get(each.variable)
        if text and not _SERVICE_ADDRESS.match(text):
            with problems.collected():
                values[each.name] = _convert(layer, each.name, partial(_from_variable, each.type), text)
    problems.raise_if_any()
    return layer


def ignored_variables(configuration: type[object], environment: Mapping[str, str], *others: str) -> list[str]:
    """Return a warning for variables that look like options of echod and are none; `others` are in use elsewhere."""
    known = {each.variable for each in options_of(configuration)} | set(others)
    ours = {name: text for name, text in sorted(environment.items()) if name.startswith(_PREFIX)}
    injected = [
        name
        for name, text in ours.items()
        if _SERVICE_ADDRESS.match(text) or (name not in known and _SERVICE_VARIABLE.search(name))
    ]
    warnings = [f"{name}: ignored, there is no such option" for name in ours if name not in known | set(injected)]
    if injected:
        warnings.append(
            f"{', '.join(injected)}: ignored, Kubernetes sets such variables for a service whose name begins with "
            "echod (enableServiceLinks: false in the pod's specification prevents it)"
        )
    return warnings


def file_layer(configuration: type[object], table: Mapping[str, object], source: str) -> Layer:
    """Return the layer of a parsed TOML `table`; `source` names the file in errors.

    Raises ConfigurationError, also for an unknown key.
    """
    types = {each.name: each.type for each in options_of(configuration)}
    values: dict[str, object] = {}
    layer = Layer(values, source)
    problems = Problems()
    for name, value in table.items():
        with problems.collected():
            if name not in types:
                raise ConfigurationError(f"{source}: unknown key {name!r}")
            values[name] = _convert(layer, name, types[name].check, value)
    problems.raise_if_any()
    return layer


def configure(configuration: type[C], layers: Sequence[Layer]) -> C:
    """Return the configuration of merged `layers`; a later layer overrides an earlier one.

    Raises ConfigurationError if one layer has an option and another one that it excludes.
    """
    options = options_of(configuration)
    merged: dict[str, object] = {}
    problems = Problems()
    for layer in layers:
        for each in options:
            for other in each.excludes:
                with problems.collected():
                    _drop_excluded(merged, layer, each.name, other)
        merged.update(layer.values)
    problems.raise_if_any()
    fields = {each.name: each.field for each in options}
    make: Callable[..., C] = configuration
    return make(**{fields[name]: value for name, value in merged.items()})


def _drop_excluded(merged: dict[str, object], layer: Layer, name: str, other: str) -> None:
    """Remove from `merged` the one of two exclusive options if `layer` has the other."""
    if name in layer.values and other in layer.values:
        raise layer.error(name, f"cannot be combined with {layer.display_name(other)}")
    if name in layer.values:
        merged.pop(other, None)
    if other in layer.values:
        merged.pop(name, None)


def _from_variable(type: OptionType, text: str) -> object:
    if isinstance(type, Flag):
        return type.from_word(text)
    if not type.repeatable:
        return type.from_text(text)
    members: list[Any] = [type.from_text(member) for member in map(str.strip, text.split(",")) if member]
    return sum(members, ())


def _variable(name: str) -> str:
    return _PREFIX + name.upper().replace("-", "_")


def _convert(layer: Layer, name: str, convert: Callable[[Any], object], value: object) -> object:
    try:
        return convert(value)
    except ValueError as problem:
        raise layer.error(name, problem) from None


def _hyphens(field: str) -> str:
    return field.rstrip("_").replace("_", "-")  # a field that would be a keyword ends in an underscore
