"""The house keeps its floors: imports go down only."""

import ast
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import echod

HOUSE = Path(echod.__file__).parent

FLOORS = {
    "core": 0,
    "tls": 1,
    "transport": 1,
    "server": 2,
    "probe": 2,
    "load": 3,  # above the probe: it dials, judges and tells of failures as the probe does
    "logs": 3,
    "admin": 3,
    "cli": 4,
}
"""Sub-packages by floor. Two on the same floor do not import each other."""

NOT_IN_CORE = {"twisted", "zope", "socket", "ssl", "os", "time", "random", "secrets", "asyncio", "pathlib"}
"""No Twisted, no I/O, no clock, no chance."""

CLOCKS = {"now", "utcnow", "today"}
"""What of datetime reads a clock; its values do not."""


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(HOUSE.rglob("*.py")):
        parts = path.relative_to(HOUSE).parts
        if len(parts) > 1:
            yield parts[0], path


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the floor"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


class HouseTests(SynchronousTestCase):
    def test_every_room_has_its_floor(self) -> None:
        self.assertLessEqual({room for room, _ in modules()}, set(FLOORS))

    def test_imports_go_down_only(self) -> None:
        for room, path in modules():
            for name in imported(path):
                words = name.split(".")
                if words[0] == "echod" and len(words) > 1 and words[1] in FLOORS and words[1] != room:
                    self.assertLess(FLOORS[words[1]], FLOORS[room], f"{path} imports {name}")

    def test_the_core_is_pure(self) -> None:
        for room, path in modules():
            if room == "core":
                self.assertEqual({name.split(".")[0] for name in imported(path)} & NOT_IN_CORE, set(), path)

    def test_the_core_reads_no_clock(self) -> None:
        for room, path in modules():
            if room == "core":
                tree = ast.parse(path.read_text(encoding="utf-8"))
                named = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
                self.assertEqual(named & CLOCKS, set(), path)

    def test_only_the_command_lines_know_the_global_reactor(self) -> None:
        for room, path in modules():
            if room != "cli":
                self.assertNotIn("twisted.internet.reactor", list(imported(path)), path)

    def test_every_module_says_what_it_is(self) -> None:
        for _, path in modules():
            self.assertIsNotNone(ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path)
