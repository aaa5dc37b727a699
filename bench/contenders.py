"""The servers that are compared, and how each is built and started."""

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from bench.certificate import Pair
from bench.measure import BenchError, free_port

__all__ = ["NAMES", "Contender", "Mode", "Skipped", "build_c", "contenders"]

HERE = Path(__file__).resolve().parent
BACKLOG = 1024
NAMES = ("c", "go", "uvloop", "asyncio", "echod", "echod-admin", "echod-stock")
"""In the order of the tables."""
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


@dataclass(frozen=True)
class Skipped:
    """What this run does without."""

    name: str
    reason: str


def contenders(
    names: Sequence[str], directory: Path, pair: Pair | None
) -> tuple[Sequence[Contender], Sequence[Skipped]]:
    """Return the servers of these names that this machine can run, built in `directory`, and those it cannot."""
    makers: dict[str, Callable[[], Contender]] = {
        "c": lambda: _c(directory),
        "go": lambda: _go(directory),
        "uvloop": lambda: _uvloop(pair),
        "asyncio": lambda: _asyncio("asyncio", pair),
        "echod": lambda: _echod("echod", pair),
        "echod-admin": lambda: _echod("echod-admin", pair, admin=free_port()),
        "echod-stock": lambda: _echod("echod-stock", pair),
    }
    found, skipped = [], []
    for name in NAMES:
        if name in names:
            try:
                found.append(makers[name]())
            except BenchError as problem:
                skipped.append(Skipped(name, str(problem)))
    return found, skipped


def build_c(source: Path, directory: Path) -> Path:
    """Return the program made of one C file."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise BenchError("no C compiler (cc)")
    program = directory / source.stem
    warnings = ("-std=c11", "-Wall", "-Wextra", "-Werror")
    _build([compiler, *warnings, "-O2", "-o", str(program), str(source)])
    return program


def _c(directory: Path) -> Contender:
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


def _echod(name: str, pair: Pair | None, admin: int | None = None) -> Contender:
    twistd = Path(sys.executable).with_name("twistd")
    start = (str(twistd), "-n", "--pidfile=", "echod")
    try:
        told = _output([*start, "--help"])
    except BenchError:
        raise BenchError(f"echod is not installed beside {Path(sys.executable).name}") from None
    flags: tuple[str, ...] = ()
    if "--transport" in told:
        flags = ("--transport", "stock") if name == "echod-stock" else ()
    elif name == "echod":
        raise BenchError("this echod has no --transport: it is echod-stock")
    if admin is not None:
        if "--admin" not in told:
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

    return Contender(name, command, tls=pair is not None, admin=admin)


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
