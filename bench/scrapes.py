"""Scrapes of an admin server at a fixed rate, whatever the answers take: open loop.

    scrapes.py PORT RATE SECONDS

Over keep-alive connections, as Prometheus scrapes. With port 0 it asks nobody, and has all else to do: what changes for
others then is not the admin server's doing. Prints a JSON object: how many scrapes were due, how many were
answered in full with the metrics, the seconds it took until the last of those, and the time from when each was due to
the last byte of its answer.
"""

# ruff: noqa: T201
# What it prints is its output.

import json
import re
import select
import socket
import sys
import time
from collections import deque

CONNECTIONS = 16
"""More than are ever busy, unless a scrape takes 16 ms at 1,000 a second; those that are due then wait for one."""
SILENCE = 10
REQUEST = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: application/openmetrics-text;version=1.0.0\r\n\r\n"
HEAD = re.compile(rb"HTTP/1\.1 200 .*?\r\nContent-Length: (\d+)\r\n.*?\r\n\r\n", re.DOTALL)
END = b"# EOF\n"
BODY = bytes(7300) + END
"""As long as echod's metrics are."""
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nCache-Control: no-store\r\n\r\n%b" % (len(BODY), BODY)


class Scraper:
    """One connection."""

    def __init__(self, wire: socket.socket) -> None:
        self._wire = wire
        self._answer = b""
        self.due = 0.0

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self._wire.fileno()

    def send(self, due: float) -> None:
        """Ask for the metrics."""
        self.due = due
        self._answer = b""
        self._wire.send(REQUEST)

    def receive(self) -> bool:
        """Read; return whether the answer is complete."""
        data = self._wire.recv(1 << 16)
        if not data:
            raise ConnectionError("the server closed a connection")
        self._answer += data
        head = HEAD.match(self._answer)
        if head is None or len(self._answer) < head.end() + int(head[1]):
            return False
        if len(self._answer) > head.end() + int(head[1]) or not self._answer.endswith(END):
            raise ConnectionError("the answer is not what was asked for")
        return True


class Pretender(Scraper):
    """No connection: what it asks, it answers."""

    def __init__(self) -> None:
        wire, self._other = socket.socketpair()
        super().__init__(wire)

    def send(self, due: float) -> None:
        """Ask, and answer."""
        super().send(due)
        self._other.recv(len(REQUEST))
        self._other.send(ANSWER)


def connected(port: int) -> Scraper:
    """Return a connection to the admin server at `port`."""
    wire = socket.create_connection(("127.0.0.1", port), SILENCE)
    wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Scraper(wire)


def main(port: int, rate: float, seconds: float) -> None:
    """Scrape, and print the figures."""
    poller = select.epoll()
    scrapers = [connected(port) if port else Pretender() for _ in range(CONNECTIONS)]
    by_descriptor = {each.fileno(): each for each in scrapers}
    for each in scrapers:
        poller.register(each, select.EPOLLIN)
    idle, waiting, times = deque(scrapers), deque[float](), list[float]()
    asked, total = 0, round(rate * seconds)
    began = time.monotonic()
    while len(times) < total:
        now = time.monotonic()
        while asked < total and began + asked / rate <= now:
            waiting.append(began + asked / rate)
            asked += 1
        while idle and waiting:
            idle.popleft().send(waiting.popleft())
        patience = SILENCE if asked == total or not idle else max(0.0, began + asked / rate - time.monotonic())
        if not select.select((poller,), (), (), patience)[0] and patience == SILENCE:  # epoll_wait(2) waits whole ms
            raise ConnectionError(f"no answer for {SILENCE} s")
        for descriptor, _ in poller.poll(0):
            scraper = by_descriptor[descriptor]
            if scraper.receive():
                times.append(time.monotonic() - scraper.due)
                idle.append(scraper)
    took = time.monotonic() - began
    times.sort()
    print(
        json.dumps(
            {
                "due": total,
                "answered": len(times),
                "seconds": took,
                "p50_us": times[len(times) // 2] * 1e6,
                "p99_us": times[len(times) * 99 // 100] * 1e6,
                "max_us": times[-1] * 1e6,
            }
        )
    )


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]), *map(float, sys.argv[2:4]))
    except OSError as problem:
        sys.exit(f"scrapes: {problem}")
