"""Imports go down the layers only, and pure modules are pure, by the lists in CONTRIBUTING.md."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import echod

PACKAGE = Path(echod.__file__).parent
ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")

LAYERS = {
    name: int(layer)
    for names, layer in re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| (\d) \|", GUIDE, re.MULTILINE)
    for name in re.findall(r"`(\w+)`", names)
}
"""Packages, and modules directly in `echod`, by layer. Two of the same layer do not import each other."""

PURE = re.findall(r"^- `([\w/]+)`", GUIDE.partition("## Pure modules")[2].partition("\n## ")[0], re.MULTILINE)
"""Packages and modules that use no Twisted, no I/O, no clock and no randomness."""

IMPURE = {"twisted", "zope", "OpenSSL", "socket", "ssl", "os", "sys", "time", "random", "secrets", "asyncio", "pathlib"}

CLOCKS = {"now", "utcnow", "today"}
"""The functions of datetime that read a clock."""

COMMAND_MODULES = {"main.py", "__main__.py"}
"""These, the package `cli` and the modules of `COMMAND_NAMES` use argv, standard output and the global reactor."""
COMMAND_NAMES = {"command.py", "report_command.py", "worker_process.py", "daemon.py", "twistd_options.py"}


def modules() -> Iterator[tuple[str, Path]]:
    """Yield each module with the name of its package, or with its own name if it is directly in `echod`."""
    for path in sorted(PACKAGE.rglob("*.py")):
        first = path.relative_to(PACKAGE).parts[0]
        if first not in {"__init__.py", "__main__.py"}:
            yield first.removesuffix(".py"), path


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the layer"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def pure_modules() -> Iterator[Path]:
    for name in PURE:
        path = PACKAGE / name
        yield from sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]


def is_command_module(path: Path) -> bool:
    parts = path.relative_to(PACKAGE).parts
    return parts[0] == "cli" or parts[0] in COMMAND_MODULES or parts[-1] in COMMAND_NAMES


QUESTIONS = re.findall(
    r"^\| ([A-Z].+\?) \| (.+) \|$", GUIDE.partition("## Where is ...?")[2].partition("\n## ")[0], re.MULTILINE
)
"""The questions of a newcomer, each with the file that answers it."""


class LayerTests(SynchronousTestCase):
    def test_every_package_has_a_layer(self) -> None:
        self.assertEqual({package for package, _ in modules()}, set(LAYERS))

    def test_imports_go_down_only(self) -> None:
        for package, path in modules():
            for name in imports(path):
                words = name.split(".")
                if words[0] == "echod" and len(words) > 1 and words[1] in LAYERS and words[1] != package:
                    self.assertLess(LAYERS[words[1]], LAYERS[package], f"{path} imports {name}")

    def test_pure_modules_import_nothing_impure(self) -> None:
        self.assertGreater(len(PURE), 10)
        for path in pure_modules():
            self.assertEqual({name.split(".")[0] for name in imports(path)} & IMPURE, set(), path)

    def test_pure_modules_import_pure_modules_only(self) -> None:
        pure = {".".join(("echod", *path.relative_to(PACKAGE).with_suffix("").parts)) for path in pure_modules()}
        for path in pure_modules():
            for name in imports(path):
                if name.startswith("echod."):
                    self.assertTrue(name in pure or name.rpartition(".")[0] in pure, f"{path} imports {name}")

    def test_pure_modules_read_no_clock(self) -> None:
        for path in pure_modules():
            tree = ast.parse(path.read_text(encoding="utf-8"))
            named = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
            self.assertEqual(named & CLOCKS, set(), path)

    def test_only_command_modules_use_the_global_reactor(self) -> None:
        for _, path in modules():
            if not is_command_module(path):
                self.assertNotIn("twisted.internet.reactor", list(imports(path)), path)

    def test_only_command_modules_use_argv_and_standard_output(self) -> None:
        for _, path in modules():
            if not is_command_module(path):
                tree = ast.parse(path.read_text(encoding="utf-8"))
                used = {
                    node.attr
                    for node in ast.walk(tree)
                    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "sys"
                }
                self.assertEqual(used & {"argv", "stdout", "stderr", "stdin", "__stdout__"}, set(), path)

    def test_every_module_has_a_docstring(self) -> None:
        for _, path in modules():
            self.assertIsNotNone(ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path)

    def test_every_answer_of_the_guide_is_a_file(self) -> None:
        self.assertGreaterEqual(len(QUESTIONS), 20)
        for question, answer in QUESTIONS:
            for name in re.findall(r"[\w.]+/[\w.]+", answer):
                root = ROOT if name.startswith("docs/") else PACKAGE
                self.assertTrue((root / name).is_file(), f"{question} {name}")
