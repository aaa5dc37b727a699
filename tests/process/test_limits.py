"""More clients than the limits allow: no effect on the accepted ones, and no leak."""

import contextlib
import os
import resource
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from echod.server.config import CHECK_TIME
from tests.support.load import access_lines, plain, receive_to_end
from tests.support.processes import TWISTD, Daemon, abort, daemon, until
from tests.support.sockets import RECORD, connected, exchange, free_port

CROWD = 10_000
HELD = 100

IDLERS = """
import resource, select, socket, sys
port, wanted = int(sys.argv[1]), int(sys.argv[2])
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, wanted + 100), hard))
clients = [socket.create_connection(("127.0.0.1", port), 20) for _ in range(wanted)]
poll = select.poll()
for client in clients:
    poll.register(client, select.POLLIN)
closed = 0
def settle(milliseconds):
    global closed
    while ready := poll.poll(milliseconds):
        closed += len(ready)
        for descriptor, _ in ready:
            poll.unregister(descriptor)
settle(1000)
print(len(clients) - closed, flush=True)
sys.stdin.read()
"""
"""Opens `wanted` connections from one address, prints how many stay open, and keeps them until its input ends."""

needs_descriptors = pytest.mark.skipif(
    resource.getrlimit(resource.RLIMIT_NOFILE)[1] < CROWD + 1000, reason="needs a higher hard limit of open files"
)


@contextmanager
def idlers(port: int, number: int) -> Iterator[int]:
    """Hold up to `number` idle connections; give how many of them the server accepts."""
    command = (sys.executable, "-c", IDLERS, str(port), str(number))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


