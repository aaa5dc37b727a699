"""A generator over real sockets: every record that was due is told once, whatever the peer does."""

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


class Loading:
    """A generator, and what it has told."""

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
        """Run to the end."""
        await self.generator.prepare()
        unfinished = await self.generator.start(time.monotonic())
        self.statistics.finish(self.generator.elapsed, unfinished, interrupted=False)
        await deferLater(reactor, 0.05)  # connections close
        return self.statistics


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("keep", [True, False])
@pytest_twisted.ensureDeferred
async def test_all_that_is_due_is_echoed(fast: bool, keep: bool) -> None:
    async with running(keep_alive=keep) as daemon:
        found = await Loading(daemon.port, fast=fast, rate=100, connections=4, duration=0.4, keep_alive=keep).run()
        assert found.outcomes == {Outcome.ECHOED: 40}
        assert len(await daemon.ends(4 if keep else 40)) == (4 if keep else 40)
    assert found.times["response"].count == found.times["service"].count == found.lateness.count == 40


@pytest_twisted.ensureDeferred
async def test_a_closed_loop_ends_with_its_last_record() -> None:
    async with running(keep_alive=True) as daemon:
        found = await Loading(daemon.port, connections=3, duration=0.3, keep_alive=True).run()
    assert set(found.outcomes) == {Outcome.ECHOED}
    assert found.echoed > 30
    assert 0.299 < found.elapsed < 2


@pytest_twisted.ensureDeferred
async def test_a_server_that_closes_after_each_record_does_no_wrong() -> None:
    async with running(keep_alive=False) as daemon:
        found = await Loading(daemon.port, rate=100, connections=2, duration=0.3, keep_alive=True).run()
    assert found.outcomes == {Outcome.ECHOED: 30}


@pytest_twisted.ensureDeferred
async def test_a_record_that_meets_the_close_in_order_goes_out_once_more() -> None:
    def leaves(connection: socket.socket) -> None:
        connection.sendall(receive(connection))
        receive(connection)  # and closes: in order, for nothing is left unread

    with peer(leaves) as port:
        found = await Loading(port, rate=50, connections=1, duration=0.2, keep_alive=True).run()
    assert found.outcomes == {Outcome.ECHOED: 10}


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
async def test_failures_are_told_as_the_probe_tells_them(
    behave: Callable[[socket.socket], None], outcome: Outcome, keep: bool
) -> None:
    with peer(behave) as port:
        found = await Loading(port, rate=20, connections=2, duration=0.3, timeout=1.0, keep_alive=keep).run()
    assert found.outcomes == {outcome: 6}
    assert found.details[outcome]
    assert found.times == {}


@pytest_twisted.ensureDeferred
async def test_a_record_of_before_is_no_echo() -> None:
    with peer(one_behind()) as port:
        found = await Loading(port, rate=20, connections=1, duration=0.2).run()
    assert found.outcomes == {Outcome.ECHOED: 1, Outcome.STALE: 3}


@pytest_twisted.ensureDeferred
async def test_nothing_listens() -> None:
    found = await Loading(free_port(), rate=50, connections=2, duration=0.2, keep_alive=True).run()
    assert found.outcomes == {Outcome.REFUSED: 10}


@pytest_twisted.ensureDeferred
async def test_what_waits_too_long_for_a_connection_has_failed() -> None:
    with peer(hears) as port:
        found = await Loading(port, rate=50, connections=1, duration=0.2, timeout=0.3, keep_alive=True).run()
    assert found.outcomes == {Outcome.TIMEOUT: 10}


@pytest_twisted.ensureDeferred
async def test_what_is_stopped_is_unfinished() -> None:
    with peer(hears) as port:
        loading = Loading(port, rate=100, connections=2, duration=60, keep_alive=True)
        reactor.callLater(0.3, loading.generator.stop)
        found = await loading.run()
    assert found.outcomes == {}
    assert 20 <= found.unfinished <= 40
    assert found.sent == found.unfinished


@pytest_twisted.ensureDeferred
async def test_the_warm_up_is_not_told() -> None:
    async with running(keep_alive=True) as daemon:
        found = await Loading(daemon.port, rate=100, connections=2, warmup=0.2, duration=0.2, keep_alive=True).run()
    assert found.outcomes == {Outcome.ECHOED: 20}
    assert 0.199 < found.elapsed < 1
