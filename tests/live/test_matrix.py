"""Every path into the daemon, both modes, every kind of client: the echoed bytes, and the close reason."""

import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import pytest_twisted
from OpenSSL import SSL
from twisted.internet.threads import deferToThread

from echod.server.config import LINGER
from echod.server.summary import CloseReason, TLSFailure
from tests.support.live import running
from tests.support.paths import (
    PATHS,
    PEER,
    V1_HEADER,
    V2_HEADER,
    V2_LOCAL,
    Client,
    Files,
    TLSClient,
    context_of,
    options_of,
    receive,
    receive_to_end,
)
from tests.support.sockets import PATIENCE, RECORD, free_port


def whole(client: Client, records: int) -> bytes:
    """Send the records in one piece."""
    client.send(RECORD * records)
    received = receive(client, 250 * records)
    client.half_close()
    return received + b"".join(receive_to_end(client))


def bytewise(client: Client, records: int) -> bytes:
    """Send the records byte by byte."""
    for n in range(250 * records):
        client.send(RECORD[n % 250 : n % 250 + 1])
    received = receive(client, 250 * records)
    client.half_close()
    return received + b"".join(receive_to_end(client))


def half_close(client: Client, records: int) -> bytes:
    """Send the records, with keep-alive a part of another one, and half-close before reading."""
    client.send(RECORD * records + (b"half" if records > 1 else b""))
    client.half_close()
    return b"".join(receive_to_end(client))


def excess(client: Client, records: int) -> bytes:
    """Send more than the records, and read until the server closes."""
    client.send(RECORD * records + (b"x" if records > 1 else b"x" * 300_000))
    return b"".join(receive_to_end(client))


def silence(client: Client, records: int) -> bytes:
    """Send part of the only record, or all records with keep-alive; then be silent until the server closes."""
    client.send(RECORD[:249] if records == 1 else RECORD * records)
    return b"".join(receive_to_end(client))


def reset(client: Client, records: int) -> bytes:
    """Send part of the only record, or exchange all records with keep-alive; then reset the connection."""
    client.send(RECORD[:100] if records == 1 else RECORD * records)
    received = b"" if records == 1 else receive(client, 250 * records)
    client.reset()
    return received


CLIENTS = {
    # name: function, close reason with one record, close reason with keep-alive
    "whole": (whole, CloseReason.ECHOED, CloseReason.ECHOED),
    "bytewise": (bytewise, CloseReason.ECHOED, CloseReason.ECHOED),
    "half-close": (half_close, CloseReason.ECHOED, CloseReason.INCOMPLETE),
    "excess": (excess, CloseReason.ECHOED, CloseReason.TIMEOUT),
    "silence": (silence, CloseReason.TIMEOUT, CloseReason.IDLE),
    "reset": (reset, CloseReason.RESET, CloseReason.RESET),
}

NOTHING_ECHOED = {"silence", "reset"}
"""The clients that, without keep-alive, send less than a record."""


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("keep_alive", [False, True], ids=["one-record", "keep-alive"])
@pytest.mark.parametrize("path", PATHS)
@pytest_twisted.ensureDeferred
async def test_the_echo_and_the_close_reason(path: str, keep_alive: bool, client: str, files: Files) -> None:
    await check_exchange(path, keep_alive, client, files)


