"""The access log and the daemon log as their readers see them: in time, complete, and never in the way of the echo."""

import json
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.log_targets import CleanDaemon, Pipe, read_available, reading
from tests.support.processes import BIN, until
from tests.support.sockets import PATIENCE, RECORD, connected, exchange, free_port

TAC = Path(__file__).parents[2] / "etc" / "echod.tac"
HOWS = ("serve", "twistd", "tac")
IN_TIME = 1.0
"""Seconds within which a line is written."""
END = 3.0
"""Seconds within which a daemon without connections ends: the flush takes one at most."""


def command(how: str, directory: Path, port: int, *words: str) -> Sequence[str]:
    """Return the command of a daemon. `words` are options with their values, if need be after twistd's and `--`."""
    twistd = words[: words.index("--")] if "--" in words else ("-n",)
    options = words[words.index("--") + 1 :] if "--" in words else words
    if how == "serve":
        return (sys.executable, "-m", "echod", "serve", "--port", str(port), *options)
    if how == "twistd":
        return (str(BIN / "twistd"), "--pidfile=", *twistd, "echod", "--port", str(port), *options)
    lines = [
        f"{name.lstrip('-')} = {value if value.isdigit() else json.dumps(value)}"
        for name, value in zip(options[::2], options[1::2], strict=True)
    ]
    (directory / "echod.toml").write_text("\n".join([f"port = {port}", *lines]))
    shutil.copy(TAC, directory)
    return (str(BIN / "twistd"), "--pidfile=", *twistd, "-y", "echod.tac")


def echoed(text: str | bytes) -> int:
    """Return the number of whole access-log lines; fail on a line that is neither one of these nor the daemon's."""
    whole = text.decode() if isinstance(text, bytes) else text
    lines = [line for line in whole.splitlines() if " echoed records=" in line]
    for line in lines:
        assert re.fullmatch(r"\S+Z \[::1\]:\d+ \[::\]:\d+ echoed records=1 received=250 sent=250 duration=[\d.]+", line)
    return len(lines)


def dropped(text: str | bytes) -> int:
    """Return the sum of the numbers of dropped lines that an access log tells."""
    whole = text.decode() if isinstance(text, bytes) else text
    return sum(map(int, re.findall(r"^\S+Z lines-dropped=(\d+)$", whole, re.MULTILINE)))


def end(daemon: CleanDaemon, within: float = END) -> int:
    """Send SIGTERM; return the exit status. Fails if the daemon takes longer than `within` seconds."""
    daemon.process.send_signal(signal.SIGTERM)
    return daemon.process.wait(within)


STATUS = {"serve": 0, "twistd": -signal.SIGTERM, "tac": -signal.SIGTERM}


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("stream", ["file", "pipe"])
def test_line_on_standard_output_is_there_within_a_second(tmp_path: Path, how: str, stream: str) -> None:
    port, out = free_port(), tmp_path / "out"
    words = command(how, tmp_path, port, "--access-log", "-")
    with (
        Pipe() as pipe,
        out.open("wb") as file,
        CleanDaemon(words, tmp_path, file if stream == "file" else pipe.writer, file) as daemon,
    ):
        daemon.wait_for_echo(port)
        time.sleep(IN_TIME)
        before = out.read_text() if stream == "file" else pipe.read(0).decode()
        assert exchange(port, RECORD) == RECORD
        time.sleep(IN_TIME)
        after = out.read_text()[len(before) :] if stream == "file" else pipe.read(0).decode()
        assert echoed(after) == 1
        assert end(daemon) == STATUS[how]


@pytest.mark.parametrize("target", ["-", "access.log"])
def test_lines_survive_sigkill(tmp_path: Path, target: str) -> None:
    port, out = free_port(), tmp_path / ("out" if target == "-" else target)
    words = command("serve", tmp_path, port, "--access-log", target)
    with (tmp_path / "out").open("wb") as file, CleanDaemon(words, tmp_path, file, file) as daemon:
        daemon.wait_for_echo(port)
        until(lambda: echoed(out.read_text()) == 1)
        for _ in range(60):
            assert exchange(port, RECORD) == RECORD
        time.sleep(IN_TIME)
        daemon.process.kill()
        daemon.process.wait(PATIENCE)
    assert echoed(out.read_text()) == 61


@pytest.mark.parametrize("how", HOWS)
def test_stalled_reader_of_both_streams(tmp_path: Path, how: str) -> None:
    port = free_port()
    with Pipe() as pipe:
        pipe.fill()
        words = command(how, tmp_path, port, "--access-log", "-")
        with CleanDaemon(words, tmp_path, pipe.writer, pipe.writer) as daemon:
            daemon.wait_for_echo(port)
            for _ in range(100):
                assert exchange(port, RECORD) == RECORD
            assert end(daemon) == STATUS[how]


