"""The daemon over real sockets, in this process's reactor."""

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from echod.client.outcomes import Outcome, Step
from echod.common.addresses import HostPort
from echod.probe import probe, target
from echod.server.summary import CloseReason
from tests.support.live import running
from tests.support.paths import PATHS, Files, options_of, receive
from tests.support.processes import abort
from tests.support.sockets import PATIENCE, RECORD, connected, exchange, free_port, receive_to_end

reactor: Any = installed


def in_thread(call: Callable[..., Any], *args: Any) -> "Deferred[Any]":
    return deferToThread(call, *args)


@pytest.mark.parametrize("host", ["::1", "127.0.0.1", "localhost", "[::1]"])
@pytest_twisted.ensureDeferred
async def test_a_probe_is_echoed(host: str) -> None:
    async with running() as daemon:
        result = await probe(reactor, target(host, daemon.port), payload=RECORD, timeout=PATIENCE)
        assert (result.outcome, result.step) == (Outcome.ECHOED, Step.ECHO)
        assert result.address in {HostPort("::1", daemon.port), HostPort("127.0.0.1", daemon.port)}
        assert result.times.echo is not None
        assert 0 < result.times.echo < PATIENCE * 1e6
        assert await daemon.ends(1) == [CloseReason.ECHOED]
        assert daemon.observer.summaries[0].peer.host in {"::1", "127.0.0.1"}


