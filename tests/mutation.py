"""Mutation testing of the pure modules: `python -m tests.mutation [MODULE ...]`, as `nox -s mutants` runs it.

The operators are mutmut's; the runner is not. `mutmut run` mutates what undecorated functions do when tests call them.
It leaves out what a module computes when it is imported, such as the exchange's table, enums, constants and the
declarations of options, and every property. Cosmic Ray mutates all lines, but has no operator for arguments, texts and
assignments, of which a table consists: 341 of its 405 mutants of server/exchange replaced binary operators, mostly the
`|` of annotations and the `**` of dictionaries. So each mutant here is a whole module, in a process of its own that
imports it before the tests.

Not mutated: docstrings, annotations, imports, decorators, `__all__`, `__slots__`, the usage texts of options, and the
case of the letters in texts.
"""

import ast
import difflib
import functools
import gc
import importlib
import multiprocessing
import os
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from itertools import pairwise
from pathlib import Path
from types import CodeType, ModuleType
from typing import Final

import libcst
from libcst.metadata import MetadataWrapper, ParentNodeProvider
from mutmut.mutation.mutators import mutation_operators

ROOT: Final = Path(__file__).parents[1]
SOURCE: Final = ROOT / "src"
TESTS: Final = ROOT / "tests" / "unit"
SURVIVORS: Final = ROOT / "docs" / "mutants.md"

WORKERS: Final = 2
LEAST_KILLED: Final = 0.9
"""The part of all mutants that the tests must kill."""

CPU_SECONDS: Final = 5
SECONDS: Final = 60
"""For one file of tests, which takes less than 2 s of processor time without a mutation. A mutant that takes
longer counts as killed."""

MEMORY: Final = 4 << 30
"""Bytes of address space of each mutant's process: a loop that appends ends before the machine's memory does."""

LONGEST_DIFFERENCE: Final = 100
AROUND: Final = 25
"""Characters, so that a mutant is a line of docs/mutants.md."""

IMPORTED_ONCE: Final = (
    *("pytest", "hypothesis.strategies", "twisted.trial.unittest", "twisted.internet.task", "twisted.web.server"),
    *("OpenSSL.SSL", "service_identity.pyopenssl", "prometheus_client", "jsonschema", "hdrh.histogram", "idna"),
)
"""Libraries that every mutant's process inherits. None imports the reactor: processes would share its descriptors."""


class Result(Enum):
    """The result of a mutant's tests."""

    KILLED = "killed"
    """A test failed, or the module could not be imported."""
    TIMEOUT = "timeout"
    """The tests did not end. This counts as killed."""
    SURVIVED = "survived"
    """The tests passed."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change of one pure module."""

    module: str
    """Its name in CONTRIBUTING.md, such as server/exchange."""
    source: str
    """The changed module."""
    description: str
    """The function or class, the line before and the line after, as in docs/mutants.md."""


def path_of(module: str) -> Path:
    """Return the file of a module."""
    return SOURCE / "echod" / f"{module}.py"


# Mutants of a module


class _Collector(libcst.CSTVisitor):
    """Collects (node, its replacement, the names of the classes and functions around it)."""

    METADATA_DEPENDENCIES = (ParentNodeProvider,)

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[libcst.CSTNode, libcst.CSTNode, str]] = []
        self._around: list[str] = []

    def on_visit(self, node: libcst.CSTNode) -> bool:
        if self._is_left_out(node):
            return False
        if isinstance(node, libcst.ClassDef | libcst.FunctionDef):
            self._around.append(node.name.value)
        for kind, operator in mutation_operators:
            if isinstance(node, kind):
                replacements = list(operator(node))
                # Of a text, the first: the others change the case of its letters.
                for replacement in replacements[:1] if isinstance(node, libcst.BaseString) else replacements:
                    self.found.append((node, replacement, ".".join(self._around)))
        return True

    def on_leave(self, original_node: libcst.CSTNode) -> None:
        if isinstance(original_node, libcst.ClassDef | libcst.FunctionDef):
            self._around.pop()

    def _is_left_out(self, node: libcst.CSTNode) -> bool:
        match node:
            case libcst.Annotation() | libcst.Decorator() | libcst.Import() | libcst.ImportFrom():
                return True
            case libcst.Expr(value=libcst.BaseString()):
                return True
            case libcst.Assign(targets=[libcst.AssignTarget(target=libcst.Name("__all__" | "__slots__"))]):
                return True
            case libcst.BaseString():
                usage = self.get_metadata(ParentNodeProvider, node)
                call = self.get_metadata(ParentNodeProvider, usage)
                return (
                    isinstance(call, libcst.Call)
                    and isinstance(call.func, libcst.Name)
                    and call.func.value == "option"
                    and call.args[2] is usage
                )
        return False


