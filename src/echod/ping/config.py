"""The options of `echod ping`."""

from dataclasses import dataclass

from echod.client.config import ClientConfiguration
from echod.common.assertions import Assertion, AssertionType
from echod.common.defaults import DEFAULT_RECORD_SIZE, LARGEST_RECORD
from echod.common.errors import ConfigurationError
from echod.common.option_types import (
    Flag,
    Integer,
    ListOf,
    Seconds,
    SizeRange,
    Text,
)
from echod.common.options import check_options, option
from echod.ping.statistics import PHASES

__all__ = ["PingConfiguration"]

_CONDITION = AssertionType(PHASES)


@dataclass(frozen=True, slots=True, kw_only=True)
class PingConfiguration(ClientConfiguration):
    """What a run of probes is asked to do. Raises ConfigurationError for what cannot be."""

    count: int | None = option(
        None,
        Integer(1),
        "stop after this many probes; with sweep, after so many rounds (default: at Ctrl-C; with sweep, 1)",
        short="c",
    )
    interval: float = option(
        1.0, Seconds(zero=True), "seconds from one probe to the next; 0: each when the one before ends", short="i"
    )
    timeout: float = option(5.0, Seconds(), "seconds for one probe, from name resolution to the last byte", short="W")
    deadline: float | None = option(
        None, Seconds(), "end the run after so many seconds, whatever is under way then", short="w"
    )
    size: int | None = option(
        None,
        Integer(1, LARGEST_RECORD),
        f"bytes in a record; must be the server's (default: {DEFAULT_RECORD_SIZE}, or the payload file's)",
        short="s",
    )
    sweep: range | None = option(
        None, SizeRange(1, LARGEST_RECORD), "sizes to probe in turn, one probe each: first:last or first:last:step"
    )
    payload: str | None = option(
        None,
        Text("random|zero|FILE"),
        "what records are made of: random bytes, null bytes, or a file's (default: records that describe themselves)",
    )
    each_address: bool = option(False, Flag(), "probe every address of the name by itself, rather than race them")
    keep_alive: bool = option(False, Flag(), "send record after record on one connection, as long as it lasts")
    idle: float | None = option(
        None, Seconds(), "seconds to hold each connection silent before the record; the timeout does not count them"
    )
    verbose: bool = option(
        False, Flag(), "below each probe: its phases, connection attempts, certificate and kernel facts", short="v"
    )
    quiet: bool = option(False, Flag(), "nothing but the first line and the summary", short="q")
    json: bool = option(False, Flag(), "one JSON object a line, for each probe; with quiet, one for the run instead")
    summary: bool = option(False, Flag(), "with json: one more object, the last line, that sums the run up")
    metrics: str | None = option(
        None, Text("FILE"), "write the run's result to FILE for node_exporter's textfile collector, all at once"
    )
    assert_: tuple[Assertion, ...] = option(
        (), ListOf(_CONDITION), "what must hold of the run for exit status 0, such as p99<50ms or lost<1%; repeatable"
    )
    nagios: bool = option(False, Flag(), "be a monitoring plugin: one line with performance data, exit status 0 to 3")
    warning: tuple[Assertion, ...] = option(
        (), ListOf(_CONDITION), "with nagios: what makes it a WARNING, such as p99>50ms; repeatable"
    )
    critical: tuple[Assertion, ...] = option(
        (), ListOf(_CONDITION), "with nagios: what makes it CRITICAL (default: lost>0); repeatable"
    )

    def __post_init__(self) -> None:
        check_options(self)
        self._check_route()
        self._refuse_what_does_not_go_together()
        self._check_output()

    def _check_output(self) -> None:
        faces = {"json": self.json, "nagios": self.nagios, "verbose": self.verbose}
        chosen = [name for name, given in faces.items() if given]
        if len(chosen) > 1:
            raise ConfigurationError(f"{chosen[0]}: of use only without {chosen[1]}")
        if self.quiet and (self.verbose or self.nagios):
            raise ConfigurationError(f"quiet: of use only without {chosen[0]}")
        if self.summary and not self.json:
            raise ConfigurationError("summary: of use only with json")
        if self.assert_ and self.nagios:
            raise ConfigurationError("assert: of use only without nagios, which has warning and critical")
        for name, given in (("warning", self.warning), ("critical", self.critical)):
            if given and not self.nagios:
                raise ConfigurationError(f"{name}: of use only with nagios")

    def _refuse_what_does_not_go_together(self) -> None:
        if self.sweep is not None and self.size is not None:
            raise ConfigurationError("sweep: not with size; it sets the sizes itself")
        if self.sweep is not None and self.payload_file is not None:
            raise ConfigurationError("sweep: not with a payload file, which has one size")
        if self.idle is not None and self.keep_alive:
            raise ConfigurationError("idle: not with keep-alive, whose connection is silent for the interval")

    @property
    def payload_file(self) -> str | None:
        """The file whose bytes are the record; None where it is made of something else."""
        return None if self.payload in (None, "random", "zero") else self.payload

    @property
    def sizes(self) -> range:
        """The sizes of the records, to be taken in turn, bytes. Without a size, as if there were no payload file."""
        if self.sweep is not None:
            return self.sweep
        size = self.size or DEFAULT_RECORD_SIZE
        return range(size, size + 1)

    @property
    def probes(self) -> int | None:
        """How many sequence numbers there are; None: no end."""
        if self.sweep is not None:
            return len(self.sweep) * (self.count or 1)
        return self.count
