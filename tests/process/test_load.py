"""`echod load` as a command, against real servers that stall, fail and vanish."""

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
    """A daemon that echoes until the client closes, and its port."""
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
    """Run a load; return its object, which is what the schema says, and the command."""
    command = run(*load(*words, "--json", "run.json"), cwd=cwd)
    assert command.returncode == status, (command.stdout, command.stderr)
    told = json.loads((cwd / "run.json").read_text(encoding="utf-8"))
    check(told)
    return told, command


def check(told: dict[str, Any]) -> None:
    """Hold an object against the schema, and its sums against each other."""
    SCHEMA.validate(told)
    assert told["sent"] == told["echoed"] + told["failed"] + told["unfinished"]
    assert told["failed"] == sum(each["count"] for each in told["failures"])
    for name in ("echoed", "failed"):
        assert told[name] == sum(each[name] for each in told["intervals"])
    for name in ("response_time_us", "service_time_us"):
        assert told[name]["count"] == told["echoed"]
        if told["echoed"]:
            assert Histogram.decode(told[name]["histogram"]).count == told["echoed"]


class TestRuns:
    @pytest.mark.parametrize(("processes", "arrival"), [("1", "uniform"), ("2", "uniform")])
    def test_every_record_that_was_due_is_told(self, tmp_path: Path, port: str, processes: str, arrival: str) -> None:
        words = ("--rate", "300", "-d", "1.2", "--keep-alive", "--processes", processes, "--arrival", arrival)
        told, command = loaded(tmp_path, "::1", port, *words)
        assert (told["sent"], told["echoed"], told["failures"]) == (360, 360, [])
        assert told["configuration"]["processes"] == int(processes)
        assert 1.199 < told["elapsed"] < 3
        assert "360 sent, 360 echoed, 0 failed (0%)" in command.stdout
        assert re.search(r"^response +[\d.]+ +[\d.]+ +[\d.]+ +[\d.]+ +[\d.]+$", command.stdout, re.MULTILINE)
        assert "\x1b" not in command.stdout
        assert told["response_time_us"]["p50"] >= told["service_time_us"]["p50"]

    def test_the_seed_is_the_schedule(self, tmp_path: Path, port: str) -> None:
        words = ("::1", port, "--rate", "200", "-d", "0.5", "--keep-alive", "--arrival", "poisson", "--seed")
        first, again, other = (loaded(tmp_path, *words, seed)[0]["sent"] for seed in ("3", "3", "4"))
        assert first == again != other

    def test_the_warm_up_counts_for_nothing(self, tmp_path: Path, port: str) -> None:
        told, _ = loaded(tmp_path, "::1", port, "--rate", "200", "-d", "0.5", "--warmup", "1", "--keep-alive")
        assert told["sent"] == told["echoed"] == 100

    def test_a_connection_a_record_to_a_name(self, tmp_path: Path, port: str) -> None:
        told, _ = loaded(tmp_path, "localhost", port, "--rate", "50", "-d", "1", "--size", "250", "-4")
        assert told["echoed"] == 50
        assert told["target"] == {"host": "localhost", "port": int(port)}

    def test_a_closed_loop(self, tmp_path: Path, port: str) -> None:
        told, _ = loaded(tmp_path, "::1", port, "-c", "3", "-d", "0.6", "--keep-alive")
        assert told["echoed"] > 300
        assert "rate" not in told["configuration"]
        assert told["generator"] == {"behind": False, "late": 0, "late_percent": 0}
        assert max(each["connections"] for each in told["intervals"]) <= 3

    def test_a_server_that_keeps_no_connection(self, tmp_path: Path) -> None:
        number = str(free_port())
        with daemon(*TWISTD, "--port", number, cwd=tmp_path):
            told, _ = loaded(tmp_path, "::1", number, "--rate", "50", "-d", "1", "-c", "4", "--keep-alive")
        assert told["echoed"] == 50


class TestStalls:
    def test_a_stall_shows_in_full(self, tmp_path: Path, server: tuple[Daemon, str]) -> None:
        """For 0.5 s of 4 the server stands still: what was due meanwhile has waited, whether or not it was sent."""
        running, port = server
        words = ("--rate", "400", "-d", "4", "-c", "8", "--keep-alive", "--processes", "1", "--json", "run.json")
        with subprocess.Popen(load("::1", port, *words), cwd=tmp_path, stdout=subprocess.PIPE) as loading:
            assert loading.stdout is not None
            assert loading.stdout.readline().startswith(b"LOAD")
            time.sleep(2.5)  # into the run: what is measured here is time
            running.process.send_signal(signal.SIGSTOP)
            time.sleep(0.5)
            running.process.send_signal(signal.SIGCONT)
            assert loading.wait(PATIENCE) == 0
        told = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
        check(told)
        assert told["echoed"] == 1600
        response, service = told["response_time_us"], told["service_time_us"]
        assert 400_000 < response["p99"] <= response["max"] < 1_500_000
        assert service["p50"] < 50_000
        # Eight records were out when it stopped; all others that fell due waited unsent. By the service time alone
        # one in two hundred would have met the stall, where one in eight did.
        assert service["p99"] < response["p99"] / 2