@pytest.mark.parametrize("how", HOWS)
def test_reader_that_reads_again_gets_every_line(tmp_path: Path, how: str) -> None:
    port = free_port()
    with Pipe() as pipe:
        pipe.fill()
        words = command(how, tmp_path, port, "--access-log", "-")
        with CleanDaemon(words, tmp_path, pipe.writer, pipe.writer) as daemon:
            daemon.wait_for_echo(port)
            for _ in range(100):
                assert exchange(port, RECORD) == RECORD
            assert echoed(pipe.read(IN_TIME)) == 101
            assert end(daemon) == STATUS[how]


def test_dropped_lines_are_counted_exactly(tmp_path: Path) -> None:
    port, admin, connections = free_port(), free_port(), 11_000
    words = command("serve", tmp_path, port, "--access-log", "-", "--backlog", "511", "--admin", str(admin))
    errors = tmp_path / "err"
    with Pipe() as pipe, errors.open("wb") as err, CleanDaemon(words, tmp_path, pipe.writer, err) as daemon:
        daemon.wait_for_echo(port)
        for _ in range(connections - 1):
            assert exchange(port, RECORD) == RECORD
        counted = lines_dropped(admin)
        assert counted["daemon"] == 0
        assert counted["access"] >= 900
        assert "the access log takes no more lines" in errors.read_text()
        shown = pipe.read(IN_TIME)
        assert echoed(shown) + counted["access"] == connections
        assert dropped(shown) == counted["access"]
        assert exchange(port, RECORD) == RECORD
        assert echoed(pipe.read(IN_TIME)) == 1
        assert end(daemon) == 0
    assert f"the access log is written again; {counted['access']} line(s) were dropped" in errors.read_text()


PRINTING = """
import sys
from twisted.internet import reactor
from echod.main import main
reactor.callLater(0, lambda: print("x" * 100_000, file=sys.stderr))
sys.exit(main(["serve", "--port", sys.argv[1]]))
"""


def test_what_is_printed_does_not_block(tmp_path: Path) -> None:
    port = free_port()
    words = (sys.executable, "-c", PRINTING, str(port))
    with Pipe() as pipe, CleanDaemon(words, tmp_path, pipe.writer, pipe.writer) as daemon:
        daemon.wait_for_echo(port)
        assert exchange(port, RECORD) == RECORD
        assert b"[stderr#error] " + b"x" * 100_000 + b"\n" in pipe.read(IN_TIME)
        assert end(daemon) == 0


def test_lines_lost_at_the_end_are_told_in_the_log(tmp_path: Path) -> None:
    port, errors = free_port(), tmp_path / "err"
    words = command("serve", tmp_path, port, "--access-log", "-")
    with Pipe() as pipe, errors.open("wb") as err, CleanDaemon(words, tmp_path, pipe.writer, err) as daemon:
        daemon.wait_for_echo(port)
        for _ in range(99):
            assert exchange(port, RECORD) == RECORD
        assert end(daemon) == 0
        shown = pipe.read(0)
    (lost,) = re.findall(r"the access log ends without its last (\d+) line\(s\)", errors.read_text())
    assert echoed(shown) + int(lost) == 100


def test_fifo_without_a_reader_does_not_hold_up_the_start(tmp_path: Path) -> None:
    port, fifo = free_port(), tmp_path / "fifo"
    os.mkfifo(fifo)
    with (tmp_path / "out").open("wb") as out:
        words = command("twistd", tmp_path, port, "--access-log", str(fifo))
        with CleanDaemon(words, tmp_path, out, out) as daemon:
            daemon.wait_for_echo(port)
            with reading(fifo) as reader:
                assert echoed(read_available(reader, 2 * IN_TIME)) == 1
                assert exchange(port, RECORD) == RECORD
                assert echoed(read_available(reader, IN_TIME)) == 1
            assert exchange(port, RECORD) == RECORD
            assert end(daemon) == -signal.SIGTERM


def test_fifo_with_a_stalled_reader(tmp_path: Path) -> None:
    port, fifo, connections = free_port(), tmp_path / "fifo", 1000
    os.mkfifo(fifo)
    with (tmp_path / "out").open("wb") as out, reading(fifo) as reader:
        words = command("twistd", tmp_path, port, "--access-log", str(fifo))
        with CleanDaemon(words, tmp_path, out, out) as daemon:
            daemon.wait_for_echo(port)
            for _ in range(connections - 1):  # more than the 65,536 bytes of a FIFO
                assert exchange(port, RECORD) == RECORD
            assert echoed(read_available(reader, IN_TIME)) == connections
            assert end(daemon) == -signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGHUP])
