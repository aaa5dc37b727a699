"""The output of `echod ping`: on real terminals, to pipes, and as a monitoring plugin."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from tests.support.processes import ECHOD, TWISTD, daemon, run
from tests.support.sockets import PATIENCE, free_port
from tests.support.terminals import CTRL_BACKSLASH, CTRL_C, STOPS, Terminal, terminal

SCHEMA = Path(__file__).parents[2] / "src" / "echod" / "ping" / "ping.schema.json"
FULL_DISK = Path("/dev/full")


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The port of a daemon that echoes."""
    number = str(free_port())
    with daemon(*TWISTD, "--port", number, cwd=tmp_path_factory.mktemp("daemon")):
        yield number


def ping(*words: str) -> tuple[str, ...]:
    return (*ECHOD, "ping", *words)


def live(at: Terminal) -> str:
    """Return the screen's last line."""
    return at.lines[-1]


class TestTerminals:
    @pytest.mark.parametrize(
        ("columns", "probe", "below"),
        [
            (
                100,
                r"250 bytes from ::1 port \d+: seq=3 time=[\d.]+ ms",
                r"3 echoed, 0 lost \(0%\)  p50 [\d.]+  p99 [\d.]+ ms  [▁-█]{3}",
            ),
            (40, r"seq=3 [\d.]+ ms ::1", r"0/3 lost p50/p99 [\d.]+/[\d.]+ ms  [▁-█]{1,4}"),
        ],
    )
    def test_the_live_line_is_below_the_probes(
        self, tmp_path: Path, port: str, columns: int, probe: str, below: str
    ) -> None:
        with terminal(*ping("-i", "0.3", "::1", port), cwd=tmp_path, columns=columns) as at:
            lines = at.wait_until(lambda lines: re.fullmatch(below, lines[-1]) is not None)
            assert len(lines) == 5
            assert lines[0] == f"ECHO ::1 port {port}: 250 bytes a record"
            assert re.fullmatch(probe, lines[3])
            assert (at.screen.cursor.x, at.screen.cursor.y) == (0, 4)
            at.press(CTRL_C)
            assert at.end() == 0
            after = at.lines
        assert after[:4] == lines[:4]
        assert not any(" lost p50" in line or " echoed, 0 lost (0%)  p50" in line for line in after)
        assert f"--- ::1 port {port} echo statistics ---" in after
        assert "^C" not in after[4]

    @pytest.mark.parametrize("stop", STOPS)
    def test_no_live_line_remains_after_a_stop(self, tmp_path: Path, port: str, stop: str) -> None:
        with terminal(*ping("-i", "0.1", "::1", port), cwd=tmp_path) as at:
            at.wait_for("3 echoed, 0 lost (0%)  p50")
            STOPS[stop](at)
            assert at.end() == 0
            assert not any("  p50 " in line for line in at.lines)
            assert any("echo statistics ---" in line for line in at.lines)

    def test_no_live_line_remains_after_an_internal_error(self, tmp_path: Path, port: str) -> None:
        script = (
            "import sys\n"
            "from echod import main\n"
            "from echod.ping import views\n"
            "lines = views.result_lines\n"
            "views.result_lines = lambda r, *a, **k: lines(r, *a, **k) if r.sequence < 3 else 1 / 0\n"
            f"sys.exit(main.main(['ping', '-i', '0.2', '::1', '{port}']))"
        )
        with terminal(sys.executable, "-c", script, cwd=tmp_path) as at:
            assert at.end() == 1
            assert any("seq=2" in line for line in at.lines)
            assert "Traceback (most recent call last):" in at.lines  # without a rest of the live line
            assert at.lines[-1].startswith("ZeroDivisionError")

    def test_a_run_that_reaches_its_count(self, tmp_path: Path, port: str) -> None:
        with terminal(*ping("-c", "12", "-i", "0", "::1", port), cwd=tmp_path, columns=60) as at:
            assert at.end() == 0
            assert "12 sent, 12 echoed, 0 lost (0%)," in " ".join(at.lines)
            assert not any("  p50 " in line for line in at.lines)
            bars = [line for line in at.lines if re.match(r"\d+\.\d{3} - +\d+\.\d{3} ms", line.strip())]
            assert sum(int(line.split(" ms ")[1].split()[0]) for line in bars) == 12

    def test_a_changed_width_redraws_the_live_line(self, tmp_path: Path, port: str) -> None:
        with terminal(*ping("-i", "60", "::1", port), cwd=tmp_path) as at:
            at.wait_for("1 echoed, 0 lost (0%)  p50")
            at.resize(40)
            at.wait_for("0/1 lost p50/p99")
            assert len(at.lines) == 3
            at.resize(100)
            at.wait_for("1 echoed, 0 lost (0%)  p50")
            assert len(at.lines) == 3
            at.press(CTRL_C)
            assert at.end() == 0

    def test_losses_at_40_columns(self, tmp_path: Path) -> None:
        with terminal(*ping("-c", "2", "-i", "0", "127.0.0.1", str(free_port())), cwd=tmp_path, columns=40) as at:
            assert at.end() == 1
            assert "seq=1 connect failed: connection\n    refused, 127.0.0.1" in "\n".join(at.lines)
            assert at.lines[-1] == "lost: 2 refused"
            assert b"\x1b[31m" in at.written

    def test_sigquit_tells_how_things_stand_and_goes_on(self, tmp_path: Path, port: str) -> None:
        with terminal(*ping("-c", "5", "-i", "0.3", "::1", port), cwd=tmp_path) as at:
            at.wait_for("seq=2")
            at.press(CTRL_BACKSLASH)
            at.wait_until(
                lambda lines: any(re.match(r"\d sent, \d echoed, 0 lost \(0%\), min/median", each) for each in lines)
            )
            assert at.end() == 0
            assert any("seq=5" in line for line in at.lines)

    @pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
    def test_colours_are_a_matter_of_taste(self, tmp_path: Path, environment: dict[str, str]) -> None:
        words = ping("-c", "2", "-i", "0", "127.0.0.1", str(free_port()))
        with terminal(*words, cwd=tmp_path, environment=environment) as at:
            assert at.end() == 1
        assert re.search(rb"\x1b\[\d*m", at.written) is None
        assert (b"\x1b" in at.written) is ("TERM" not in environment)

    def test_quiet(self, tmp_path: Path, port: str) -> None:
        with terminal(*ping("-q", "-c", "2", "-i", "0", "::1", port), cwd=tmp_path) as at:
            assert at.end() == 0
            assert [at.lines[0][:4], at.lines[1], at.lines[2][:4]] == ["ECHO", "", "--- "]

    def test_an_encoding_that_has_no_bars(self, tmp_path: Path, port: str) -> None:
        words = ping("-c", "12", "-i", "0", "::1", port)
        with terminal(*words, cwd=tmp_path, environment={"PYTHONIOENCODING": "ascii"}) as at:
            assert at.end() == 0
            assert at.written.isascii()
            assert any(line.endswith("#") for line in at.lines)