@needs_descriptors
def test_ten_thousand_from_one_host(tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "access"
    limits = ("--max-connections-per-host", str(HELD), "--backlog", "511")
    log_all = ("--log-health-checks", "--access-log", str(log))
    with daemon(*TWISTD, "--port", str(port), *limits, *log_all, cwd=tmp_path) as echod:
        alone = median_time(port, "127.0.0.2")
        before = echod.settled_descriptors()
        with idlers(port, CROWD) as held:
            assert held == HELD
            until(lambda: echod.open_descriptors() == before + HELD)
            beside = median_time(port, "127.0.0.2")
            assert echo_from(port, "127.0.0.1") == b""
        until(lambda: echod.open_descriptors() == before)
        assert echo_from(port, "127.0.0.1") == RECORD
        echod.stop()
    assert beside < 10 * alone + 0.01
    assert quiet(echod).count("refused") <= 3
    reasons = [reason for peer, reason in access_lines(log) if peer.startswith("127.0.0.1:")]
    assert reasons.count("too-many-from-host") == CROWD - HELD + 1
    assert len(reasons) == CROWD + 2


def test_out_of_descriptors(tmp_path: Path) -> None:
    port = free_port()
    command = (*TWISTD, "--port", str(port), "--max-connections", "100000", "--backlog", "511")
    with daemon("sh", "-c", 'ulimit -n 128; exec "$@"', "sh", *command, cwd=tmp_path) as echod:
        echod.wait_for("max-connections: 100000 is more than the limit of open files (128) allows; using 64")
        assert exchange(port, RECORD) == RECORD
        before = echod.settled_descriptors()
        for _ in range(2):
            with idlers(port, 300) as held:
                assert held == 64
                until(lambda: echod.open_descriptors() == before + 64)
                used = processor_seconds(echod)
                time.sleep(1)
                assert processor_seconds(echod) - used < 0.1
                assert echo_from(port, "127.0.0.2") == b""
            until(lambda: echod.open_descriptors() == before)
            assert exchange(port, RECORD) == RECORD
        echod.stop()
    assert 1 < quiet(echod).count("refused") <= 4


def test_very_few_descriptors(tmp_path: Path) -> None:
    port = free_port()
    command = (*TWISTD, "--port", str(port))
    with daemon("sh", "-c", 'ulimit -n 32; exec "$@"', "sh", *command, cwd=tmp_path) as echod:
        for _ in range(3):
            with connected(port) as one:
                assert echo_from(port, "127.0.0.2") == b""
                one.sendall(RECORD)
                assert receive_to_end(one) == RECORD
            until(lambda: echo_from(port, "127.0.0.2") == RECORD)
        echod.stop()
    quiet(echod)


def test_access_list(tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "access"
    words = ("--allow", "127.0.0.2/32", "--access-log", str(log))
    with daemon(*TWISTD, "--port", str(port), *words, cwd=tmp_path) as echod:
        for _ in range(3):
            assert echo_from(port, "127.0.0.1") == b""
            assert echo_from(port, "::1") == b""
            assert echo_from(port, "127.0.0.2") == RECORD
        echod.stop()
    expected = [("127.0.0.1", "not-allowed"), ("[::1]", "not-allowed"), ("127.0.0.2", "echoed")] * 3
    assert [(peer.rpartition(":")[0], reason) for peer, reason in access_lines(log)] == expected
    quiet(echod)


def test_close_reason_of_each_limit(tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "access"
    words = ("--max-connections", "3", "--max-connections-per-host", "2", "--allow", "127.0.0.0/29")
    log_all = ("--log-health-checks", "--access-log", str(log))
    with daemon(*TWISTD, "--port", str(port), *words, *log_all, cwd=tmp_path) as echod:
        with contextlib.ExitStack() as held:
            for host in ("127.0.0.2", "127.0.0.2", "127.0.0.3"):
                held.enter_context(plain(port, "127.0.0.1", host)())
            for host in ("127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.9"):
                assert echo_from(port, host) == b""
        wait_for_lines(log, 7)
        for number, host in enumerate(("127.0.0.2", "127.0.0.3", "127.0.0.4"), 8):
            assert echo_from(port, host) == RECORD
            wait_for_lines(log, number)
        echod.stop()
    ended = [(peer.partition(":")[0], reason) for peer, reason in access_lines(log)]
    assert ended[:4] + sorted(ended[4:7]) + ended[7:] == [
        ("127.0.0.2", "too-many-from-host"),
        ("127.0.0.3", "too-many"),
        ("127.0.0.4", "too-many"),
        ("127.0.0.9", "not-allowed"),
        *((host, "health-check") for host in ("127.0.0.2", "127.0.0.2", "127.0.0.3")),
        *((host, "echoed") for host in ("127.0.0.2", "127.0.0.3", "127.0.0.4")),
    ]
    quiet(echod)


def test_a_client_that_leaves_later_is_no_health_check(tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "access"
    with daemon(*TWISTD, "--port", str(port), "--access-log", str(log), cwd=tmp_path) as echod:
        for leave, reason in ((socket.socket.close, "no-data"), (abort, "reset")):
            with connected(port) as early:
                leave(early)
            with connected(port) as late:
                time.sleep(CHECK_TIME + 0.1)
                leave(late)
            until(lambda reason=reason: [why for _, why in access_lines(log)][-1:] == [reason])  # type: ignore[misc]  # no type for a default
        echod.stop()
    assert [reason for _, reason in access_lines(log)] == ["no-data", "reset"]
    quiet(echod)


def echo_from(port: int, source: str) -> bytes:
    """Return the echo of a record from `source`, empty if refused."""
    host = "::1" if ":" in source else "127.0.0.1"
    with plain(port, host, source)() as client, contextlib.suppress(ConnectionError):
        client.sendall(RECORD)
        return receive_to_end(client)
    return b""


def wait_for_lines(log: Path, number: int) -> None:
    until(lambda: len(access_lines(log)) == number)


def median_time(port: int, source: str) -> float:
    """Return the seconds of a median exchange."""
    times = []
    for _ in range(50):
        started = time.monotonic()
        assert echo_from(port, source) == RECORD
        times.append(time.monotonic() - started)
    return statistics.median(times)


def processor_seconds(echod: Daemon) -> float:
    words = Path(f"/proc/{echod.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def quiet(echod: Daemon) -> str:
    """Return the output of a daemon; it must be short and without a traceback."""
    assert "Traceback" not in echod.output, echod.output
    assert "Unhandled" not in echod.output, echod.output
    assert len(echod.output) < 4000, echod.output
    return echod.output