class _Replacer(libcst.CSTTransformer):
    def __init__(self, node: libcst.CSTNode, replacement: libcst.CSTNode) -> None:
        super().__init__()
        self._node, self._replacement = node, replacement

    def on_leave(self, original_node: libcst.CSTNode, updated_node: libcst.CSTNode) -> libcst.CSTNode:  # type: ignore[override]  # no removals
        return self._replacement if original_node is self._node else updated_node


def mutants(module: str) -> Iterator[Mutant]:
    """Give the mutants of a module."""
    code = path_of(module).read_text(encoding="utf-8")
    wrapper = MetadataWrapper(libcst.parse_module(code))
    collector = _Collector()
    wrapper.visit(collector)
    for node, replacement, where in collector.found:
        changed = wrapper.module.visit(_Replacer(node, replacement)).code
        yield Mutant(module, changed, f"`{module}` `{where or 'module'}`: {_difference(code, changed)}")


def _difference(before: str, after: str) -> str:
    """Return the old and the new line; of long ones, what differs and a few characters around it."""
    lines = list(difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm=""))[3:]
    old, new = (" ".join(line[1:].strip() for line in lines if line[0] == sign) for sign in "-+")
    if len(old) + len(new) > LONGEST_DIFFERENCE:
        codes = [code for code in difflib.SequenceMatcher(None, old, new).get_opcodes() if code[0] != "equal"]
        (_, old_start, _, new_start, _), (_, _, old_end, _, new_end) = codes[0], codes[-1]
        old = old[max(old_start - AROUND, 0) : old_end + AROUND]
        new = new[max(new_start - AROUND, 0) : new_end + AROUND]
    return f"`{old}` → `{new}`"


# Tests of a mutant


