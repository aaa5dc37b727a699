"""The options of `echod ping`."""

from dataclasses import dataclass

from echod.client.config import ClientConfiguration
from echod.common.assertions import Assertion, AssertionType
from echod.common.defaults import DEFAULT_RECORD_SIZE, LARGEST_RECORD
from echod.common.errors import ConfigurationError
from echod.common.option_types import Flag, Integer, ListOf, Seconds, SizeRange, Text
from echod.common.options import check_options, option
from echod.ping.statistics import PHASES

__all__ = ["PingConfiguration"]

_CONDITION = AssertionType(PHASES)


@dataclass(frozen=True, slots=True, kw_only=True)
class PingConfiguration(ClientConfiguration):
    """The options of a ping run. Raises ConfigurationError for a wrong value or options that exclude each other."""

    count: int | None = option(
        None,
        Integer(1),
        "stop after N probes; with sweep, after N rounds (default: no limit; with sweep, 1)",
        short="c",
    )
    interval: float = option(
        1.0,
        Seconds(zero=True),
        "seconds between probe starts; 0: each probe starts when the previous one ends",
        short="i",
    )
    timeout: float = option(5.0, Seconds(), "seconds for one probe, name resolution included", short="W")
    deadline: float | None = option(
        None, Seconds(), "end the run after S seconds, unfinished probes included", short="w"
    )
    size: int | None = option(
        None,
        Integer(1, LARGEST_RECORD),
        f"record size in bytes; must equal the server's (default: {DEFAULT_RECORD_SIZE}, or the payload file's size)",
        short="s",
    )
    sweep: range | None = option(
        None, SizeRange(1, LARGEST_RECORD), "probe record sizes A to B in bytes, one probe each, then stop"
    )
    payload: str | None = option(
        None,
        Text("random|zero|FILE"),
        "record content: random bytes, null bytes or a file's bytes (default: a header, then pseudo-random bytes)",
    )
    each_address: bool = option(False, Flag(), "probe every address of the name, instead of racing them")
    keep_alive: bool = option(False, Flag(), "send all records on one connection; reconnect if it closes")
    idle: float | None = option(
        None, Seconds(), "seconds each connection stays silent before its record; not counted by timeout"
    )
    verbose: bool = option(
        False, Flag(), "below each probe: phases, connection attempts, certificate, kernel TCP facts", short="v"
    )
    quiet: bool = option(False, Flag(), "print only the first line and the summary", short="q")
    json: bool = option(
        False, Flag(), "print one JSON object a line for each probe; with quiet, one for the run instead"
    )
    summary: bool = option(False, Flag(), "with json: print one more object, for the run, as the last line")
    metrics: str | None = option(
        None, Text("FILE"), "write the run's result to FILE, atomically, for node_exporter's textfile collector"
    )
    assert_: tuple[Assertion, ...] = option(
        (), ListOf(_CONDITION), "condition for exit status 0, such as p99<50ms or lost<1%; repeatable"
    )
    nagios: bool = option(
        False, Flag(), "print one line as a monitoring plugin does, with performance data; exit status 0 to 3"
    )
    warning: tuple[Assertion, ...] = option(
        (), ListOf(_CONDITION), "with nagios: condition for WARNING, such as p99>50ms; repeatable"
    )
    critical: tuple[Assertion, ...] = option(
        (), ListOf(_CONDITION), "with nagios: condition for CRITICAL (default: lost>0); repeatable"
    )

    def __post_init__(self) -> None:
        check_options(self)
        self._check_route()
        self._check_records()
        self._check_output()

    def _check_records(self) -> None:
        if self.sweep is not None and self.size is not None:
            raise ConfigurationError("sweep: cannot be combined with size")
        if self.sweep is not None and self.payload_file is not None:
            raise ConfigurationError("sweep: cannot be combined with a payload file, which has one size")
        if self.idle is not None and self.keep_alive:
            raise ConfigurationError("idle: cannot be combined with keep-alive, where the interval is the silence")

    def _check_output(self) -> None:
        formats = {"json": self.json, "nagios": self.nagios, "verbose": self.verbose}
        chosen = [name for name, given in formats.items() if given]
        if len(chosen) > 1:
            raise ConfigurationError(f"{chosen[0]}: cannot be combined with {chosen[1]}")
        if self.quiet and (self.verbose or self.nagios):
            raise ConfigurationError(f"quiet: cannot be combined with {chosen[0]}")
        if self.summary and not self.json:
            raise ConfigurationError("summary: requires json")
        if self.assert_ and self.nagios:
            raise ConfigurationError("assert: cannot be combined with nagios; use warning and critical")
        for name, given in (("warning", self.warning), ("critical", self.critical)):
            if given and not self.nagios:
                raise ConfigurationError(f"{name}: requires nagios")

    @property
    def payload_file(self) -> str | None:
        """The file whose bytes are the record; None for other records."""
        return None if self.payload in (None, "random", "zero") else self.payload

    @property
    def sizes(self) -> range:
        """The record sizes in bytes, used in turn. Without the option size: the default, payload file or not."""
        if self.sweep is not None:
            return self.sweep
        size = self.size or DEFAULT_RECORD_SIZE
        return range(size, size + 1)

    @property
    def probes(self) -> int | None:
        """The number of sequence numbers in the run; None: no limit."""
        if self.sweep is not None:
            return len(self.sweep) * (self.count or 1)
        return self.count
