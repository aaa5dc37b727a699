"""The admin server of a real daemon: addresses, start, drain, TLS metrics."""

import contextlib
import http.client
import signal
import socket
import ssl
import time
import warnings
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.processes import ECHOD, TWISTD, Daemon, daemon, run, until
from tests.support.sockets import PATIENCE, RECORD, connected, exchange, free_port, receive_to_end

ROOT = Path(__file__).parents[2]
SERVERS = {"twistd": TWISTD, "serve": (*ECHOD, "serve")}


def get(port: int, path: str, host: str = "127.0.0.1") -> tuple[int, str]:
    """Return status and body."""
    connection = http.client.HTTPConnection(host, port, timeout=PATIENCE)
    with contextlib.closing(connection):
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()


def metric(port: int, name: str) -> float:
    time.sleep(0.3)  # rendered metrics are reused for a quarter of a second
    lines = get(port, "/metrics")[1].splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.rpartition(" ")[0] == name)


@pytest.mark.parametrize("how", SERVERS)
def test_bare_port_listens_on_both_loopback_addresses_only(tmp_path: Path, how: str) -> None:
    port, admin = free_port(), free_port()
    with daemon(*SERVERS[how], "--port", str(port), "--admin", str(admin), cwd=tmp_path) as echod:
        for host in ("127.0.0.1", "::1"):
            assert get(admin, "/healthz", host) == (200, "ok\n")
        until(lambda: get(admin, "/readyz")[0] == 200)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", admin), PATIENCE)
        assert exchange(port, RECORD) == RECORD
        assert metric(admin, "echod_records_echoed_total") == 1
        status = echod.stop()
    assert status == (0 if how == "serve" else -signal.SIGTERM)
    assert "Traceback" not in echod.output


def test_unix_endpoint_from_a_configuration_file(tmp_path: Path) -> None:
    port = free_port()
    configuration = tmp_path / "echod.toml"
    configuration.write_text(f"port = {port}\nadmin = 'unix:{tmp_path}/admin.sock'\n")
    with daemon(*TWISTD, "--config", str(configuration), cwd=tmp_path), socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(f"{tmp_path}/admin.sock")
        client.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
        assert receive_to_end(client).endswith(b"ready\n")


@pytest.mark.parametrize("how", SERVERS)
def test_invalid_admin_options_give_a_one_line_error(tmp_path: Path, how: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = str(other.getsockname()[1])
        for value, expected, status in (
            (taken, f"cannot listen on admin {taken}: address already in use", 1),
            ("70000", "--admin: must be a whole number from 1 to 65535, not 70000", 2),
            ("nosuch:1", "'nosuch:1' is not a server endpoint", 2),
        ):
            started = run(*SERVERS[how], "--port", str(free_port()), "--admin", value, cwd=tmp_path)
            output = started.stdout + started.stderr
            assert expected in output
            assert "Traceback" not in output
            assert "listening on" not in output
            assert started.returncode == (status if how == "serve" else 1)


def test_echo_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("::", 0), family=socket.AF_INET6) as other:
        port = other.getsockname()[1]
        started = run(*ECHOD, "serve", "--port", str(port), "--admin", str(free_port()), cwd=tmp_path)
    assert (started.returncode, "Traceback" in started.stderr) == (1, False)
    assert f"cannot listen on [::]:{port}: address already in use" in started.stderr


def test_admin_server_outlives_the_drain(tmp_path: Path) -> None:
    port, admin = free_port(), free_port()
    command = (*TWISTD, "--port", str(port), "--admin", str(admin), "--drain-timeout", "15")
    with daemon(*command, cwd=tmp_path) as echod, connected(port) as slow:
        slow.sendall(RECORD[:10])
        until(lambda: get(admin, "/readyz") == (200, "ready\n"))
        until(lambda: metric(admin, "echod_connections_active") == 1)
        with connected(admin, "127.0.0.1") as page:  # an open live page does not delay the exit
            page.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            echod.process.terminate()
            until(lambda: get(admin, "/readyz") == (503, "draining\n"))
            assert get(admin, "/healthz") == (200, "ok\n")
            assert metric(admin, "echod_draining") == 1
            slow.sendall(RECORD[10:])
            assert receive_to_end(slow) == RECORD
            slow.close()
            assert echod.end() == -signal.SIGTERM
            with contextlib.suppress(ConnectionResetError):
                assert b'"state":"draining"' in receive_to_end(page)


def test_tls_handshakes_fail_by_kind(tmp_path: Path) -> None:
    port, admin = free_port(), free_port()
    authority = Authority(tmp_path)
    pair, client = authority.issue("localhost"), Authority(tmp_path, "another").issue("client")
    files = ("--tls-certificate", str(pair.certificate), "--tls-key", str(pair.key))
    command = (*TWISTD, "--tls-port", str(port), "--admin", str(admin), "--port", str(free_port()), *files)

    def handshake(context: ssl.SSLContext) -> None:
        with (
            contextlib.suppress(OSError),
            connected(port) as wire,
            context.wrap_socket(wire, server_hostname="localhost") as tls,
        ):
            tls.recv(1)

    def trusting() -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(authority.certificate))

    old, other_ciphers, foreign = trusting(), trusting(), trusting()
    with warnings.catch_warnings():  # the deprecated versions are the ones to be refused
        warnings.simplefilter("ignore", DeprecationWarning)
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    other_ciphers.maximum_version = ssl.TLSVersion.TLSv1_2
    other_ciphers.set_ciphers("AES128-SHA256")
    foreign.load_cert_chain(client.certificate, client.key)

    def failures(kind: str) -> bool:
        return metric(admin, f'echod_tls_handshake_failures_total{{kind="{kind}"}}') == 1

    with daemon(*command, cwd=tmp_path):
        handshake(old)
        handshake(other_ciphers)
        handshake(ssl.create_default_context())
        exchange(port, b"GET / HTTP/1.1\r\n\r\n")
        with connected(port):  # without a byte, as a balancer's check: no handshake, so that none fails
            pass
        with connected(port) as client_that_leaves:
            client_that_leaves.sendall(b"\x16")
        checks = 'echod_connections_closed_total{reason="health-check"}'
        until(lambda: metric(admin, checks) == 1)
        for kind in ("version", "cipher", "client-refused", "not-tls", "incomplete"):
            until(lambda kind=kind: failures(kind))  # type: ignore[misc]  # mypy cannot tell a default's type
    with daemon(*command, "--tls-client-ca", str(authority.certificate), cwd=tmp_path):
        handshake(foreign)
        until(lambda: failures("client-certificate"))


def test_no_admin_server_by_default(tmp_path: Path) -> None:
    with daemon(*TWISTD, "--port", str(free_port()), cwd=tmp_path) as echod:
        assert len(listeners(echod)) == 1


def listeners(echod: Daemon) -> list[str]:
    """Return the inodes of a process's listening TCP sockets."""
    own = {str(each.readlink()) for each in Path(f"/proc/{echod.pid}/fd").iterdir()}
    lines = [
        line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    ]
    return [each[9] for each in lines if each[3] == "0A" and f"socket:[{each[9]}]" in own]
