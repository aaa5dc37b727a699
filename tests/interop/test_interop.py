"""echod against a client and a server in C, which share no code with it."""

import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.processes import ECHOD, TWISTD, Daemon, daemon, run
from tests.support.sockets import PATIENCE, RECORD, connected, exchange, free_port, receive_to_end

SOURCES = Path(__file__).parent
EVERY_ADDRESS = pytest.mark.parametrize("host", ["::1", "127.0.0.1", "localhost"])


@dataclass(frozen=True)
class Peers:
    """The commands written in C."""

    client: str
    server: str


def compiled(directory: Path, name: str) -> str:
    """Compile one of the commands written in C into `directory`; return its path."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler on this machine")
    source, command = str(SOURCES / f"{name}.c"), str(directory / name)
    flags = ("-std=c11", "-Wall", "-Wextra", "-Werror", "-O1")
    ran = run(compiler, *flags, "-o", command, source, cwd=directory, timeout=3 * PATIENCE)
    assert ran.returncode == 0, ran.stderr
    return command


@pytest.fixture(scope="module")
def peers(tmp_path_factory: pytest.TempPathFactory) -> Peers:
    built = tmp_path_factory.mktemp("interop")
    return Peers(client=compiled(built, "echo_client"), server=compiled(built, "echo_server"))


@contextmanager
def echod_server(*options: str, cwd: Path) -> Iterator[int]:
    """Yield the port of a running echod; then check that it ends in order and has logged no traceback."""
    port = free_port()
    with daemon(*TWISTD, "--port", str(port), *options, cwd=cwd) as running:
        yield port
        assert running.stop() == -signal.SIGTERM, running.output  # twistd ends by the signal it received
        assert "Traceback" not in running.output


@contextmanager
def c_server(peers: Peers, *options: str, cwd: Path) -> Iterator[tuple[Daemon, int]]:
    """Yield the C server, and its port."""
    with daemon(peers.server, "0", *options, cwd=cwd) as running:
        listening = re.search(r"listening on (\d+)\n", running.output)
        assert listening, running.output
        yield running, int(listening[1])


def ping(host: str, port: int, *options: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return run(*ECHOD, "ping", *options, host, str(port), cwd=cwd)


# The C client and echod


@EVERY_ADDRESS
def test_the_c_client_gets_its_echo(peers: Peers, tmp_path: Path, host: str) -> None:
    with echod_server(cwd=tmp_path) as port:
        echoed = run(peers.client, host, str(port), cwd=tmp_path)
    assert (echoed.returncode, echoed.stdout, echoed.stderr) == (0, "250 bytes echoed\n", "")


@pytest.mark.parametrize("size", ["1", "1000", "1048576"])
def test_the_c_client_gets_its_echo_with_other_record_sizes(peers: Peers, tmp_path: Path, size: str) -> None:
    with echod_server("--record-size", size, cwd=tmp_path) as port:
        echoed = run(peers.client, "::1", str(port), size, cwd=tmp_path)
    assert (echoed.returncode, echoed.stdout, echoed.stderr) == (0, f"{size} bytes echoed\n", "")


def test_two_c_clients_one_after_the_other_get_their_echoes(peers: Peers, tmp_path: Path) -> None:
    with echod_server(cwd=tmp_path) as port:
        both = [run(peers.client, "::1", str(port), cwd=tmp_path) for _ in range(2)]
    assert [echoed.returncode for echoed in both] == [0, 0]


@pytest.mark.parametrize(
    ("size", "error"),
    [
        pytest.param("300", "closed by the server after 250 of 300 bytes", id="more than a record"),
        pytest.param("249", "closed by the server after 0 of 249 bytes", id="less than a record"),
    ],
)
def test_the_c_client_of_a_wrong_size_gets_the_record_or_nothing(
    peers: Peers, tmp_path: Path, size: str, error: str
) -> None:
    with echod_server("--timeout", "1", cwd=tmp_path) as port:
        refused = run(peers.client, "::1", str(port), size, cwd=tmp_path)
    assert (refused.returncode, refused.stdout, refused.stderr) == (1, "", f"echo_client: {error}\n")


# The probe and the C server


@EVERY_ADDRESS
def test_the_c_server_echoes_to_the_probe(peers: Peers, tmp_path: Path, host: str) -> None:
    with c_server(peers, "3", cwd=tmp_path) as (server, port):
        probed = ping(host, port, "-c", "3", "-i", "0", cwd=tmp_path)
        assert probed.returncode == 0, probed.stdout + probed.stderr
        assert "3 sent, 3 echoed, 0 lost" in probed.stdout
        assert server.end() == 0


def test_the_probe_reports_a_record_that_the_c_server_echoed_in_part(peers: Peers, tmp_path: Path) -> None:
    with c_server(peers, cwd=tmp_path) as (_, port):
        probed = ping("::1", port, "-c", "1", "--size", "300", cwd=tmp_path)
    assert probed.returncode == 1
    # The server closes with 50 bytes unread, so the kernel sends a reset, which may overtake the echo.
    assert re.search(
        r"echo failed: (closed by the peer|connection reset) after (0|250) of 300 bytes\n", probed.stdout
    ), probed.stdout
    assert "1 sent, 0 echoed, 1 lost" in probed.stdout
    assert probed.stderr == ""


# The C server alone: the tests above rely on these properties


def test_the_c_server_echoes_to_a_client_that_half_closed(peers: Peers, tmp_path: Path) -> None:
    with c_server(peers, cwd=tmp_path) as (_, port):
        assert exchange(port, RECORD) == RECORD


def test_the_c_server_closes_on_a_client_that_half_closed_one_byte_short(peers: Peers, tmp_path: Path) -> None:
    with c_server(peers, cwd=tmp_path) as (server, port):
        assert exchange(port, RECORD[:-1]) == b""
        assert server.end() == 0
    assert "no whole record: closed by the client\n" in server.output


def test_the_c_server_closes_on_a_silent_client_at_its_timeout(peers: Peers, tmp_path: Path) -> None:
    with c_server(peers, "1", "1", cwd=tmp_path) as (server, port):
        began = time.monotonic()
        with connected(port) as client:
            assert receive_to_end(client) == b""
        assert 1 <= time.monotonic() - began < PATIENCE
        assert server.end() == 0
    assert "no whole record: timeout\n" in server.output
