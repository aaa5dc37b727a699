"""The listeners of a daemon as a process: names, backlog, overflows, hosts without IPv6, daemonizing."""

import errno
import json
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support import refused_ipv6, socket_activation
from tests.support.certificates import Authority
from tests.support.processes import BIN, ECHOD, Daemon, daemon, run, until
from tests.support.sockets import PATIENCE, RECORD, exchange, free_port

SERVE = (*ECHOD, "serve")

needs_ss = pytest.mark.skipif(not shutil.which("ss"), reason="needs ss (Debian: iproute2)")
needs_seccomp = pytest.mark.skipif(
    platform.machine() not in refused_ipv6.SOCKET_CALL, reason="the number of socket(2) is known for two machines"
)


def without_ipv6(error: int, *command: str) -> tuple[str, ...]:
    """Return `command` as one that fails with `error` to create sockets of IPv6."""
    return (sys.executable, refused_ipv6.__file__, str(error), *command)


def run_clean(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in an empty environment until it ends."""
    return subprocess.run(
        ["env", "-i", *command], cwd=cwd, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


@needs_seccomp
def test_a_host_without_ipv6_is_served_over_ipv4(tmp_path: Path) -> None:
    port = free_port()
    command = without_ipv6(errno.EAFNOSUPPORT, *SERVE, "--port", str(port))
    with daemon(*command, cwd=tmp_path, ready=f"listening on 0.0.0.0:{port}") as echod:
        assert exchange(port, RECORD, "127.0.0.1") == RECORD
        assert f"this host has no IPv6: listening on 0.0.0.0:{port}, for IPv4 only" in echod.output
        assert "Traceback" not in echod.output


@needs_seccomp
@pytest.mark.parametrize(
    ("words", "error", "reason"),
    [
        ((), errno.EMFILE, "cannot listen on [::]:3005: too many open files"),
        ((), errno.EACCES, "cannot listen on [::]:3005: permission denied"),
        (
            ("--interface", "::1"),
            errno.EAFNOSUPPORT,
            "cannot listen on [::1]:3005: address family not supported by protocol",
        ),
    ],
    ids=["descriptors", "permission", "address"],
)
def test_the_true_reason_why_an_ipv6_socket_is_refused(
    tmp_path: Path, words: tuple[str, ...], error: int, reason: str
) -> None:
    refused = run_clean(*without_ipv6(error, *SERVE, "--port", "3005", *words), cwd=tmp_path)
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1] == f"echod serve: {reason}"
    assert "Traceback" not in refused.stderr


TWISTD_DAEMON = (str(BIN / "twistd"), "--logfile", "twistd.log")


def taken_port() -> socket.socket:
    """Return a socket that listens on a free port of every address."""
    return socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)


def test_a_taken_port_with_daemonizing_twistd(tmp_path: Path) -> None:
    with taken_port() as other:
        port = other.getsockname()[1]
        started = run_clean(*TWISTD_DAEMON, "echod", "--port", str(port), cwd=tmp_path)
    assert started.returncode == 1
    assert started.stdout == ""
    assert started.stderr == f"echod: cannot listen on [::]:{port}: address already in use\n"
    # twistd removes it after its command has ended.
    until(lambda: not (tmp_path / "twistd.pid").exists())
    until(lambda: "echod: cannot listen" in (tmp_path / "twistd.log").read_text())


def test_a_taken_port_with_daemonizing_twistd_and_a_tac_file(tmp_path: Path) -> None:
    shutil.copy(Path(__file__).parents[2] / "etc" / "echod.tac", tmp_path)
    with taken_port() as other:
        port = other.getsockname()[1]
        (tmp_path / "echod.toml").write_text(f"port = {port}\n")
        started = run_clean(*TWISTD_DAEMON, "-y", "echod.tac", cwd=tmp_path)
    assert (started.returncode, started.stdout) == (1, "")
    assert started.stderr == f"echod: cannot listen on [::]:{port}: address already in use\n"
    # twistd removes it after its command has ended.
    until(lambda: not (tmp_path / "twistd.pid").exists())


def test_a_taken_admin_port_with_daemonizing_twistd(tmp_path: Path) -> None:
    with taken_port() as other:
        admin = other.getsockname()[1]
        words = ("--port", str(free_port()), "--admin", str(admin))
        started = run_clean(*TWISTD_DAEMON, "echod", *words, cwd=tmp_path)
    assert (started.returncode, started.stdout) == (1, "")
    assert started.stderr == (
        f"echod: cannot listen on admin {admin}: address already in use "
        "(several processes share the port only with admin-directory)\n"
    )
    # twistd removes it after its command has ended.
    until(lambda: not (tmp_path / "twistd.pid").exists())


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("--port", "70000"), "--port: must be a whole number from 1 to 65535, not 70000"),
        (("--config", "no.toml"), "--config: cannot read no.toml: No such file or directory"),
        (("--tls-port", "3006", "--tls-certificate", "no.pem"), "tls-certificate: cannot read no.pem: No such file"),
        (("--access-log", "no/access.log"), "access-log: cannot open {cwd}/no/access.log: No such file or directory"),
    ],
    ids=["option", "file", "certificate", "access-log"],
)
def test_a_configuration_error_with_daemonizing_twistd(tmp_path: Path, words: tuple[str, ...], error: str) -> None:
    started = run_clean(*TWISTD_DAEMON, "echod", *words, cwd=tmp_path)
    assert (started.returncode, started.stdout) == (1, "")
    assert started.stderr.startswith(f"twistd echod: {error.format(cwd=tmp_path)}")
    assert started.stderr.count("\n") == 1
    # twistd removes it after its command has ended.
    until(lambda: not (tmp_path / "twistd.pid").exists())


def test_any_other_error_with_daemonizing_twistd(tmp_path: Path) -> None:
    (tmp_path / "broken.tac").write_text(
        """
from twisted.application.service import Application, Service
from twisted.internet import reactor
from echod.cli.daemonizing import ReportingService

class Broken(Service):
    def startService(self):
        raise OSError('no')

application = Application("broken")
ReportingService(reactor, Broken()).setServiceParent(application)
"""
    )
    started = run_clean(*TWISTD_DAEMON, "-y", "broken.tac", cwd=tmp_path)
    assert (started.returncode, started.stdout) == (1, "")
    assert started.stderr == ("echod: the start failed, and the log file of twistd has the traceback: OSError('no')\n")


def test_a_daemon_that_has_started_holds_no_output_of_the_command(tmp_path: Path) -> None:
    port = free_port()
    started = run_clean(*TWISTD_DAEMON, "echod", "--port", str(port), cwd=tmp_path)  # reads to the end of both
    pid = int((tmp_path / "twistd.pid").read_text())
    try:
        assert (started.returncode, started.stdout, started.stderr) == (0, "", "")
        assert exchange(port, RECORD) == RECORD
    finally:
        os.kill(pid, signal.SIGTERM)
    until(lambda: not (tmp_path / "twistd.pid").exists())


# Names


def activated(port: int, backlog: int, *command: str) -> tuple[str, ...]:
    """Return `command` with an inherited socket of the name `echo`."""
    return (sys.executable, socket_activation.__file__, "echo", str(port), str(backlog), *command)


def access_lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_listeners_name_is_its_address_however_it_was_configured(tmp_path: Path) -> None:
    """The same words in the log and in the access log for a port of an option, of a string and of systemd."""
    names = []
    for words, socket_of_systemd in (
        (("--port", "{port}"), False),
        (("--listen", r"tcp6:{port}"), False),
        (("--listen", "systemd:domain=INET6:name=echo"), True),
    ):
        port = free_port()
        log = tmp_path / f"access.{port}"
        options = ("--access-log", str(log), "--log-format", "json", *(each.format(port=port) for each in words))
        command = activated(port, 10, *SERVE, *options) if socket_of_systemd else (*SERVE, *options)
        with daemon(*command, cwd=tmp_path, ready=f"listening on [::]:{port}"):
            assert exchange(port, RECORD) == RECORD
            until(lambda: log.read_text() != "")  # noqa: B023 - called in this iteration
        names.append([line["listener"] for line in access_lines(log)] == [f"[::]:{port}"])
    assert names == [True, True, True]


def test_the_name_of_a_port_that_the_kernel_chose(tmp_path: Path) -> None:
    with daemon(*SERVE, "--listen", "tcp6:0", "--access-log", "access.log", cwd=tmp_path) as echod:
        shown = re.search(r"listening on \[::\]:(\d+)\n", echod.output)
        assert shown is not None, echod.output
        port = int(shown[1])
        assert exchange(port, RECORD) == RECORD
        until(lambda: f" [::]:{port} echoed " in (tmp_path / "access.log").read_text())


def test_the_name_of_a_unix_socket_is_its_path(tmp_path: Path) -> None:
    path = tmp_path / "echo.sock"
    words = ("--listen", f"unix:{path}", "--access-log", "access.log")
    with daemon(*SERVE, *words, cwd=tmp_path, ready=f"listening on {path}\n"):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(str(path))
            client.sendall(RECORD)
            assert client.recv(len(RECORD), socket.MSG_WAITALL) == RECORD
        until(lambda: f" {path} echoed " in (tmp_path / "access.log").read_text())


def test_the_log_says_which_listeners_speak_tls_or_are_behind_a_proxy(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("localhost")
    plain, proxied, tls, both = (free_port() for _ in range(4))
    words = ("--listen", f"tcp6:{plain}", "--listen", f"haproxy:tcp6:{proxied}", "--tls-port", str(tls))
    more = ("--tls-listen", f"haproxy:tcp6:{both}", "--tls-certificate", pair.certificate, "--tls-key", pair.key)
    with daemon(*SERVE, *words, *map(str, more), cwd=tmp_path, ready=f"listening on [::]:{both}") as echod:
        echod.wait_for("(PROXY protocol, TLS)")
        lines = [line.split("listening on ")[1] for line in echod.output.splitlines() if "listening on " in line]
    assert lines == [
        f"[::]:{plain}",
        f"[::]:{proxied} (PROXY protocol)",
        f"[::]:{tls} (TLS)",
        f"[::]:{both} (PROXY protocol, TLS)",
    ]


# The backlog


@needs_ss
def test_the_backlog_of_endpoint_strings(tmp_path: Path) -> None:
    """10 by default, that of --backlog if it is given, and the string's own."""
    one, other = free_port(), free_port()
    listens = ("--listen", f"tcp6:{one}", "--listen", f"tcp6:{other}:backlog=7")
    for words, backlogs in ((), ["10", "7"]), (("--backlog", "20"), ["20", "7"]):
        with daemon(*SERVE, *listens, *words, cwd=tmp_path, ready=f"listening on [::]:{other}"):
            shown = [run("ss", "-Hltn", f"sport = :{port}", cwd=tmp_path).stdout.split()[2] for port in (one, other)]
        assert shown == backlogs


@needs_ss
def test_an_inherited_socket_keeps_its_backlog_and_the_log_says_so(tmp_path: Path) -> None:
    port = free_port()
    words = ("--listen", "systemd:domain=INET6:name=echo", "--backlog", "20")
    with daemon(*activated(port, 33, *SERVE, *words), cwd=tmp_path) as echod:
        listed = run("ss", "-Hltn", f"sport = :{port}", cwd=tmp_path).stdout.split()
        assert listed[2] == "33"
        assert echod.output.count("backlog: 20 has no effect: inherited sockets have the backlog of their") == 1


# Overflows


@contextmanager
def dialled(port: int, count: int) -> Iterator[None]:
    """Dial `count` times without waiting, and close the sockets after the block."""
    with ExitStack() as open_sockets:
        for _ in range(count):
            client = open_sockets.enter_context(socket.socket(socket.AF_INET6))
            client.setblocking(False)
            client.connect_ex(("::1", port))
        yield


@contextmanager
def paused(echod: Daemon) -> Iterator[None]:
    """Stop the process in the block, as if it had no processor."""
    echod.process.send_signal(signal.SIGSTOP)
    until(lambda: Path(f"/proc/{echod.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T")
    yield
    echod.process.send_signal(signal.SIGCONT)


def test_an_overflow_is_logged_once_with_its_remedy(tmp_path: Path) -> None:
    port = free_port()
    with daemon(*SERVE, "--port", str(port), cwd=tmp_path) as echod:
        for _ in range(2):
            with ExitStack() as stack:
                with paused(echod):
                    stack.enter_context(dialled(port, 16))
                echod.wait_for("overflowed")
                assert exchange(port, RECORD) == RECORD
        lines = [line for line in echod.output.splitlines() if "overflowed" in line]
    assert len(lines) == 1
    assert lines[0].endswith(
        f"the accept queue of [::]:{port} overflowed: 11 connections wait, and the kernel has dropped 5 packet(s) of "
        "others, whose clients try again after a second or more; raise --backlog, now 10, and net.core.somaxconn if "
        "that is lower"
    )


def test_the_remedy_of_an_inherited_socket(tmp_path: Path) -> None:
    port = free_port()
    command = activated(port, 3, *SERVE, "--listen", "systemd:domain=INET6:name=echo")
    with daemon(*command, cwd=tmp_path) as echod:
        with paused(echod), dialled(port, 6):
            pass
        echod.wait_for("raise Backlog= in its socket unit, now 3, and net.core.somaxconn")


def test_a_full_queue_without_an_overflow_is_not_logged(tmp_path: Path) -> None:
    """Nor the overflow of another program's socket in the same network namespace."""
    port = free_port()
    log = tmp_path / "access.log"
    words = ("--port", str(port), "--access-log", "access.log", "--log-health-checks")
    with daemon(*SERVE, *words, cwd=tmp_path) as echod:
        with socket.create_server(("::1", 0), family=socket.AF_INET6, backlog=1) as other:
            with paused(echod), dialled(port, 11), dialled(other.getsockname()[1], 6):
                pass
            until(lambda: len(log.read_text().splitlines()) == 11)  # all are accepted
        assert "overflowed" not in echod.output
