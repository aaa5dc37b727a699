"""A test machine: a real systemd as the first process of new namespaces.

It sees this machine's files through an overlay whose writes go to memory, has a network with nothing but a
loopback, and the environment under test at /opt/echod. It boots in less than a second and leaves nothing behind.
"""

import ctypes
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import pytest

import echod
from tests.support.sockets import PATIENCE

BOOT = Path(__file__).with_name("boot.sh")
UNITS = Path("/usr/lib/systemd/system")
JOURNAL = "systemd-journald.service"
BASE_UNITS = (
    "sysinit.target",
    "basic.target",
    "sockets.target",
    "multi-user.target",
    "shutdown.target",
    JOURNAL,
    "systemd-journald.socket",
    "systemd-journald-dev-log.socket",
)
"""Units of the machine besides those under test: the targets that every unit depends on, and the journal."""

NAMESPACES = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup")

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

MANAGER = """\
[Manager]
DefaultEnvironment={environment}
"""


def _cgroups() -> Path:
    """Return the mount point of the cgroup v2 hierarchy, which may be beside those of v1."""
    beside = Path("/sys/fs/cgroup/unified")
    return beside if beside.is_dir() else Path("/sys/fs/cgroup")


def _missing() -> str:
    if os.geteuid() != 0:
        return "needs root, to boot a separate systemd"
    for command in ("systemctl", "systemd-analyze", "unshare", "nsenter", "setpriv", "pivot_root"):
        if not shutil.which(command):
            return f"needs {command} (Debian: systemd, util-linux)"
    if not (UNITS / JOURNAL).exists():
        return "needs systemd with its journal (Debian: systemd)"
    if sys.prefix == sys.base_prefix:
        return "needs to run in a virtual environment, to show it as /opt/echod"
    if not (_cgroups() / "cgroup.procs").exists() or not os.access(_cgroups(), os.W_OK):
        return "needs cgroups of version 2 that it may add to"
    # In a private mount namespace, this does not hide the host's /tmp.
    steps = (
        "mount -t tmpfs trial /tmp",
        "cd /tmp",
        "mkdir upper work merged",
        "mount -t overlay -o lowerdir=/,upperdir=upper,workdir=work trial merged",
    )
    tried = subprocess.run(
        ["unshare", *NAMESPACES, "--propagation", "private", "--fork", "sh", "-ec", "; ".join(steps)],
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if tried.returncode == 0 else f"no namespaces or overlays here: {tried.stderr.strip()}"


_MISSING = _missing()

needs_lab = pytest.mark.skipif(bool(_MISSING), reason=_MISSING)


class Lab:
    """The running machine."""

    def __init__(self, directory: Path, *, installed: bool = True) -> None:
        """`directory` is empty. `installed` is whether the environment under test is at /opt/echod; else nothing is."""
        self._directory = directory
        self._installed = installed
        self._cgroup = _cgroups() / f"echod-lab-{os.getpid()}"
        self._init = 0

    def __enter__(self) -> Self:
        for name in ("memory", "environment", "manager"):
            (self._directory / name).mkdir()
        self._variables = self._prepare_environment()
        self._prepare_manager(self._variables)
        self._cgroup.mkdir()
        # The machine ends with the tests, also if they are killed. Within the host's cgroup its systemd would take over
        # the host's processes, so systemd starts only after leaving that cgroup.
        leaving = ("sh", "-c", 'echo $$ >"$0"/cgroup.procs && exec "$@"', str(self._cgroup))
        entering = ("unshare", *NAMESPACES, "--propagation", "private", "--fork", "--kill-child")
        prefix = sys.prefix if self._installed else ""
        booting = ("sh", str(BOOT), str(self._directory), prefix, self._base, self._source)
        self._process = subprocess.Popen(
            ("setpriv", "--pdeathsig", "KILL", *leaving, *entering, *booting),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            self._boot()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Kill the machine and all its processes."""
        self._process.kill()
        self._process.communicate(timeout=PATIENCE)
        deadline = time.monotonic() + PATIENCE
        while "populated 1" in (self._cgroup / "cgroup.events").read_text() and time.monotonic() < deadline:
            time.sleep(0.01)
        for directory, _, _ in os.walk(self._cgroup, topdown=False):
            Path(directory).rmdir()

    @property
    def root(self) -> Path:
        """The machine's root directory, as a path of the host."""
        return Path(f"/proc/{self._init}/root")

    def inside(self, *command: str) -> tuple[str, ...]:
        """Return the command line that runs `command` in the machine."""
        variables = ("LANG=C.UTF-8", f"PATH={SYSTEM_PATH}", "SYSTEMD_PAGER=")
        return ("nsenter", "-t", str(self._init), *NAMESPACES, "--wd=/", "--", "env", "-i", *variables, *command)

    @property
    def variables(self) -> dict[str, str]:
        """The variables with which the interpreter of the environment under test runs, or one that it makes."""
        commands = "/opt/echod/bin" if self._installed else "/opt/base/bin"
        return {"PATH": f"{commands}:{SYSTEM_PATH}", "HOME": "/root", **self._variables}

    def run(self, *command: str, patience: float = PATIENCE) -> "subprocess.CompletedProcess[str]":
        """Run a command in the machine to its end."""
        return subprocess.run(
            self.inside(*command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=patience,
            check=False,
        )

    def systemctl(self, *words: str) -> str:
        """Run systemctl in the machine, return its output; if it fails, fail with the journal."""
        done = self.run("systemctl", *words)
        assert done.returncode == 0, f"systemctl {' '.join(words)}: {done.stdout}\n{self.journal()}"
        return done.stdout.strip()

    def show(self, unit: str, name: str) -> str:
        """Return a property of a unit."""
        return self.systemctl("show", "--value", "--property", name, unit)

    def journal(self, unit: str = "*") -> str:
        return self.run("journalctl", "--no-pager", "--output=cat", f"--unit={unit}").stdout

    def write(self, path: str, content: str, mode: int = 0o644) -> None:
        """Write a file in the machine; `path` is absolute."""
        file = self.root / path.removeprefix("/")
        file.parent.mkdir(exist_ok=True)
        file.write_text(content)
        file.chmod(mode)

    def drop_in(self, unit: str, content: str) -> None:
        """Write a drop-in for a unit."""
        self.write(f"/etc/systemd/system/{unit}.d/test.conf", content)
        self.systemctl("daemon-reload")

    def connect(self, port: int, host: str = "::1") -> socket.socket:
        """Connect to a port of the machine. The socket stays in the machine's network in every thread."""
        with self._network():
            return socket.create_connection((host, port), PATIENCE)

    @contextmanager
    def _network(self) -> Iterator[None]:
        """Move the calling thread only into the machine's network."""
        ours, theirs = Path("/proc/thread-self/ns/net"), Path(f"/proc/{self._init}/ns/net")
        with ours.open("rb") as here, theirs.open("rb") as there:
            _enter(there.fileno())
            try:
                yield
            finally:
                _enter(here.fileno())

    def _prepare_environment(self) -> dict[str, str]:
        """Prepare the overlay of the environment under test; return the variables that it needs.

        Its commands and its interpreter are named by where they are on this machine, and there the units'
        hardening hides or forbids them: PrivateTmp= /tmp, ProtectHome= /home and /root.
        """
        over = self._directory / "environment"
        (over / "bin").mkdir()
        for command in ("twistd", "echod"):
            script = Path(sys.prefix, "bin", command).read_text().split("\n", 1)[1]
            (over / "bin" / command).write_text(f"#!/opt/echod/bin/python\n{script}")
            (over / "bin" / command).chmod(0o755)
        variables = {}
        base = Path(sys.base_prefix)
        self._base = "" if base == Path("/usr") else str(base)
        shown = Path("/opt/base") if self._base else base
        interpreter = "python{}.{}".format(*sys.version_info)
        (over / "bin" / "python").symlink_to(shown / "bin" / interpreter)
        (over / "pyvenv.cfg").write_text(f"home = {shown / 'bin'}\ninclude-system-site-packages = false\n")
        if self._base:
            variables["LD_LIBRARY_PATH"] = "/opt/base/lib"  # of an interpreter that was built as a shared library
        modules = Path(echod.__file__).parents[1]
        self._source = "" if modules.is_relative_to(sys.prefix) else str(modules.parent)
        if self._source and self._installed:
            variables["PYTHONPATH"] = f"/opt/source/{modules.name}"
        return variables

    def _prepare_manager(self, variables: dict[str, str]) -> None:
        manager = self._directory / "manager"
        environment = " ".join(f"{name}={value}" for name, value in variables.items())
        (manager / "system.conf").write_text(MANAGER.format(environment=environment))
        (manager / "system").mkdir()
        for unit in BASE_UNITS:
            shutil.copy(UNITS / unit, manager / "system")
        wants = manager / "system" / "sysinit.target.wants"
        wants.mkdir()
        (wants / JOURNAL).symlink_to(f"../{JOURNAL}")

    def _boot(self) -> None:
        deadline = time.monotonic() + PATIENCE
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        while True:
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._process.kill()
                raise AssertionError(f"the machine did not boot: {self._process.communicate(timeout=PATIENCE)[0]}")
            found = children.read_text().split()
            if found:
                self._init = int(found[0])
                if Path(f"/proc/{self._init}/comm").read_text() == "systemd\n":
                    state = self.run("systemctl", "is-system-running", "--wait")
                    if state.stdout.strip() in ("running", "degraded"):
                        return
            time.sleep(0.01)


def _enter(namespace: int) -> None:
    # os.setns exists since Python 3.12.
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, 0) != 0:
        raise OSError(ctypes.get_errno(), "setns")