class TestFailures:
    def test_half_of_them_fail(self, tmp_path: Path) -> None:
        turn = iter(range(10**9))
        lock = threading.Lock()

        def every_other(connection: Any) -> None:
            with lock:
                number = next(turn)
            data = receive(connection)
            connection.sendall(data if number % 2 else data[:100] + bytes(150))

        with peer(every_other) as number:
            words = ("127.0.0.1", str(number), "--rate", "100", "-d", "1", "-c", "1")
            told, command = loaded(tmp_path, *words, "--html", "run.html", status=1)
        assert (told["sent"], told["echoed"], told["failed"]) == (100, 50, 50)
        (failure,) = told["failures"]
        assert (failure["outcome"], failure["count"]) == ("corrupt", 50)
        assert "the byte at offset 100 is not what was sent" in failure["detail"]
        assert "100 sent, 50 echoed, 50 failed (50%)" in command.stdout
        assert re.search(r"^failed: 50 corrupt, as: the byte at offset 100", command.stdout, re.MULTILINE)
        page = (tmp_path / "run.html").read_text(encoding="utf-8")
        assert '<th scope="row">corrupt</th><td>50</td>' in page
        assert "50%</td>" in page

    def test_nothing_listens(self, tmp_path: Path) -> None:
        told, _ = loaded(tmp_path, "127.0.0.1", str(free_port()), "--rate", "100", "-d", "0.5", status=1)
        assert (told["sent"], told["failed"], told["failures"][0]["outcome"]) == (50, 50, "refused")
        assert told["response_time_us"] == {"count": 0}

    def test_a_server_that_never_answers(self, tmp_path: Path) -> None:
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
            told, _ = loaded(tmp_path, *words, status=1)
        assert (told["sent"], told["failed"]) == (10, 10)
        assert {each["outcome"] for each in told["failures"]} == {"timeout"}

    def test_a_generator_that_dies_is_told_and_ends_the_run(self, tmp_path: Path, port: str) -> None:
        words = load("::1", port, "--rate", "50", "-d", "60", "--keep-alive", "--processes", "2")
        with subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as loading:
            children = Path(f"/proc/{loading.pid}/task/{loading.pid}/children")
            until(lambda: len(children.read_text().split()) == 2)
            first, second = map(int, children.read_text().split())
            os.kill(first, signal.SIGKILL)
            _, said = loading.communicate(timeout=PATIENCE)
        assert re.fullmatch(rb"echod load: generator process \d was killed by SIGKILL; there is no result\n", said)
        assert loading.returncode == 1
        assert not Path(f"/proc/{second}").exists()


