"""What is measured."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.clients import generator_figures, ping_figures, version_figures
from bench.contenders import HERE, Contender, Mode
from bench.measure import Figures, Processors, Running, beginning, free_port, load, running

__all__ = ["CASES", "Bench", "Case", "Sample"]

SCRAPES = 1000
"""A second."""
SLACK = 40
"""Seconds beyond its windows that a load may take: it gives up by itself after 30."""


@dataclass(frozen=True)
class Bench:
    """What every measurement needs."""

    directory: Path
    """For logs and programs; temporary."""
    load: Path
    c_server: Contender
    """The server of the cases in which echod is the client."""
    processors: Processors
    warm_up: float
    seconds: float
    idle: int
    """How many idle connections."""
    scrape_rounds: int
    """Rounds of the scrapes case: one window without scrapes, one with pretended and one with real ones."""
    repetitions: int
    """Repetitions of a command whose start-up is measured."""


@dataclass(frozen=True)
class Sample:
    """One measurement: the case's figure, and what it was made of."""

    value: float
    details: Figures


@dataclass(frozen=True)
class Case:
    """One kind of measurement."""

    name: str
    unit: str
    about: str
    mode: Mode
    measure: Callable[[Bench, Contender, Running], Sample]
    compared: bool = True
    """Whether ratios between servers say anything: not where the figure is a ratio already."""
    of_admin: bool = False
    """Whether it is about a server's admin server."""
    of_client: bool = False
    """Whether the contender is the client, and the C server its server."""

    def fits(self, contender: Contender) -> bool:
        """Whether the case can be measured with that contender."""
        if self.of_client:
            return contender.python is not None
        return (contender.tls or self.mode is not Mode.TLS) and (contender.admin is not None or not self.of_admin)

    def sample(self, bench: Bench, contender: Contender) -> Sample:
        """Measure one server, freshly started, once; or one client with a C server, freshly started."""
        port = free_port()
        server_contender = bench.c_server if self.of_client else contender
        with running(
            server_contender.name,
            server_contender.command(port, self.mode),
            port,
            server_contender.environment,
            bench.processors,
            bench.directory / "server.log",
            tls=self.mode is Mode.TLS,
        ) as server:
            return self.measure(bench, contender, server)


def _load(bench: Bench, contender: Contender, server: Running, *options: str, seconds: float | None = None) -> Figures:
    window = bench.seconds if seconds is None else seconds
    command = (str(bench.load), "-p", str(server.port), "-P", str(server.pid), "-w", str(bench.warm_up))
    return load(contender.name, (*command, "-s", str(window), *options), bench.warm_up + window + SLACK)


def _cpu(figures: Figures) -> Sample:
    return Sample(figures["server_cpu_ns"] / max(1, figures["echoes"]) / 1e3, figures)


def _echoes(*options: str) -> Callable[[Bench, Contender, Running], Sample]:
    return lambda bench, contender, server: _cpu(_load(bench, contender, server, *options))


def _tls(bench: Bench, contender: Contender, server: Running) -> Sample:
    script = str(HERE / "tls_load.py")
    words = (server.port, server.pid, 64, bench.warm_up, bench.seconds)
    patience = bench.warm_up + bench.seconds + SLACK
    return _cpu(load(contender.name, (sys.executable, script, *map(str, words)), patience))


def _memory(bench: Bench, contender: Contender, server: Running) -> Sample:
    figures = _load(bench, contender, server, "-i", str(bench.idle), "-c", "0", seconds=0)
    return Sample((figures["rss_after"] - figures["rss_before"]) / bench.idle, figures)


def _among_idle(bench: Bench, contender: Contender, server: Running) -> Sample:
    window = bench.seconds / 2
    without = _load(bench, contender, server, "-c", "1", seconds=window)
    beside = _load(bench, contender, server, "-c", "1", "-i", str(bench.idle), seconds=window)
    details = {
        "p50_us_alone": without["p50_us"],
        "p99_us_alone": without["p99_us"],
        "p50_us_among_idle": beside["p50_us"],
        "p99_us_among_idle": beside["p99_us"],
    }
    return Sample(beside["p99_us"] / without["p99_us"], details)