def test_name_that_became_a_fifo(tmp_path: Path, number: signal.Signals) -> None:
    port, log = free_port(), tmp_path / "access"
    with (tmp_path / "out").open("wb") as out:
        words = command("twistd", tmp_path, port, "--access-log", str(log))
        with CleanDaemon(words, tmp_path, out, out) as daemon:
            daemon.wait_for_echo(port)
            until(lambda: echoed(log.read_text()) == 1)
            log.unlink()
            os.mkfifo(log)
            daemon.process.send_signal(number)
            until(lambda: "loaded the access log again" in (tmp_path / "out").read_text())
            assert exchange(port, RECORD) == RECORD
            with reading(log) as reader:
                assert echoed(read_available(reader, 2 * IN_TIME)) == 1
            assert end(daemon) == -signal.SIGTERM


def test_full_disk_is_told_and_counted(tmp_path: Path) -> None:
    port, out = free_port(), tmp_path / "out"
    with out.open("wb") as file:
        words = command("twistd", tmp_path, port, "--access-log", "/dev/full")
        with CleanDaemon(words, tmp_path, file, file) as daemon:
            daemon.wait_for_echo(port)
            for _ in range(59):
                assert exchange(port, RECORD) == RECORD
            assert end(daemon) == -signal.SIGTERM
    said = out.read_text()
    assert said.count("the access log cannot be written: No space left on device") == 1
    assert "the access log ends without its last 60 line(s)" in said


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams(tmp_path: Path, how: str, closed: str) -> None:
    port, out = free_port(), tmp_path / "out"
    words = command(how, tmp_path, port, "--access-log", "-")
    with (
        out.open("wb") as file,
        CleanDaemon(("/bin/sh", "-c", f'exec "$@" {closed}', "sh", *words), tmp_path, file, file) as daemon,
    ):
        daemon.wait_for_echo(port)
        assert end(daemon) == STATUS[how]
    assert "Traceback" not in out.read_text()
    assert "Exception" not in out.read_text()
    if closed == "2>&-":
        assert echoed(out.read_text()) == 1


