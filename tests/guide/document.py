"""The code blocks of a document, for tests that run each of them, in its order and word for word."""

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ROOT", "Block", "Document", "Step"]

ROOT = Path(__file__).parents[2]

_BLOCK = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"\b[Ii]n\s+`(/[^`]+)`:\s*$")


@dataclass(frozen=True)
class Step:
    """A command of a console block, and the output that the document shows for it."""

    command: str
    output: str


@dataclass(frozen=True)
class Block:
    """One code block."""

    place: str
    """File and line, for the messages of a failed test."""
    language: str
    text: str
    file: str
    """The file that the words before the block say it belongs to ("In `/etc/x.toml`:"); or empty."""

    @property
    def steps(self) -> list[Step]:
        """The steps of a console block: a command is after `$ `, its further lines are after `> `."""
        steps: list[Step] = []
        for line in self.text.splitlines(keepends=True):
            last = steps[-1] if steps else Step("", "")
            if line.startswith("$ "):
                steps.append(Step(line[2:], ""))
            elif line.startswith("> ") and not last.output:
                steps[-1] = Step(last.command + line[2:], "")
            else:
                assert steps, f"{self.place}: output before the first command"
                steps[-1] = Step(last.command, last.output + line)
        return steps


class Document:
    """The blocks of a document, taken one after the other. A test ends with `finish`, so that it leaves none out."""

    def __init__(self, name: str, *, begin: str = "", end: str = "") -> None:
        """`name` is relative to the project, such as `docs/ping.md`.

        The blocks are those from the heading `begin` on, and those before the heading `end`.
        """
        text = (ROOT / name).read_text(encoding="utf-8")
        first = text.index(f"\n{begin}\n") if begin else 0
        last = text.index(f"\n{end}\n") if end else len(text)
        self._name = name
        self._blocks = [
            Block(
                place=f"{name}:{text.count(chr(10), 0, found.start()) + 1}",
                language=found["language"],
                text=found["text"],
                file=before[1] if (before := _FILE.search(text[: found.start()])) else "",
            )
            for found in _BLOCK.finditer(text, first, last)
        ]
        self._next = 0

    def take(self, *languages: str) -> Block:
        """Return the next block, which must be in one of the `languages`."""
        assert self._next < len(self._blocks), f"{self._name} has no more blocks"
        block = self._blocks[self._next]
        assert block.language in languages, f"{block.place}: a block of {block.language!r}, not of {languages}"
        self._next += 1
        return block

    def leave(self, *languages: str, reason: str) -> None:
        """Leave the next block out, for the `reason`."""
        assert reason
        self.take(*languages)

    def finish(self) -> None:
        """Fail if there is a block that was neither taken nor left out."""
        rest = [block.place for block in self._blocks[self._next :]]
        assert rest == [], f"blocks that are neither run nor listed: {rest}"
