"""The contenders: the servers that are compared, and how each is built and started."""

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import cast

from bench.certificate import Pair
from bench.measure import BenchError, free_port

__all__ = [
    "BASELINES",
    "NAMES",
    "Contender",
    "Mode",
    "Skipped",
    "baseline_versions",
    "build_c",
    "c_server",
    "contenders",
    "in_order_of_run",
]

HERE = Path(__file__).resolve().parent
BACKLOG = 1024
"""Backlog of every server (listen(2))."""
NAMES = ("c", "go", "uvloop", "asyncio", "echod", "baseline", "echod-admin", "baseline-admin", "echod-stock")
"""Names of the contenders in the order of the tables. Each baseline directly follows its counterpart."""
BASELINES: Mapping[str, str] = {"echod": "baseline", "echod-admin": "baseline-admin"}
"""The baseline of each contender that has one: the same server of the other installation."""
VERSIONS = """
import json, platform, echod
from importlib.metadata import version
versions = {name: version(name) for name in ("echod", "twisted")}
print(json.dumps({"file": echod.__file__, **versions, "python": platform.python_version()}))
"""
"""A program that prints an installation's versions, and the file of its echod."""
TIMEOUT = 60
"""Seconds for a compiler, or for a command that prints its usage or its versions."""


class Mode(Enum):
    """The mode in which a server is started."""

    KEEP_ALIVE = "keep-alive"
    ONE_RECORD = "one-record"
    TLS = "tls"
    """Keep-alive over TLS."""


@dataclass(frozen=True)
class Contender:
    """A server, and the client of the same installation if that is measured too."""

    name: str
    command: Callable[[int, Mode], Sequence[str]]
    """Returns the command that starts the server on a port."""
    tls: bool = False
    """Whether it can serve TLS."""
    admin: int | None = None
    """The port of its admin server; None: it has none."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Environment variables to set for the server."""
    python: Path | None = None
    """Interpreter of its environment, if its echod is also measured as a client; else None."""


@dataclass(frozen=True)
class Skipped:
    """A contender, a case or a run of a case that was left out, with the reason."""

    name: str
    reason: str


def contenders(
    names: Sequence[str], directory: Path, pair: Pair | None, baseline: Path | None
) -> tuple[Sequence[Contender], Sequence[Skipped]]:
    """Return the contenders of these names that this machine can run, and those that it cannot.

    Programs are built in `directory`. `baseline` is the interpreter of the environment with the other version of echod.
    """
    this = Path(sys.executable)
    makers: dict[str, Callable[[], Contender]] = {
        "c": lambda: c_server(directory),
        "go": lambda: _go(directory),
        "uvloop": lambda: _uvloop(pair),
        "asyncio": lambda: _asyncio("asyncio", pair),
        "echod": lambda: _echod("echod", this, pair),
        "echod-admin": lambda: _echod("echod-admin", this, pair, admin=free_port()),
        "echod-stock": lambda: _echod("echod-stock", this, pair),
    }
    if baseline is not None:
        makers["baseline"] = lambda: _echod("baseline", baseline, pair)
        makers["baseline-admin"] = lambda: _echod("baseline-admin", baseline, pair, admin=free_port())
    found, skipped = [], []
    for name in NAMES:
        if name in names and name in makers:
            try:
                found.append(makers[name]())
            except BenchError as problem:
                skipped.append(Skipped(name, str(problem)))
    return found, skipped


def in_order_of_run(servers: Sequence[Contender], run: int) -> Sequence[Contender]:
    """Return the servers in the order of a run: as given in odd runs; in even runs each baseline comes first."""
    ordered = list(servers)
    if run % 2 == 0:
        for index in range(len(ordered) - 1):
            if BASELINES.get(ordered[index].name) == ordered[index + 1].name:
                ordered[index : index + 2] = ordered[index + 1], ordered[index]
    return ordered


def baseline_versions(python: Path) -> str:
    """Return the versions of the baseline, the installation of the interpreter `python`, as text.

    Raises BenchError if it has no echod, or if both interpreters import echod from the same file, as with PYTHONPATH.
    """
    try:
        baseline, this = (_versions(each) for each in (python, Path(sys.executable)))
    except BenchError:
        raise BenchError("--baseline: this interpreter cannot import echod") from None
    if baseline.pop("file") == this.pop("file"):
        raise BenchError("--baseline: both interpreters import echod from the same file")
    return ", ".join(f"{name} {version}" for name, version in baseline.items())


