"""The daemon behind a real HAProxy, and behind clients that send PROXY headers themselves."""

import contextlib
import re
import shutil
import socket
import ssl
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.load import Load, access_lines, over_tls, plain
from tests.support.processes import TWISTD, Daemon, abort, daemon, until
from tests.support.sockets import PATIENCE, RECORD, connected, exchange, free_port, receive_to_end

needs_haproxy = pytest.mark.skipif(not shutil.which("haproxy"), reason="needs haproxy (Debian: haproxy)")

VERSIONS = ("send-proxy", "send-proxy-v2")
HOSTS = ("::1", "127.0.0.1")

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LISTEN = "0A"
"""The state of a listening socket in /proc/net/tcp6 (linux/include/net/tcp_states.h)."""

FORGED = b"2027-01-15T08:00:00.000Z\t192.0.2.9:1\t-\techoed"
"""A line of the access log, without the spaces that would end an address."""

LINE = b"PROXY TCP4 192.0.2.7 192.0.2.1 40007 3005\r\n"


def proxied(port: int, interface: str = "") -> str:
    return rf"haproxy:tcp6:{port}{interface}"


@contextmanager
def haproxy(directory: Path, server: int, *options: str, section: str = "") -> Iterator[list[int]]:
    """Run HAProxy in front of port `server`; give one frontend port per element of `options`, on both loopbacks.

    `section` are more lines of each proxy section.
    """
    ports = [free_port() for _ in options]
    lines = ["global", "maxconn 500", "defaults", "mode tcp", *(f"timeout {t} 30s" for t in ("client", "server"))]
    lines += ["timeout connect 5s", "timeout check 5s"]
    for port, option in zip(ports, options, strict=True):
        lines += [
            f"listen front-{port}",
            *(f"bind {host}:{port}" for host in HOSTS),
            section,
            f"server echod ::1:{server} {option}",
        ]
    (directory / "haproxy.cfg").write_text("\n".join(lines) + "\n")
    with daemon("haproxy", "-db", "-f", "haproxy.cfg", cwd=directory, ready="") as balancer:
        until(lambda: all(map(listens, ports)) or balancer.process.poll() is not None)
        assert balancer.process.poll() is None, balancer.output
        yield ports


@needs_haproxy
@pytest.mark.parametrize("interface", ["", r":interface=\:\:1"])
def test_client_address_comes_from_the_header(tmp_path: Path, interface: str) -> None:
    port, log = free_port(), tmp_path / "access"
    listening = daemon(*TWISTD, "--listen", proxied(port, interface), "--access-log", str(log), cwd=tmp_path)
    with listening as echod, haproxy(tmp_path, port, *VERSIONS) as fronts:
        for front in fronts:
            for host, shown in zip(HOSTS, ("[::1]", "127.0.0.1"), strict=True):
                with connected(front, host) as client:
                    name = f"{shown}:{client.getsockname()[1]}"
                    client.sendall(RECORD)
                    client.shutdown(socket.SHUT_WR)
                    assert receive_to_end(client) == RECORD
                wait_for_line(log, name, "echoed")
        quiet(echod)


@needs_haproxy
@pytest.mark.parametrize("version", VERSIONS)
def test_half_close_through_the_proxy(tmp_path: Path, version: str) -> None:
    port = free_port()
    listening = daemon(*TWISTD, "--listen", proxied(port), "--keep-alive", cwd=tmp_path)
    with listening as echod, haproxy(tmp_path, port, version) as (front,):
        for n in range(50):
            assert exchange(front, RECORD * 3 + RECORD[:125], HOSTS[n % 2]) == RECORD * 3
        quiet(echod)


@needs_haproxy
@pytest.mark.parametrize("version", VERSIONS)
def test_access_list_uses_the_client_address(tmp_path: Path, version: str) -> None:
    port, log = free_port(), tmp_path / "access"
    words = ("--allow", "127.0.0.2/32", "--access-log", str(log))
    listening = daemon(*TWISTD, "--listen", proxied(port), *words, cwd=tmp_path)
    with listening as echod, haproxy(tmp_path, port, version) as (front,):
        assert echo_from(front, "127.0.0.2") == RECORD
        assert echo_from(front, "127.0.0.3") == b""
        until(lambda: of_clients(log) == [("127.0.0.2", "echoed"), ("127.0.0.3", "not-allowed")])
        quiet(echod)


