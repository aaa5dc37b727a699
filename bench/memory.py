"""Resident memory of the daemon for each kind of open connection.

    memory.py [CONNECTIONS]

For each kind a daemon is started. It gets that many connections (500 by default), and as many again after they are
closed. The columns are bytes for a connection: the growth while the first ones are open; the growth that remains after
their close, which the process keeps for others; the growth while the second ones are open. A leak would grow with each
column. The kernel's socket buffers are not included.
"""

# ruff: noqa: T201
# What it prints is its output.

import contextlib
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.certificate import make_certificate
from bench.measure import raise_descriptor_limit

CONNECTIONS = 500
RECORD = 250
"""Bytes."""
LONGEST_TLS_RECORD = 16384
"""Bytes of the payload of a TLS record (RFC 8446 section 5.1)."""
PATIENCE = 10.0
"""Seconds for the daemon to start, and for one handshake or echo."""
SETTLED = 0.5
"""Seconds for the daemon to read what the clients have sent, and to see them close."""

Connect = Callable[[int], socket.socket]


def tcp(port: int) -> socket.socket:
    """Return a connection that has sent nothing."""
    connection = socket.create_connection(("127.0.0.1", port), PATIENCE)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a close leaves no TIME-WAIT
    return connection


def tls(port: int, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLSocket:
    """Return a connection that has completed its handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    return context.wrap_socket(tcp(port))


def tls_1_2(port: int) -> socket.socket:
    """Return a connection that has completed its handshake in TLS 1.2."""
    return tls(port, ssl.TLSVersion.TLSv1_2)


def after(connect: Connect, sent: bytes, received: int = 0) -> Connect:
    """Return a function that connects, sends, and receives that many bytes."""

    def connected(port: int) -> socket.socket:
        connection = connect(port)
        connection.sendall(sent)
        while received and len(connection.recv(received, socket.MSG_WAITALL if connect is tcp else 0)) < received:
            pass
        return connection

    return connected


def not_reading(connect: Connect) -> Connect:
    """Return a function that connects and sends records until no more are taken, without reading an echo."""

    def connected(port: int) -> socket.socket:
        connection = connect(port)
        connection.settimeout(0.02)
        with contextlib.suppress(TimeoutError):
            while True:
                connection.send(bytes(100 * RECORD))
        return connection

    return connected


def hello() -> bytes:
    """Return a ClientHello."""
    outgoing = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def half_tls_record(port: int) -> socket.socket:
    """Return a connection that has sent all but the last byte of a TLS record of the greatest length."""
    connection = tls(port)
    plain = socket.socket(fileno=connection.detach())
    plain.sendall(b"\x17\x03\x03" + (LONGEST_TLS_RECORD + 17).to_bytes(2, "big") + bytes(LONGEST_TLS_RECORD + 16))
    return plain


KINDS: dict[str, tuple[str, Connect]] = {
    "TCP, nothing sent": ("plain", tcp),
    "TCP, half a record": ("plain", after(tcp, bytes(RECORD // 2))),
    "TCP, keep-alive, after an echo": ("plain", after(tcp, bytes(RECORD), RECORD)),
    "TCP, keep-alive, not reading": ("plain", not_reading(tcp)),
    "PROXY header not sent": ("proxy", tcp),
    "PROXY header, half of it": ("proxy", after(tcp, b"PROXY TCP4 192.0.2.1 ")),
    "TLS, nothing sent": ("tls", tcp),
    "TLS, half a ClientHello": ("tls", after(tcp, hello()[:100])),
    "TLS, after the ClientHello": ("tls", after(tcp, hello())),
    "TLS 1.2, after the handshake": ("tls", tls_1_2),
    "TLS 1.3, after the handshake": ("tls", tls),
    "TLS, half a record": ("tls", after(tls, bytes(RECORD // 2))),
    "TLS, keep-alive, after an echo": ("tls", after(tls, bytes(RECORD), RECORD)),
    "TLS, keep-alive, not reading": ("tls", not_reading(tls)),
    "TLS, most of a long TLS record": ("tls", half_tls_record),
}
"""Name: the listener, and the function that makes one connection."""


def free_port() -> int:
    """Return a TCP port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@contextlib.contextmanager
def daemon(directory: Path) -> Iterator[tuple[int, dict[str, int]]]:
    """Yield the process id of a daemon, and the port of each listener."""
    pair = make_certificate(directory)
    ports = {name: free_port() for name in ("plain", "proxy", "tls")}
    command = (
        *(sys.executable, "-m", "echod", "serve", "--keep-alive", "--timeout", "600"),
        *("--listen", f"tcp:{ports['plain']}:backlog=1024", "--listen", f"haproxy:tcp:{ports['proxy']}:backlog=1024"),
        *("--tls-listen", f"tcp:{ports['tls']}:backlog=1024"),
        *("--tls-certificate", str(pair.certificate), "--tls-key", str(pair.key)),
    )
    with subprocess.Popen(command, cwd=directory, stderr=subprocess.DEVNULL) as process:  # noqa: S603 - this echod
        try:
            deadline = time.monotonic() + PATIENCE
            for port in ports.values():
                while True:
                    try:
                        tcp(port).close()
                    except ConnectionRefusedError:
                        if process.poll() is not None or time.monotonic() > deadline:
                            raise
                        time.sleep(0.05)
                    else:
                        break
            yield process.pid, ports
        finally:
            process.kill()


def resident(pid: int) -> int:
    """Return the resident memory of a process in bytes, once it has settled."""
    time.sleep(SETTLED)
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))


def measure(pid: int, port: int, connect: Connect, number: int) -> tuple[float, float, float]:
    """Return the bytes for a connection: first ones open, first ones closed, second ones open."""
    for _ in range(20):
        connect(port).close()  # what is made only once
    before = resident(pid)
    figures = []
    for _ in range(2):
        connections = [connect(port) for _ in range(number)]
        figures.append((resident(pid) - before) / number)
        for each in connections:
            each.close()
        figures.append((resident(pid) - before) / number)
    return figures[0], figures[1], figures[2]


def main(number: int) -> None:
    """Print a line for each kind."""
    raise_descriptor_limit()
    print(f"{'bytes for each of ' + str(number):32} {'open':>8} {'closed':>8} {'again':>8}", flush=True)
    for name, (listener, connect) in KINDS.items():
        with tempfile.TemporaryDirectory() as directory, daemon(Path(directory)) as (pid, ports):
            figures = measure(pid, ports[listener], connect, number)
            print(f"{name:32} " + " ".join(f"{each:8.0f}" for each in figures), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else CONNECTIONS)
