"""A server that runs on its processor, and a load that runs on the other."""

import json
import os
import resource
import select
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

__all__ = [
    "BenchError",
    "Figures",
    "OtherWork",
    "Processors",
    "Running",
    "Usage",
    "beginning",
    "free_port",
    "load",
    "raise_descriptor_limit",
    "run_to_end",
    "running",
]

Figures = Mapping[str, float]
"""What a load prints."""

RECORD = 250
START = 20.0
"""Seconds that a server has to come up."""
POLL = 0.002


class BenchError(Exception):
    """Something the user is told in one line."""


@dataclass(frozen=True)
class Processors:
    """Where the server runs, and where the load; None where there is only one processor for both."""

    server: int | None
    load: int | None

    @classmethod
    def choose(cls) -> "Processors":
        """Take the first two that this process may use, and move to the load's."""
        allowed = sorted(os.sched_getaffinity(0))
        if len(allowed) == 1:
            return cls(None, None)
        os.sched_setaffinity(0, {allowed[1]})
        return cls(allowed[0], allowed[1])

    def __str__(self) -> str:
        if self.server is None:
            return "one processor for both: nothing is pinned, and the load takes its share"
        return f"server pinned to CPU {self.server}, load to CPU {self.load}"

    @contextmanager
    def of_server(self) -> Iterator[None]:
        """Have processes started meanwhile run on the server's processor: they inherit it."""
        if self.server is None or self.load is None:
            yield
            return
        os.sched_setaffinity(0, {self.server})
        try:
            yield
        finally:
            os.sched_setaffinity(0, {self.load})


class OtherWork:
    """How much of the processors goes to what the benchmark has not started, from now on."""

    def __init__(self, processors: Processors) -> None:
        self._names = [f"cpu{each}" for each in (processors.server, processors.load) if each is not None] or ["cpu"]
        self._before = self._read()

    def share(self) -> float:
        """Return it, as far as the kernel's clock ticks tell. Processes of ours that still run count as others."""
        total, busy, ours = (now - before for now, before in zip(self._read(), self._before, strict=True))
        return max(0.0, busy - ours) / total if total else 0.0

    def _read(self) -> tuple[float, float, float]:
        total = busy = 0
        for line in Path("/proc/stat").read_text(encoding="ascii").splitlines():
            name, *ticks = line.split()
            if name in self._names:
                spent = [int(each) for each in ticks[:8]]  # those after it are in user and nice already
                total += sum(spent)
                busy += sum(spent) - spent[3] - spent[4]  # idle, iowait
        times = os.times()
        ours = sum(times[:4])
        per_second = os.sysconf("SC_CLK_TCK")
        return total / per_second, busy / per_second, ours


@dataclass(frozen=True)
class Running:
    """A server that has been seen to answer."""

    pid: int
    port: int
    ready: float
    """Seconds from its exec to its first echo (with TLS: its first connection)."""


@contextmanager
def running(
    name: str,
    command: Sequence[str],
    port: int,
    environment: Mapping[str, str],
    processors: Processors,
    log: Path,
    *,
    tls: bool = False,
) -> Iterator[Running]:
    """Give the server that `command` starts on `port`; it is ended afterwards."""
    with log.open("wb") as output, processors.of_server():
        began = time.monotonic()
        process = subprocess.Popen(  # noqa: S603 - the commands are those of contenders.py
            command,
            cwd=log.parent,
            env=os.environ | dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        while not _answers(port, tls=tls):
            if process.poll() is not None or time.monotonic() > began + START:
                said = log.read_text(errors="replace").strip().splitlines() or ["nothing said"]
                raise BenchError(f"{name} did not start: {said[-1]}")
            time.sleep(POLL)
        yield Running(process.pid, port, time.monotonic() - began)
    finally:
        process.kill()
        process.wait()


def load(server: str, command: Sequence[str], patience: float) -> Figures:
    """Run a load to its end; return what it printed."""
    with beginning(server, command, patience) as ended:
        return ended()


@contextmanager
def beginning(server: str, command: Sequence[str], patience: float) -> Iterator[Callable[[], Figures]]:
    """Start a load; give what waits for its end and returns what it printed. It is ended afterwards, if need be."""
    with subprocess.Popen(  # noqa: S603 - the commands are those of cases.py
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:

        def ended() -> Figures:
            try:
                printed, said = process.communicate(timeout=patience)
            except subprocess.TimeoutExpired:
                raise BenchError(f"{server}: the load did not end within {patience:g} s") from None
            if process.returncode:
                lines = said.strip().splitlines() or [f"the load ended with {process.returncode}"]
                raise BenchError(f"{server}: {lines[-1]}")
            return cast("Figures", json.loads(printed))

        try:
            yield ended
        finally:
            process.kill()


@dataclass(frozen=True)
class Usage:
    """Time of one process from its start to its end, in seconds."""

    wall: float
    cpu: float
    """User and system time, that of the children it waited for included."""


def run_to_end(name: str, command: Sequence[str], directory: Path, patience: float) -> Usage:
    """Run a client to its end; return its usage. Raises BenchError if it fails, or takes more than `patience`."""
    log = directory / "client.log"
    with log.open("wb") as output:
        began = time.monotonic()
        process = subprocess.Popen(  # noqa: S603 - the commands are those of clients.py
            command, cwd=directory, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        descriptor = os.pidfd_open(process.pid)
        try:
            # Popen.wait with a timeout polls, which would add up to 50 ms to the wall time.
            ended, _, _ = select.select([descriptor], [], [], patience)
            wall = time.monotonic() - began
        finally:
            os.close(descriptor)
        if not ended:
            raise BenchError(f"{name}: {' '.join(command[1:4])} did not end within {patience:g} s")
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    finally:
        if process.returncode is None:
            process.kill()
            process.wait()
    if process.returncode:
        lines = log.read_text(errors="replace").strip().splitlines() or [f"exit status {process.returncode}"]
        raise BenchError(f"{name}: {' '.join(command[1:4])}: {lines[-1]}")
    return Usage(wall, usage.ru_utime + usage.ru_stime)


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def raise_descriptor_limit() -> int:
    """Raise the limit of open files as far as it goes, for servers and load alike; return it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


def _answers(port: int, *, tls: bool) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), START) as client:
            # A free port of the ephemeral range can be the client's own: it then connects to itself.
            if client.getsockname() == client.getpeername():
                return False
            if tls:
                return True
            client.sendall(bytes(RECORD))
            return len(client.recv(RECORD, socket.MSG_WAITALL)) == RECORD
    except OSError:
        return False
