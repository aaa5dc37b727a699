"""`echod ping` as an operator types it."""

import os
import re
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.support.namespaces import in_new_namespace, inside, needs_namespaces
from tests.support.processes import BIN, ECHOD, TWISTD, daemon, run
from tests.support.sockets import PATIENCE, free_port


def ping(cwd: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    pinged = run(*ECHOD, "ping", *words, cwd=cwd)
    assert "Traceback" not in pinged.stdout + pinged.stderr
    assert pinged.stderr == ""
    return pinged


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("127.0.0.1", "{free}"), "connect failed: connection refused"),
        (("127.0.0.1", "{port}", "--source", "192.0.2.1"), "connect failed: the source address is not this host's"),
        (("::1", "{port}", "--idle", "9"), r"silence failed: closed by the peer after 1(\.\d\d?)? s of silence"),
        (("nosuch.invalid",), "name resolution failed: no address for this name"),
        (("::1", "{port}", "--size", "300"), "echo failed: closed by the peer after 250 of 300 bytes"),
        (("::1", "{port}", "--size", "10", "--timeout", "0.3"), r"echo failed: 0 of 10 bytes were back after 0\.3 s"),
    ],
)
def test_every_failure_says_which_step_failed(tmp_path: Path, words: tuple[str, ...], reason: str) -> None:
    port = free_port()
    with daemon(*TWISTD, "--port", str(port), "--timeout", "1", cwd=tmp_path):
        pinged = ping(tmp_path, "-c", "1", *(word.format(free=free_port(), port=port) for word in words))
    assert pinged.returncode == 1
    assert re.search(f": seq=1 {reason}$", pinged.stdout.splitlines()[1])
    assert "1 sent, 0 echoed, 1 lost (100%)" in pinged.stdout


@needs_namespaces
def test_no_route(tmp_path: Path) -> None:
    command = in_new_namespace((*ECHOD, "ping", "-c", "1", "192.0.2.1"))
    pinged = run(*command, cwd=tmp_path)
    assert pinged.returncode == 1
    assert "connect failed: network is unreachable" in pinged.stdout


@needs_namespaces
def test_a_scoped_address(tmp_path: Path) -> None:
    command = in_new_namespace(
        (*TWISTD, "--port", "3005"),
        "ip link add wan type veth peer name lan",
        "ip -6 address add fe80::5/64 dev wan nodad",
        "ip link set wan up",
        "ip link set lan up",
    )
    with daemon(*command, cwd=tmp_path) as echod:
        for host in ("fe80::5%wan", "[fe80::5%wan]"):
            pinged = run(*inside(echod, *ECHOD, "ping", "-c", "1", host), cwd=tmp_path)
            assert "250 bytes from fe80::5%wan port 3005: seq=1" in pinged.stdout, pinged.stdout
        pinged = run(*inside(echod, *ECHOD, "ping", "-c", "1", "fe80::5%nosuch"), cwd=tmp_path)
        assert "connect failed: no such interface" in pinged.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_the_summary(tmp_path: Path, number: signal.Signals) -> None:
    port = free_port()
    client = daemon(*ECHOD, "ping", "::1", str(port), "-i", "0.05", cwd=tmp_path, ready="seq=3")
    with daemon(*TWISTD, "--port", str(port), cwd=tmp_path), client as pinging:
        assert pinging.stop(number) == 0
    assert "echo statistics ---" in pinging.output
    assert " 0 lost (0%)" in pinging.output
    assert "round trip min/median/p99/max = " in pinging.output


def test_ctrl_c_while_nothing_answers(tmp_path: Path) -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as deaf:
        words = ("ping", "::1", str(deaf.getsockname()[1]))
        with daemon(*ECHOD, *words, cwd=tmp_path, ready="ECHO ::1") as pinging:
            deaf.settimeout(PATIENCE)
            connection, _ = deaf.accept()
            with connection:
                connection.settimeout(PATIENCE)
                connection.recv(1)
                assert pinging.stop(signal.SIGINT) == 1
    assert "sent, 0 echoed, 0 lost (0%), 1 unfinished" in pinging.output


def test_a_closed_pipe_ends_it_by_sigpipe(tmp_path: Path) -> None:
    port = free_port()
    with daemon(*TWISTD, "--port", str(port), cwd=tmp_path):
        reader, writer = os.pipe()
        with os.fdopen(writer, "wb") as out:
            pinging = subprocess.Popen(
                [*ECHOD, "ping", "-i", "0", "::1", str(port)], stdout=out, stderr=subprocess.PIPE
            )
        with os.fdopen(reader, "rb") as lines:
            assert lines.readline().startswith(b"ECHO ::1")
        _, errors = pinging.communicate(timeout=PATIENCE)
    assert (pinging.returncode, errors) == (-signal.SIGPIPE, b"")


def test_options_may_follow_the_host(tmp_path: Path) -> None:
    port = free_port()
    with daemon(*TWISTD, "--port", str(port), "--record-size", "9", cwd=tmp_path):
        pinged = ping(tmp_path, "::1", str(port), "--count", "2", "--interval", "0.01", "--size", "9")
    assert pinged.returncode == 0
    assert pinged.stdout.startswith(f"ECHO ::1 port {port}: 9 bytes a record\n9 bytes from ::1 port {port}: seq=1 ")


def test_a_payload_file_sets_the_size(tmp_path: Path) -> None:
    (tmp_path / "record").write_bytes(bytes(range(99)))
    port = free_port()
    with daemon(*TWISTD, "--port", str(port), "--record-size", "99", cwd=tmp_path):
        pinged = ping(tmp_path, "::1", str(port), "-c", "1", "--payload", "record")
        assert pinged.returncode == 0
        assert pinged.stdout.startswith(f"ECHO ::1 port {port}: 99 bytes a record\n99 bytes from ")
        for payload in ("random", "zero"):
            assert ping(tmp_path, "::1", str(port), "-c", "1", "-s", "99", "--payload", payload).returncode == 0


def test_a_sweep_ends_after_its_last_size(tmp_path: Path) -> None:
    port = free_port()
    with daemon(*TWISTD, "--port", str(port), cwd=tmp_path):
        pinged = ping(tmp_path, "::1", str(port), "--sweep", "250:252", "-i", "0")
    assert pinged.returncode == 1
    lines = pinged.stdout.splitlines()
    assert lines[0] == f"ECHO ::1 port {port}: 250 to 252 bytes a record"
    assert "250 bytes from" in lines[1]
    assert lines[3].endswith("seq=3 echo failed: closed by the peer after 250 of 252 bytes")
    assert "3 sent, 1 echoed, 2 lost" in pinged.stdout


def test_keep_alive_says_that_it_reconnected(tmp_path: Path) -> None:
    port = free_port()
    with daemon(*TWISTD, "--port", str(port), cwd=tmp_path):
        pinged = ping(tmp_path, "::1", str(port), "--keep-alive", "-c", "3", "-i", "0.01")
    assert pinged.returncode == 0
    assert [line.endswith(" (reconnected)") for line in pinged.stdout.splitlines()[1:4]] == [False, True, True]


def test_a_plain_probe_does_not_import_tls(tmp_path: Path) -> None:
    imports = "import sys, echod.ping.command; sys.exit('echod.client.tls' in sys.modules)"
    assert run(str(BIN / "python"), "-c", imports, cwd=tmp_path).returncode == 0