@needs_haproxy
@pytest.mark.parametrize("version", VERSIONS)
def test_limit_per_host_uses_the_client_address(tmp_path: Path, version: str) -> None:
    port, log = free_port(), tmp_path / "access"
    words = ("--max-connections-per-host", "2", "--keep-alive", "--access-log", str(log))
    listening = daemon(*TWISTD, "--listen", proxied(port), *words, cwd=tmp_path)
    with listening as echod, haproxy(tmp_path, port, version) as (front,):
        one, other = (plain(front, "127.0.0.1", "127.0.0.2")() for _ in range(2))
        with one, other:
            for client in (one, other):
                client.sendall(RECORD)
                assert client.recv(1)
            assert echo_from(front, "127.0.0.2") == b""
            for _ in range(3):
                assert echo_from(front, "127.0.0.3") == RECORD
            until(lambda: of_clients(log) == [("127.0.0.2", "too-many-from-host"), *[("127.0.0.3", "echoed")] * 3])
        until(lambda: echo_from(front, "127.0.0.2") == RECORD)
        quiet(echod)


@needs_haproxy
def test_tls_behind_the_proxy(tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "access"
    authority = Authority(tmp_path)
    pair = authority.issue("echo.test")
    words = ("--tls-certificate", str(pair.certificate), "--tls-key", str(pair.key), "--access-log", str(log))
    listens_on = ("--listen", f"tcp6:{free_port()}", "--tls-listen", proxied(port))
    context = ssl.create_default_context(cafile=str(authority.certificate))
    with (
        daemon(*TWISTD, *listens_on, *words, cwd=tmp_path) as echod,
        haproxy(tmp_path, port, *VERSIONS) as fronts,
    ):
        until(lambda: listens(port))
        for front in fronts:
            with over_tls(front, context, "echo.test")() as client:
                name = f"[::1]:{client.getsockname()[1]}"
                client.sendall(RECORD)
                assert receive_to_end(client) == RECORD
            wait_for_line(log, name, "echoed")
        quiet(echod)


CHECKS = {
    # name: listener, options of the server line, further lines of the proxy section
    "tcp": ("plain", "check", ""),
    "tcp-check": ("plain", "check", "option tcp-check"),
    "tcp behind haproxy:": ("proxied", "check", ""),
    "send-proxy": ("proxied", "send-proxy check", ""),
    "send-proxy-v2": ("proxied", "send-proxy-v2 check", ""),
    "tcp-check send-proxy-v2": ("proxied", "send-proxy-v2 check", "option tcp-check"),
    "tcp-check connect send-proxy": ("proxied", "send-proxy check", "option tcp-check\n tcp-check connect send-proxy"),
    "tcp on TLS": ("tls", "ssl verify none check no-check-ssl", ""),
    "check-ssl": ("tls", "ssl verify none check check-ssl", ""),
    "check-ssl send-proxy-v2": ("proxied tls", "ssl verify none send-proxy-v2 check check-ssl", ""),
}
"""The types of HAProxy's checks, each with a server line over which clients are served as well."""

UNSEEN_CHECKS = {"tcp", "tcp-check", "tcp behind haproxy:", "tcp on TLS"}
"""HAProxy resets these before the handshake of TCP is complete, so that no listener accepts them."""


@needs_haproxy
@pytest.mark.parametrize("check", CHECKS)
def test_health_checks_beside_clients(tmp_path: Path, check: str) -> None:
    listener, options, section = CHECKS[check]
    port, admin = free_port(), free_port()
    pair = Authority(tmp_path).issue("echo.test")
    certificate = ("--tls-certificate", str(pair.certificate), "--tls-key", str(pair.key))
    listens_on = {
        "plain": ("--port", str(port)),
        "proxied": ("--listen", proxied(port)),
        "tls": ("--port", str(free_port()), "--tls-listen", f"tcp6:{port}", *certificate),
        "proxied tls": ("--port", str(free_port()), "--tls-listen", proxied(port), *certificate),
    }[listener]
    log, all_log = tmp_path / "access", tmp_path / "all"
    words = (*listens_on, "--admin", str(admin), "--access-log")
    # A check every 100 ms: of ten proxies, because HAProxy gives a check no more time to connect than its interval.
    server = f"{options} inter 1000"
    if check == "tcp behind haproxy:":  # checks without a header, and clients with one
        server += " send-proxy-v2 no-check-send-proxy"
    with (
        daemon(*TWISTD, *words, str(log), cwd=tmp_path) as echod,
        haproxy(tmp_path, port, *[server] * 10, section=section) as (front, *_),
        Load(plain(front), clients=2, pause=0.01) as load,
    ):
        until(lambda: check in UNSEEN_CHECKS or ended(admin)["health-check"] > 20)
        load.wait_for_more(100)
        tally = load.finish()
        assert not tally.failures
        until(lambda: ended(admin)["echoed"] == tally.echoed)
        reasons = ended(admin)
        quiet(echod)
    assert reasons.keys() - {"health-check"} == {"echoed"}
    assert Counter(reason for _, reason in access_lines(log)) == {"echoed": tally.echoed}
    with (
        daemon(*TWISTD, *words, str(all_log), "--log-health-checks", cwd=tmp_path) as echod,
        haproxy(tmp_path, port, *[server] * 10, section=section),
    ):
        until(lambda: check in UNSEEN_CHECKS or len(access_lines(all_log)) > 5)
        quiet(echod)
    # A check that HAProxy resets before its TCP handshake is complete is accepted now and then.
    assert {reason for _, reason in access_lines(all_log)} <= {"health-check"}


def ended(admin: int) -> Counter[str]:
    """Return the number of ended connections by close reason, without the reasons that did not occur."""
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/metrics", timeout=PATIENCE) as response:
        text = response.read().decode()
    found = re.findall(r'^echod_connections_closed_total\{reason="([\w-]+)"\} ([\d.]+)$', text, re.MULTILINE)
    return Counter({reason: int(float(count)) for reason, count in found if float(count)})


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "bad-proxy-header"),
        (b"\0" * 300, "bad-proxy-header"),
        (b"PROXY TCP4 " + b"1" * 200, "bad-proxy-header"),
        (b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n" + RECORD, "bad-proxy-header"),
        (b"PROXY TCP4 192.0.2.7 192.0.2.1 70000 3005\r\n" + RECORD, "bad-proxy-header"),
        (b"PROXY TCP4 2001:db8::7 192.0.2.1 40007 3005\r\n" + RECORD, "bad-proxy-header"),
        (SIGNATURE + b"\x11\x11\x00\x0c" + bytes(12) + RECORD, "bad-proxy-header"),
        (SIGNATURE + b"\x2f\x11\x00\x0c" + bytes(12) + RECORD, "bad-proxy-header"),
        (SIGNATURE + b"\x21\x11\x00\x04" + bytes(4) + RECORD, "bad-proxy-header"),
        (SIGNATURE + b"\x21\x11\xff\xff" + RECORD, "bad-proxy-header"),
        (b"PROXY TCP6 2001:db8::7%\x1b[2J\x07 2001:db8::1 40007 3005\r\n" + RECORD, "bad-proxy-header"),
        (b"PROXY TCP6 2001:db8::7%\n" + FORGED + b" 2001:db8::1 40007 3005\r\n" + RECORD, "bad-proxy-header"),
        (b"PROXY TCP6 2001:db8::7%eth0 2001:db8::1 40007 3005\r\n" + RECORD, "bad-proxy-header"),
        (b"PROXY TCP4 192.0.2.7 192.0.2.1 040007 3005\r\n" + RECORD, "bad-proxy-header"),
        (RECORD, "bad-proxy-header"),
        (b"", "health-check"),
    ],
)
def test_invalid_header_is_refused(tmp_path: Path, header: bytes, reason: str) -> None:
    port, log = free_port(), tmp_path / "access"
    words = ("--access-log", str(log), "--log-health-checks")
    with daemon(*TWISTD, "--listen", proxied(port), *words, cwd=tmp_path) as echod:
        with connected(port) as client:
            name = f"[::1]:{client.getsockname()[1]}"
            with contextlib.suppress(ConnectionError):
                client.sendall(header)
                if not header:
                    client.shutdown(socket.SHUT_WR)
                assert receive_to_end(client) == b""
        until(lambda: access_lines(log) == [(name, reason)])
        assert echo_with_header(port) == RECORD
        quiet(echod)
    assert log.read_text().replace("\n", "").isprintable()
    assert echod.output.replace("\n", "").isprintable()