def _beside_scrapes(bench: Bench, contender: Contender, server: Running) -> Sample:
    window = bench.seconds / 2

    def echoes() -> Figures:
        return _load(bench, contender, server, "-c", "64", seconds=window)

    def beside(port: int) -> tuple[Figures, Figures]:
        words = (str(port), str(SCRAPES), str(bench.warm_up + window))
        with beginning(contender.name, (sys.executable, str(HERE / "scrapes.py"), *words), window + SLACK) as scrapes:
            return echoes(), scrapes()

    assert contender.admin is not None
    alone, pretended, scraped = [], [], []
    for _ in range(bench.scrape_rounds):
        alone.append(echoes())
        pretended.append(beside(0))
        scraped.append(beside(contender.admin))
    details = {
        **_echo_figures("alone", alone),
        **_echo_figures("beside_pretended", [each for each, _ in pretended]),
        **_echo_figures("beside", [each for each, _ in scraped]),
        "scrapes_due": sum(each["due"] for _, each in scraped),
        "scrapes_answered": sum(each["answered"] for _, each in scraped),
        "scrapes_per_second": median(each["answered"] / each["seconds"] for _, each in scraped),
        "scrape_p50_us": median(each["p50_us"] for _, each in scraped),
        "scrape_p99_us": median(each["p99_us"] for _, each in scraped),
    }
    return Sample(details["echoes_per_second_beside"] / details["echoes_per_second_alone"], details)


def _echo_figures(name: str, windows: Sequence[Figures]) -> Figures:
    return {
        f"echoes_per_second_{name}": median(each["echoes"] / each["seconds"] for each in windows),
        f"p99_us_{name}": median(each["p99_us"] for each in windows),
    }


def _ready(_bench: Bench, _contender: Contender, server: Running) -> Sample:
    return Sample(server.ready, {})


def _generator(*options: str) -> Callable[[Bench, Contender, Running], Sample]:
    def measure(bench: Bench, contender: Contender, server: Running) -> Sample:
        assert contender.python is not None
        figures = generator_figures(
            contender.name, contender.python, server.port, bench.directory, options, bench.seconds
        )
        return Sample(figures["client_cpu_seconds"] / figures["records"] * 1e6, figures)

    return measure


def _version(bench: Bench, contender: Contender, _server: Running) -> Sample:
    assert contender.python is not None
    figures = version_figures(contender.name, contender.python, bench.directory, bench.repetitions)
    return Sample(figures["difference_seconds"], figures)


def _ping(bench: Bench, contender: Contender, server: Running) -> Sample:
    assert contender.python is not None
    figures = ping_figures(contender.name, contender.python, server.port, bench.directory, bench.repetitions)
    return Sample(figures["ping_seconds"], figures)


CASES: Sequence[Case] = (
    Case("keepalive-1", "µs", "server CPU for an echo, 1 keep-alive connection", Mode.KEEP_ALIVE, _echoes("-c", "1")),
    Case(
        "keepalive-64", "µs", "server CPU for an echo, 64 keep-alive connections", Mode.KEEP_ALIVE, _echoes("-c", "64")
    ),
    Case(
        "keepalive-1000",
        "µs",
        "server CPU for an echo, 1,000 keep-alive connections",
        Mode.KEEP_ALIVE,
        _echoes("-c", "1000"),
    ),
    Case(
        "one-record-8",
        "µs",
        "server CPU for a connection with one record, 8 clients",
        Mode.ONE_RECORD,
        _echoes("-c", "8", "-1"),
    ),
    Case("tls-64", "µs", "server CPU for an echo, 64 keep-alive TLS 1.3 connections", Mode.TLS, _tls),
    Case("idle-memory", "bytes", "resident memory for an idle keep-alive connection", Mode.KEEP_ALIVE, _memory),
    Case(
        "p99-among-idle",
        "times",
        "p99 of one active connection among idle ones, over that without them",
        Mode.KEEP_ALIVE,
        _among_idle,
        compared=False,
    ),
    Case(
        "scrapes",
        "times",
        "echoes, 64 keep-alive connections, beside 1,000 scrapes a second, over those without",
        Mode.KEEP_ALIVE,
        _beside_scrapes,
        compared=False,
        of_admin=True,
    ),
    Case("ready", "s", "from exec to the first echo", Mode.KEEP_ALIVE, _ready),
    Case(
        "load-keepalive-64",
        "µs",
        "client CPU of echod load for a record, 64 keep-alive connections, closed loop",
        Mode.KEEP_ALIVE,
        _generator("--connections", "64", "--keep-alive"),
        of_client=True,
    ),
    Case(
        "load-one-record-8",
        "µs",
        "client CPU of echod load for a connection with one record, 8 at a time, closed loop",
        Mode.ONE_RECORD,
        _generator("--connections", "8"),
        of_client=True,
    ),
    Case(
        "start-version",
        "s",
        "wall time of python -m echod --version, less that of python -c pass",
        Mode.KEEP_ALIVE,
        _version,
        of_client=True,
    ),
    Case(
        "start-ping",
        "s",
        "wall time of python -m echod ping -c 1, start included",
        Mode.ONE_RECORD,
        _ping,
        of_client=True,
    ),
)
