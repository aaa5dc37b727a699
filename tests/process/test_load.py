"""`echod load` and `echod report` as commands, against real servers that stall or fail."""

import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from echod.common.histogram import Histogram
from tests.support.certificates import Authority
from tests.support.peers import peer, receive
from tests.support.processes import ECHOD, TWISTD, Daemon, daemon, run, until
from tests.support.sockets import PATIENCE, free_port
from tests.support.terminals import STOPS, terminal

SCHEMA = Draft202012Validator(
    json.loads((Path(__file__).parents[2] / "src" / "echod" / "load" / "load.schema.json").read_text(encoding="utf-8"))
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Daemon, str]]:
    """A daemon with --keep-alive, and its port."""
    number = str(free_port())
    words = ("--port", number, "--keep-alive", "--backlog", "511")
    with daemon(*TWISTD, *words, cwd=tmp_path_factory.mktemp("daemon")) as running:
        yield running, number


@pytest.fixture
def port(server: tuple[Daemon, str]) -> str:
    return server[1]


def load(*words: str) -> tuple[str, ...]:
    return (*ECHOD, "load", *words)


def loaded(cwd: Path, *words: str, status: int = 0) -> tuple[dict[str, Any], subprocess.CompletedProcess[str]]:
    """Run a load; return its checked JSON object, and the finished command."""
    command = run(*load(*words, "--json", "run.json"), cwd=cwd)
    assert command.returncode == status, (command.stdout, command.stderr)
    report = json.loads((cwd / "run.json").read_text(encoding="utf-8"))
    check(report)
    return report, command


def check(report: dict[str, Any]) -> None:
    """Check an object against the schema, and its sums against each other."""
    SCHEMA.validate(report)
    assert report["sent"] == report["echoed"] + report["failed"] + report["unfinished"]
    assert report["failed"] == sum(each["count"] for each in report["failures"])
    for name in ("echoed", "failed"):
        assert report[name] == sum(each[name] for each in report["intervals"])
    for name in ("response_time_us", "service_time_us"):
        assert report[name]["count"] == report["echoed"]
        if report["echoed"]:
            assert Histogram.decode(report[name]["histogram"]).count == report["echoed"]


class TestRuns:
    @pytest.mark.parametrize(("processes", "arrival"), [("1", "uniform"), ("2", "uniform")])
    def test_every_due_record_is_counted(self, tmp_path: Path, port: str, processes: str, arrival: str) -> None:
        words = ("--rate", "300", "-d", "1.2", "--keep-alive", "--processes", processes, "--arrival", arrival)
        report, command = loaded(tmp_path, "::1", port, *words)
        assert (report["sent"], report["echoed"], report["failures"]) == (360, 360, [])
        assert report["configuration"]["processes"] == int(processes)
        assert 1.199 < report["elapsed"] < 3
        assert "360 sent, 360 echoed, 0 failed (0%)" in command.stdout
        assert re.search(r"^response +[\d.]+ +[\d.]+ +[\d.]+ +[\d.]+ +[\d.]+$", command.stdout, re.MULTILINE)
        assert "\x1b" not in command.stdout
        assert report["response_time_us"]["p50"] >= report["service_time_us"]["p50"]

    def test_the_seed_determines_the_schedule_for_any_number_of_processes(self, tmp_path: Path, port: str) -> None:
        words = ("::1", port, "--rate", "200", "-d", "0.5", "--keep-alive", "--arrival", "poisson")
        sent = [
            loaded(tmp_path, *words, "--seed", seed, "--processes", processes)[0]["sent"]
            for seed, processes in (("3", "1"), ("3", "2"), ("3", "3"), ("4", "1"))
        ]
        assert sent[0] == sent[1] == sent[2] != sent[3]

    def test_the_warm_up_is_not_counted(self, tmp_path: Path, port: str) -> None:
        report, _ = loaded(tmp_path, "::1", port, "--rate", "200", "-d", "0.5", "--warmup", "1", "--keep-alive")
        assert report["sent"] == report["echoed"] == 100

    def test_one_connection_per_record_to_a_name(self, tmp_path: Path, port: str) -> None:
        report, _ = loaded(tmp_path, "localhost", port, "--rate", "50", "-d", "1", "--size", "250", "-4")
        assert report["echoed"] == 50
        assert report["target"] == {"host": "localhost", "port": int(port)}

    def test_a_closed_loop(self, tmp_path: Path, port: str) -> None:
        report, _ = loaded(tmp_path, "::1", port, "-c", "3", "-d", "0.6", "--keep-alive")
        assert report["echoed"] > 300
        assert "rate" not in report["configuration"]
        assert report["generator"] == {"behind": False, "late": 0, "late_percent": 0}
        assert max(each["connections"] for each in report["intervals"]) <= 3

    def test_a_server_that_closes_after_each_record(self, tmp_path: Path) -> None:
        number = str(free_port())
        with daemon(*TWISTD, "--port", number, cwd=tmp_path):
            report, _ = loaded(tmp_path, "::1", number, "--rate", "50", "-d", "1", "-c", "4", "--keep-alive")
        assert report["echoed"] == 50


