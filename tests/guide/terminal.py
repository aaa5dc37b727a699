"""A terminal of a reader who types a document's commands: one bash in the test machine, with an empty environment."""

import os
import select
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from tests.guide.document import Block
from tests.guide.expected import differs
from tests.systemd.lab import Lab

__all__ = ["Terminal"]

PATIENCE = 60.0
"""Seconds for one command; the longest ones install packages."""

_END = b"\x1e"
"""Marks the end of a command's output, and the end of its status."""


class Terminal:
    """One bash: variables, functions and the directory remain from one block to the next."""

    def __init__(self, lab: Lab, directory: str, **environment: str) -> None:
        """Open a terminal in `directory`, which is made if it does not exist."""
        (lab.root / directory.removeprefix("/")).mkdir(parents=True, exist_ok=True)
        self._lab = lab
        variables = [f"{name}={value}" for name, value in environment.items()]
        self._bash = subprocess.Popen(
            lab.inside("env", "--chdir", directory, *variables, "bash", "--noprofile", "--norc"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._script = Path(f"/run/terminal-{id(self)}")
        self._output = b""
        started, output = self.call("echo $$")
        assert started == 0, output
        self._pid = output.strip()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # What the terminal started ends with the machine, and may have the pipes open until then.
        self._bash.kill()
        self._bash.wait()
        for pipe in (self._bash.stdin, self._bash.stdout):
            assert pipe is not None
            pipe.close()

    def run(self, block: Block) -> None:
        """Run a block of commands, which must succeed, or the steps of a console block, or write the block's file."""
        if block.language in {"toml", "ini", "yaml"}:
            assert block.file, f"{block.place}: the words before the block name no file"
            self.append(block.file, block.text)
        elif block.language == "console":
            self.show(block)
        else:
            self.call(f"set -e\n{block.text}\nset +e")  # a command that fails ends the terminal

    def show(self, block: Block, rules: Sequence[tuple[str, str]] = ()) -> None:
        """Run the steps of a console block; each output must be what the document shows, as `differs` judges it."""
        status = 0
        for step in block.steps:
            status, output = self.call(f"(exit {status})\n{step.command}")  # `$?` is that of the step before
            problem = differs(step.output, output, rules)
            assert not problem, f"{block.place}: $ {step.command}{problem}"

    def call(self, commands: str) -> tuple[int, str]:
        """Run commands; return their status and output."""
        self.start(commands)
        return self.end()

    def start(self, commands: str, ready: str = "") -> None:
        """Start commands, and wait until their output contains `ready`."""
        (self._lab.root / str(self._script).removeprefix("/")).write_text(commands)
        assert self._bash.stdin is not None
        self._output = b""
        self._bash.stdin.write(f". {self._script} </dev/null; printf '\\036%d\\036' $?\n".encode())
        self._bash.stdin.flush()
        if ready:
            self._read_until(lambda: ready.encode() in self._output or _END in self._output)
            assert ready.encode() in self._output, self._output.decode()

    def end(self) -> tuple[int, str]:
        """Wait for the end of the commands; return their status and output."""
        self._read_until(lambda: self._output.count(_END) >= 2)
        output, status, _ = self._output.split(_END)
        return int(status), output.decode()

    def stop(self) -> tuple[int, str]:
        """End the command in the foreground by SIGTERM; return its status and output."""
        self._lab.run("sh", "-c", f"kill $(cat /proc/{self._pid}/task/{self._pid}/children)")
        return self.end()

    def append(self, path: str, text: str) -> None:
        """Append to a file of the machine."""
        file = self._lab.root / path.removeprefix("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a") as end:
            end.write(text)

    def _read_until(self, condition: Callable[[], bool]) -> None:
        assert self._bash.stdout is not None
        deadline = time.monotonic() + PATIENCE
        while not condition():
            ready, _, _ = select.select([self._bash.stdout], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"no end within {PATIENCE} s:\n{self._output.decode()}"
            piece = os.read(self._bash.stdout.fileno(), 65536)
            assert piece, f"the terminal ended:\n{self._output.decode()}"
            self._output += piece
