"""Commands on a terminal: a pty, with an emulator that shows what a person would see."""

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

_OWN_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Makes standard input the terminal whose Ctrl-C reaches the command, before it becomes the command."""


class Terminal:
    """A command that runs on a terminal, and the terminal's screen."""

    def __init__(self, command: tuple[str, ...], cwd: Path, columns: int, environment: dict[str, str]) -> None:
        self._ours, theirs = pty.openpty()
        self.screen = pyte.Screen(columns, ROWS)
        self._emulator = pyte.ByteStream(self.screen)
        self.written = b""
        """All that the command wrote, byte by byte."""
        self._set_size(columns)
        plain = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
        self.process = subprocess.Popen(
            (sys.executable, "-c", _OWN_TERMINAL, *command),
            cwd=cwd,
            env=plain | {"TERM": "xterm-256color"} | environment,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)

    @property
    def lines(self) -> list[str]:
        """The screen's lines, without the empty ones below the last."""
        return "\n".join(line.rstrip() for line in self.screen.display).rstrip().split("\n")

    def wait_until(self, condition: Callable[[list[str]], bool]) -> list[str]:
        """Wait until the screen's lines are as they should be; return them."""
        deadline = time.monotonic() + PATIENCE
        while not condition(self.lines):
            assert time.monotonic() < deadline, self.lines
            assert self._read(), self.lines
        return self.lines

    def wait_for(self, words: str) -> list[str]:
        """Wait until `words` are on the screen, on one line."""
        return self.wait_until(lambda lines: any(words in line for line in lines))

    def press(self, key: bytes) -> None:
        """Type."""
        os.write(self._ours, key)

    def resize(self, columns: int) -> None:
        """Give the terminal another width, as its window would."""
        self.screen.resize(ROWS, columns)
        self._set_size(columns)

    def end(self) -> int:
        """Wait for the command's end; return its exit status."""
        deadline = time.monotonic() + PATIENCE
        while self._read():
            assert time.monotonic() < deadline, self.lines
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE)
        os.close(self._ours)

    def _set_size(self, columns: int) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))

    def _read(self) -> bool:
        """Take in what was written, or wait a little; return False at the end."""
        if select.select([self._ours], [], [], 0.05)[0]:
            try:
                piece = os.read(self._ours, 65536)
            except OSError:  # EIO: nobody has the other end open any more
                return False
            self.written += piece
            self._emulator.feed(piece)
        return True


@contextmanager
def terminal(
    *command: str, cwd: Path, columns: int = 100, environment: dict[str, str] | None = None
) -> Iterator[Terminal]:
    """Give a command that runs on a terminal; killed afterwards if it still runs."""
    running = Terminal(command, cwd, columns, environment or {})
    try:
        yield running
    finally:
        running.close()


CTRL_C = b"\x03"
CTRL_BACKSLASH = b"\x1c"
STOPS = {"Ctrl-C": lambda at: at.press(CTRL_C), "SIGTERM": lambda at: at.process.send_signal(signal.SIGTERM)}
"""Ways to end what runs on a terminal."""