class TestStalls:
    def test_the_response_time_shows_a_stall(self, tmp_path: Path, server: tuple[Daemon, str]) -> None:
        """The server stops for 0.5 s of 4: records due meanwhile have waited, sent or not."""
        running, port = server
        words = ("--rate", "400", "-d", "4", "-c", "8", "--keep-alive", "--processes", "1", "--json", "run.json")
        with subprocess.Popen(load("::1", port, *words), cwd=tmp_path, stdout=subprocess.PIPE) as loading:
            assert loading.stdout is not None
            assert loading.stdout.readline().startswith(b"LOAD")
            time.sleep(2.5)  # the test measures time: the stall has to be within the run
            running.process.send_signal(signal.SIGSTOP)
            time.sleep(0.5)
            running.process.send_signal(signal.SIGCONT)
            assert loading.wait(PATIENCE) == 0
        report = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
        check(report)
        assert report["echoed"] == 1600
        response, service = report["response_time_us"], report["service_time_us"]
        assert 400_000 < response["p99"] <= response["max"] < 1_500_000
        assert service["p50"] < 50_000
        # Eight records were under way when it stopped; the others waited unsent. One in two hundred has a service time
        # that contains the stall, one in eight a response time.
        assert service["p99"] < response["p99"] / 2


class TestFailures:
    def test_half_of_the_records_fail(self, tmp_path: Path) -> None:
        turn = iter(range(10**9))
        lock = threading.Lock()

        def every_other(connection: Any) -> None:
            with lock:
                number = next(turn)
            data = receive(connection)
            connection.sendall(data if number % 2 else data[:100] + bytes(150))

        with peer(every_other) as number:
            words = ("127.0.0.1", str(number), "--rate", "100", "-d", "1", "-c", "1")
            report, command = loaded(tmp_path, *words, "--html", "run.html", status=1)
        assert (report["sent"], report["echoed"], report["failed"]) == (100, 50, 50)
        (failure,) = report["failures"]
        assert (failure["outcome"], failure["count"]) == ("corrupt", 50)
        assert "the byte at offset 100 is not what was sent" in failure["detail"]
        assert "100 sent, 50 echoed, 50 failed (50%)" in command.stdout
        assert re.search(r"^failed: 50 corrupt, for example: the byte at offset 100", command.stdout, re.MULTILINE)
        page = (tmp_path / "run.html").read_text(encoding="utf-8")
        assert '<th scope="row">corrupt</th><td>50</td>' in page
        assert "50%</td>" in page

    def test_nothing_listens(self, tmp_path: Path) -> None:
        report, _ = loaded(tmp_path, "127.0.0.1", str(free_port()), "--rate", "100", "-d", "0.5", status=1)
        assert (report["sent"], report["failed"], report["failures"][0]["outcome"]) == (50, 50, "refused")
        assert report["response_time_us"] == {"count": 0}

    def test_a_server_that_never_replies(self, tmp_path: Path) -> None:
        def silent(connection: Any) -> None:
            receive(connection)
            connection.recv(1)

        with peer(silent) as number:
            words = (
                "127.0.0.1",
                str(number),
                "--rate",
                "20",
                "-d",
                "0.5",
                "-c",
                "2",
                "--timeout",
                "0.3",
                "--keep-alive",
            )
            report, _ = loaded(tmp_path, *words, status=1)
        assert (report["sent"], report["failed"]) == (10, 10)
        assert {each["outcome"] for each in report["failures"]} == {"timeout"}

    def test_a_worker_that_dies_ends_the_run_with_an_error(self, tmp_path: Path, port: str) -> None:
        words = load("::1", port, "--rate", "50", "-d", "60", "--keep-alive", "--processes", "2")
        words = (*words, "--json", "run.json", "--html", "run.html")
        with subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as loading:
            children = Path(f"/proc/{loading.pid}/task/{loading.pid}/children")
            until(lambda: len(children.read_text().split()) == 2)
            first, second = map(int, children.read_text().split())
            os.kill(first, signal.SIGKILL)
            _, said = loading.communicate(timeout=PATIENCE)
        assert re.fullmatch(rb"echod load: generator process \d was killed by SIGKILL; there is no result\n", said)
        assert loading.returncode == 1
        assert not Path(f"/proc/{second}").exists()
        assert list(tmp_path.iterdir()) == []


