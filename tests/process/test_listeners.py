"""The listeners of a daemon as a process: names, backlog, overflows, hosts without IPv6, daemonizing."""

import errno
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import refused_ipv6
from tests.support.processes import ECHOD, daemon
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
