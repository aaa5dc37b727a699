"""Hostile and excessive clients of the admin server: their effect on the echo service."""

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.process.test_admin import get, metric
from tests.support.load import Load, plain
from tests.support.processes import ECHOD, TWISTD, Daemon, abort, daemon, run
from tests.support.sockets import PATIENCE, free_port, receive_to_end

BENCH = Path(__file__).parents[2] / "bench"

ATTACKS: Sequence[bytes] = (
    b"GET /../../../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    b"POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000\r\n\r\n" + b"x" * 100000,
    b"PUT / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n" + b"x" * 100000,
    b"DELETE / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 1000000,
    b"GET / HTTP/1.1\r\nHost: \xff\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: \xff\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: application/openmetrics-text;version=z\r\n\r\n",
    b"GET /" + b"x" * 1000000,
    b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 100000,
    b"\0" * 100000,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n" * 1000,
    b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2000,
    b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20000,
)


LOCALHOST = b" HTTP/1.1\r\nHost: localhost\r\n"

RESPONSES: Sequence[tuple[bytes, int]] = (
    (b"GET /" + LOCALHOST + b"Content-Length: " + b"9" * 4301 + b"\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nContent-Length: " + b"9" * 4301 + b"\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: evil.example\r\nContent-Length: " + b"9" * 4301 + b"\r\n\r\n", 400),
    (b"POST /" + LOCALHOST + b"Content-Length: " + b"9" * 4301 + b"\r\n\r\n", 405),
    (b"GET /" + LOCALHOST + b"Content-Length: -1\r\n\r\n", 400),
    (b"GET /" + LOCALHOST + b"Content-Length: 0\r\nContent-Length: 1\r\n\r\n", 400),
    (b"GET /" + LOCALHOST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    (b"GET /" + LOCALHOST + b"Transfer-Encoding: \xff\r\n\r\n", 400),
    (b"GET /" + LOCALHOST + b"Transfer-Encoding: gzip\r\nContent-Length: 5\r\n\r\n", 400),
    (b"GET /healthz HTTP/1.1\r\n\r\n", 400),
    (b"GET /healthz" + LOCALHOST + b"Host: localhost\r\n\r\n", 400),
    (b"GET /healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421),
    (b"GET /healthz HTTP/1.0\r\n\r\n", 200),
    (b"GET http://localhost/healthz HTTP/1.1\r\nHost: other\r\n\r\n", 200),
    (b"GET http://evil.example/healthz" + LOCALHOST + b"\r\n", 421),
    (b"G\x01T /" + LOCALHOST + b"\r\n", 400),
    (b"\xff /" + LOCALHOST + b"\r\n", 400),
    (b"FLY /" + LOCALHOST + b"\r\n", 405),
    (b"GET /" + LOCALHOST + b"A: x\r\n y\r\n\r\n", 400),
    (b"GET /" + LOCALHOST + b"A: \0\r\n\r\n", 400),
    (b"GET /" + LOCALHOST + b"\xff: x\r\n\r\n", 400),
    (b"GET /healthz" + LOCALHOST + b"A: \xff\r\n\r\n", 200),
    (b"GET /healthz" + LOCALHOST + b"Expect: 100-continue\r\n\r\n", 200),
    (b"GET / HTTP/2.0\r\nHost: localhost\r\n\r\n", 505),
    (b"GET /" + LOCALHOST + b"A: " + b"x" * 1_000_000, 431),
    (b"GET /" + LOCALHOST + b"A: b\r\n" * 100 + b"\r\n", 431),
    (b"GET /" + b"x" * 1_000_000, 414),
    (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", 400),
)
"""Requests, and the status of the only response to each."""


def attack(admin: int, ending: threading.Event) -> None:
    """Repeat all attacks, with connections held by slow headers and unread streams in parallel."""
    held: list[socket.socket] = []
    while not ending.is_set():
        for data in ATTACKS:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", admin), PATIENCE) as client:
                client.settimeout(0.05)
                client.sendall(data)
                client.recv(65536)
        for data in (b"GET / HTTP/1.1\r\nA", b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n"):
            with contextlib.suppress(OSError):
                held.append(socket.create_connection(("127.0.0.1", admin), PATIENCE))
                held[-1].sendall(data)
        for each in held[:-60]:
            abort(each)
        del held[:-60]
    for each in held:
        each.close()


@contextlib.contextmanager
def attacked(admin: int) -> Iterator[None]:
    ending = threading.Event()
    attacker = threading.Thread(target=attack, args=(admin, ending))
    attacker.start()
    try:
        yield
    finally:
        ending.set()
        attacker.join(2 * PATIENCE)


def test_hostile_requests_do_not_affect_the_echo(tmp_path: Path) -> None:
    port, admin = free_port(), free_port()
    command = (*TWISTD, "--port", str(port), "--admin", str(admin), "--keep-alive")
    with daemon(*command, cwd=tmp_path) as echod:
        get(admin, "/metrics")
        before = echod.resident_kilobytes()
        with attacked(admin), Load(plain(port), clients=4, keep_alive=True) as load:
            for _ in range(10):
                load.wait_for_more(200)
                assert get(admin, "/readyz") == (200, "ready\n")  # who asks properly is answered all the while
        assert not load.tally.failures
        assert load.tally.slowest < 1
        assert echod.resident_kilobytes() - before < 8192
        assert "Traceback" not in echod.output
        assert "evil" not in echod.output
        assert metric(admin, 'echod_connections_closed_total{reason="error"}') == 0


def test_any_request_gets_one_response_and_no_log_line(tmp_path: Path) -> None:
    port, admin = free_port(), free_port()
    serve = ("env", "-i", *ECHOD, "serve", "--port", str(port), "--admin", str(admin))
    with daemon(*serve, cwd=tmp_path) as echod:
        before = echod.output
        for data, status in RESPONSES:
            with socket.create_connection(("127.0.0.1", admin), PATIENCE) as client:
                client.settimeout(PATIENCE)
                client.sendall(data)
                client.shutdown(socket.SHUT_WR)
                response = receive_to_end(client)
            assert response.startswith(f"HTTP/1.1 {status} ".encode()), (data[:80], response)
            assert response.count(b"HTTP/1.1 ") == 1
        assert get(admin, "/readyz") == (200, "ready\n")
        assert echod.output == before


def processor_seconds(echod: Daemon) -> float:
    user, system = Path(f"/proc/{echod.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def request_without_pause(admin: int, ending: threading.Event, sent: list[int]) -> None:
    """Send requests that all differ, without pause, so that each must be parsed."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", admin, timeout=PATIENCE)) as client:
        while not ending.is_set():
            client.request("GET", f"/metrics?{len(sent)}.{id(client)}")
            answer = client.getresponse()
            assert answer.read().endswith(b"\n")
            sent.append(answer.status)


def connect_without_pause(admin: int, ending: threading.Event, sent: list[int]) -> None:
    """Send each request on a new connection, and reset the connection."""
    while not ending.is_set():
        with contextlib.suppress(ConnectionError):
            client = socket.create_connection(("127.0.0.1", admin), PATIENCE)
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1000)
            sent.append(len(client.recv(16)))
            abort(client)


@pytest.mark.alone
@pytest.mark.parametrize("flood", [request_without_pause, connect_without_pause])
def test_flood_takes_a_tenth_of_the_processor(
    tmp_path: Path, flood: Callable[[int, threading.Event, list[int]], None]
) -> None:
    port, admin = free_port(), free_port()
    with daemon(*TWISTD, "--port", str(port), "--admin", str(admin), "--keep-alive", cwd=tmp_path) as echod:
        ending, sent = threading.Event(), list[int]()
        clients = [threading.Thread(target=flood, args=(admin, ending, sent)) for _ in range(8)]
        for each in clients:
            each.start()
        try:
            time.sleep(0.5)  # until the burst that it may have is spent
            began, before, served = time.monotonic(), processor_seconds(echod), len(sent)
            time.sleep(2)
            share = (processor_seconds(echod) - before) / (time.monotonic() - began)
        finally:
            ending.set()
            for each in clients:
                each.join(2 * PATIENCE)
        assert len(sent) - served > 50
        assert share < 0.2  # what the kernel does for its connections outside its calls comes on top
        assert get(admin, "/readyz") == (200, "ready\n")
        assert "Traceback" not in echod.output


def full_load(program: Path, port: int, echod: Daemon) -> float:
    """Run a closed-loop load over 64 connections for a second; return the number of records."""
    words = ("-p", str(port), "-P", str(echod.pid), "-c", "64", "-w", "0.1", "-s", "1")
    finished = run(str(program), *words, cwd=program.parent, timeout=2 * PATIENCE)
    assert finished.returncode == 0, finished.stderr
    figures = json.loads(finished.stdout)
    return float(figures["echoes"] / figures["seconds"])


@pytest.mark.alone
@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler (Debian: gcc, libc6-dev)")
def test_thousand_scrapes_per_second_beside_a_full_echo_load(tmp_path: Path) -> None:
    port, admin = free_port(), free_port()
    program = tmp_path / "load"
    subprocess.run(("cc", "-O2", "-o", str(program), str(BENCH / "load.c")), check=True)
    scrapes = (sys.executable, str(BENCH / "scrapes.py"), str(admin), "1000", "1.5")
    # Not with coverage, which multiplies the time of each line.
    uncovered = ("env", "--unset=COVERAGE_PROCESS_CONFIG")
    command = (*uncovered, *TWISTD, "--port", str(port), "--admin", str(admin), "--keep-alive", "--backlog", "128")
    rounds = []
    with daemon(*command, cwd=tmp_path) as echod:
        # Tests run in parallel on two processors: the best round counts.
        for _ in range(5):
            alone = full_load(program, port, echod)
            with subprocess.Popen(scrapes, stdout=subprocess.PIPE, text=True) as scraper:
                beside = full_load(program, port, echod)
                assert scraper.stdout is not None
                scraped = json.loads(scraper.stdout.read())
            assert scraped["answered"] == scraped["due"] == 1500
            rounds.append((beside / alone, scraped["seconds"], scraped["p99_us"]))
            if beside > 0.85 * alone and scraped["seconds"] < 1.6 and scraped["p99_us"] < 50_000:
                break
        else:
            pytest.fail(f"share of the echo rate, seconds and p99 (µs) of the scrapes, per round: {rounds}")
        assert "Traceback" not in echod.output
