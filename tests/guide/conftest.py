"""Test machines for the documents."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guide.document import ROOT
from tests.support.certificates import Authority
from tests.systemd.lab import Lab

HERE = "/root/echod"
"""The directory of the reader, in the machine."""

CHECKOUT = ("pyproject.toml", "README.md", "LICENSE", "etc", "src", "twisted")
"""What an installation from a checkout reads."""

HOST = "echo.example.net"

INSTALL_PATIENCE = 300.0


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Lab]:
    """A machine with echod in the search path, and an empty directory of the reader."""
    with Lab(tmp_path) as lab:
        prepare(lab)
        yield lab


@pytest.fixture
def new_machine(tmp_path: Path, packages: Path) -> Iterator[Lab]:
    """A machine without echod. The directory of the reader is a checkout; pip finds all packages in the machine."""
    with Lab(tmp_path, installed=False) as lab:
        prepare(lab)
        here = lab.root / HERE.removeprefix("/")
        for name in CHECKOUT:
            source = ROOT / name
            if source.is_dir():
                ignored = shutil.ignore_patterns("__pycache__", "dropin.cache")
                shutil.copytree(source, here / name, symlinks=True, ignore=ignored)
            else:
                shutil.copy(source, here / name)
        shutil.copytree(packages, lab.root / "root" / "packages")
        lab.write("/root/.config/pip/pip.conf", "[global]\nno-index = true\nfind-links = /root/packages\n")
        yield lab


def prepare(lab: Lab) -> None:
    """Make the reader's directory, the name of the documents' example host, and its certificate, key and authority."""
    here = lab.root / HERE.removeprefix("/")
    here.mkdir(parents=True)
    lab.write("/etc/hosts", f"127.0.0.1 localhost\n::1 localhost\n::1 {HOST}\n")
    authority = Authority(here, "ca")
    pair = authority.issue(HOST, file="server")
    assert {authority.certificate.name, pair.certificate.name, pair.key.name} == {"ca.pem", "server.pem", "server.key"}


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the wheels of all that an installation of echod from a checkout needs."""
    made = tmp_path_factory.mktemp("packages")
    command = (sys.executable, "-m", "pip", "wheel", "--quiet", "--wheel-dir", str(made), str(ROOT), "hatchling>=1.26")
    subprocess.run(command, check=True, timeout=INSTALL_PATIENCE)
    return made