@pytest.mark.parametrize(
    ("path", "keep_alive", "client"),
    [
        ("tcp", False, "excess"),
        ("tcp", True, "half-close"),
        ("tcp", True, "reset"),
        ("haproxy-v2", True, "half-close"),
        ("tls-1.3", False, "whole"),
        ("tls-1.3-abrupt", True, "half-close"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_the_echo_and_the_close_reason_on_the_stock_transport(
    path: str, keep_alive: bool, client: str, files: Files
) -> None:
    await check_exchange(path, keep_alive, client, files, transport="stock")


async def check_exchange(path: str, keep_alive: bool, client: str, files: Files, **options: Any) -> None:
    exchange, reason_of_one, reason_of_keep_alive = CLIENTS[client]
    records = 3 if keep_alive else 1
    port = free_port()

    def talk() -> bytes:
        connection = PATHS[path](port, files)
        try:
            return exchange(connection, records)
        finally:
            connection.close()

    timeout = 0.3 if client in {"silence", "excess"} else PATIENCE
    options |= options_of(path, port, files)
    async with running(keep_alive=keep_alive, timeout=timeout, **options) as daemon:
        echoed = await deferToThread(talk)
        reasons = await daemon.ends(1)
    assert echoed == (b"" if client in NOTHING_ECHOED and not keep_alive else RECORD * records)
    assert reasons == [reason_of_keep_alive if keep_alive else reason_of_one]
    (summary,) = daemon.observer.summaries
    assert summary.records == len(echoed) // 250
    assert summary.peer.host == (PEER if path.startswith("haproxy") else "::1")
    assert (summary.tls is not None) == ("tls" in path)
    if summary.tls is not None:
        assert summary.tls.version == ("TLSv1.2" if "1.2" in path else "TLSv1.3")
        assert summary.tls.client_subject == ("CN=a client" if path == "mutual-tls" else None)


@pytest.mark.parametrize("keep_alive", [False, True], ids=["one-record", "keep-alive"])
@pytest.mark.parametrize("path", PATHS)
@pytest_twisted.ensureDeferred
async def test_no_record_is_lost_at_a_half_close(path: str, keep_alive: bool, files: Files) -> None:
    records = 200 if keep_alive else 1
    port = free_port()

    def talk() -> list[int]:
        echoes = []
        for _ in range(20):
            client = PATHS[path](port, files)
            try:
                client.send(RECORD * records)
                client.half_close()
                echoes.append(len(b"".join(receive_to_end(client))))
            finally:
                client.close()
        return echoes

    async with running(keep_alive=keep_alive, **options_of(path, port, files)) as daemon:
        assert await deferToThread(talk) == [250 * records] * 20
        assert set(await daemon.ends(20)) == {CloseReason.ECHOED}


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest_twisted.ensureDeferred
async def test_large_records_over_tls_to_a_slow_reader(version: ssl.TLSVersion, files: Files) -> None:
    size = 1 << 20
    payload = bytes(n % 251 for n in range(size))
    port = free_port()

    def talk() -> bytes:
        context = ssl.create_default_context(cafile=str(files.authority))
        context.minimum_version = context.maximum_version = version
        with socket.create_connection(("::1", port), timeout=PATIENCE) as plain:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            with context.wrap_socket(plain, server_hostname="localhost") as client:
                client.sendall(payload)
                time.sleep(0.3)  # so that the server's send buffer fills, and the transport pauses the protocol
                received = b""
                while piece := client.recv(1 << 16):
                    received += piece
                return received

    options = options_of("tls-1.3", port, files)
    async with running(record_size=size, **options) as daemon:
        assert await deferToThread(talk) == payload
        assert await daemon.ends(1) == [CloseReason.ECHOED]


@pytest.mark.parametrize("keep_alive", [False, True], ids=["one-record", "keep-alive"])
@pytest_twisted.ensureDeferred
async def test_a_close_notify_received_while_the_echo_is_sent_does_not_cost_the_echo(
    keep_alive: bool, files: Files
) -> None:
    size = 1 << 20
    payload = bytes(n % 251 for n in range(size))
    port = free_port()

    def talk() -> bytes:
        client = PATHS["tls-1.3"](port, files)
        try:
            client.send(payload)
            client.half_close()
            return b"".join(receive_to_end(client))
        finally:
            client.close()

    options = options_of("tls-1.3", port, files)
    async with running(record_size=size, keep_alive=keep_alive, timeout=PATIENCE, **options) as daemon:
        assert await deferToThread(talk) == payload
        assert await daemon.ends(1) == [CloseReason.ECHOED]


@pytest.mark.parametrize("path", ["tcp", "tls-1.3", "haproxy-v1"])
@pytest_twisted.ensureDeferred
async def test_a_client_outside_the_access_list_is_refused(path: str, files: Files) -> None:
    port = free_port()

    def talk() -> bytes:
        client = Client(port, V1_HEADER if path == "haproxy-v1" else b"")
        try:
            return b"".join(receive_to_end(client))
        except ConnectionError:
            return b""
        finally:
            client.close()

    async with running(allow=("198.51.100.0/24",), **options_of(path, port, files)) as daemon:
        assert await deferToThread(talk) == b""
        assert await daemon.ends(1) == [CloseReason.NOT_ALLOWED]


@pytest_twisted.ensureDeferred
async def test_a_tls_client_that_never_closes_is_closed_after_the_linger(files: Files) -> None:
    port = free_port()

    def talk() -> float:
        client = PATHS["tls-1.3"](port, files)
        try:
            client.send(RECORD)
            assert b"".join(receive_to_end(client)) == RECORD
            started = time.monotonic()
            assert client.socket.recv(1) == b""  # on the TCP connection below TLS: the server's FIN
            return time.monotonic() - started
        finally:
            client.close()

    async with running(timeout=PATIENCE, **options_of("tls-1.3", port, files)) as daemon:
        assert LINGER / 2 < await deferToThread(talk) < LINGER * 2
        assert await daemon.ends(1) == [CloseReason.ECHOED]


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.0\r\n\r\n", RECORD, b"\x16\x03\x01\xff\xff" + b"x" * 100])
@pytest_twisted.ensureDeferred
async def test_a_client_without_tls_on_the_tls_port(garbage: bytes, files: Files) -> None:
    port = free_port()

    def talk() -> None:
        client = Client(port)
        with suppress(OSError):
            client.send(garbage)
            client.half_close()
            list(receive_to_end(client))
        client.close()

    async with running(timeout=PATIENCE, **options_of("tls-1.3", port, files)) as daemon:
        await deferToThread(talk)
        assert await daemon.ends(1) == [CloseReason.TLS_FAILED]


@pytest.mark.parametrize("end", [Client.close, Client.reset])
@pytest.mark.parametrize("path", ["tcp", "haproxy-v2", "tls-1.3"])
@pytest.mark.parametrize("transport", ["fast", "stock"])
@pytest_twisted.ensureDeferred
async def test_a_check_that_only_connects(
    transport: str, path: str, end: Callable[[Client], None], files: Files
) -> None:
    port = free_port()
    async with running(transport=transport, **options_of(path, port, files)) as daemon:
        await deferToThread(lambda: end(Client(port)))
        assert await daemon.ends(1) == [CloseReason.HEALTH_CHECK]
        assert daemon.observer.summaries[0].tls_failure is None


@pytest.mark.parametrize("end", ["close", "half_close", "reset"])
@pytest.mark.parametrize("path", ["tls-1.2", "tls-1.3", "tls-1.3-abrupt", "mutual-tls"])
@pytest_twisted.ensureDeferred
async def test_a_check_that_completes_the_handshake(path: str, end: str, files: Files) -> None:
    port = free_port()

    def check() -> None:
        client = PATHS[path](port, files)
        getattr(client, end)()
        if end == "half_close":
            list(receive_to_end(client))
            client.close()

    async with running(**options_of(path, port, files)) as daemon:
        await deferToThread(check)
        assert await daemon.ends(1) == [CloseReason.HEALTH_CHECK]
        summary = daemon.observer.summaries[0]
        assert summary.tls is not None
        assert (summary.tls_failure, summary.bytes_received) == (None, 0)


@pytest.mark.parametrize("header", [V2_LOCAL, b"PROXY UNKNOWN\r\n"])
@pytest.mark.parametrize("end", ["close", "half_close", "reset"])
@pytest_twisted.ensureDeferred
async def test_a_check_that_sends_a_proxy_header(end: str, header: bytes, files: Files) -> None:
    port = free_port()

    def check() -> None:
        client = Client(port, header)
        getattr(client, end)()
        if end == "half_close":
            list(receive_to_end(client))
            client.close()

    async with running(**options_of("haproxy-v2", port, files)) as daemon:
        await deferToThread(check)
        assert await daemon.ends(1) == [CloseReason.HEALTH_CHECK]


@pytest.mark.parametrize(
    ("end", "reason"),
    [("half_close", CloseReason.NO_DATA), ("reset", CloseReason.RESET)],
)
@pytest.mark.parametrize("path", ["haproxy-v1", "haproxy-v2"])
@pytest_twisted.ensureDeferred
async def test_a_client_that_a_proxy_names_is_no_check(path: str, end: str, reason: CloseReason, files: Files) -> None:
    port = free_port()

    def leave() -> None:
        client = PATHS[path](port, files)
        getattr(client, end)()
        if end == "half_close":
            list(receive_to_end(client))
            client.close()

    async with running(**options_of(path, port, files)) as daemon:
        await deferToThread(leave)
        assert await daemon.ends(1) == [reason]


@pytest_twisted.ensureDeferred
async def test_a_client_that_begins_no_handshake_times_out(files: Files) -> None:
    port = free_port()
    async with running(timeout=0.2, **options_of("tls-1.3", port, files)) as daemon:
        assert await deferToThread(received_after, port, b"") == b""
        assert await daemon.ends(1) == [CloseReason.TIMEOUT]
        assert daemon.observer.summaries[0].tls_failure is None


@pytest.mark.parametrize("sent", [1, 5, 100, None], ids=["one byte", "record header", "part", "whole ClientHello"])
@pytest_twisted.ensureDeferred
async def test_a_handshake_that_never_ends_fails_at_the_deadline(sent: int | None, files: Files) -> None:
    port = free_port()
    hello = client_hello(files)[:sent]
    async with running(timeout=0.3, **options_of("tls-1.3", port, files)) as daemon:
        await deferToThread(received_after, port, hello)
        assert await daemon.ends(1) == [CloseReason.TLS_FAILED]
        assert daemon.observer.summaries[0].tls_failure is TLSFailure.TIMEOUT


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("sent", [1, 100, None], ids=["one byte", "part", "whole ClientHello"])
@pytest_twisted.ensureDeferred
async def test_a_client_that_leaves_during_the_handshake(sent: int | None, end: str, files: Files) -> None:
    port = free_port()
    hello = client_hello(files)[:sent]

    def leave() -> None:
        client = Client(port, hello)
        getattr(client, end)()

    async with running(timeout=PATIENCE, **options_of("tls-1.3", port, files)) as daemon:
        await deferToThread(leave)
        assert await daemon.ends(1) == [CloseReason.TLS_FAILED]
        assert daemon.observer.summaries[0].tls_failure is TLSFailure.INCOMPLETE


def client_hello(files: Files) -> bytes:
    """Return the first message of a TLS client."""
    client = SSL.Connection(context_of(files, SSL.TLS1_3_VERSION), None)
    client.set_connect_state()
    with suppress(SSL.WantReadError):
        client.do_handshake()
    return client.bio_read(1 << 16)


def received_after(port: int, data: bytes) -> bytes:
    """Send `data`; return what the server sends until it closes the connection."""
    client = Client(port, data)
    received = b""
    try:
        with suppress(ConnectionResetError):
            for piece in receive_to_end(client):
                received += piece
        return received
    finally:
        client.close()


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
@pytest_twisted.ensureDeferred
async def test_a_client_without_the_required_certificate_is_refused(version: int, files: Files) -> None:
    port = free_port()

    def talk() -> bytes:
        try:
            client = TLSClient(port, context_of(files, version))
        except SSL.Error:
            return b""
        try:
            client.send(RECORD)
            return b"".join(receive_to_end(client))
        except SSL.Error:
            return b""
        finally:
            client.close()

    async with running(**options_of("mutual-tls", port, files)) as daemon:
        assert await deferToThread(talk) == b""
        assert await daemon.ends(1) == [CloseReason.TLS_FAILED]


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"", CloseReason.HEALTH_CHECK),
        (b"PRO", CloseReason.BAD_PROXY_HEADER),
        (RECORD, CloseReason.BAD_PROXY_HEADER),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 x y\r\n", CloseReason.BAD_PROXY_HEADER),
        (V2_HEADER[:20], CloseReason.BAD_PROXY_HEADER),
    ],
)
@pytest_twisted.ensureDeferred
async def test_malformed_proxy_headers_are_refused(sent: bytes, reason: CloseReason, files: Files) -> None:
    port = free_port()

    def talk() -> list[bytes]:
        client = Client(port, sent)
        try:
            client.half_close()
            return list(receive_to_end(client))
        except OSError:
            return []
        finally:
            client.close()

    async with running(**options_of("haproxy-v1", port, files)) as daemon:
        assert await deferToThread(talk) == []
        assert await daemon.ends(1) == [reason]