def build_c(source: Path, directory: Path) -> Path:
    """Return the program of a C file, compiled in `directory` if it is not there yet."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise BenchError("no C compiler (cc)")
    program = directory / source.stem
    if program.exists():
        return program
    warnings = ("-std=c11", "-Wall", "-Wextra", "-Werror")
    _build([compiler, *warnings, "-O2", "-o", str(program), str(source)])
    return program


def c_server(directory: Path) -> Contender:
    """Return the C server; its program is compiled in `directory` if it is not there yet."""
    program = str(build_c(HERE / "servers" / "epoll.c", directory))
    return Contender("c", lambda port, mode: (program, str(port), mode.value))


def _go(directory: Path) -> Contender:
    go = shutil.which("go")
    if go is None:
        raise BenchError("no Go compiler (go)")
    program = directory / "echo-go"
    _build([go, "build", "-o", str(program), str(HERE / "servers" / "echo.go")])
    one_processor = {"GOMAXPROCS": "1"}
    return Contender("go", lambda port, mode: (str(program), str(port), mode.value), environment=one_processor)


def _uvloop(pair: Pair | None) -> Contender:
    if importlib.util.find_spec("uvloop") is None:
        raise BenchError("uvloop is not installed (pip install uvloop)")
    return _asyncio("uvloop", pair, "--uvloop")


def _asyncio(name: str, pair: Pair | None, *flags: str) -> Contender:
    script = str(HERE / "servers" / "asyncio_server.py")

    def command(port: int, mode: Mode) -> Sequence[str]:
        start = (sys.executable, script, str(port), *flags)
        if mode is not Mode.TLS:
            return (*start, mode.value)
        assert pair is not None
        return (*start, Mode.KEEP_ALIVE.value, "--tls", pair.certificate, pair.key)

    return Contender(name, command, tls=pair is not None)


def _versions(python: Path) -> dict[str, str]:
    return cast("dict[str, str]", json.loads(_output([str(python), "-c", VERSIONS])))


def _echod(name: str, python: Path, pair: Pair | None, admin: int | None = None) -> Contender:
    """Return the daemon that is installed in the environment of the interpreter `python`."""
    start = (str(python.with_name("twistd")), "-n", "--pidfile=", "echod")
    try:
        usage = _output([*start, "--help"])
    except BenchError:
        raise BenchError(f"echod is not installed beside {python.name}") from None
    flags: tuple[str, ...] = ()
    if "--transport" in usage:
        flags = ("--transport", "stock") if name == "echod-stock" else ()
    elif name == "echod":
        raise BenchError("this echod has no --transport: it is measured as echod-stock")
    if admin is not None:
        if "--admin" not in usage:
            raise BenchError("this echod has no --admin")
        flags = (*flags, "--admin", str(admin))

    def command(port: int, mode: Mode) -> Sequence[str]:
        common = (*start, *flags, "--interface", "127.0.0.1", "--backlog", str(BACKLOG))
        if mode is Mode.ONE_RECORD:
            return (*common, "--port", str(port))
        if mode is Mode.KEEP_ALIVE:
            return (*common, "--port", str(port), "--keep-alive")
        assert pair is not None
        files = ("--tls-certificate", pair.certificate, "--tls-key", pair.key)
        return (*common, "--port", str(free_port()), "--keep-alive", "--tls-port", str(port), *files)

    client = python if name in ("echod", "baseline") else None
    return Contender(name, command, tls=pair is not None, admin=admin, python=client)


def _build(command: Sequence[str]) -> None:
    try:
        _output(command)
    except BenchError as problem:
        raise BenchError(f"build failed: {problem}") from None


def _output(command: Sequence[str]) -> str:
    """Return the output of a command. It runs in /, so that twistd finds the installed plugins only."""
    try:
        completed = subprocess.run(  # noqa: S603 - the commands are this module's
            command, cwd="/", capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise BenchError(str(problem)) from None
    if completed.returncode:
        raise BenchError((completed.stderr.strip() or f"exit status {completed.returncode}").splitlines()[0])
    return completed.stdout
