"""Clients that exchange records as fast as they can, and how they fared. A module, and a script.

The script needs nothing but Python, so that it runs in another network namespace as well: it is given port, host,
number of clients and whether they keep their connections, and runs until its standard input ends.
"""

import contextlib
import json
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

PATIENCE = 20.0
RECORD = bytes(range(250))

Connect = Callable[[], socket.socket]


@dataclass
class Tally:
    """How the clients fared."""

    echoed: int = 0
    """Records that came back byte for byte."""
    failures: Counter[str] = field(default_factory=Counter)
    """Records that did not, by what happened."""
    slowest: float = 0.0
    """Seconds that the slowest echoed record took, its connection included where it had one of its own."""


class Load:
    """So many clients, each in a thread, from `with` to its end or `finish`; then `tally` is complete."""

    def __init__(self, connect: Connect, *, clients: int = 8, keep_alive: bool = False, pause: float = 0.0) -> None:
        """`connect` makes a connection, `pause` is in seconds between a client's records.

        One that keeps its connection makes a new one where the server has closed the old.
        """
        self.tally = Tally()
        self._connect = connect
        self._pause = pause
        self._lock = threading.Lock()
        self._ending = threading.Event()
        loop = self._keep if keep_alive else self._repeat
        self._threads = [threading.Thread(target=loop, daemon=True) for _ in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, at: TracebackType | None
    ) -> None:
        self.finish()

    def finish(self) -> Tally:
        """End the load, each client after the record under way; return how they fared."""
        self._ending.set()
        for thread in self._threads:
            thread.join(2 * PATIENCE)
        return self.tally

    def wait_for_more(self, records: int = 50) -> None:
        """Wait until so many more records are back, from clients that were running anyway."""
        enough = self.tally.echoed + records
        deadline = time.monotonic() + PATIENCE
        while self.tally.echoed < enough:
            if time.monotonic() > deadline:
                raise AssertionError(f"the load came to a halt: {self.tally}")
            time.sleep(0.01)

    def _repeat(self) -> None:
        while not self._ending.wait(self._pause):
            started = time.monotonic()
            with self._counting_failures(), self._connect() as client:
                client.sendall(RECORD)
                self._count(receive_to_end(client), started)

    def _keep(self) -> None:
        while not self._ending.is_set():
            with self._counting_failures(), self._connect() as client:
                while not self._ending.wait(self._pause) and not closed(client):
                    started = time.monotonic()
                    client.sendall(RECORD)
                    echo = receive_record(client)
                    self._count(echo, started)
                    if echo != RECORD:
                        break

    def _count(self, echo: bytes, started: float) -> None:
        with self._lock:
            if echo == RECORD:
                self.tally.echoed += 1
                self.tally.slowest = max(self.tally.slowest, time.monotonic() - started)
            else:
                self.tally.failures["other bytes" if echo else "nothing came back"] += 1

    @contextmanager
    def _counting_failures(self) -> Iterator[None]:
        try:
            yield
        except OSError as problem:
            with self._lock:
                self.tally.failures[f"{type(problem).__name__}: {problem.strerror or problem}"] += 1


class LoadElsewhere:
    """The script as a process, from `with` to `finish`.

    `within` makes the command one that runs somewhere else, such as in a daemon's namespace.
    """

    def __init__(
        self, port: int, host: str, *, clients: int = 8, keep_alive: bool = False, within: tuple[str, ...] = ()
    ) -> None:
        words = (str(port), host, str(clients), "keep" if keep_alive else "one")
        self._process = subprocess.Popen(
            (*within, sys.executable, str(Path(__file__)), *words),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "running\n"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, at: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()

    def finish(self) -> Tally:
        """End the load; return how its clients fared."""
        told, _ = self._process.communicate("", 3 * PATIENCE)
        found = json.loads(told)
        return Tally(found["echoed"], Counter(found["failures"]), found["slowest"])


def plain(port: int, host: str = "::1", source: str = "") -> Connect:
    """Return what connects by TCP, from the address `source` where there is one."""
    origin = (source, 0) if source else None
    return lambda: socket.create_connection((host, port), PATIENCE, origin)


def over_tls(port: int, context: ssl.SSLContext, name: str, host: str = "::1") -> Connect:
    """Return what connects by TLS and expects a certificate for `name`."""

    def connect() -> socket.socket:
        wire = socket.create_connection((host, port), PATIENCE)
        try:
            return context.wrap_socket(wire, server_hostname=name)
        except BaseException:
            wire.close()
            raise

    return connect


def closed(client: socket.socket) -> bool:
    """Whether the server has closed a connection on which nothing is under way."""
    client.setblocking(False)
    try:
        return not client.recv(1)
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    finally:
        client.settimeout(PATIENCE)


def receive_record(client: socket.socket) -> bytes:
    """Return as many bytes as a record has; fewer where the server closes."""
    echo = b""
    while len(echo) < len(RECORD) and (piece := client.recv(len(RECORD) - len(echo))):
        echo += piece
    return echo


def receive_to_end(client: socket.socket) -> bytes:
    """Return all that comes until the server's FIN."""
    echo = b""
    while piece := client.recv(65536):
        echo += piece
    return echo


def access_lines(log: Path) -> list[tuple[str, str]]:
    """Return peer and close reason of each line of an access log; of a file that is not there yet, none."""
    if not log.exists():
        return []
    lines = (line.split() for line in log.read_text().splitlines())
    return [(peer, reason) for _, peer, _, reason, *_ in lines]


def main() -> None:
    port, host, clients, how = sys.argv[1:]
    load = Load(plain(int(port), host), clients=int(clients), keep_alive=how == "keep")
    with load:
        load.wait_for_more()
        sys.stdout.write("running\n")
        sys.stdout.flush()
        with contextlib.suppress(KeyboardInterrupt):
            sys.stdin.read()
    sys.stdout.write(json.dumps(vars(load.tally)))


if __name__ == "__main__":
    main()
