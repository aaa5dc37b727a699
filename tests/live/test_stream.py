"""`--stream` over real sockets, on every path into the daemon."""

import random
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor as installed
from twisted.internet.threads import deferToThread

from echod.client.outcomes import Outcome
from echod.probe import probe, target
from echod.server.summary import CloseReason
from tests.support.live import running
from tests.support.paths import PATHS, Client, Files, options_of, receive, receive_to_end
from tests.support.sockets import PATIENCE, free_port

reactor: Any = installed

DATA = random.Random(862).randbytes(200_003)


@pytest.mark.parametrize("path", PATHS)
@pytest_twisted.ensureDeferred
async def test_pieces_of_any_size_are_echoed_also_after_a_half_close(path: str, files: Files) -> None:
    port = free_port()

    def talk() -> bytes:
        generator = random.Random(path)
        client = PATHS[path](port, files)
        try:
            received, rest = b"", DATA
            while rest:
                size = generator.choice([1, 7, 250, 1460, 30_000])
                client.send(rest[:size])
                if generator.random() < 0.2:
                    received += receive(client, 1)
                rest = rest[size:]
            client.half_close()
            return received + b"".join(receive_to_end(client))
        finally:
            client.close()

    async with running(stream=True, timeout=PATIENCE, **options_of(path, port, files)) as daemon:
        assert await deferToThread(talk) == DATA
        assert await daemon.ends(1) == [CloseReason.ECHOED]
        (summary,) = daemon.observer.summaries
        assert (summary.bytes_received, summary.bytes_sent) == (len(DATA), len(DATA))


@pytest.mark.parametrize("size", [1, 250, 1460, 1 << 20])
@pytest_twisted.ensureDeferred
async def test_probes_of_any_size_are_echoed(size: int) -> None:
    async with running(stream=True) as daemon:
        result = await probe(reactor, target("::1", daemon.port), payload=b"x" * size, timeout=PATIENCE)
        assert result.outcome is Outcome.ECHOED
        assert await daemon.ends(1) == [CloseReason.ECHOED]


@pytest_twisted.ensureDeferred
async def test_a_silent_connection_is_closed_at_the_timeout() -> None:
    async with running(stream=True, timeout=0.2) as daemon:
        port = daemon.port

        def talk() -> bytes:
            client = Client(port)
            client.send(b"abc")
            received = b"".join(receive_to_end(client))
            client.close()
            return received

        assert await deferToThread(talk) == b"abc"
        assert await daemon.ends(1) == [CloseReason.IDLE]