class _MutantFinder(MetaPathFinder):
    """Finds the mutant in the place of its module."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant
        self._name = f"echod.{mutant.module.replace('/', '.')}"

    def find_spec(self, fullname: str, path: object, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname != self._name:
            return None
        file, source = path_of(self._mutant.module), self._mutant.source

        class Loader(SourceFileLoader):
            def get_code(self, fullname: str) -> CodeType:
                return compile(source, file, "exec", dont_inherit=True)

        return spec_from_file_location(fullname, file, loader=Loader(fullname, str(file)))


@functools.cache
def _imports(path: Path) -> frozenset[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            names |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(names)


@functools.cache
def tests_of(module: str) -> list[str]:
    """Return the files of unit tests that import the module or a module which imports it, the nearest first."""
    name = f"echod.{module.replace('/', '.')}"
    users = {_name(path) for path in (SOURCE / "echod").rglob("*.py") if name in _imports(path)}
    distances = {}
    for file in sorted(TESTS.glob("test_*.py")):
        if name in _imports(file):
            distances[str(file)] = 0 if file.stem == f"test_{name.rpartition('.')[2]}" else 1
        elif users & _imports(file):
            distances[str(file)] = 2
    return sorted(distances, key=distances.__getitem__)


def _name(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")


_kills: Counter[str] = Counter()
"""The mutants that each file of tests has killed. Those with the most come first: most mutants then need one file."""


def outcome(mutant: Mutant) -> tuple[str, Result]:
    """Run the unit tests over a mutant; return its description and the result."""
    for file in sorted(tests_of(mutant.module), key=lambda file: -_kills[file]):
        if status := _status(mutant, file):
            _kills[file] += 1
            return mutant.description, Result.TIMEOUT if -status in {signal.SIGALRM, signal.SIGXCPU} else Result.KILLED
    return mutant.description, Result.SURVIVED


def _status(mutant: Mutant, file: str) -> int:
    """Run a file of tests in a process of its own; return its exit status, negative for a signal."""
    child = os.fork()
    if not child:
        try:
            signal.alarm(SECONDS)
            resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 1))
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            os.dup2(os.open(os.devnull, os.O_RDWR), 1)
            os.dup2(1, 2)
            sys.meta_path.insert(0, _MutantFinder(mutant))
            import pytest

            options = ("-x", "-q", "--no-header", "--no-summary", "-p", "no:cacheprovider", "--disable-plugin-autoload")
            os._exit(pytest.main([*options, f"--rootdir={ROOT}", file]))
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


# The report


def pure_modules(names: list[str]) -> list[str]:
    """Return the pure modules of these names; all that CONTRIBUTING.md lists if there are none."""
    from tests.unit.test_layers import PURE

    for name in [name for name in sys.modules if name.startswith(("echod", "tests.unit"))]:
        del sys.modules[name]  # each mutant's process imports them anew
    if unknown := set(names) - set(PURE):
        raise SystemExit(f"not in CONTRIBUTING.md's list of pure modules: {', '.join(sorted(unknown))}")
    return names or PURE


def listed_survivors() -> dict[str, str]:
    """Return the reasons of the survivors in docs/mutants.md by their descriptions."""
    lines = SURVIVORS.read_text(encoding="utf-8").splitlines()
    return {
        line.removeprefix("- "): reason.strip()
        for line, reason in pairwise((*lines, ""))
        if line.startswith("- `") and reason.startswith("  ")
    }


def prepare() -> None:
    """Import the libraries and choose the examples of hypothesis: the same in every run."""
    sys.dont_write_bytecode = False  # else each mutant's process compiles every module and test again
    for name in IMPORTED_ONCE:
        importlib.import_module(name)
    from hypothesis import settings

    settings.register_profile("mutants", derandomize=True, max_examples=30, database=None, deadline=None)
    settings.load_profile("mutants")
    gc.freeze()  # pytest collects garbage twice: over all these libraries 40 % of a mutant's time (cProfile)


def run(modules: list[str]) -> bool:
    """Run the tests over all mutants of the modules and print the report; return whether it is good enough."""
    began = time.monotonic()
    prepare()
    listed = listed_survivors()
    in_all: Counter[Result] = Counter()
    good = True
    with multiprocessing.get_context("fork").Pool(WORKERS) as pool:
        for module in modules:
            unchanged = Mutant(module, path_of(module).read_text(encoding="utf-8"), "no mutation")
            if pool.apply(outcome, (unchanged,))[1] is not Result.SURVIVED:
                raise SystemExit(f"{module}: the tests fail without a mutation")
            results = list(pool.imap(outcome, mutants(module)))
            survivors = {description for description, result in results if result is Result.SURVIVED}
            expected = {description for description in listed if description.startswith(f"`{module}` ")}
            counts = Counter(result for _, result in results)
            in_all += counts
            good &= survivors == expected
            say(f"{module}: {_figures(counts)}")
            for note, descriptions in (
                ("survived", survivors & expected),
                ("survived, and is not in docs/mutants.md", survivors - expected),
                ("is in docs/mutants.md, and did not survive", expected - survivors),
            ):
                if descriptions:
                    say(f"  {note}:")
                for description in sorted(descriptions):
                    say(f"- {description}")
    say(f"all: {_figures(in_all)} in {time.monotonic() - began:.0f} s")
    return good and _share(in_all) >= LEAST_KILLED


def _share(counts: Counter[Result]) -> float:
    return 1 - counts[Result.SURVIVED] / max(counts.total(), 1)


def _figures(counts: Counter[Result]) -> str:
    each = ", ".join(f"{counts[result]} {result.value}" for result in Result)
    return f"{each} of {counts.total()}: {100 * _share(counts):.1f} %"


def say(line: str) -> None:
    """Print a line at once, also to a pipe."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(0 if run(pure_modules(sys.argv[1:])) else 1)