class TestEnds:
    @pytest.mark.parametrize("stop", STOPS)
    def test_a_signal_ends_the_run_with_its_summary(self, tmp_path: Path, port: str, stop: str) -> None:
        words = load("::1", port, "--rate", "100", "-d", "60", "--keep-alive", "--processes", "2", "--json", "run.json")
        with terminal(*words, cwd=tmp_path) as at:
            at.wait_until(lambda lines: re.search(r"/60 s  \d+/s  p50/p99/p99.9 .* open", lines[-1]) is not None)
            STOPS[stop](at)
            assert at.end() == 0
            assert any("load statistics ---" in line for line in at.lines)
            assert not any("/60 s" in line for line in at.lines)
        report = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
        check(report)
        assert report["interrupted"] is True
        assert report["echoed"] > 0

    def test_a_stopped_run_keeps_the_slices_of_a_worker_that_had_to_be_killed(self, tmp_path: Path, port: str) -> None:
        words = load("::1", port, "--rate", "100", "-d", "60", "--keep-alive", "--processes", "2", "--json", "run.json")
        with terminal(*words, cwd=tmp_path) as at:
            at.wait_until(lambda lines: re.search(r"/60 s  [1-9]\d*/s ", lines[-1]) is not None)
            children = Path(f"/proc/{at.process.pid}/task/{at.process.pid}/children")
            os.kill(int(children.read_text().split()[0]), signal.SIGSTOP)
            at.process.send_signal(signal.SIGINT)
            assert at.end() == 0
        report = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
        check(report)
        assert report["interrupted"] is True
        assert report["intervals"][0]["echoed"] > 40  # 25 of each worker

    def test_the_live_line_fits_a_narrow_terminal(self, tmp_path: Path, port: str) -> None:
        with terminal(*load("::1", port, "--rate", "50", "-d", "1.2", "--keep-alive"), cwd=tmp_path, columns=40) as at:
            at.wait_until(lambda lines: re.search(r"/1.2 s  \d+/s", lines[-1]) is not None)
            assert at.end() == 0

    def test_assertions(self, tmp_path: Path, port: str) -> None:
        words = ("::1", port, "--rate", "100", "-d", "0.5", "--keep-alive", "--assert", "service.max<60s", "--assert")
        report, _ = loaded(tmp_path, *words, "sent>=50")
        assert [each["holds"] for each in report["assertions"]] == [True, True]
        report, command = loaded(tmp_path, *words, "p50<1us", status=1)
        assert [each["holds"] for each in report["assertions"]] == [True, False]
        assert re.fullmatch(r"echod load: assertion failed: p50<1us: it is \d+\.\d{3} ms\n", command.stderr)

    def test_a_search(self, tmp_path: Path, port: str) -> None:
        words = ("::1", port, "--keep-alive", "-d", "0.4", "--rate", "100", "--find-max", "sent<=160")
        command = run(*load(*words, "--json", "run.json"), cwd=tmp_path)
        report = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
        check(report)
        steps = report["search"]["steps"]
        kept = [step["rate"] for step in steps if step["holds"]]
        assert 300 < max(kept) <= 400
        assert all(step["rate"] <= 400 for step in steps if step["holds"])
        assert report["search"].get("found") == max(kept, default=None)
        assert command.returncode == 0
        assert [line.split(" ")[0] for line in command.stdout.splitlines() if "records/s: sent<=160: " in line] == [
            str(step["rate"]) for step in steps
        ]
        if kept:
            assert report["configuration"]["rate"] == max(kept)
            assert command.stdout.endswith(f"found: sent<=160 holds up to {max(kept)} records/s\n")

    def test_a_search_that_finds_nothing(self, tmp_path: Path, port: str) -> None:
        words = ("::1", port, "--keep-alive", "-d", "0.3", "--rate", "2", "--find-max", "p50<1us")
        report, command = loaded(tmp_path, *words, status=1)
        assert "found" not in report["search"]
        assert command.stdout.endswith("found: p50<1us holds at none of the rates tried\n")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ((), "rate, connections or find-max is required"),
        (("--rate", "0"), "--rate: must be a whole number from 1 to 10000000, not 0"),
        (("-c", "1", "--processes", "2"), "processes: 2 is more than the number of connections, 1"),
        (("-c", "1", "--json", "/nosuch/x"), "--json: cannot write /nosuch/x: No such file or directory"),
        (("-c", "1", "--tls-insecure"), "tls-insecure: requires tls"),
        (
            ("-c", "1", "--assert", "connect.p99<1s"),
            "--assert: must be about one of the phases response, service, not connect",
        ),
    ],
)
def test_invalid_options_are_reported_in_one_line(tmp_path: Path, words: tuple[str, ...], why: str) -> None:
    refused = run(*load("::1", *words), cwd=tmp_path)
    assert (refused.returncode, refused.stdout, refused.stderr) == (2, "", f"echod load: {why}\n")