def test_no_client_gets_what_is_logged_if_the_streams_are_closed(tmp_path: Path) -> None:
    # Descriptors 0, 1 and 2 are the lowest, so that the next sockets would get them.
    port = free_port()
    words = command("serve", tmp_path, port, "--access-log", "-", "--keep-alive")
    closed = ("/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *words)
    with (tmp_path / "out").open("wb") as out, CleanDaemon(closed, tmp_path, out, out) as daemon:
        daemon.wait_for_echo(port)
        with connected(port) as one, connected(port) as other:
            for client in (one, other):
                client.sendall(RECORD)
                assert client.recv(1000) == RECORD
            names = [Path(f"/proc/{daemon.process.pid}/fd/{n}").readlink() for n in range(3)]
            assert names == [Path("/dev/null")] * 3
        assert end(daemon) == 0


@pytest.mark.parametrize("how", ["twistd", "tac"])
def test_daemonizing_twistd_refuses_an_access_log_on_standard_output(tmp_path: Path, how: str) -> None:
    words = command(how, tmp_path, free_port(), "--logfile", "log", "--", "--access-log", "-")
    out = tmp_path / "out"
    with out.open("wb") as file, CleanDaemon(words, tmp_path, file, file) as daemon:
        assert daemon.process.wait(PATIENCE) == 1
    (line,) = out.read_text().splitlines()
    assert "access-log: - is standard output, which a daemonizing twistd closes: use twistd -n, or a file" in line


@pytest.mark.parametrize("how", ["twistd", "tac"])
def test_log_file_of_twistd_on_a_full_disk(tmp_path: Path, how: str) -> None:
    port, admin = free_port(), free_port()
    words = command(how, tmp_path, port, "-n", "--logfile", "/dev/full", "--", "--admin", str(admin))
    with (tmp_path / "out").open("wb") as out, CleanDaemon(words, tmp_path, out, out) as daemon:
        daemon.wait_for_echo(port)
        assert lines_dropped(admin) == {"access": 0, "daemon": 0}  # they are kept
        assert end(daemon) == -signal.SIGTERM
    assert "Traceback" not in (tmp_path / "out").read_text()


@pytest.mark.parametrize("how", ["twistd", "tac"])
def test_log_file_of_twistd_that_is_a_fifo(tmp_path: Path, how: str) -> None:
    port, fifo = free_port(), tmp_path / "fifo"
    os.mkfifo(fifo)
    words = command(how, tmp_path, port, "-n", "--logfile", str(fifo), "--")
    with (tmp_path / "out").open("wb") as out, CleanDaemon(words, tmp_path, out, out) as daemon:
        daemon.wait_for_echo(port)
        with reading(fifo) as reader:
            assert b"listening on [::]" in read_available(reader, 2 * IN_TIME)
        assert end(daemon) == -signal.SIGTERM


@pytest.mark.parametrize("how", ["twistd", "tac"])
def test_log_file_of_twistd_is_rotated(tmp_path: Path, how: str) -> None:
    port, log = free_port(), tmp_path / "log"
    log.write_text("x" * 1_000_000 + "\n")
    words = command(how, tmp_path, port, "-n", "--logfile", str(log), "--")
    with (tmp_path / "out").open("wb") as out, CleanDaemon(words, tmp_path, out, out) as daemon:
        daemon.wait_for_echo(port)
        until(lambda: "listening on [::]" in log.read_text())
        assert log.with_name("log.1").stat().st_size == 1_000_001
        daemon.process.send_signal(signal.SIGUSR1)
        until(log.with_name("log.2").exists)
        assert end(daemon) == -signal.SIGTERM
    assert "listening on [::]" in log.with_name("log.1").read_text()
    assert "Received SIGTERM" in log.read_text()


@pytest.mark.parametrize("how", ["twistd", "tac"])
def test_log_file_of_twistd_as_json(tmp_path: Path, how: str) -> None:
    port, log = free_port(), tmp_path / "log"
    words = command(how, tmp_path, port, "-n", "--logfile", "log", "--", "--log-format", "json")
    with (tmp_path / "out").open("wb") as out, CleanDaemon(words, tmp_path, out, out) as daemon:
        daemon.wait_for_echo(port)
        assert end(daemon) == -signal.SIGTERM
    assert f"listening on [::]:{port}" in [json.loads(line)["message"] for line in log.read_text().splitlines()]


@pytest.mark.parametrize("how", ["twistd", "tac"])
@pytest.mark.parametrize(
    ("twistd", "options", "reason"),
    [
        (("-n", "--syslog"), ("--log-format", "json"), "log-format: json cannot be combined with twistd --syslog"),
        (("--logfile", "-"), (), "a daemonizing twistd cannot log to standard output: use twistd -n, or a file"),
        (("-n", "-l", "/nosuch/log"), (), "--logfile: cannot open /nosuch/log: No such file or directory"),
    ],
)
def test_impossible_log_is_refused_in_one_line(
    tmp_path: Path, how: str, twistd: tuple[str, ...], options: tuple[str, ...], reason: str
) -> None:
    words, out = command(how, tmp_path, free_port(), *twistd, "--", *options), tmp_path / "out"
    with out.open("wb") as file, CleanDaemon(words, tmp_path, file, file) as daemon:
        assert daemon.process.wait(PATIENCE) == 1
    (line,) = out.read_text().splitlines()
    assert line.endswith(f": {reason}")


@pytest.mark.parametrize("how", HOWS)
def test_start_has_no_noise(tmp_path: Path, how: str) -> None:
    port, out = free_port(), tmp_path / "out"
    with out.open("wb") as file, CleanDaemon(command(how, tmp_path, port), tmp_path, file, file) as daemon:
        daemon.wait_for_echo(port)
        assert end(daemon) == STATUS[how]
    said = [re.sub(r"^\S+ \[\S+\] ", "", line) for line in out.read_text().splitlines()]
    # The daemon may receive the signal before the FIN of the echo's client.
    said = [line for line in said if line != "stopping: 1 connection(s) have 5 s to finish"]
    assert [line for line in said if not line.startswith("twistd ")] == [
        f"listening on [::]:{port}",
        "Received SIGTERM, shutting down.",
        "Main loop terminated.",
        *(["Server Shut Down."] if how != "serve" else []),
    ]


def lines_dropped(port: int) -> dict[str, int]:
    """Return the metric of dropped lines, by log."""
    with connected(port) as client:
        client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        text = b""
        while piece := client.recv(65536):
            text += piece
    found = re.findall(r'^echod_log_lines_dropped_total\{log="(\w+)"\} (\d+)\.0$', text.decode(), re.MULTILINE)
    return {name: int(value) for name, value in found}
