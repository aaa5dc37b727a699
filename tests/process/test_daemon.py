"""The daemon as a process: start, exchange, errors, stop."""

import contextlib
import shutil
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from tests.support.namespaces import in_new_namespace, inside, needs_namespaces
from tests.support.processes import BIN, ECHOD, TWISTD, abort, daemon, run, until
from tests.support.sockets import PATIENCE, RECORD, connected, exchange, free_port, receive_to_end

SERVERS = {"twistd": TWISTD, "serve": (*ECHOD, "serve"), "module": (sys.executable, "-m", "echod", "serve")}
TAC = Path(__file__).parents[2] / "etc" / "echod.tac"

needs_ss = pytest.mark.skipif(not shutil.which("ss"), reason="needs ss (Debian: iproute2)")
needs_nc = pytest.mark.skipif(not shutil.which("nc"), reason="needs nc (Debian: netcat-openbsd)")


@pytest.mark.parametrize("how", SERVERS)
def test_main_job(tmp_path: Path, how: str) -> None:
    port = free_port()
    with daemon(*SERVERS[how], "--port", str(port), cwd=tmp_path) as echod:
        for host, shown in (("::1", "::1"), ("127.0.0.1", "127.0.0.1"), ("localhost", ""), ("[::1]", "::1")):
            pinged = run(*ECHOD, "ping", "-c", "2", "-i", "0", host, str(port), cwd=tmp_path)
            assert pinged.returncode == 0, pinged.stdout + pinged.stderr
            assert f"250 bytes from {shown}" in pinged.stdout
            assert f"port {port}: seq=2 time=" in pinged.stdout
            assert "2 sent, 2 echoed, 0 lost (0%)" in pinged.stdout
        assert f"listening on [::]:{port}" in echod.output
        assert "Traceback" not in echod.output


@pytest.mark.parametrize(
    ("words", "polls"),
    [((), 2), (("--transport", "fast"), 2), (("--transport", "stock"), 1)],
    ids=["default", "fast", "stock"],
)
@pytest.mark.parametrize("how", ["twistd", "serve"])
def test_either_transport_serves(tmp_path: Path, how: str, words: tuple[str, ...], polls: int) -> None:
    port = free_port()
    with daemon(*SERVERS[how], "--port", str(port), *words, cwd=tmp_path) as echod:
        assert exchange(port, RECORD) == RECORD
        assert exchange(port, RECORD + b"x" * 100_000, "127.0.0.1") == RECORD
        links = echod.descriptors()
        assert links.count("anon_inode:[eventpoll]") == polls  # the fast one has its own, within the reactor's
        assert "Traceback" not in echod.output


@pytest.mark.parametrize("how", ["twistd", "serve"])
def test_help_names_the_transports(tmp_path: Path, how: str) -> None:
    shown = " ".join(run(*SERVERS[how], "--help", cwd=tmp_path).stdout.split())
    assert "--transport" in shown
    assert "fast (needs Linux's epoll) or stock (plain Twisted)" in shown


@needs_nc
def test_nc(tmp_path: Path) -> None:
    port = free_port()
    with daemon(*TWISTD, "--port", str(port), cwd=tmp_path):
        for host in ("::1", "127.0.0.1"):
            command = f"head -c 250 /dev/urandom | nc -N {host} {port} | wc -c"
            assert run("sh", "-c", command, cwd=tmp_path).stdout.split() == ["250"]


@needs_ss
def test_one_dual_stack_listener_with_its_backlog(tmp_path: Path) -> None:
    port = free_port()
    with daemon(*TWISTD, "--port", str(port), cwd=tmp_path):
        listed = run("ss", "-Hltn", f"sport = :{port}", cwd=tmp_path).stdout.split()
    assert (listed[0], listed[2], listed[3]) == ("LISTEN", "10", f"*:{port}")


@needs_ss
@needs_namespaces
def test_dual_stack_with_bindv6only(tmp_path: Path) -> None:
    command = in_new_namespace((*TWISTD, "--port", "3005"), "echo 1 > /proc/sys/net/ipv6/bindv6only")
    with daemon(*command, cwd=tmp_path) as echod:
        listed = run(*inside(echod, "ss", "-Hltn"), cwd=tmp_path).stdout.split()
        assert (listed[2], listed[3]) == ("10", "*:3005")
        for host in ("::1", "127.0.0.1"):
            assert run(*inside(echod, *ECHOD, "ping", "-c", "1", host), cwd=tmp_path).returncode == 0