def test_an_invalid_result_file_is_reported_in_one_line(tmp_path: Path) -> None:
    for text, why in (
        ("", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ('{"type": NaN}', "is not JSON"),
        ("[]", "is not a result of echod load"),
        ('{"type": "load", "schema": 2}', "has version 2 of the schema; this echod reads version 1"),
        ('{"type": "load", "schema": 1}', "is not a valid result of echod load: target: is missing"),
    ):
        (tmp_path / "bad.json").write_text(text)
        refused = run(*ECHOD, "report", "bad.json", cwd=tmp_path)
        assert (refused.returncode, refused.stdout, refused.stderr) == (2, "", f"echod report: bad.json: {why}\n")
    refused = run(*ECHOD, "report", "nosuch.json", cwd=tmp_path)
    assert refused.stderr == "echod report: cannot read nosuch.json: No such file or directory\n"


def test_a_crafted_result_file_is_reported_in_one_line(tmp_path: Path, port: str) -> None:
    """No file ends in a traceback, in a line without end, or in escapes for the terminal."""
    valid, _ = loaded(tmp_path, "::1", port, "--rate", "50", "-d", "0.2", "--keep-alive")
    text = json.dumps(valid)
    invalid = "is not a valid result of echod load"
    deep = "[" * 900 + "]" * 900
    for name, content, why in (
        ("number", text.replace('"sent": 10', '"sent": ' + "9" * 5000), "is not JSON"),
        ("constant", text.replace('"sent": 10', '"sent": Infinity'), "is not JSON"),
        (
            "nested",
            text.replace('"sent": 10', f'"sent": {deep}'),
            f"{invalid}: sent: must be a whole number from 0 to {2**53}, not [[[[[[[...]]]]]]]",
        ),
        (
            "long",
            json.dumps(valid | {"host": {"x" * 1_000_000: None}}),
            f"{invalid}: host.'{'x' * 12}...{'x' * 13}': must be text, not None",
        ),
        (
            "escape",
            json.dumps(valid | {"host": {"\x1b[2J\n": None}}),
            f"{invalid}: host.'\\x1b[2J\\n': must be text, not None",
        ),
        ("name\x1b[2J\nx", "", "is not JSON"),
    ):
        (tmp_path / name).write_text(content)
        refused = run(*ECHOD, "report", name, cwd=tmp_path)
        shown = name.replace("\x1b", "?").replace("\n", "?")
        assert (refused.returncode, refused.stdout, refused.stderr) == (2, "", f"echod report: {shown}: {why}\n")


def test_an_endless_result_file_is_refused(tmp_path: Path) -> None:
    refused = run(*ECHOD, "report", "/dev/zero", cwd=tmp_path)
    assert refused.stderr == "echod report: /dev/zero: is larger than 64 MiB\n"


def test_the_page_on_standard_output_is_utf_8_in_any_locale(tmp_path: Path, port: str) -> None:
    loaded(tmp_path, "::1", port, "--rate", "50", "-d", "0.2", "--keep-alive")
    command = (*ECHOD, "report", "run.json")
    assert run(*command, "--html", "run.html", cwd=tmp_path).returncode == 0
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    printed = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert (printed.returncode, printed.stderr) == (0, b"")
    assert printed.stdout == (tmp_path / "run.html").read_bytes()


class TestTLS:
    def test_records_go_over_tls(self, tmp_path: Path) -> None:
        authority = Authority(tmp_path)
        pair = authority.issue("localhost", "127.0.0.1")
        number = str(free_port())
        tls = ("--tls-port", number, "--tls-certificate", str(pair.certificate), "--tls-key", str(pair.key))
        with daemon(*TWISTD, "--port", str(free_port()), "--keep-alive", *tls, cwd=tmp_path):
            words = ("127.0.0.1", number, "--rate", "50", "-d", "1", "-c", "4", "--tls")
            report, command = loaded(tmp_path, *words, "--tls-ca", str(authority.certificate), "--keep-alive")
            assert report["echoed"] == 50
            assert ", TLS, " in command.stdout
            report, _ = loaded(tmp_path, *words, status=1)  # the platform's trust store does not have the authority
            assert {each["outcome"] for each in report["failures"]} == {"tls-untrusted"}
            assert report["failed"] == 50
