"""A network namespace for one test, which can change settings there that apply to a whole host."""

import os
import shutil
import subprocess

import pytest

from tests.support.processes import Daemon


def missing() -> str:
    """Return why this machine cannot make a network namespace; empty if it can."""
    if os.geteuid() != 0:
        return "needs root, for a network namespace"
    if not (shutil.which("unshare") and shutil.which("nsenter") and shutil.which("ip")):
        return "needs unshare, nsenter and ip (Debian: util-linux, iproute2)"
    made = subprocess.run(
        ["unshare", "--net", "sh", "-c", "ip link set lo up && test -w /proc/sys/net/ipv6/bindv6only"],
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if made.returncode == 0 else f"no network namespaces here: {made.stderr.strip()}"


_MISSING = missing()

needs_namespaces = pytest.mark.skipif(bool(_MISSING), reason=_MISSING)


def in_new_namespace(command: tuple[str, ...], *steps: str) -> tuple[str, ...]:
    """Return `command` as one that runs in a new namespace, with loopback up, after the shell commands `steps`."""
    script = "; ".join(["ip link set lo up", *steps, 'exec "$@"'])
    return ("unshare", "--net", "sh", "-ec", script, "sh", *command)


def inside(daemon: Daemon, *command: str) -> tuple[str, ...]:
    """Return `command` as one that runs in the namespace of `daemon`."""
    return ("nsenter", "-t", str(daemon.pid), "--net", "--", *command)
