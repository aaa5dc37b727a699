"""The daemon with a socket that it inherits as systemd passes it, without systemd."""

import sys
from pathlib import Path

import pytest

from tests.support.processes import ECHOD, TWISTD, daemon
from tests.support.sockets import RECORD, exchange, free_port

STARTER = """\
import os, socket, sys
port, *command = sys.argv[1:]
server = socket.create_server(("::", int(port)), family=socket.AF_INET6, dualstack_ipv6=True)
os.dup2(os.dup(server.fileno()), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(command[0], command)
"""
"""Listens on a port, and becomes a command that has the socket as its descriptor 3."""

SERVERS = {"serve": (*ECHOD, "serve"), "twistd": TWISTD}


def starter(port: int, how: str, *options: str) -> tuple[str, ...]:
    return (sys.executable, "-c", STARTER, str(port), *SERVERS[how], *options)


@pytest.mark.parametrize("how", SERVERS)
def test_the_socket_takes_the_place_of_the_port(tmp_path: Path, how: str) -> None:
    port = free_port()
    command = starter(port, how, "--port", "3", "--timeout", "5")
    with daemon(*command, cwd=tmp_path, ready=f"listening on [::]:{port}", LISTEN_FDNAMES="echo") as echod:
        assert exchange(port, RECORD) == RECORD
        assert "not used, because systemd passed a socket: port" in echod.output


def test_a_socket_with_another_name_is_in_the_log(tmp_path: Path) -> None:
    command = starter(free_port(), "serve", "--port", str(free_port()))
    with daemon(*command, cwd=tmp_path, LISTEN_FDNAMES="other") as echod:
        echod.stop()
    expected = "the socket other from systemd belongs to no listener: its clients are not served"
    assert expected in echod.output


def test_a_tls_socket_without_a_certificate_is_refused(tmp_path: Path) -> None:
    command = starter(free_port(), "serve")
    with daemon(*command, cwd=tmp_path, ready="", LISTEN_FDNAMES="echo-tls") as echod:
        assert echod.end() == 2
    assert echod.output == "echod serve: the socket echo-tls from systemd requires tls-certificate\n"
