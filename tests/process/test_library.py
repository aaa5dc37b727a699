"""The example of docs/library.md, run as it stands."""

import re
import sys
from pathlib import Path

import pytest

from echod.client.record import HEADER_SIZE
from tests.support.processes import TWISTD, daemon, run
from tests.support.sockets import free_port

PAGE = (Path(__file__).parents[2] / "docs" / "library.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("keep_alive", [False, True])
def test_the_example(tmp_path: Path, keep_alive: bool) -> None:
    (example,) = re.findall(r"^```python\n(.+?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "example.py").write_text(example, encoding="utf-8")
    port = free_port()
    with daemon(*TWISTD, "--port", str(port), *(["--keep-alive"] if keep_alive else []), cwd=tmp_path):
        ran = run(sys.executable, "-W", "error", "example.py", "::1", str(port), cwd=tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    lines = ran.stdout.splitlines()
    assert re.fullmatch(rf"one: echoed over \[::1\]:{port} in \d+ us", lines[0])
    assert lines[1:3] == ["kept: echoed ", "kept: echoed " + ("" if keep_alive else "reconnected")]
    assert lines[3:] == ["run: echoed"] * 3 + ["3 of 3"]


def test_the_records_layout_is_that_of_the_module() -> None:
    from echod.client import record as payload

    def rows(text: str) -> list[tuple[str, str]]:
        return re.findall(r"^\| (\d+) +\| (\d+|rest) +\|", text, re.MULTILINE)

    assert rows(PAGE) == rows(payload.__doc__ or "")
    assert rows(PAGE)[-1] == (str(HEADER_SIZE), "rest")
