"""The servers that are compared, and how each is built and started."""

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
NAMES = ("c", "go", "uvloop", "asyncio", "echod", "baseline", "echod-admin", "baseline-admin", "echod-stock")
"""In the order of the tables; each baseline directly after its counterpart."""
BASELINES: Mapping[str, str] = {"echod": "baseline", "echod-admin": "baseline-admin"}
"""Contenders of the echod under test, each with its baseline: the same server of the other installation."""
VERSIONS = """
import json, platform, echod
from importlib.metadata import version
versions = {name: version(name) for name in ("echod", "twisted")}
print(json.dumps({"file": echod.__file__, **versions, "python": platform.python_version()}))
"""
"""Program that prints an installation's versions, and the file of its echod."""
PATIENCE = 60
"""Seconds for a compiler, or for a command that only tells of itself."""


class Mode(Enum):
    """What a server is started to do."""

    KEEP_ALIVE = "keep-alive"
    ONE_RECORD = "one-record"
    TLS = "tls"  # keep-alive too


@dataclass(frozen=True)
class Contender:
    """One server."""

    name: str
    command: Callable[[int, Mode], Sequence[str]]
    """What starts it on a port."""
    tls: bool = False
    """Whether it can."""
    admin: int | None = None
    """The port of its admin server, where it has one."""
    environment: Mapping[str, str] = field(default_factory=dict)
    python: Path | None = None
    """Interpreter of its environment, if its echod is also measured as a client."""


@dataclass(frozen=True)
class Skipped:
    """What this run does without."""

    name: str
    reason: str


def contenders(
    names: Sequence[str], directory: Path, pair: Pair | None, baseline: Path | None
) -> tuple[Sequence[Contender], Sequence[Skipped]]:
    """Return the servers of these names that this machine can run, built in `directory`, and those it cannot.

    `baseline` is the interpreter of the environment with the other version of echod.
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
    """Return the servers in the order of one run: in the odd runs as given, in the even ones each baseline first."""
    ordered = list(servers)
    if run % 2 == 0:
        for index in range(len(ordered) - 1):
            if BASELINES.get(ordered[index].name) == ordered[index + 1].name:
                ordered[index : index + 2] = ordered[index + 1], ordered[index]
    return ordered


def baseline_versions(python: Path) -> str:
    """Return the versions of the baseline, the installation of that interpreter, as text.

    Raises BenchError if it has no echod, or if its echod is the file of the echod under test, as with PYTHONPATH.
    """
    try:
        baseline, this = (_versions(each) for each in (python, Path(sys.executable)))
    except BenchError:
        raise BenchError("--baseline: not an interpreter that can import echod") from None
    if baseline.pop("file") == this.pop("file"):
        raise BenchError("--baseline: both interpreters import echod from the same file")
    return ", ".join(f"{name} {version}" for name, version in baseline.items())


def build_c(source: Path, directory: Path) -> Path:
    """Return the program of one C file, compiled in `directory` unless it is there already."""
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
    """Return the C server; its program is compiled in `directory`, unless it is there already."""
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
    """Return the daemon of the environment of that interpreter."""
    start = (str(python.with_name("twistd")), "-n", "--pidfile=", "echod")
    try:
        usage = _output([*start, "--help"])
    except BenchError:
        raise BenchError(f"echod is not installed beside {python.name}") from None
    flags: tuple[str, ...] = ()
    if "--transport" in usage:
        flags = ("--transport", "stock") if name == "echod-stock" else ()
    elif name == "echod":
        raise BenchError("this echod has no --transport: it is echod-stock")
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
        raise BenchError(f"does not build: {problem}") from None


def _output(command: Sequence[str]) -> str:
    """Return what a command printed, run outside the tree, where twistd finds only what is installed."""
    try:
        done = subprocess.run(  # noqa: S603 - the commands are this module's
            command, cwd="/", capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise BenchError(str(problem)) from None
    if done.returncode:
        raise BenchError((done.stderr.strip() or f"exit status {done.returncode}").splitlines()[0])
    return done.stdout