class TestEnds:
    @pytest.mark.parametrize("stop", STOPS)
    def test_a_signal_ends_it_with_the_summary(self, tmp_path: Path, port: str, stop: str) -> None:
        words = load("::1", port, "--rate", "100", "-d", "60", "--keep-alive", "--processes", "2", "--json", "run.json")
        with terminal(*words, cwd=tmp_path) as at:
            at.wait_until(lambda lines: re.search(r"/60 s  \d+/s  p50/p99/p99.9 .* open", lines[-1]) is not None)
            STOPS[stop](at)
            assert at.end() == 0
            assert any("load statistics ---" in line for line in at.lines)
            assert not any("/60 s" in line for line in at.lines)
        told = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
        check(told)
        assert told["interrupted"] is True
        assert told["echoed"] > 0

    def test_the_live_line_fits_a_narrow_terminal(self, tmp_path: Path, port: str) -> None:
        with terminal(*load("::1", port, "--rate", "50", "-d", "1.2", "--keep-alive"), cwd=tmp_path, columns=40) as at:
            at.wait_until(lambda lines: re.search(r"/1.2 s  \d+/s", lines[-1]) is not None)
            assert at.end() == 0

    def test_assertions(self, tmp_path: Path, port: str) -> None:
        words = ("::1", port, "--rate", "100", "-d", "0.5", "--keep-alive", "--assert", "service.max<60s", "--assert")
        told, _ = loaded(tmp_path, *words, "sent>=50")
        assert [each["holds"] for each in told["assertions"]] == [True, True]
        told, command = loaded(tmp_path, *words, "p50<1us", status=1)
        assert [each["holds"] for each in told["assertions"]] == [True, False]
        assert re.fullmatch(r"echod load: assertion failed: p50<1us: it is \d+\.\d{3} ms\n", command.stderr)

    def test_a_search(self, tmp_path: Path, port: str) -> None:
        words = ("::1", port, "--keep-alive", "-d", "0.4", "--rate", "100", "--find-max", "sent<=160")
        command = run(*load(*words, "--json", "run.json"), cwd=tmp_path)
        told = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
        check(told)
        steps = told["search"]["steps"]
        kept = [step["rate"] for step in steps if step["holds"]]
        assert 300 < max(kept) <= 400
        assert all(step["rate"] <= 400 for step in steps if step["holds"])
        assert told["search"].get("found") == max(kept, default=None)
        assert command.returncode == 0
        assert [line.split(" ")[0] for line in command.stdout.splitlines() if "records/s: sent<=160: " in line] == [
            str(step["rate"]) for step in steps
        ]
        if kept:
            assert told["configuration"]["rate"] == max(kept)
            assert command.stdout.endswith(f"found: sent<=160 holds up to {max(kept)} records/s\n")

    def test_a_search_that_finds_nothing(self, tmp_path: Path, port: str) -> None:
        words = ("::1", port, "--keep-alive", "-d", "0.3", "--rate", "2", "--find-max", "p50<1us")
        told, command = loaded(tmp_path, *words, status=1)
        assert "found" not in told["search"]
        assert command.stdout.endswith("found: at no rate that was tried does p50<1us hold\n")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ((), "rate or connections is needed: how much load it is to be"),
        (("--rate", "0"), "--rate: must be a whole number from 1 to 10000000, not 0"),
        (("-c", "1", "--processes", "2"), "processes: 2 have not a connection each of 1"),
        (("-c", "1", "--json", "/nosuch/x"), "--json: cannot write /nosuch/x: No such file or directory"),
        (("-c", "1", "--tls-insecure"), "tls-insecure: requires tls"),
        (
            ("-c", "1", "--assert", "connect.p99<1s"),
            "--assert: must be about a phase of response, service, not connect",
        ),
    ],
)
def test_what_cannot_be_is_one_line(tmp_path: Path, words: tuple[str, ...], why: str) -> None:
    refused = run(*load("::1", *words), cwd=tmp_path)
    assert (refused.returncode, refused.stdout, refused.stderr) == (2, "", f"echod load: {why}\n")


def test_what_is_no_result_is_one_line(tmp_path: Path) -> None:
    for text, why in (
        ("", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[]", "is no result of echod load"),
        ('{"type": "load", "schema": 2}', "is of version 2 of the schema, and here 1 is understood"),
        ('{"type": "load", "schema": 1}', "is no whole result of echod load: KeyError: 'intervals'"),
    ):
        (tmp_path / "bad.json").write_text(text)
        refused = run(*ECHOD, "report", "bad.json", cwd=tmp_path)
        assert (refused.returncode, refused.stdout, refused.stderr) == (2, "", f"echod report: bad.json: {why}\n")
    refused = run(*ECHOD, "report", "nosuch.json", cwd=tmp_path)
    assert refused.stderr == "echod report: cannot read nosuch.json: No such file or directory\n"


class TestTLS:
    def test_records_go_over_tls(self, tmp_path: Path) -> None:
        authority = Authority(tmp_path)
        pair = authority.issue("localhost", "127.0.0.1")
        number = str(free_port())
        tls = ("--tls-port", number, "--tls-certificate", str(pair.certificate), "--tls-key", str(pair.key))
        with daemon(*TWISTD, "--port", str(free_port()), "--keep-alive", *tls, cwd=tmp_path):
            words = ("127.0.0.1", number, "--rate", "50", "-d", "1", "-c", "4", "--tls")
            told, command = loaded(tmp_path, *words, "--tls-ca", str(authority.certificate), "--keep-alive")
            assert told["echoed"] == 50
            assert ", TLS, " in command.stdout
            told, _ = loaded(tmp_path, *words, status=1)  # which the platform's trust store knows nothing of
            assert {each["outcome"] for each in told["failures"]} == {"tls-untrusted"}
            assert told["failed"] == 50
