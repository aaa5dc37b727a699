"""Several daemons on one port: metrics, readiness and live page of all of them, and listeners that go away."""

import contextlib
import ctypes
import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from threading import Event

import pytest

from tests.support.load import Load, plain
from tests.support.namespaces import in_new_namespace, inside, needs_namespaces
from tests.support.processes import ECHOD, TWISTD, Daemon, daemon, run, until
from tests.support.sockets import PATIENCE, RECORD, exchange, free_port

LISTENING = "] listening on"

SYS_PIDFD_GETFD = 438
"""Linux 5.6; the number is the same on all architectures."""


class Service:
    """Daemons that share a port, an admin port and a directory."""

    def __init__(self, directory: Path) -> None:
        self.port, self.admin = free_port(), free_port()
        self.files = directory / "echod"
        self._cwd = directory

    def start(self, *options: str, command: tuple[str, ...] = TWISTD) -> "contextlib.AbstractContextManager[Daemon]":
        shared = ("--admin", str(self.admin), "--admin-directory", str(self.files))
        return daemon(*command, "--port", str(self.port), "--reuse-port", *shared, *options, cwd=self._cwd)

    def get(self, path: str) -> tuple[int, str]:
        """Return status and body, over a new connection: the kernel chooses the process."""
        connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()

    def metrics(self) -> dict[str, float]:
        """Return the values of a scrape, by name and labels."""
        status, text = self.get("/metrics")
        assert status == 200
        lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in lines}

    def metric(self, name: str) -> float:
        return self.metrics()[name]


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(tmp_path)


def test_every_process_shows_the_sum(service: Service) -> None:
    with service.start(), service.start(), service.start(command=(*ECHOD, "serve")):
        until(lambda: service.metric("echod_processes_ready") == 3)
        for _ in range(30):
            assert exchange(service.port, RECORD) == RECORD
        until(lambda: service.metric("echod_records_echoed_total") == 30)
        time.sleep(1.1)  # each process has written its last count
        scrapes = [service.metrics() for _ in range(12)]
    assert [scrape["echod_records_echoed_total"] for scrape in scrapes] == [30] * 12
    assert {scrape["echod_processes"] for scrape in scrapes} == {3}
    assert {scrape["echod_processes_started_total"] for scrape in scrapes} == {3}
    assert {scrape["echod_listeners"] for scrape in scrapes} == {3}


def test_second_process_without_a_directory_names_the_option(tmp_path: Path) -> None:
    port, admin = free_port(), free_port()
    command = (*ECHOD, "serve", "--port", str(port), "--reuse-port", "--admin", str(admin))
    with daemon(*command, cwd=tmp_path):
        second = run(*command, cwd=tmp_path)
    assert second.returncode == 1
    assert second.stderr.splitlines()[-1] == (
        f"echod serve: cannot listen on admin {admin}: address already in use "
        "(several processes share the port only with admin-directory)"
    )


@pytest.mark.parametrize("how", ["twistd", "serve"])
def test_directory_that_cannot_be_used(tmp_path: Path, how: str) -> None:
    command = TWISTD if how == "twistd" else (*ECHOD, "serve")
    missing = tmp_path / "no" / "directory"
    options = ("--port", str(free_port()), "--admin", str(free_port()), "--admin-directory", str(missing))
    started = run(*command, *options, cwd=tmp_path)
    output = started.stdout + started.stderr
    assert started.returncode == (1 if how == "twistd" else 2)
    assert f"admin-directory: cannot use {missing}: No such file or directory" in output
    assert "Traceback" not in output


def test_no_counter_falls_and_no_scrape_fails_in_rolling_restarts(service: Service) -> None:
    """Scrapes without pause, over new connections, from two clients; the counts of clients and metrics are equal."""
    ending = Event()

    def scrape_until_end() -> list[dict[str, float]]:
        scrapes = []
        while not ending.is_set():
            scrapes.append(service.metrics())
        return scrapes

    with contextlib.ExitStack() as stack, ThreadPoolExecutor(2) as pool:
        running = [stack.enter_context(service.start()) for _ in range(2)]
        with Load(plain(service.port), clients=2, pause=0.002) as load:
            load.wait_for_more(50)
            scrapers = [pool.submit(scrape_until_end) for _ in range(2)]
            try:
                for _ in range(4):
                    running.append(stack.enter_context(service.start()))
                    running.pop(0).stop()
                    load.wait_for_more(50)
            finally:
                ending.set()
            sequences = [scraper.result(PATIENCE) for scraper in scrapers]
        time.sleep(1.1)
        last = service.metrics()
    assert load.tally.failures == {}
    assert last["echod_records_echoed_total"] == load.tally.echoed
    assert (last["echod_processes"], last["echod_processes_started_total"]) == (2, 6)
    assert sorted(path.name for path in service.files.glob("*.json")) == [f"process-{n}.json" for n in (1, 2, 3)]
    for scrapes in sequences:
        assert len(scrapes) > 20
        assert {scrape["echod_ready"] for scrape in scrapes} == {1}
        for before, after in pairwise(scrapes):
            fallen = {name for name, value in before.items() if is_counter(name) and after[name] < value}
            assert fallen == set()