@needs_namespaces
def test_ipv6_disabled(tmp_path: Path) -> None:
    command = in_new_namespace((*TWISTD, "--port", "3005"), "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6")
    with daemon(*command, cwd=tmp_path) as echod:
        assert run(*inside(echod, *ECHOD, "ping", "-c", "1", "127.0.0.1"), cwd=tmp_path).returncode == 0
        assert run(*inside(echod, *ECHOD, "ping", "-c", "1", "::1"), cwd=tmp_path).returncode == 1


def test_silent_and_dripping_clients_end_at_the_deadline(tmp_path: Path) -> None:
    port = free_port()
    server = daemon(*TWISTD, "--port", str(port), "--timeout", "2", cwd=tmp_path)
    with server, connected(port) as silent, connected(port) as dripping:
        started = time.monotonic()
        silent.sendall(RECORD[:249])
        dripping.settimeout(0.1)
        with contextlib.suppress(ConnectionError):
            while True:
                dripping.sendall(b"x")
                with contextlib.suppress(TimeoutError):
                    assert dripping.recv(1) == b""
                    break
        assert 1.9 <= time.monotonic() - started < 3
        assert receive_to_end(silent) == b""
        assert 1.9 <= time.monotonic() - started < 3


def test_echo_with_excess_input(tmp_path: Path) -> None:
    port = free_port()
    with daemon(*TWISTD, "--port", str(port), cwd=tmp_path):
        for _ in range(5):
            assert exchange(port, RECORD + b"x" * (1 << 20)) == RECORD


def test_keep_alive_echoes_every_whole_record_before_the_fin(tmp_path: Path) -> None:
    port = free_port()
    with daemon(*TWISTD, "--port", str(port), "--keep-alive", cwd=tmp_path):
        for _ in range(20):
            assert exchange(port, RECORD * 3 + RECORD[:125]) == RECORD * 3


def test_memory_is_bounded_if_a_client_never_reads(tmp_path: Path) -> None:
    port = free_port()
    with daemon(*TWISTD, "--port", str(port), "--keep-alive", "--timeout", "2", cwd=tmp_path) as echod:
        exchange(port, RECORD)
        before = echod.resident_kilobytes()
        sent = highest = 0
        with connected(port) as client:
            client.settimeout(0.1)
            deadline = time.monotonic() + PATIENCE
            with contextlib.suppress(ConnectionError):
                while time.monotonic() < deadline:
                    with contextlib.suppress(TimeoutError):
                        sent += client.send(RECORD * 4000)
                    highest = max(highest, echod.resident_kilobytes())
                raise AssertionError("the client was never cut off")
        assert sent > 200_000
        assert highest - before < 4096


@pytest.mark.parametrize("how", SERVERS)
def test_port_in_use(tmp_path: Path, how: str) -> None:
    with socket.create_server(("::", 0), family=socket.AF_INET6) as other:
        port = other.getsockname()[1]
        started = run(*SERVERS[how], "--port", str(port), cwd=tmp_path)
    output = started.stdout + started.stderr
    assert started.returncode == 1
    assert f"cannot listen on [::]:{port}: address already in use" in output
    assert len([line for line in output.splitlines() if "echod:" in line or "echod serve:" in line]) == 1
    assert "Traceback" not in output


def test_twistd_daemonizes(tmp_path: Path) -> None:
    port = free_port()
    assert run(str(BIN / "twistd"), "echod", "--port", str(port), cwd=tmp_path).returncode == 0
    pid = int((tmp_path / "twistd.pid").read_text())
    try:
        assert exchange(port, RECORD) == RECORD
    finally:
        run("kill", str(pid), cwd=tmp_path)
    until(lambda: not (tmp_path / "twistd.pid").exists())


@pytest.mark.parametrize(
    "words",
    [
        ("--port", "70000"),
        ("--timeout", "nan"),
        ("--timeout", "-1"),
        ("--record-size", "0"),
        ("--nosuch",),
        ("--config", "bad.toml"),
        ("--config", "nosuch.toml"),
        ("--listen", "tcp:3005:interface=::"),
        ("--listen", "tcp:1", "--port", "1"),
    ],
)
@pytest.mark.parametrize(("how", "status"), [("twistd", 1), ("serve", 2)])
def test_invalid_options_give_a_one_line_error(tmp_path: Path, how: str, status: int, words: tuple[str, ...]) -> None:
    (tmp_path / "bad.toml").write_text("prot = 3005\n")
    refused = run(*SERVERS[how], *words, cwd=tmp_path)
    assert refused.returncode == status
    assert refused.stdout == ""
    assert len(refused.stderr.splitlines()) == 1, refused.stderr
    assert "Traceback" not in refused.stderr


def test_configuration_file(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "echod.toml").write_text(f"port = {port}\nrecord-size = 10\n")
    with daemon(*TWISTD, "--config", "echod.toml", "--record-size", "4", cwd=tmp_path):
        assert exchange(port, b"123456789") == b"1234"


