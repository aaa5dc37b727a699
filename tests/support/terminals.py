"""Commands on a pseudo-terminal, with an emulator of its screen."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyte

from tests.support.sockets import PATIENCE

ROWS = 40

_ON_CONTROLLING_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Makes standard input the controlling terminal, so that Ctrl-C reaches the command, and then runs the command."""


class Terminal:
    """A running command, its terminal and the screen of the terminal."""

    def __init__(self, command: tuple[str, ...], cwd: Path, columns: int, environment: dict[str, str]) -> None:
        self._controller, device = pty.openpty()
        self.screen = pyte.Screen(columns, ROWS)
        self._emulator = pyte.ByteStream(self.screen)
        self.written = b""
        """All bytes that the command wrote."""
        self._set_size(columns)
        plain = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
        self.process = subprocess.Popen(
            (sys.executable, "-c", _ON_CONTROLLING_TERMINAL, *command),
            cwd=cwd,
            env=plain | {"TERM": "xterm-256color"} | environment,
            stdin=device,
            stdout=device,
            stderr=device,
        )
        os.close(device)

    @property
    def lines(self) -> list[str]:
        """The lines of the screen, without trailing empty ones."""
        return "\n".join(line.rstrip() for line in self.screen.display).rstrip().split("\n")

    def wait_until(self, condition: Callable[[list[str]], bool]) -> list[str]:
        """Wait until `condition` holds for the lines of the screen; return them."""
        deadline = time.monotonic() + PATIENCE
        while not condition(self.lines):
            assert time.monotonic() < deadline, self.lines
            assert self._read(), self.lines
        return self.lines

    def wait_for(self, words: str) -> list[str]:
        """Wait until a line of the screen contains `words`."""
        return self.wait_until(lambda lines: any(words in line for line in lines))

    def press(self, key: bytes) -> None:
        """Send the bytes of a key to the command."""
        os.write(self._controller, key)

    def resize(self, columns: int) -> None:
        """Change the width of the terminal, as a resized window does."""
        self.screen.resize(ROWS, columns)
        self._set_size(columns)

    def end(self) -> int:
        """Wait for the end of the command; return its exit status."""
        deadline = time.monotonic() + PATIENCE
        while self._read():
            assert time.monotonic() < deadline, self.lines
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE)
        os.close(self._controller)

    def _set_size(self, columns: int) -> None:
        fcntl.ioctl(self._controller, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))

    def _read(self) -> bool:
        """Read output, waiting up to 0.05 s for it; return False at its end."""
        if select.select([self._controller], [], [], 0.05)[0]:
            try:
                data = os.read(self._controller, 65536)
            except OSError:  # EIO: the other end is closed
                return False
            self.written += data
            self._emulator.feed(data)
        return True


@contextmanager
def terminal(
    *command: str, cwd: Path, columns: int = 100, environment: dict[str, str] | None = None
) -> Iterator[Terminal]:
    """Yield a command that runs on a terminal; it is killed afterwards if it still runs."""
    running = Terminal(command, cwd, columns, environment or {})
    try:
        yield running
    finally:
        running.close()


CTRL_C = b"\x03"
CTRL_BACKSLASH = b"\x1c"
STOPS = {"Ctrl-C": lambda at: at.press(CTRL_C), "SIGTERM": lambda at: at.process.send_signal(signal.SIGTERM)}
"""Ways to stop a command on a terminal, by name."""