@pytest.mark.parametrize("size", [1, 1460, 65536, 65537, 1 << 20])
@pytest_twisted.ensureDeferred
async def test_records_of_any_size_are_echoed(size: int) -> None:
    payload = bytes(n * n % 251 for n in range(1000)) * (size // 1000 + 1)
    async with running(record_size=size) as daemon:
        result = await probe(reactor, target("::1", daemon.port), payload=payload[:size], timeout=PATIENCE)
        assert result.outcome is Outcome.ECHOED
        assert await daemon.ends(1) == [CloseReason.ECHOED]


@pytest_twisted.ensureDeferred
async def test_the_outcomes_of_probes_that_fail() -> None:
    async with running(timeout=0.2) as daemon:
        longer = await probe(reactor, target("::1", daemon.port), payload=RECORD + b"x", timeout=PATIENCE)
        assert (longer.outcome, longer.received) == (Outcome.CLOSED_EARLY, 250)
        shorter = await probe(reactor, target("::1", daemon.port), payload=RECORD[:9], timeout=PATIENCE)
        assert (shorter.outcome, shorter.received) == (Outcome.CLOSED_EARLY, 0)
        impatient = await probe(reactor, target("::1", daemon.port), payload=RECORD[:9], timeout=0.05)
        assert (impatient.outcome, impatient.step) == (Outcome.TIMEOUT, Step.ECHO)
    refused = await probe(reactor, target("::1", daemon.port), payload=RECORD, timeout=PATIENCE)
    assert (refused.outcome, refused.step) == (Outcome.REFUSED, Step.CONNECT)
    unknown = await probe(reactor, target("nosuch.invalid"), payload=RECORD, timeout=PATIENCE)
    assert (unknown.outcome, unknown.step) == (Outcome.RESOLVE_FAILED, Step.RESOLVE)


@pytest_twisted.ensureDeferred
async def test_a_half_closed_client_gets_its_echo() -> None:
    async with running() as daemon:
        for host in ("::1", "127.0.0.1"):
            for _ in range(20):
                assert await in_thread(exchange, daemon.port, RECORD, host) == RECORD
        assert set(await daemon.ends(40)) == {CloseReason.ECHOED}


@pytest_twisted.ensureDeferred
async def test_half_closed_keep_alive_clients_get_every_echo() -> None:
    async with running(keep_alive=True) as daemon:
        for _ in range(20):
            assert await in_thread(exchange, daemon.port, RECORD * 40 + b"half") == RECORD * 40
        assert set(await daemon.ends(20)) == {CloseReason.INCOMPLETE}


@pytest_twisted.ensureDeferred
async def test_keep_alive_echoes_more_than_the_buffers_hold() -> None:
    def exchange_8_mb(port: int) -> int:
        """Send 8 MB, read only when the buffers are full, and return the number of bytes received."""
        data = RECORD * 32_000
        with connected(port) as client:
            received = 0
            client.setblocking(False)
            sent = 0
            while sent < len(data):
                try:
                    sent += client.send(data[sent : sent + 1_000_000])
                except BlockingIOError:
                    client.settimeout(PATIENCE)
                    received += len(client.recv(1_000_000))
                    client.setblocking(False)
            client.settimeout(PATIENCE)
            client.shutdown(socket.SHUT_WR)
            return received + len(receive_to_end(client))

    async with running(keep_alive=True) as daemon:
        assert await in_thread(exchange_8_mb, daemon.port) == 8_000_000
        assert await daemon.ends(1) == [CloseReason.ECHOED]


@pytest_twisted.ensureDeferred
async def test_excess_input_does_not_cost_the_echo() -> None:
    async with running() as daemon:
        for _ in range(10):
            assert await in_thread(exchange, daemon.port, RECORD + b"x" * 1_000_000) == RECORD
        assert set(await daemon.ends(10)) == {CloseReason.ECHOED}


@pytest_twisted.ensureDeferred
async def test_an_incomplete_record_times_out() -> None:
    def wait(port: int) -> tuple[bytes, float]:
        with connected(port) as client:
            client.sendall(RECORD[:249])
            started = time.monotonic()
            return receive_to_end(client), time.monotonic() - started

    async with running(timeout=0.3) as daemon:
        echoed, waited = await in_thread(wait, daemon.port)
        assert echoed == b""
        assert 0.2 < waited < PATIENCE
        assert await daemon.ends(1) == [CloseReason.TIMEOUT]


@pytest_twisted.ensureDeferred
async def test_a_client_that_never_reads_is_stalled() -> None:
    def flood(port: int) -> None:
        with connected(port) as client:
            client.settimeout(PATIENCE)
            with suppress(ConnectionError):
                while True:
                    client.sendall(RECORD * 1000)

    async with running(keep_alive=True, timeout=0.5) as daemon:
        await in_thread(flood, daemon.port)
        assert await daemon.ends(1) == [CloseReason.STALLED]


@pytest_twisted.ensureDeferred
async def test_resets_in_every_state() -> None:
    def reset(port: int, data: bytes, half_close: bool) -> None:
        client = socket.create_connection(("::1", port), timeout=PATIENCE)
        client.sendall(data)
        if half_close:
            client.shutdown(socket.SHUT_WR)
        abort(client)

    async with running(keep_alive=True) as daemon:
        count = 0
        for data in (b"", RECORD[:1], RECORD[:249], RECORD, RECORD * 20, RECORD + b"x"):
            for half_close in (False, True):
                for _ in range(4):
                    await in_thread(reset, daemon.port, data, half_close)
                    count += 1
        reasons = set(await daemon.ends(count))
        # How far the server is when the reset arrives is the kernel's and the scheduler's choice.
        assert reasons <= {CloseReason.RESET, CloseReason.ECHOED, CloseReason.INCOMPLETE, CloseReason.HEALTH_CHECK}
        assert CloseReason.RESET in reasons


@pytest_twisted.ensureDeferred
async def test_a_stop_waits_for_a_record_in_progress() -> None:
    async with running() as daemon:
        client = await in_thread(socket.create_connection, ("::1", daemon.port))
        with client:
            client.settimeout(PATIENCE)
            client.sendall(RECORD[:100])
            await deferLater(reactor, 0.05)
            stopped = daemon.service.stopService()
            await deferLater(reactor, 0.05)
            refused = await probe(reactor, target("::1", daemon.port), payload=RECORD, timeout=PATIENCE)
            assert refused.outcome is Outcome.REFUSED
            client.sendall(RECORD[100:])
            client.shutdown(socket.SHUT_WR)
            assert await in_thread(receive_to_end, client) == RECORD
            await stopped
            assert daemon.observer.reasons == [CloseReason.ECHOED]


@pytest.mark.parametrize("path", ["tcp", "tls-1.3"])
@pytest_twisted.ensureDeferred
async def test_the_wait_for_a_record_that_is_never_sent_is_not_counted(path: str, files: Files) -> None:
    """An idle connection closes, over TLS after the linger for close_notify: only its one record's wait is counted."""
    port = free_port()

    def talk() -> None:
        client = PATHS[path](port, files)
        try:
            client.send(RECORD)
            assert receive(client, len(RECORD)) == RECORD
            time.sleep(0.7)  # past the deadline; meanwhile the client sends no close_notify
        finally:
            client.close()

    options = options_of(path, port, files)
    async with running(keep_alive=True, timeout=0.3, **options) as daemon:
        await deferToThread(talk)
        assert await daemon.ends(1) == [CloseReason.IDLE]
        (summary,) = daemon.observer.summaries
        assert (summary.records, sum(daemon.waits)) == (1, 1)
        assert 0 <= summary.waited < 0.25
