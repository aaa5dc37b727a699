"""The cases: each measures one figure of one server, or of one client."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.clients import generator_figures, ping_figures, version_figures
from bench.contenders import HERE, Contender, Mode
from bench.measure import (
    Figures,
    Processors,
    RunningServer,
    background_load,
    free_port,
    run_load,
    running_server,
)

__all__ = ["CASES", "Bench", "Case", "Sample"]

SCRAPE_RATE = 1000
"""Scrapes a second."""
MARGIN = 40
"""Seconds for a load in addition to its windows. `load.c` ends itself 30 s after them."""


@dataclass(frozen=True)
class Bench:
    """The settings and the programs that the measurements share."""

    directory: Path
    """A temporary directory for logs and programs."""
    load: Path
    """The program built from `load.c`."""
    c_server: Contender
    """The server of the cases in which echod is the client."""
    processors: Processors
    warm_up: float
    """Seconds before a window."""
    seconds: float
    """Length of a window."""
    idle: int
    """Number of idle connections."""
    scrape_rounds: int
    """Rounds of the case `scrapes`: each has a window without scrapes, one with simulated and one with real ones."""
    repetitions: int
    """Repetitions of a command whose start-up is measured."""


@dataclass(frozen=True)
class Sample:
    """One measurement: the case's figure, and the figures it was computed from."""

    value: float
    details: Figures


Measure = Callable[[Bench, Contender, RunningServer], Sample]
"""A function that measures one figure of a contender."""


@dataclass(frozen=True)
class Case:
    """One kind of measurement."""

    name: str
    unit: str
    about: str
    mode: Mode
    measure: Measure
    compared: bool = True
    """Whether the report has ratios between servers. No, if the figure is a ratio itself."""
    of_admin: bool = False
    """Whether the contender needs an admin server."""
    of_client: bool = False
    """Whether the contender is the client, and the C server its server."""

    def fits(self, contender: Contender) -> bool:
        """Return whether the case can be measured with `contender`."""
        if self.of_client:
            return contender.python is not None
        return (contender.tls or self.mode is not Mode.TLS) and (contender.admin is not None or not self.of_admin)

    def sample(self, bench: Bench, contender: Contender) -> Sample:
        """Start a server, and measure it, or the contender as its client, once."""
        port = free_port()
        server_contender = bench.c_server if self.of_client else contender
        with running_server(
            server_contender.name,
            server_contender.command(port, self.mode),
            port,
            server_contender.environment,
            bench.processors,
            bench.directory / "server.log",
            tls=self.mode is Mode.TLS,
        ) as server:
            return self.measure(bench, contender, server)


def _run_load(
    bench: Bench, contender: Contender, server: RunningServer, *options: str, seconds: float | None = None
) -> Figures:
    window = bench.seconds if seconds is None else seconds
    command = (str(bench.load), "-p", str(server.port), "-P", str(server.pid), "-w", str(bench.warm_up))
    return run_load(contender.name, (*command, "-s", str(window), *options), bench.warm_up + window + MARGIN)


def _cpu_of_echo(figures: Figures) -> Sample:
    return Sample(figures["server_cpu_ns"] / max(1, figures["echoes"]) / 1e3, figures)


def _server_cpu(*options: str) -> Measure:
    return lambda bench, contender, server: _cpu_of_echo(_run_load(bench, contender, server, *options))


def _tls_server_cpu(bench: Bench, contender: Contender, server: RunningServer) -> Sample:
    script = str(HERE / "tls_load.py")
    arguments = (server.port, server.pid, 64, bench.warm_up, bench.seconds)
    timeout = bench.warm_up + bench.seconds + MARGIN
    return _cpu_of_echo(run_load(contender.name, (sys.executable, script, *map(str, arguments)), timeout))


def _idle_memory(bench: Bench, contender: Contender, server: RunningServer) -> Sample:
    figures = _run_load(bench, contender, server, "-i", str(bench.idle), "-c", "0", seconds=0)
    return Sample((figures["rss_after"] - figures["rss_before"]) / bench.idle, figures)


def _p99_among_idle(bench: Bench, contender: Contender, server: RunningServer) -> Sample:
    window = bench.seconds / 2
    alone = _run_load(bench, contender, server, "-c", "1", seconds=window)
    among_idle = _run_load(bench, contender, server, "-c", "1", "-i", str(bench.idle), seconds=window)
    details = {
        "p50_us_alone": alone["p50_us"],
        "p99_us_alone": alone["p99_us"],
        "p50_us_among_idle": among_idle["p50_us"],
        "p99_us_among_idle": among_idle["p99_us"],
    }
    return Sample(among_idle["p99_us"] / alone["p99_us"], details)


