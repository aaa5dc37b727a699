"""Clients that exchange records as fast as they can, and their counts. A module and a script.

The script needs only Python, so that it also runs in another network namespace. Its arguments are port, host, number
of clients, and "keep" or "one" (records per connection); it runs until its standard input ends.
"""

import contextlib
import itertools
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
    """The counts of all clients."""

    echoed: int = 0
    """Records whose echo was correct."""
    failures: Counter[str] = field(default_factory=Counter)
    """Failed records by reason."""
    slowest: float = 0.0
    """Seconds of the slowest echoed record; with one connection per record, the connect time is included."""


class Load:
    """Clients, one per thread, that run from `with` to its end or `finish`; `tally` is complete then."""

    def __init__(self, connect: Connect, *, clients: int = 8, keep_alive: bool = False, pause: float = 0.0) -> None:
        """`connect` opens a connection; `pause` is the time between two records of a client, in seconds.

        With `keep_alive`, a client opens a new connection if the server has closed the last one.
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
        """End each client after its current record; return the counts."""
        self._ending.set()
        for thread in self._threads:
            thread.join(2 * PATIENCE)
        return self.tally

    def wait_for_more(self, records: int = 50) -> None:
        """Wait until this many more records are echoed."""
        enough = self.tally.echoed + records
        deadline = time.monotonic() + PATIENCE
        while self.tally.echoed < enough:
            if time.monotonic() > deadline:
                raise AssertionError(f"no more echoes: {self.tally}")
            time.sleep(0.01)

    def _repeat(self) -> None:
        for record in numbered_records():
            if self._ending.wait(self._pause):
                return
            started = time.monotonic()
            with self._counting_failures(), self._connect() as client:
                client.sendall(record)
                self._count(record, receive_to_end(client), started)

    def _keep(self) -> None:
        records = numbered_records()
        while not self._ending.is_set():
            with self._counting_failures(), self._connect() as client:
                while not self._ending.wait(self._pause) and not closed(client):
                    started = time.monotonic()
                    record = next(records)
                    client.sendall(record)
                    echo = receive_record(client)
                    self._count(record, echo, started)
                    if echo != record:
                        break

    def _count(self, record: bytes, echo: bytes, started: float) -> None:
        with self._lock:
            if echo == record:
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
    """The script in a process, from `with` to `finish`.

    `within` is a command prefix that runs the script elsewhere, for example in a daemon's network namespace.
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
        """End the load; return the counts."""
        output, _ = self._process.communicate("", 3 * PATIENCE)
        report = json.loads(output)
        return Tally(report["echoed"], Counter(report["failures"]), report["slowest"])


def numbered_records() -> Iterator[bytes]:
    """Yield records that all differ: the echo of an earlier one is not taken for that of a later one."""
    return (number.to_bytes(8, "big") + RECORD[8:] for number in itertools.count())


def plain(port: int, host: str = "::1", source: str = "") -> Connect:
    """Return a function that connects by TCP, from the address `source` if given."""
    origin = (source, 0) if source else None
    return lambda: socket.create_connection((host, port), PATIENCE, origin)


def over_tls(port: int, context: ssl.SSLContext, name: str, host: str = "::1") -> Connect:
    """Return a function that connects by TLS and requires a certificate for `name`."""

    def connect() -> socket.socket:
        wire = socket.create_connection((host, port), PATIENCE)
        try:
            return context.wrap_socket(wire, server_hostname=name)
        except BaseException:
            wire.close()
            raise

    return connect


def closed(client: socket.socket) -> bool:
    """Return whether the server has closed a connection that has no record under way."""
    client.setblocking(False)
    try:
        return not client.recv(1)
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    finally:
        client.settimeout(PATIENCE)


def receive_record(client: socket.socket) -> bytes:
    """Return the bytes of one record; fewer if the server closes the connection."""
    echo = b""
    while len(echo) < len(RECORD) and (piece := client.recv(len(RECORD) - len(echo))):
        echo += piece
    return echo


def receive_to_end(client: socket.socket) -> bytes:
    """Return all bytes up to the server's FIN."""
    echo = b""
    while piece := client.recv(65536):
        echo += piece
    return echo


def access_lines(log: Path) -> list[tuple[str, str]]:
    """Return peer and close reason of each line of an access log; nothing if the file does not exist yet."""
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
