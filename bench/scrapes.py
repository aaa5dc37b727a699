"""Scrapes an admin server at a fixed rate, independent of the time that its responses take (open loop).

    scrapes.py PORT RATE SECONDS

It uses keep-alive connections, as Prometheus does. With port 0 the scrapes are simulated: the scraper does the same
work without a server, so that its own effect on the echoes can be measured. It prints a JSON object: the number of
scrapes `due`; the number `answered` in full with the metrics; the `seconds` until the last of these; and percentiles of
the time from the moment a scrape was due to the last byte of its response, in microseconds.
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
"""At 1,000 scrapes a second all are busy only if a scrape takes 16 ms; a scrape that is due then waits for one."""
SILENCE = 10
"""Seconds without a response after which the scraper fails."""
REQUEST = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: application/openmetrics-text;version=1.0.0\r\n\r\n"
HEAD = re.compile(rb"HTTP/1\.1 200 .*?\r\nContent-Length: (\d+)\r\n.*?\r\n\r\n", re.DOTALL)
END = b"# EOF\n"
BODY = bytes(7300) + END
"""A simulated body, of the length of echod's metrics."""
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nCache-Control: no-store\r\n\r\n%b" % (len(BODY), BODY)


class Scraper:
    """One connection to the admin server."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._response = b""
        self.due = 0.0
        """When the present scrape was due, in seconds of time.monotonic."""

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self._connection.fileno()

    def send(self, due: float) -> None:
        """Send the request of a scrape that was due at `due`."""
        self.due = due
        self._response = b""
        self._connection.send(REQUEST)

    def receive(self) -> bool:
        """Read; return whether the response is complete."""
        data = self._connection.recv(1 << 16)
        if not data:
            raise ConnectionError("the server closed a connection")
        self._response += data
        head = HEAD.match(self._response)
        if head is None or len(self._response) < head.end() + int(head[1]):
            return False
        if len(self._response) > head.end() + int(head[1]) or not self._response.endswith(END):
            raise ConnectionError("the response does not end as metrics do")
        return True


class SimulatedScraper(Scraper):
    """A scraper on a socket pair, which writes each response itself."""

    def __init__(self) -> None:
        connection, self._server = socket.socketpair()
        super().__init__(connection)

    def send(self, due: float) -> None:
        """Send the request and its response."""
        super().send(due)
        self._server.recv(len(REQUEST))
        self._server.send(RESPONSE)


def connect(port: int) -> Scraper:
    """Return a scraper that is connected to the admin server on `port`."""
    connection = socket.create_connection(("127.0.0.1", port), SILENCE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Scraper(connection)


def main(port: int, rate: float, seconds: float) -> None:
    """Scrape, and print the figures."""
    poller = select.epoll()
    scrapers = [connect(port) if port else SimulatedScraper() for _ in range(CONNECTIONS)]
    by_descriptor = {each.fileno(): each for each in scrapers}
    for each in scrapers:
        poller.register(each, select.EPOLLIN)
    idle, waiting, times = deque(scrapers), deque[float](), list[float]()
    due, total = 0, round(rate * seconds)
    began = time.monotonic()
    while len(times) < total:
        now = time.monotonic()
        while due < total and began + due / rate <= now:
            waiting.append(began + due / rate)
            due += 1
        while idle and waiting:
            idle.popleft().send(waiting.popleft())
        timeout = SILENCE if due == total or not idle else max(0.0, began + due / rate - time.monotonic())
        # select(2), because epoll_wait(2) has a resolution of 1 ms.
        if not select.select((poller,), (), (), timeout)[0] and timeout == SILENCE:
            raise ConnectionError(f"no response for {SILENCE} s")
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