def test_endpoints(tmp_path: Path) -> None:
    one, other = free_port(), free_port()
    listens = ("--listen", f"tcp:{one}:interface=127.0.0.1", "--listen", rf"tcp6:{other}:interface=\:\:1")
    with daemon(*TWISTD, *listens, cwd=tmp_path, ready=str(other)) as echod:
        assert exchange(one, RECORD, "127.0.0.1") == RECORD
        assert exchange(other, RECORD, "::1") == RECORD
        assert f"listening on 127.0.0.1:{one}" in echod.output
        assert f"listening on [::1]:{other}" in echod.output


def test_tac_file(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "echod.toml").write_text(f"port = {port}\n")
    shutil.copy(TAC, tmp_path)
    command = (str(BIN / "twistd"), "-n", "--pidfile=", "-y", "echod.tac")
    with daemon(*command, cwd=tmp_path):
        assert exchange(port, RECORD) == RECORD
    (tmp_path / "other.toml").write_text("prot = 1\n")
    refused = run(*command, cwd=tmp_path, ECHOD_CONFIG="other.toml")
    assert refused.returncode == 1
    assert "echod: other.toml: unknown key 'prot'" in refused.stdout + refused.stderr
    assert "Traceback" not in refused.stdout + refused.stderr


@pytest.mark.parametrize(("how", "status"), [("twistd", -signal.SIGTERM), ("serve", 0)])
def test_record_in_flight_finishes_after_sigterm(tmp_path: Path, how: str, status: int) -> None:
    port = free_port()
    with daemon(*SERVERS[how], "--port", str(port), cwd=tmp_path) as echod, connected(port) as client:
        client.sendall(RECORD[:100])
        assert exchange(port, RECORD) == RECORD  # so the one before is accepted
        echod.process.send_signal(signal.SIGTERM)
        echod.wait_for("connection(s) have 5 s to finish")
        until(lambda: refuses(port))
        client.sendall(RECORD[100:])
        client.shutdown(socket.SHUT_WR)
        assert receive_to_end(client) == RECORD
        assert echod.end() == status
        assert "Traceback" not in echod.output


def test_connections_are_cut_at_the_drain_timeout(tmp_path: Path) -> None:
    port = free_port()
    with daemon(*TWISTD, "--port", str(port), cwd=tmp_path) as echod, connected(port) as client:
        exchange(port, RECORD)
        started = time.monotonic()
        assert echod.stop() == -signal.SIGTERM
        assert 4.5 < time.monotonic() - started < 10
        with pytest.raises(ConnectionResetError):
            client.recv(1)


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_second_signal_cuts_at_once(tmp_path: Path, second: signal.Signals) -> None:
    port = free_port()
    with daemon(*TWISTD, "--port", str(port), cwd=tmp_path) as echod, connected(port):
        exchange(port, RECORD)
        echod.process.send_signal(signal.SIGTERM)
        echod.wait_for("stopping: ")
        started = time.monotonic()
        echod.stop(second)
        assert time.monotonic() - started < 4
        assert "cutting 1 connection(s)" in echod.output, echod.output
        assert "Traceback" not in echod.output


def test_many_resets(tmp_path: Path) -> None:
    port = free_port()
    stages = (b"", RECORD[:1], RECORD[:249], RECORD, RECORD * 3, RECORD + b"x" * 5000)
    # A backlog of 10 would overflow, and each overflow delays a client by a second.
    with daemon(*TWISTD, "--port", str(port), "--keep-alive", "--backlog", "511", cwd=tmp_path) as echod:
        exchange(port, RECORD)
        before = echod.settled_descriptors()
        for n in range(1000):
            client = socket.create_connection(("::1", port), timeout=PATIENCE)
            data = stages[n % len(stages)]
            client.sendall(data)
            if n % 4 > 1:
                client.shutdown(socket.SHUT_WR)
            if n % 5 == 0 and len(data) >= len(RECORD):
                client.recv(100)
            abort(client)
        until(lambda: echod.open_descriptors() == before)
        assert exchange(port, RECORD) == RECORD
        echod.stop()
        assert "Traceback" not in echod.output
        assert "Unhandled" not in echod.output


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("::1", port), timeout=PATIENCE).close()
    except ConnectionRefusedError:
        return True
    return False


def test_an_inherited_descriptor_that_is_no_socket_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    script = 'exec 3<file; exec "$@" serve'
    refused = run("bash", "-c", script, "bash", *ECHOD, cwd=tmp_path, LISTEN_FDNAMES="echo")
    line = "echod serve: LISTEN_FDNAMES: descriptor 3: Socket operation on non-socket\n"
    assert (refused.returncode, refused.stdout, refused.stderr) == (2, "", line)
