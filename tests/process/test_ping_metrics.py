"""`echod ping --metrics`, as cron runs it for node_exporter."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.processes import ECHOD, TWISTD, daemon, run
from tests.support.sockets import free_port

PROMTOOL = shutil.which("promtool")


def test_a_run_and_a_failed_one_replace_the_file(tmp_path: Path) -> None:
    port, result = free_port(), tmp_path / "echod.prom"
    ping = (*ECHOD, "ping", "-q", "-c", "3", "-i", "0", "--metrics", str(result), "::1", str(port))
    with daemon(*TWISTD, "--port", str(port), cwd=tmp_path):
        assert run(*ping, cwd=tmp_path).returncode == 0
        first = result.read_text()
        assert run(*ping, "--assert", "p99<1us", cwd=tmp_path).returncode == 1
        assert f'echod_ping_success{{host="::1",port="{port}"}} 0.0' in result.read_text()
    assert f'echod_ping_success{{host="::1",port="{port}"}} 1.0' in first
    assert f'echod_ping_outcomes{{host="::1",outcome="echoed",port="{port}"}} 3.0' in first
    assert run(*ping, cwd=tmp_path).returncode == 1
    assert f'echod_ping_outcomes{{host="::1",outcome="refused",port="{port}"}} 3.0' in result.read_text()
    assert [each.name for each in tmp_path.iterdir()] == ["echod.prom"]


@pytest.mark.skipif(PROMTOOL is None, reason="needs promtool (Debian: prometheus)")
def test_promtool_accepts_it(tmp_path: Path) -> None:
    port, result = free_port(), tmp_path / "echod.prom"
    with daemon(*TWISTD, "--port", str(port), cwd=tmp_path):
        run(*ECHOD, "ping", "-c", "3", "-i", "0", "--metrics", str(result), "::1", str(port), cwd=tmp_path)
    assert PROMTOOL is not None
    checked = subprocess.run(
        (PROMTOOL, "check", "metrics"), input=result.read_bytes(), capture_output=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_a_missing_directory_is_refused_before_the_first_probe(tmp_path: Path) -> None:
    ran = run(*ECHOD, "ping", "-c", "1", "--metrics", str(tmp_path / "no" / "x.prom"), "::1", "1", cwd=tmp_path)
    assert (ran.returncode, ran.stdout) == (2, "")
    path = tmp_path / "no" / "x.prom"
    assert ran.stderr == f"echod ping: --metrics: the directory of {path} does not exist\n"


def test_a_directory_is_refused_before_the_first_probe(tmp_path: Path) -> None:
    ran = run(*ECHOD, "ping", "-c", "1", "--metrics", str(tmp_path), "::1", "1", cwd=tmp_path)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == f"echod ping: --metrics: {tmp_path} is a directory\n"


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    ran = run(*ECHOD, "ping", "-c", "1", "--metrics", "/proc/x.prom", "::1", str(free_port()), cwd=tmp_path)
    assert ran.returncode == 1
    assert ran.stderr.startswith("echod ping: --metrics: cannot write /proc/x.prom: ")
    assert len(ran.stderr.splitlines()) == 1


def test_importing_the_commands_does_not_import_prometheus_client(tmp_path: Path) -> None:
    imports = "import sys, echod.main, echod.serve.twistd_options; print(*sys.modules)"
    loaded = run(str(Path(ECHOD[0]).with_name("python")), "-c", imports, cwd=tmp_path).stdout.split()
    assert not {name for name in loaded if name.startswith(("prometheus_client", "twisted.web", "echod.admin"))}
