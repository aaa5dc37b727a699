"""The options of `echod load`, and the share of each process."""

from dataclasses import dataclass

from echod.client.config import ClientConfiguration
from echod.common.assertions import Assertion, AssertionType
from echod.common.defaults import DEFAULT_RECORD_SIZE, LARGEST_RECORD
from echod.common.errors import ConfigurationError
from echod.common.option_types import Choice, Flag, Integer, ListOf, Seconds, Text
from echod.common.options import check_options, option
from echod.load.schedule import Arrival

__all__ = ["CONDITION", "LOAD_TIMES", "RESPONSE", "SERVICE", "LoadConfiguration", "Share", "shares"]

RESPONSE = "response"
"""From the due time of a record to the last byte of its echo."""
SERVICE = "service"
"""From the sending of a record to the last byte of its echo."""
LOAD_TIMES = (RESPONSE, SERVICE)

CONDITION = AssertionType(LOAD_TIMES, bare=RESPONSE)

OPEN_LOOP_CONNECTIONS = 100
"""Default connections of an open loop: by Little's law enough for 20,000 records/s of 5 ms each."""

FIRST_RATE = 1000
"""Default rate of the first step of a search, records per second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadConfiguration(ClientConfiguration):
    """The options of a load run. Raises ConfigurationError if they contradict each other."""

    rate: int | None = option(
        None,
        Integer(1, 10_000_000),
        "records per second, open loop: records are due on a schedule that does not wait for replies",
        short="r",
    )
    connections: int | None = option(
        None,
        Integer(1, 1_000_000),
        "connections open at the same time; without --rate, closed loop: each sends its next record when the echo of"
        f" the last one is complete (default with a rate: {OPEN_LOOP_CONNECTIONS})",
        short="c",
    )
    duration: float = option(10.0, Seconds(), "length of the run in seconds", short="d")
    warmup: float = option(
        0.0, Seconds(zero=True), "seconds of the same load before the run, not counted in the result"
    )
    timeout: float = option(5.0, Seconds(), "seconds for one record, from its due time", short="W")
    keep_alive: bool = option(
        False, Flag(), "send record after record over each connection; without it, one connection per record"
    )
    size: int = option(
        DEFAULT_RECORD_SIZE,
        Integer(1, LARGEST_RECORD),
        "bytes in a record; must be the record size of the server",
        short="s",
    )
    arrival: str = option(
        Arrival.UNIFORM.value,
        Choice(tuple(each.value for each in Arrival)),
        "distribution of the gaps between due times",
    )
    seed: int = option(
        1,
        Integer(0),
        "seed of the Poisson schedule: the same seed, rate and duration give the same due times, with any number of"
        " processes",
    )
    processes: int | None = option(
        None, Integer(1, 1024), "processes that generate the load (default: the number of cores, less one)"
    )
    find_max: Assertion | None = option(  # noqa: RUF009  # option() makes a dataclass field
        None,
        CONDITION,
        "find the highest rate at which an assertion such as p99<5ms holds; each step is a run of --duration",
    )
    assert_: tuple[Assertion, ...] = option(
        (),
        ListOf(CONDITION),
        "assertion required for exit status 0, such as p99<50ms, service.max<1s or lost<1%; repeatable",
    )
    json: str | None = option(
        None, Text("FILE"), "write the result to this file as a JSON object, described in docs/load.md"
    )
    html: str | None = option(None, Text("FILE"), "write the result to this file as an HTML page that needs no network")

    def __post_init__(self) -> None:
        check_options(self)
        self._check_route()
        if self.rate is None and self.connections is None and self.find_max is None:
            raise ConfigurationError("rate, connections or find-max is required")
        if self.processes is not None and self.processes > self.most_connections:
            raise ConfigurationError(
                f"processes: {self.processes} is more than the number of connections, {self.most_connections}"
            )

    @property
    def most_connections(self) -> int:
        """The largest number of connections open at the same time."""
        return self.connections or OPEN_LOOP_CONNECTIONS

    @property
    def first_rate(self) -> int:
        """The rate of the first step of a search, records per second."""
        return self.rate or FIRST_RATE


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """The part of the load that one process generates."""

    part: int
    """Index of the part, from 0."""
    parts: int
    rate: int | None
    """Rate of all parts together, records per second; None: closed loop."""
    connections: int
    """Connections of this part."""


def shares(configuration: LoadConfiguration, processes: int, rate: int | None) -> tuple[Share, ...]:
    """Return the share of each process: of at most `processes`, and at most one per connection."""
    parts = min(processes, configuration.most_connections)
    each, rest = divmod(configuration.most_connections, parts)
    return tuple(Share(part=part, parts=parts, rate=rate, connections=each + (part < rest)) for part in range(parts))
