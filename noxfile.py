"""Every check of echod, each in an environment of its own.

`nox` runs all but the slow `mutants` and `fuzz`, `nox -s NAME` one.
"""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nox

nox.needs_version = ">=2024.4"
nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = True
nox.options.sessions = ("lint", "types", "tests")

CONFORMANCE = "tests.conformance"
"""Twisted's own tests, against the fast transport. Not under pytest: each puts a reactor in the global one's place."""

WITHIN = ("tests/unit", "tests/live")
"""The tests that run in pytest's own process. All others start processes of echod."""

BESIDE = ("--numprocesses", "2", "--dist", "loadfile")
"""Options of pytest that run two files of tests beside each other: those that start processes mostly wait for them."""


@nox.session
def lint(session: nox.Session) -> None:
    """Style and format."""
    session.install("--quiet", *_extra("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Static types, strictly."""
    session.install("--quiet", "--editable", ".[types]", "nox")
    session.run("mypy")


@nox.session
def tests(session: nox.Session) -> None:
    """All tests over the built wheel, under trial and under pytest, with branch coverage. Arguments go to pytest."""
    # Not create_tmp: it would become the tests' TMPDIR, inside the environment that some of them show elsewhere.
    wheels = Path(session.cache_dir, "wheel").resolve()
    shutil.rmtree(wheels, ignore_errors=True)
    session.run("python", "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(wheels), ".")
    (wheel,) = wheels.glob("*.whl")
    session.install("--quiet", "--force-reinstall", f"{wheel}[test]")
    session.env["ECHOD_WHEEL"] = str(wheel)
    session.run("coverage", "erase")
    if session.posargs:
        session.run("coverage", "run", "-m", "pytest", *session.posargs)
    else:
        others = [f"--ignore={each}" for each in WITHIN]
        with ThreadPoolExecutor(1) as beside:
            within = beside.submit(_tests_within, session, wheels)
            session.run("coverage", "run", "-m", "pytest", *others, *BESIDE, "-m", "not alone")
            session.log(within.result())
        session.run("coverage", "run", "-m", "pytest", *others, "-m", "alone")
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


@nox.session
def mutants(session: nox.Session) -> None:
    """Mutation testing of the pure modules, or of those in the arguments, such as `server/exchange`. On demand."""
    session.install("--quiet", "--editable", ".[mutants]")
    session.run("python", "-m", "tests.mutation", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Fuzzing for a minute, or as the arguments say: `--seconds 600 proxy_header`. On demand."""
    session.install("--quiet", "--editable", ".[fuzz]")
    session.run("python", "-m", "tests.fuzz", *session.posargs)


def _tests_within(session: nox.Session, scratch: Path) -> str:
    """Run the tests that start no process of echod; return their output. Raises CommandFailed after printing it."""
    trial = ("-m", "twisted.trial", "--temp-directory")
    outputs = [
        session.run("coverage", "run", *trial, str(scratch / "trial"), "tests.unit", silent=True),
        session.run("coverage", "run", *trial, str(scratch / "conformance"), CONFORMANCE, silent=True),
        session.run("coverage", "run", "-m", "pytest", *WITHIN, silent=True),
    ]
    return "\n".join(str(each) for each in outputs)


def _extra(name: str) -> list[str]:
    """Return what an extra of the project asks for, without the project."""
    extras: dict[str, list[str]] = nox.project.load_toml("pyproject.toml")["project"]["optional-dependencies"]
    return extras[name]