class TestPipes:
    def test_plain_lines_and_no_escape_codes(self, tmp_path: Path, port: str) -> None:
        pinged = run(*ping("-c", "12", "-i", "0", "::1", port), cwd=tmp_path, TERM="xterm-256color", COLUMNS="40")
        assert pinged.returncode == 0
        assert "\x1b" not in pinged.stdout
        assert "\r" not in pinged.stdout
        assert f"250 bytes from ::1 port {port}: seq=12 time=" in pinged.stdout

    def test_each_object_is_out_at_once(self, tmp_path: Path, port: str) -> None:
        with subprocess.Popen(ping("--json", "-i", "60", "::1", port), stdout=subprocess.PIPE, cwd=tmp_path) as pinging:
            assert pinging.stdout is not None
            assert json.loads(pinging.stdout.readline())["outcome"] == "echoed"
            pinging.send_signal(signal.SIGINT)
            assert (pinging.wait(PATIENCE), pinging.stdout.read()) == (0, b"")

    def test_json_is_what_the_schema_says(self, tmp_path: Path, port: str) -> None:
        validator = Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))
        for target, outcome, status in (
            (("::1", port), "echoed", 0),
            (("localhost", port), "echoed", 0),
            (("127.0.0.1", str(free_port())), "refused", 1),
            (("nosuch.invalid",), "resolve-failed", 1),
            (("::1", port, "--size", "300"), "closed-early", 1),
        ):
            words = ping("--json", "--summary", "-c", "3", "-i", "0", "--assert", "p99<1s", *target)
            pinged = run(*words, cwd=tmp_path)
            objects = [json.loads(line) for line in pinged.stdout.splitlines()]
            for each in objects:
                validator.validate(each)
            assert [each.get("outcome") for each in objects] == [*[outcome] * 3, None]
            assert [each.get("sequence") for each in objects] == [1, 2, 3, None]
            assert (objects[-1]["sent"], pinged.returncode) == (3, status)
            assert pinged.stderr.count("\n") == status

    def test_without_a_summary_there_are_probes_only(self, tmp_path: Path, port: str) -> None:
        pinged = run(*ping("--json", "--count", "3", "-i", "0", "::1", port), cwd=tmp_path)
        assert [json.loads(line)["outcome"] for line in pinged.stdout.splitlines()] == ["echoed"] * 3

    def test_a_closed_pipe_ends_json_too(self, tmp_path: Path, port: str) -> None:
        reader, writer = os.pipe()
        with os.fdopen(writer, "wb") as out:
            words = ping("--json", "-i", "0", "::1", port)
            pinging = subprocess.Popen(words, stdout=out, stderr=subprocess.PIPE, cwd=tmp_path)
        with os.fdopen(reader, "rb") as lines:
            assert lines.readline().startswith(b"{")
        _, errors = pinging.communicate(timeout=PATIENCE)
        assert (pinging.returncode, errors) == (-signal.SIGPIPE, b"")

    @pytest.mark.skipif(not FULL_DISK.exists(), reason="needs /dev/full")
    def test_a_full_disk_is_one_line(self, tmp_path: Path, port: str) -> None:
        for words, status in ((("-c", "1"), 1), (("--json", "-c", "1"), 1), (("--nagios", "-c", "1"), 3)):
            with FULL_DISK.open("w") as full:
                command = ping(*words, "::1", port)
                pinged = subprocess.run(
                    command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=PATIENCE, check=False, cwd=tmp_path
                )
            assert pinged.returncode == status
            assert pinged.stderr == "echod ping: cannot write: No space left on device\n"

    def test_a_closed_pipe_at_sigquit(self, tmp_path: Path, port: str) -> None:
        reader, writer = os.pipe()
        with os.fdopen(writer, "wb") as err:
            words = ping("-i", "60", "::1", port)
            pinging = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=err, cwd=tmp_path)
        os.close(reader)
        with pinging:
            assert pinging.stdout is not None
            while b"seq=1" not in pinging.stdout.readline():
                pass
            pinging.send_signal(signal.SIGQUIT)
            assert pinging.wait(PATIENCE) == -signal.SIGPIPE


