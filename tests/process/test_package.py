"""The package as it is installed."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from echod.files.command import FILES
from tests.support.processes import BIN, ECHOD, run
from tests.support.sockets import free_port

ROOT = Path(__file__).parents[2]
ETC = ROOT / "etc"
INSTALL_PATIENCE = 300.0
"""Seconds for an installation, which may have to ask the package index."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel under test: the one that was installed, or else one built now."""
    if given := os.environ.get("ECHOD_WHEEL"):
        return Path(given)
    made = tmp_path_factory.mktemp("wheel")
    command = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(made), str(ROOT))
    subprocess.run(command, check=True, timeout=INSTALL_PATIENCE)
    (built,) = made.glob("*.whl")
    return built


def test_the_wheel_holds_what_it_should(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"echod/py.typed", "echod/__main__.py", "twisted/plugins/echod_plugin.py"} <= names
    charts = {"uPlot.iife.min.js", "uPlot.min.css", "uPlot-LICENSE.txt", "page.html", "page.css", "page.js"}
    assert {f"echod/load/static/{name}" for name in charts} <= names
    assert {f"echod/admin/static/{name}" for name in ("page.html", "page.js", "page.css", "icon.svg")} <= names
    assert {f"echod/{folder}/{name}" for name, (folder, _) in FILES.items()} <= names
    assert {name for name in names if name.startswith("echod/etc/")} == {
        f"echod/etc/{path.name}" for path in ETC.iterdir()
    }
    assert {name for name in names if name.startswith("twisted/")} == {"twisted/plugins/echod_plugin.py"}
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert {name.split("/")[0] for name in names} - {"echod", "twisted"} == {
        next(name.split("/")[0] for name in names if ".dist-info/" in name)
    }


@pytest.mark.parametrize("editable", [False, True])
def test_a_fresh_environment_knows_the_plugin(tmp_path: Path, wheel: Path, editable: bool) -> None:
    fresh = tmp_path / "fresh"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    subprocess.run([sys.executable, "-m", "venv", str(fresh)], check=True, timeout=INSTALL_PATIENCE)
    what = ("--editable", str(ROOT)) if editable else (str(wheel),)
    command = (str(fresh / "bin" / "python"), "-m", "pip", "install", "--quiet", *what)
    subprocess.run(command, check=True, timeout=INSTALL_PATIENCE)
    listed = run(str(fresh / "bin" / "twistd"), "--help", cwd=elsewhere)
    assert re.search(r"^ +echod +A TCP echo daemon", listed.stdout, re.MULTILINE), listed.stdout + listed.stderr
    shown = run(str(fresh / "bin" / "echod"), "files", "echod.tac", cwd=elsewhere)
    assert shown.stdout == (ETC / "echod.tac").read_text(encoding="utf-8")
    for command in ((str(fresh / "bin" / "echod"),), (str(fresh / "bin" / "python"), "-m", "echod")):
        assert run(*command, "--version", cwd=elsewhere).stdout.startswith("echod ")


def test_importing_echod_installs_no_reactor(tmp_path: Path) -> None:
    imports = "import sys, echod, echod.probe, echod.server.assembly, echod.main, echod.serve.twistd_options"
    checked = run(
        str(BIN / "python"), "-c", f"{imports}; sys.exit('twisted.internet.reactor' in sys.modules)", cwd=tmp_path
    )
    assert checked.returncode == 0


HEAVY = {"twisted", "zope", "OpenSSL", "cryptography", "prometheus_client", "hdrh", "dataclasses", "inspect", "json"}
"""Packages and modules that take 5 ms or more to import (measured: python -X importtime), besides argparse."""


def modules_of(*arguments: str, cwd: Path) -> set[str]:
    """Return the modules that are imported when `echod` has run with these arguments."""
    script = (
        "import sys, contextlib\n"
        "from echod.main import main\n"
        "with contextlib.suppress(SystemExit):\n"
        "    main(sys.argv[1:])\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    return set(run(str(BIN / "python"), "-c", script, *arguments, cwd=cwd).stderr.splitlines()[-1].split())


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_a_command_is_imported_when_it_runs_only(tmp_path: Path, option: str) -> None:
    before = set(run(str(BIN / "python"), "-c", "import sys; print(*sys.modules)", cwd=tmp_path).stdout.split())
    modules = modules_of(option, cwd=tmp_path) - before
    assert {name.partition(".")[0] for name in modules} & HEAVY == set()
    ours = {name for name in modules if name.startswith("echod")}
    assert ours == {"echod", "echod.main", "echod.cli", "echod.cli.parser", "echod.common", "echod.common.errors"}


def test_a_ping_imports_nothing_of_other_commands(tmp_path: Path) -> None:
    modules = modules_of("ping", "-c", "1", "127.0.0.1", str(free_port()), cwd=tmp_path)
    assert "echod.ping.command" in modules
    others = ("echod.load", "echod.admin", "echod.serve", "echod.server", "echod.client.tls", "twisted.web")
    assert {name for name in modules if name.startswith((*others, "prometheus_client"))} == set()


def test_the_readmes_test_command_is_what_the_gate_runs() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    main_job, *_, everything = re.findall(r"^```sh\n(.+)\n```$", readme, re.MULTILINE)
    assert main_job.endswith("/twistd -n echod --port 3005")
    assert everything.endswith(".venv/bin/nox")
    assert everything in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_the_version_is_in_the_changelog() -> None:
    version = run(*ECHOD, "--version", cwd=ROOT).stdout.split()[1]
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
