"""The processes of a measurement: a server on its processor, and a load or a client on the other one."""

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
    "RunningServer",
    "Usage",
    "background_load",
    "free_port",
    "raise_descriptor_limit",
    "run_client",
    "run_load",
    "running_server",
]

Figures = Mapping[str, float]
"""Figures of one measurement by name, such as the JSON object that a load prints."""

RECORD = 250
"""Bytes."""
START_TIMEOUT = 20.0
"""Seconds from a server's exec to its first echo, at most."""
POLL = 0.002
"""Seconds between two attempts to get the first echo: the resolution of the case `ready`."""


class BenchError(Exception):
    """An error that is shown to the user as one line."""


@dataclass(frozen=True)
class Processors:
    """The numbers of the processors of the server and of the load; None: both share the only one, unpinned."""

    server: int | None
    load: int | None

    @classmethod
    def choose(cls) -> "Processors":
        """Choose the first two processors that this process may use, and pin this process to the load's."""
        allowed = sorted(os.sched_getaffinity(0))
        if len(allowed) == 1:
            return cls(None, None)
        os.sched_setaffinity(0, {allowed[1]})
        return cls(allowed[0], allowed[1])

    def __str__(self) -> str:
        if self.server is None:
            return "one processor, not pinned: server and load share it"
        return f"server pinned to CPU {self.server}, load to CPU {self.load}"

    @contextmanager
    def pinned_to_server(self) -> Iterator[None]:
        """Pin this process to the server's processor for a while: processes started meanwhile inherit that."""
        if self.server is None or self.load is None:
            yield
            return
        os.sched_setaffinity(0, {self.server})
        try:
            yield
        finally:
            os.sched_setaffinity(0, {self.load})


class OtherWork:
    """Measures the processor time of processes that are not the benchmark's, from its construction on."""

    def __init__(self, processors: Processors) -> None:
        self._names = [f"cpu{each}" for each in (processors.server, processors.load) if each is not None] or ["cpu"]
        self._before = self._read()

    def share(self) -> float:
        """Return the share of other work in the processors' time, 0 to 1, in the resolution of the kernel's clock tick.

        A process of the benchmark that has not ended counts as other work.
        """
        total, busy, own = (now - before for now, before in zip(self._read(), self._before, strict=True))
        return max(0.0, busy - own) / total if total else 0.0

    def _read(self) -> tuple[float, float, float]:
        """Return the processors' time, their busy time, and the benchmark's own time, in seconds (proc_stat(5))."""
        total = busy = 0
        for line in Path("/proc/stat").read_text(encoding="ascii").splitlines():
            name, *ticks = line.split()
            if name in self._names:
                spent = [int(each) for each in ticks[:8]]  # the columns after these are part of user and nice
                total += sum(spent)
                busy += sum(spent) - spent[3] - spent[4]  # idle, iowait
        times = os.times()
        own = sum(times[:4])
        per_second = os.sysconf("SC_CLK_TCK")
        return total / per_second, busy / per_second, own


@dataclass(frozen=True)
class RunningServer:
    """A server that has echoed a record (with TLS: accepted a connection)."""

    pid: int
    port: int
    ready: float
    """Seconds from its exec to that first echo (with TLS: to that connection)."""


@contextmanager
def running_server(
    name: str,
    command: Sequence[str],
    port: int,
    environment: Mapping[str, str],
    processors: Processors,
    log: Path,
    *,
    tls: bool = False,
) -> Iterator[RunningServer]:
    """Yield the server that `command` starts on `port`; end it afterwards.

    Its output goes to the file `log`. Raises BenchError if it ends, or does not answer within START_TIMEOUT.
    """
    with log.open("wb") as output, processors.pinned_to_server():
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
            if process.poll() is not None or time.monotonic() > began + START_TIMEOUT:
                raise BenchError(f"{name} did not start: {_last_line(log, 'no output')}")
            time.sleep(POLL)
        yield RunningServer(process.pid, port, time.monotonic() - began)
    finally:
        process.kill()
        process.wait()


def run_load(server: str, command: Sequence[str], timeout: float) -> Figures:
    """Run a load to its end; return its figures. `server` is the name in errors, `timeout` is in seconds."""
    with background_load(server, command, timeout) as figures:
        return figures()


@contextmanager
def background_load(server: str, command: Sequence[str], timeout: float) -> Iterator[Callable[[], Figures]]:
    """Start a load; yield a function that waits for its end and returns its figures. Kill it afterwards if it runs.

    The function raises BenchError if the load fails, or does not end within `timeout` seconds.
    """
    with subprocess.Popen(  # noqa: S603 - the commands are those of cases.py
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:

        def figures() -> Figures:
            try:
                output, errors = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                raise BenchError(f"{server}: the load did not end within {timeout:g} s") from None
            if process.returncode:
                lines = errors.strip().splitlines() or [f"the load ended with status {process.returncode}"]
                raise BenchError(f"{server}: {lines[-1]}")
            return cast("Figures", json.loads(output))

        try:
            yield figures
        finally:
            process.kill()


@dataclass(frozen=True)
class Usage:
    """The times of one process from its start to its end, in seconds."""

    wall: float
    cpu: float
    """User and system time, including that of the children it waited for."""


def run_client(name: str, command: Sequence[str], directory: Path, timeout: float) -> Usage:
    """Run a client to its end; return its usage. Raises BenchError if it fails or takes over `timeout` seconds."""
    log = directory / "client.log"
    with log.open("wb") as output:
        began = time.monotonic()
        process = subprocess.Popen(  # noqa: S603 - the commands are those of clients.py
            command, cwd=directory, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        descriptor = os.pidfd_open(process.pid)
        try:
            # Popen.wait with a timeout polls at intervals of up to 50 ms, which would add to the wall time.
            ended, _, _ = select.select([descriptor], [], [], timeout)
            wall = time.monotonic() - began
        finally:
            os.close(descriptor)
        if not ended:
            raise BenchError(f"{name}: {' '.join(command[1:4])} did not end within {timeout:g} s")
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    finally:
        if process.returncode is None:
            process.kill()
            process.wait()
    if process.returncode:
        problem = _last_line(log, f"exit status {process.returncode}")
        raise BenchError(f"{name}: {' '.join(command[1:4])}: {problem}")
    return Usage(wall, usage.ru_utime + usage.ru_stime)


def _last_line(log: Path, default: str) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else default


def free_port() -> int:
    """Return a port of the loopback interface that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def raise_descriptor_limit() -> int:
    """Raise the limit of open files to the hard limit, which servers and loads inherit; return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def _answers(port: int, *, tls: bool) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), START_TIMEOUT) as client:
            # While the server does not listen, the kernel may give the client this port: it then connects to itself.
            if client.getsockname() == client.getpeername():
                return False
            if tls:
                return True
            client.sendall(bytes(RECORD))
            return len(client.recv(RECORD, socket.MSG_WAITALL)) == RECORD
    except OSError:
        return False