def test_headers_in_single_bytes(tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "access"
    second = SIGNATURE + b"\x21\x11\x00\x0c" + bytes((192, 0, 2, 7, 192, 0, 2, 1)) + b"\x9c\x47\x0b\xbd"
    with daemon(*TWISTD, "--listen", proxied(port), "--access-log", str(log), cwd=tmp_path) as echod:
        for header in (LINE, second):
            with connected(port) as client:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for byte in header + RECORD[:10]:
                    client.sendall(bytes((byte,)))
                    time.sleep(0.001)
                client.sendall(RECORD[10:])
                assert receive_to_end(client) == RECORD
        until(lambda: access_lines(log) == [("192.0.2.7:40007", "echoed")] * 2)
        quiet(echod)


def test_silence_before_and_after_the_header(tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "access"
    words = ("--timeout", "1", "--access-log", str(log))
    with daemon(*TWISTD, "--listen", proxied(port), *words, cwd=tmp_path) as echod:
        started = time.monotonic()
        with connected(port) as before, connected(port) as within, connected(port) as after:
            within.sendall(LINE[:20])
            after.sendall(LINE)
            names = [f"[::1]:{client.getsockname()[1]}" for client in (before, within)]
            for client in (before, within, after):
                with contextlib.suppress(ConnectionResetError):
                    assert client.recv(1) == b""
        assert 0.9 < time.monotonic() - started < 3
        expected = {*((name, "bad-proxy-header") for name in names), ("192.0.2.7:40007", "timeout")}
        until(lambda: set(access_lines(log)) == expected)
        quiet(echod)


def test_a_client_that_sends_no_header_cannot_hold_more_connections_than_any_other(tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "access"
    words = ("--max-connections-per-host", "3", "--access-log", str(log))
    with daemon(*TWISTD, "--listen", proxied(port, ":backlog=511"), *words, cwd=tmp_path) as echod:
        with contextlib.ExitStack() as held:
            clients = [held.enter_context(connected(port)) for _ in range(50)]
            until(lambda: len(access_lines(log)) == 47, patience=2.5)  # before the deadline of the header
            assert Counter(reason for _, reason in access_lines(log)) == {"too-many-from-host": 47}
            ended = {peer for peer, _ in access_lines(log)}
            waiting = [each for each in clients if f"[::1]:{each.getsockname()[1]}" not in ended]
            assert len(waiting) == 3
            for client in waiting:  # they may send the header until its deadline
                client.sendall(LINE + RECORD)
                assert receive_to_end(client) == RECORD
        quiet(echod)


def test_a_burst_of_clients_of_one_proxy_is_served_beside_a_limit_per_host(tmp_path: Path) -> None:
    port = free_port()
    listening = daemon(
        *TWISTD, "--listen", proxied(port, ":backlog=511"), "--max-connections-per-host", "3", cwd=tmp_path
    )
    with listening as echod, contextlib.ExitStack() as held:
        clients = [held.enter_context(connected(port)) for _ in range(100)]
        for number, client in enumerate(clients):
            client.sendall(b"PROXY TCP4 192.0.2.%d 192.0.2.1 40007 3005\r\n" % number + RECORD)
        assert [receive_to_end(client) for client in clients] == [RECORD] * 100
        quiet(echod)


def test_only_trusted_proxies_may_send_headers(tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "access"
    words = ("--trusted-proxy", "127.0.0.2", "--trusted-proxy", "::1", "--access-log", str(log))
    with daemon(*TWISTD, "--listen", proxied(port), *words, cwd=tmp_path) as echod:
        for source, echo in (("127.0.0.2", RECORD), ("127.0.0.3", b"")):
            with plain(port, "127.0.0.1", source)() as client, contextlib.suppress(ConnectionError):
                client.sendall(LINE + RECORD)
                assert receive_to_end(client) == echo
        assert echo_with_header(port) == RECORD
        until(lambda: len(access_lines(log)) == 3)
        assert [(peer.partition(":")[0], reason) for peer, reason in access_lines(log)] == [
            ("192.0.2.7", "echoed"),
            ("127.0.0.3", "not-allowed"),
            ("192.0.2.7", "echoed"),
        ]
        quiet(echod)


@pytest.mark.parametrize(
    ("words", "served"),
    [
        ((), [True, True, False, False, True]),
        (("--ipv6-prefix", "48"), [True, True, False, False, False]),
        (("--ipv6-prefix", "128"), [True, True, True, False, True]),
    ],
)
def test_ipv6_clients_are_counted_by_prefix(tmp_path: Path, words: tuple[str, ...], served: list[bool]) -> None:
    port = free_port()
    hosts = ("2001:db8:1:2::1", "2001:db8:1:2::2", "2001:db8:1:2:ffff::3", "2001:db8:1:2::1", "2001:db8:1:3::1")
    limit = ("--max-connections-per-host", "2" if words != ("--ipv6-prefix", "128") else "1", "--keep-alive")
    with daemon(*TWISTD, "--listen", proxied(port), *limit, *words, cwd=tmp_path) as echod:
        with contextlib.ExitStack() as held:
            seen = []
            for host in hosts:
                client = held.enter_context(connected(port))
                with contextlib.suppress(ConnectionError):
                    client.sendall(f"PROXY TCP6 {host} 2001:db8::1 40007 3005\r\n".encode() + RECORD)
                seen.append(first_byte(client) == RECORD[:1])
            assert seen == served
        quiet(echod)


def first_byte(client: socket.socket) -> bytes:
    """Return the first byte of the echo; none if the client is refused."""
    with contextlib.suppress(ConnectionError):
        return client.recv(1)
    return b""


def test_many_resets_around_the_header(tmp_path: Path) -> None:
    port = free_port()
    stages = (b"", LINE[:1], LINE[:-1], LINE, LINE + RECORD[:100], LINE + RECORD, LINE + RECORD * 3, b"GET /")
    with daemon(*TWISTD, "--listen", proxied(port, ":backlog=511"), "--keep-alive", cwd=tmp_path) as echod:
        assert echo_with_header(port) == RECORD
        before = echod.settled_descriptors()
        for n in range(400):
            client = plain(port)()
            with contextlib.suppress(ConnectionError):
                client.sendall(stages[n % len(stages)])
            abort(client)
        until(lambda: echod.open_descriptors() == before)
        assert echo_with_header(port) == RECORD
        quiet(echod)


def of_clients(log: Path) -> list[tuple[str, str]]:
    """Return host and close reason of the IPv4 connections; ::1 is the balancer and the readiness check."""
    return [(peer.partition(":")[0], reason) for peer, reason in access_lines(log) if peer.startswith("127.")]


def echo_from(port: int, source: str) -> bytes:
    """Return the echo of a record from `source`, empty if refused."""
    with plain(port, "127.0.0.1", source)() as client, contextlib.suppress(ConnectionError):
        client.sendall(RECORD)
        with contextlib.suppress(OSError):  # not connected any more
            client.shutdown(socket.SHUT_WR)
        return receive_to_end(client)
    return b""


def echo_with_header(port: int) -> bytes:
    return exchange(port, LINE + RECORD)


def wait_for_line(log: Path, peer: str, reason: str) -> None:
    until(lambda: (peer, reason) in access_lines(log))


def listens(port: int) -> bool:
    """Return whether a socket listens on the port, without connecting to it: that would be a client's connection."""
    sockets = [line.split() for line in Path("/proc/net/tcp6").read_text().splitlines()[1:]]
    return any(local.endswith(f":{port:04X}") and state == LISTEN for _, local, _, state, *_ in sockets)


def quiet(echod: Daemon) -> None:
    """Stop the daemon and check that its output is the usual one."""
    echod.stop()
    assert "Traceback" not in echod.output, echod.output
    assert "Unhandled" not in echod.output, echod.output
    assert len(echod.output) < 4000, echod.output