def _echoes_beside_scrapes(bench: Bench, contender: Contender, server: RunningServer) -> Sample:
    window = bench.seconds / 2

    def echoes() -> Figures:
        return _run_load(bench, contender, server, "-c", "64", seconds=window)

    def beside_scrapes(port: int) -> tuple[Figures, Figures]:
        arguments = (str(port), str(SCRAPE_RATE), str(bench.warm_up + window))
        command = (sys.executable, str(HERE / "scrapes.py"), *arguments)
        with background_load(contender.name, command, window + MARGIN) as scrapes:
            return echoes(), scrapes()

    assert contender.admin is not None
    alone, simulated, scraped = [], [], []
    for _ in range(bench.scrape_rounds):
        alone.append(echoes())
        simulated.append(beside_scrapes(0))
        scraped.append(beside_scrapes(contender.admin))
    details = {
        **_echo_figures("alone", alone),
        **_echo_figures("beside_pretended", [each for each, _ in simulated]),
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


def _ready(_bench: Bench, _contender: Contender, server: RunningServer) -> Sample:
    return Sample(server.ready, {})


def _client_cpu(*options: str) -> Measure:
    def measure(bench: Bench, contender: Contender, server: RunningServer) -> Sample:
        assert contender.python is not None
        figures = generator_figures(
            contender.name, contender.python, server.port, bench.directory, options, bench.seconds
        )
        return Sample(figures["client_cpu_seconds"] / figures["records"] * 1e6, figures)

    return measure


def _start_version(bench: Bench, contender: Contender, _server: RunningServer) -> Sample:
    assert contender.python is not None
    figures = version_figures(contender.name, contender.python, bench.directory, bench.repetitions)
    return Sample(figures["difference_seconds"], figures)


def _start_ping(bench: Bench, contender: Contender, server: RunningServer) -> Sample:
    assert contender.python is not None
    figures = ping_figures(contender.name, contender.python, server.port, bench.directory, bench.repetitions)
    return Sample(figures["ping_seconds"], figures)


CASES: Sequence[Case] = (
    Case(
        "keepalive-1", "µs", "server CPU for an echo, 1 keep-alive connection", Mode.KEEP_ALIVE, _server_cpu("-c", "1")
    ),
    Case(
        "keepalive-64",
        "µs",
        "server CPU for an echo, 64 keep-alive connections",
        Mode.KEEP_ALIVE,
        _server_cpu("-c", "64"),
    ),
    Case(
        "keepalive-1000",
        "µs",
        "server CPU for an echo, 1,000 keep-alive connections",
        Mode.KEEP_ALIVE,
        _server_cpu("-c", "1000"),
    ),
    Case(
        "one-record-8",
        "µs",
        "server CPU for a connection with one record, 8 clients",
        Mode.ONE_RECORD,
        _server_cpu("-c", "8", "-1"),
    ),
    Case("tls-64", "µs", "server CPU for an echo, 64 keep-alive TLS 1.3 connections", Mode.TLS, _tls_server_cpu),
    Case("idle-memory", "bytes", "resident memory for an idle keep-alive connection", Mode.KEEP_ALIVE, _idle_memory),
    Case(
        "p99-among-idle",
        "times",
        "p99 of one active connection among idle ones, divided by its p99 without them",
        Mode.KEEP_ALIVE,
        _p99_among_idle,
        compared=False,
    ),
    Case(
        "scrapes",
        "times",
        "echoes on 64 keep-alive connections during 1,000 scrapes/s, divided by those without",
        Mode.KEEP_ALIVE,
        _echoes_beside_scrapes,
        compared=False,
        of_admin=True,
    ),
    Case("ready", "s", "time from exec to the first echo", Mode.KEEP_ALIVE, _ready),
    Case(
        "load-keepalive-64",
        "µs",
        "client CPU of echod load for a record, 64 keep-alive connections, closed loop",
        Mode.KEEP_ALIVE,
        _client_cpu("--connections", "64", "--keep-alive"),
        of_client=True,
    ),
    Case(
        "load-one-record-8",
        "µs",
        "client CPU of echod load for a connection with one record, 8 at a time, closed loop",
        Mode.ONE_RECORD,
        _client_cpu("--connections", "8"),
        of_client=True,
    ),
    Case(
        "start-version",
        "s",
        "wall time of python -m echod --version, minus that of python -c pass",
        Mode.KEEP_ALIVE,
        _start_version,
        of_client=True,
    ),
    Case(
        "start-ping",
        "s",
        "wall time of python -m echod ping -c 1, including the interpreter's start",
        Mode.ONE_RECORD,
        _start_ping,
        of_client=True,
    ),
)
