"""The real commands as processes, run outside of the repository."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from tests.support.sockets import PATIENCE

BIN = Path(sys.executable).parent
"""The directory of the commands under test."""

ECHOD = (str(BIN / "echod"),)
TWISTD = (str(BIN / "twistd"), "-n", "--pidfile=", "echod")


def environment_with(variables: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment with these variables, and without others that may be options of the daemon."""
    return {name: text for name, text in os.environ.items() if not name.startswith("ECHOD_")} | dict(variables)


def run(*command: str, cwd: Path, timeout: float = PATIENCE, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in `cwd` until it ends; return its status and output."""
    return subprocess.run(
        command,
        cwd=cwd,
        env=environment_with(environment),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


class Daemon:
    """A running daemon and its output so far."""

    def __init__(self, command: Sequence[str], cwd: Path, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            command,
            cwd=cwd,
            env=environment_with(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def output(self) -> str:
        return "".join(self._lines)

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait_for(self, words: str) -> Self:
        """Wait until the output of the daemon contains `words`."""
        until(lambda: words in self.output or self.process.poll() is not None)
        assert words in self.output, self.output
        return self

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, wait for the end, return the exit status (negative: ended by that signal)."""
        self.process.send_signal(number)
        return self.end()

    def end(self) -> int:
        """Wait for the end; return the exit status."""
        status = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return status

    def open_descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def descriptors(self) -> list[str]:
        """Return the targets of the open descriptors, by their names in /proc."""
        names = []
        for each in Path(f"/proc/{self.pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile
                names.append(each.readlink().name)
        return names

    def settled_descriptors(self) -> int:
        """Return the number of open descriptors once it is stable: the daemon closes its own after the client has."""
        found = [-1]
        while len(found) < 20 or len(set(found[-20:])) > 1:
            found.append(self.open_descriptors())
            time.sleep(0.01)
        return found[-1]

    def resident_kilobytes(self) -> int:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise AssertionError("no VmRSS")

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self._lines.append(line)


@contextmanager
def daemon(*command: str, cwd: Path, ready: str = "listening on", **environment: str) -> Iterator[Daemon]:
    """Yield a daemon whose output contains `ready`; it is killed afterwards if it still runs."""
    running = Daemon(command, cwd, environment)
    try:
        yield running.wait_for(ready) if ready else running
    finally:
        if running.process.poll() is None:
            running.process.kill()
        running.end()


def until(condition: Callable[[], bool], patience: float = PATIENCE) -> None:
    """Wait until `condition()` is true; fail after `patience` seconds."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true"
        time.sleep(0.01)


def abort(client: socket.socket) -> None:
    """Close a connection with a reset."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
