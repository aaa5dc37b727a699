"""A generator over real sockets: every due record is counted once, whatever the peer does."""

import socket
import time
from collections.abc import Callable
from random import Random
from typing import Any, cast

import pytest
import pytest_twisted
from twisted.internet import reactor as installed
from twisted.internet.task import deferLater

from echod.client.outcomes import Outcome
from echod.client.record import described_records
from echod.common.addresses import HostPort
from echod.load.config import LoadConfiguration, shares
from echod.load.generator import Generator
from echod.load.statistics import LoadStatistics
from echod.probe import IProbeReactor
from echod.transport.client_poller import ClientPoller
from tests.support.live import running
from tests.support.peers import answers, flips, hears, one_behind, peer, receive, resets_after, sends
from tests.support.sockets import free_port

reactor: Any = installed


class GeneratorRun:
    """A generator and its statistics."""

    def __init__(self, port: int, *, fast: bool = True, **options: Any) -> None:
        self.statistics = LoadStatistics(1)
        configuration = LoadConfiguration(**options)
        self.generator = Generator(
            cast("IProbeReactor", ClientPoller(reactor)) if fast else reactor,
            configuration.route_to(HostPort("127.0.0.1", port)),
            configuration,
            shares(configuration, 1, configuration.rate)[0],
            described_records(7),
            Random(1).random,
            self.statistics.add,
        )

    async def run(self) -> LoadStatistics:
        """Run to the end; return the statistics."""
        await self.generator.prepare()
        unfinished = await self.generator.start(time.monotonic())
        self.statistics.finish(self.generator.elapsed, unfinished, interrupted=False)
        await deferLater(reactor, 0.05)  # until its connections are closed
        return self.statistics


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("keep", [True, False])
@pytest_twisted.ensureDeferred
async def test_every_due_record_is_echoed(fast: bool, keep: bool) -> None:
    async with running(keep_alive=keep) as daemon:
        statistics = await GeneratorRun(
            daemon.port, fast=fast, rate=100, connections=4, duration=0.4, keep_alive=keep
        ).run()
        assert statistics.outcomes == {Outcome.ECHOED: 40}
        assert len(await daemon.ends(4 if keep else 40)) == (4 if keep else 40)
    assert statistics.times["response"].count == statistics.times["service"].count == statistics.lateness.count == 40


@pytest_twisted.ensureDeferred
async def test_a_closed_loop_ends_with_its_last_record() -> None:
    async with running(keep_alive=True) as daemon:
        statistics = await GeneratorRun(daemon.port, connections=3, duration=0.3, keep_alive=True).run()
    assert set(statistics.outcomes) == {Outcome.ECHOED}
    assert statistics.echoed > 30
    assert 0.299 < statistics.elapsed < 2


@pytest_twisted.ensureDeferred
async def test_a_server_may_close_after_each_record() -> None:
    async with running(keep_alive=False) as daemon:
        statistics = await GeneratorRun(daemon.port, rate=100, connections=2, duration=0.3, keep_alive=True).run()
    assert statistics.outcomes == {Outcome.ECHOED: 30}


@pytest_twisted.ensureDeferred
async def test_a_record_sent_while_the_server_closes_is_sent_again() -> None:
    def leaves(connection: socket.socket) -> None:
        connection.sendall(receive(connection))
        receive(connection)  # and closes, with FIN and not RST, because it has read everything

    with peer(leaves) as port:
        statistics = await GeneratorRun(port, rate=50, connections=1, duration=0.2, keep_alive=True).run()
    assert statistics.outcomes == {Outcome.ECHOED: 10}


@pytest.mark.parametrize(
    ("behave", "outcome", "keep"),
    [
        (flips(17), Outcome.CORRUPT, False),
        (sends(b"HTTP/1.1 400 Bad Request\r\n\r\n"), Outcome.CORRUPT, False),
        (answers(bytes(100)), Outcome.CORRUPT, True),
        (resets_after(100), Outcome.RESET, False),
        (hears, Outcome.TIMEOUT, True),
    ],
)
@pytest_twisted.ensureDeferred
async def test_failures_have_the_outcomes_of_the_probe(
    behave: Callable[[socket.socket], None], outcome: Outcome, keep: bool
) -> None:
    with peer(behave) as port:
        statistics = await GeneratorRun(port, rate=20, connections=2, duration=0.3, timeout=1.0, keep_alive=keep).run()
    assert statistics.outcomes == {outcome: 6}
    assert statistics.details[outcome]
    assert statistics.times == {}


@pytest_twisted.ensureDeferred
async def test_the_previous_record_is_not_an_echo() -> None:
    with peer(one_behind()) as port:
        statistics = await GeneratorRun(port, rate=20, connections=1, duration=0.2).run()
    assert statistics.outcomes == {Outcome.ECHOED: 1, Outcome.STALE: 3}


@pytest_twisted.ensureDeferred
async def test_no_server() -> None:
    statistics = await GeneratorRun(free_port(), rate=50, connections=2, duration=0.2, keep_alive=True).run()
    assert statistics.outcomes == {Outcome.REFUSED: 10}


@pytest_twisted.ensureDeferred
async def test_a_record_that_waits_too_long_for_a_connection_fails() -> None:
    with peer(hears) as port:
        statistics = await GeneratorRun(port, rate=50, connections=1, duration=0.2, timeout=0.3, keep_alive=True).run()
    assert statistics.outcomes == {Outcome.TIMEOUT: 10}


@pytest_twisted.ensureDeferred
async def test_records_of_a_stopped_run_are_unfinished() -> None:
    with peer(hears) as port:
        generator_run = GeneratorRun(port, rate=100, connections=2, duration=60, keep_alive=True)
        reactor.callLater(0.3, generator_run.generator.stop)
        statistics = await generator_run.run()
    assert statistics.outcomes == {}
    assert 20 <= statistics.unfinished <= 40
    assert statistics.sent == statistics.unfinished


@pytest_twisted.ensureDeferred
async def test_the_warm_up_is_not_counted() -> None:
    async with running(keep_alive=True) as daemon:
        statistics = await GeneratorRun(
            daemon.port, rate=100, connections=2, warmup=0.2, duration=0.2, keep_alive=True
        ).run()
    assert statistics.outcomes == {Outcome.ECHOED: 20}
    assert 0.199 < statistics.elapsed < 1
