"""The load of the case `tls-64`: one process, one epoll loop. It compares every echoed byte.

    tls_load.py PORT PID CONNECTIONS WARM-UP SECONDS

It uses TLS 1.3 only, and prints a JSON object with the fields of `load.c`'s, except resident memory.
"""

# ruff: noqa: T201
# What it prints is its output.

import json
import select
import socket
import ssl
import sys
import time

RECORD = 250
"""Bytes."""
SILENCE = 10
"""Seconds without an echo after which the load fails."""


class Client:
    """One connection with one record outstanding."""

    def __init__(self, port: int, number: int, context: ssl.SSLContext) -> None:
        connection = socket.create_connection(("127.0.0.1", port), SILENCE)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._tls = context.wrap_socket(connection)
        self._tls.setblocking(False)
        self._number = number
        self._sequence = 0
        self._record = b""
        self._echo = b""
        self._began = 0

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self._tls.fileno()

    def send(self) -> None:
        """Send the next record."""
        self._sequence += 1
        self._record = b"%08d%016d" % (self._number, self._sequence) + bytes(RECORD - 24)
        self._echo = b""
        self._began = time.monotonic_ns()
        self._tls.send(self._record)

    def receive(self) -> int:
        """Read; return the round-trip time in nanoseconds if the echo is complete, else 0."""
        try:
            data = self._tls.recv(RECORD + 1)
        except ssl.SSLWantReadError:
            return 0  # a session ticket, or part of a TLS record
        if not data:
            raise ConnectionError("the server closed a connection")
        self._echo += data
        if len(self._echo) < RECORD:
            return 0
        if self._echo != self._record:
            raise ConnectionError("the echo differs from the record")
        return time.monotonic_ns() - self._began


def run_until(end: float, clients: dict[int, Client], poller: select.epoll) -> list[int]:
    """Send record after record until the time `end`; return the round-trip times, in nanoseconds."""
    times = []
    while time.monotonic() < end:
        ready = poller.poll(SILENCE)
        if not ready:
            raise ConnectionError(f"no echo for {SILENCE} s")
        for descriptor, _ in ready:
            client = clients[descriptor]
            round_trip = client.receive()
            if round_trip:
                times.append(round_trip)
                client.send()
    return times


def main(port: int, pid: int, connections: int, warm_up: float, seconds: float) -> None:
    """Run the load against the server of process `pid`, and print its figures."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    # The clock of clock_getcpuclockid(3) in Linux: the CPU time of all threads, in nanoseconds.
    server_clock = ~pid << 3 | 2
    poller = select.epoll()
    clients = {}
    for number in range(connections):
        client = Client(port, number, context)
        clients[client.fileno()] = client
        poller.register(client, select.EPOLLIN)
    for client in clients.values():
        client.send()
    run_until(time.monotonic() + warm_up, clients, poller)
    began, cpu, own_cpu = time.monotonic(), time.clock_gettime_ns(server_clock), time.process_time_ns()
    times = run_until(began + seconds, clients, poller)
    figures = {
        "echoes": len(times),
        "seconds": time.monotonic() - began,
        "server_cpu_ns": time.clock_gettime_ns(server_clock) - cpu,
        "load_cpu_ns": time.process_time_ns() - own_cpu,
    }
    times.sort()
    if times:
        figures |= {"p50_us": times[len(times) // 2] / 1e3, "p99_us": times[len(times) * 99 // 100] / 1e3}
    print(json.dumps(figures))


if __name__ == "__main__":
    try:
        main(*map(int, sys.argv[1:4]), *map(float, sys.argv[4:6]))
    except OSError as problem:
        sys.exit(f"tls_load: {problem}")