def is_counter(name: str) -> bool:
    return name.partition("{")[0].endswith(("_total", "_count", "_sum", "_bucket"))


def test_counts_of_a_killed_process_remain(service: Service) -> None:
    with service.start() as killed, service.start():
        until(lambda: service.metric("echod_processes") == 2)
        for _ in range(20):
            assert exchange(service.port, RECORD) == RECORD
        time.sleep(1.1)  # each process has written its last count
        killed.stop(signal.SIGKILL)
        after = service.metrics()
        assert (after["echod_records_echoed_total"], after["echod_processes"]) == (20, 1)
        with service.start():
            until(lambda: service.metric("echod_processes") == 2)
            after = service.metrics()
    assert (after["echod_records_echoed_total"], after["echod_processes_started_total"]) == (20, 3)


def test_process_that_hangs_is_not_ready(service: Service) -> None:
    """The admin port of the process that hangs is one of its own: else the kernel would send it scrapes."""
    other = Service(service.files.parent)
    other.port, other.files = service.port, service.files
    with service.start(), other.start() as hanging:
        until(lambda: service.metric("echod_processes_ready") == 2)
        hanging.process.send_signal(signal.SIGSTOP)
        until(lambda: service.metric("echod_processes_ready") == 1)
        assert service.metric("echod_processes") == 2
        assert service.get("/readyz") == (200, "ready\n")
        hanging.process.send_signal(signal.SIGCONT)
        until(lambda: service.metric("echod_processes_ready") == 2)


def test_readiness_is_that_of_the_service(service: Service) -> None:
    with service.start("--drain-timeout", "15") as draining, service.start():
        until(lambda: service.metric("echod_processes_ready") == 2)
        with contextlib.ExitStack() as clients:
            for _ in range(16):  # each process has some
                client = clients.enter_context(socket.create_connection(("::1", service.port), PATIENCE))
                client.sendall(RECORD[:10])
            until(lambda: service.metric("echod_connections_active") == 16)
            draining.process.terminate()
            until(lambda: service.metric("echod_draining") == 1)
            assert [service.get("/readyz") for _ in range(8)] == [(200, "ready\n")] * 8
            assert service.metric("echod_processes_ready") == 1
        draining.end()


def test_listener_that_closes(tmp_path: Path) -> None:
    port, admin = free_port(), free_port()
    with daemon(*TWISTD, "--port", str(port), "--admin", str(admin), cwd=tmp_path) as echod:
        alone = Service(tmp_path)
        alone.admin = admin
        until(lambda: alone.get("/readyz") == (200, "ready\n"))
        shut_down(echod, port)
        until(lambda: alone.get("/readyz") == (503, "not-listening\n"))
        assert alone.get("/healthz") == (200, "ok\n")
        values = alone.metrics()
        assert (values["echod_ready"], values["echod_processes_ready"], values["echod_processes"]) == (0, 0, 1)
        assert values["echod_listeners"] == 0
        echod.stop()
    assert "Traceback" not in echod.output


@contextlib.contextmanager
def in_namespace(directory: Path, *steps: str) -> Iterator[Daemon]:
    """Yield a daemon on 192.0.2.1 of a network namespace."""
    command = (*TWISTD, "--interface", "192.0.2.1", "--admin", f"unix:{directory}/admin.sock")
    with daemon(*in_new_namespace(command, "ip address add 192.0.2.1/32 dev lo", *steps), cwd=directory) as echod:
        yield echod


@needs_namespaces
def test_address_that_is_removed_from_the_interface(tmp_path: Path) -> None:
    def readiness() -> str:
        answer = subprocess.run(
            ["curl", "-s", "--unix-socket", f"{tmp_path}/admin.sock", "http://localhost/readyz"],
            capture_output=True,
            text=True,
            check=True,
        )
        return answer.stdout

    with in_namespace(tmp_path) as echod:
        until(lambda: readiness() == "ready\n")
        change = ("ip", "address", "del", "192.0.2.1/32", "dev", "lo")
        subprocess.run(inside(echod, *change), check=True)
        assert readiness() == "not-listening\n"
        subprocess.run(inside(echod, *change[:2], "add", *change[3:]), check=True)
        assert readiness() == "ready\n"


def shut_down(echod: Daemon, port: int) -> None:
    """Shut down the listening socket of a daemon, through a duplicate of its descriptor."""
    libc = ctypes.CDLL(None, use_errno=True)
    process = os.pidfd_open(echod.pid)
    try:
        for each in Path(f"/proc/{echod.pid}/fd").iterdir():
            if not str(each.readlink()).startswith("socket:"):
                continue
            duplicate = libc.syscall(SYS_PIDFD_GETFD, process, int(each.name), 0)
            assert duplicate >= 0, os.strerror(ctypes.get_errno())
            with socket.socket(fileno=duplicate) as found:
                if found.family == socket.AF_INET6 and found.getsockname()[1] == port:
                    found.shutdown(socket.SHUT_RD)
                    return
    finally:
        os.close(process)
    raise AssertionError("no such listener")
