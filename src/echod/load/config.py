"""What load is asked for."""

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
"""From the moment at which a record was due to the last byte of its echo."""
SERVICE = "service"
"""From the moment at which it was sent to the same."""
LOAD_TIMES = (RESPONSE, SERVICE)

CONDITION = AssertionType(LOAD_TIMES, bare=RESPONSE)

OPEN_LOOP_CONNECTIONS = 100
"""Connections of an open loop where nobody says: by Little's law enough for 20,000 records/s of 5 ms each."""

FIRST_RATE = 1000
"""Records a second with which a search begins where nobody says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadConfiguration(ClientConfiguration):
    """What a run of load is asked to do. Raises ConfigurationError for what cannot be."""

    rate: int | None = option(
        None,
        Integer(1, 10_000_000),
        "records a second, open loop: they are due on a schedule that does not wait for replies",
        short="r",
    )
    connections: int | None = option(
        None,
        Integer(1, 1_000_000),
        "connections open at a time; without a rate, closed loop: each carries its next record as soon as the one"
        f" before is back (default with a rate: {OPEN_LOOP_CONNECTIONS})",
        short="c",
    )
    duration: float = option(10.0, Seconds(), "seconds for which records are due", short="d")
    warmup: float = option(0.0, Seconds(zero=True), "seconds of the same load before, which count for nothing")
    timeout: float = option(5.0, Seconds(), "seconds for one record, from the moment at which it is due", short="W")
    keep_alive: bool = option(False, Flag(), "keep the connections; without it each record has one of its own")
    size: int = option(
        DEFAULT_RECORD_SIZE, Integer(1, LARGEST_RECORD), "bytes in a record; must be the server's", short="s"
    )
    arrival: str = option(
        Arrival.UNIFORM.value, Choice(tuple(each.value for each in Arrival)), "how the records of a rate are due"
    )
    seed: int = option(1, Integer(0), "what the Poisson arrivals follow from: the same seed, the same schedule")
    processes: int | None = option(
        None, Integer(1, 1024), "processes that generate the load (default: as many as there are cores, less one)"
    )
    find_max: Assertion | None = option(  # noqa: RUF009  # which makes a field
        None, CONDITION, "find the highest rate at which this holds, such as p99<5ms, in runs of the duration each"
    )
    assert_: tuple[Assertion, ...] = option(
        (),
        ListOf(CONDITION),
        "what must hold for exit status 0, such as p99<50ms, service.max<1s or lost<1%; repeatable",
    )
    json: str | None = option(None, Text("FILE"), "write the result there, as an object that docs/load.md describes")
    html: str | None = option(None, Text("FILE"), "write the result there, as a page that needs no network")

    def __post_init__(self) -> None:
        check_options(self)
        self._check_route()
        if self.rate is None and self.connections is None and self.find_max is None:
            raise ConfigurationError("rate or connections is needed: how much load it is to be")
        if self.processes is not None and self.processes > self.most_connections:
            raise ConfigurationError(
                f"processes: {self.processes} have not a connection each of {self.most_connections}"
            )

    @property
    def most_connections(self) -> int:
        """How many connections are open at a time, at most."""
        return self.connections or OPEN_LOOP_CONNECTIONS

    @property
    def first_rate(self) -> int:
        """The rate with which a search begins, records a second."""
        return self.rate or FIRST_RATE


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What one of several processes generates of it all."""

    part: int
    """From 0 up."""
    parts: int
    rate: int | None
    """Of all parts together, records a second; None: closed loop."""
    connections: int
    """Of this part."""


def shares(configuration: LoadConfiguration, processes: int, rate: int | None) -> tuple[Share, ...]:
    """Return what each of up to `processes` processes generates: no more than have a connection each."""
    parts = min(processes, configuration.most_connections)
    each, more = divmod(configuration.most_connections, parts)
    return tuple(Share(part=part, parts=parts, rate=rate, connections=each + (part < more)) for part in range(parts))