class TestStatuses:
    def test_assertions(self, tmp_path: Path, port: str) -> None:
        words = ping("-q", "-c", "3", "-i", "0", "--assert", "p99<50s", "--assert", "lost<1%", "--assert")
        kept = run(*words, "connect.max<=60s", "::1", port, cwd=tmp_path)
        assert (kept.returncode, kept.stderr) == (0, "")
        broken = run(*words, "p99<1us", "::1", port, cwd=tmp_path)
        assert broken.returncode == 1
        assert re.fullmatch(r"echod ping: assertion failed: p99<1us: it is \d+\.\d{3} ms\n", broken.stderr)
        assert "3 sent, 3 echoed" in broken.stdout

    def test_a_wrong_assertion(self, tmp_path: Path) -> None:
        pinged = run(*ping("::1", "--assert", "p98<50ms"), cwd=tmp_path)
        why = "must be about one of min, mean, p50, p90, p95, p99, p99.9, max, sent, echoed, lost, not p98"
        assert (pinged.returncode, pinged.stdout, pinged.stderr) == (2, "", f"echod ping: --assert: {why}\n")

    @pytest.mark.parametrize(
        ("words", "state", "status"),
        [
            (("{port}", "-c", "2", "-i", "0"), "OK", 0),
            (("{port}", "-c", "2", "-i", "0", "--warning", "p99>1us"), "WARNING", 1),
            (("{port}", "-c", "2", "-i", "0", "--warning", "p99>1us", "--critical", "max>1us"), "CRITICAL", 2),
            (("1", "-i", "0"), "CRITICAL", 2),
            (("{port}", "--nosuch"), "UNKNOWN", 3),
            (("{port}", "--critical", "p99"), "UNKNOWN", 3),
        ],
    )
    def test_nagios(self, tmp_path: Path, port: str, words: tuple[str, ...], state: str, status: int) -> None:
        pinged = run(*ping("--nagios", "::1", *(word.format(port=port) for word in words)), cwd=tmp_path)
        assert (pinged.returncode, pinged.stderr) == (status, "")
        assert pinged.stdout.startswith(f"ECHOD {state} - ")
        assert pinged.stdout.count("\n") == 1
        assert (" | sent=" in pinged.stdout) is (status != 3)

    def test_the_default_count_of_a_plugin(self, tmp_path: Path, port: str) -> None:
        pinged = run(*ping("--nagios", "::1", port, "-i", "0"), cwd=tmp_path)
        assert "5 of 5 echoed" in pinged.stdout
