"""The configuration of a real daemon: its check, its reload, the environment, and the warnings about certificates.

Each command has an environment of its own, with nothing but what the test sets.
"""

import json
import shutil
import signal
import socket
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.load import Load, access_lines, over_tls, plain
from tests.support.processes import BIN, Daemon, daemon, until
from tests.support.sockets import PATIENCE, RECORD, connected, exchange, free_port, receive_to_end

TAC = Path(__file__).parents[2] / "etc" / "echod.tac"
SERVE = (str(BIN / "echod"), "serve")
TWISTD = (str(BIN / "twistd"), "-n", "--pidfile=", "echod")
BY_TAC = (str(BIN / "twistd"), "-n", "--pidfile=", "-y", str(TAC))
COMMANDS = {"serve": SERVE, "twistd": TWISTD, "tac": BY_TAC}

every_command = pytest.mark.parametrize("how", COMMANDS)
both_commands = pytest.mark.parametrize(
    ("how", "prog", "invalid"), [("serve", "echod serve", 2), ("twistd", "twistd echod", 1)]
)


def alone(*command: str, **environment: str) -> tuple[str, ...]:
    """Return the command line that runs `command` with this environment only."""
    return ("env", "-i", *(f"{name}={value}" for name, value in environment.items()), *command)


def run(*command: str, cwd: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        alone(*command, **environment), cwd=cwd, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


@contextmanager
def serving(how: str, file: Path, *words: str, **environment: str) -> Iterator[Daemon]:
    """Yield a daemon that has read the configuration `file`, and runs."""
    options = () if how == "tac" else ("--config", str(file), *words)
    command = alone(*COMMANDS[how], *options, ECHOD_CONFIG=str(file), **environment)
    with daemon(*command, cwd=file.parent) as echod:
        # A signal before the reactor runs would end the process.
        until(lambda: "echod" in echod.output and answers(echod))
        yield echod


def answers(echod: Daemon) -> bool:
    port = int(echod.output.partition("listening on [::]:")[2].split()[0])
    with connected(port) as client:
        client.shutdown(socket.SHUT_WR)
        receive_to_end(client)
    return True


def reload(echod: Daemon, said: str, times: int = 1) -> None:
    """Send SIGHUP, and wait for the line that reports the result."""
    echod.process.send_signal(signal.SIGHUP)
    until(lambda: echod.output.count(f"{said}\n") == times or echod.process.poll() is not None)
    assert echod.output.count(f"{said}\n") == times, echod.output


def metrics(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE) as answer:
        lines = [line.split() for line in answer.read().decode().splitlines() if line.startswith("echod_config")]
    return {name: float(value) for name, value in lines}


@both_commands
def test_check_opens_no_port_and_changes_no_file(tmp_path: Path, how: str, prog: str, invalid: int) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("echo.test", ends=timedelta(days=365))
    pair.key.chmod(0o600)
    ca = Authority(tmp_path, "clients", days=365)
    log = tmp_path / "access.log"
    log.write_text("a line\n")
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as taken:
        (tmp_path / "echod.toml").write_text(
            f"port = {taken.getsockname()[1]}\n"
            f'tls-listen = ["systemd:domain=INET6:name=echo-tls", "haproxy:tcp6:3008"]\n'
            f'tls-certificate = "{pair.certificate}"\n'
            f'tls-key = "{pair.key}"\n'
            f'tls-client-ca = "{ca.certificate}"\n'
            f'admin = "unix:{tmp_path}/admin"\n'
            f'access-log = "{log}"\n'
        )
        before = sorted(tmp_path.iterdir())
        checked = run(*COMMANDS[how], "--check", "--config", "echod.toml", cwd=tmp_path)
    assert (checked.stdout, checked.stderr) == (f"{prog}: the configuration file echod.toml is valid\n", "")
    assert checked.returncode == 0
    assert sorted(tmp_path.iterdir()) == before
    assert log.read_text() == "a line\n"


@both_commands
def test_check_reports_every_problem_of_the_values(tmp_path: Path, how: str, prog: str, invalid: int) -> None:
    (tmp_path / "echod.toml").write_text('prot = 1\nport = 70000\ntimeout = 3\nadmin = ""\n')
    checked = run(
        *COMMANDS[how], "--check", "--backlog", "0", cwd=tmp_path, ECHOD_CONFIG="echod.toml", ECHOD_STREAM="x"
    )
    assert checked.stderr.splitlines() == [
        f"{prog}: echod.toml: unknown key 'prot'",
        f"{prog}: echod.toml: port: must be a whole number from 1 to 65535, not 70000",
        f'{prog}: echod.toml: admin: must be text that is not empty, not ""',
        f"{prog}: ECHOD_STREAM: must be true or false (or yes, no, 1, 0), not x",
        f"{prog}: --backlog: must be a whole number from 1 to 65535, not 0",
    ]
    assert (checked.stdout, checked.returncode) == ("", invalid)


@both_commands
def test_check_reports_every_problem_of_what_is_named(tmp_path: Path, how: str, prog: str, invalid: int) -> None:
    authority = Authority(tmp_path)
    one, other = authority.issue("echo.test", file="one"), authority.issue("echo.test", file="other")
    (tmp_path / "ca.pem").write_text("nothing\n")
    (tmp_path / "echod.toml").write_text(
        'listen = ["tcp", "systemd:name=echo"]\n'
        "tls-port = 3006\n"
        f'tls-certificate = "{one.certificate}"\n'
        f'tls-key = "{other.key}"\n'
        'tls-client-ca = "ca.pem"\n'
        'admin = "nosuch:1"\n'
        'access-log = "nosuch/access.log"\n'
    )
    checked = run(*COMMANDS[how], "--check", "--config", "echod.toml", cwd=tmp_path)
    assert checked.stderr.splitlines() == [
        f"{prog}: 'tcp' is not a server endpoint: _parseTCP() missing 1 required positional argument: 'port'",
        f"{prog}: 'systemd:name=echo' is not a server endpoint: it needs domain=INET, INET6 or UNIX, and either name= "
        "or index=",
        f"{prog}: admin: 'nosuch:1' is not a server endpoint: Unknown endpoint type: 'nosuch'",
        f"{prog}: access-log: cannot open nosuch/access.log: No such file or directory",
        f"{prog}: tls-key: {other.key} is not the key of the certificate",
        f"{prog}: tls-client-ca: ca.pem contains no PEM certificate",
    ]
    assert (checked.stdout, checked.returncode) == ("", invalid)


def test_check_without_a_file(tmp_path: Path) -> None:
    checked = run(*SERVE, "--check", cwd=tmp_path)
    assert (checked.stdout, checked.stderr, checked.returncode) == ("echod serve: the configuration is valid\n", "", 0)


def test_check_refuses_one_port_for_two_options(tmp_path: Path) -> None:
    pair = Authority(tmp_path).issue("echo.test")
    words = ("--tls-port", "3005", "--tls-certificate", str(pair.certificate), "--tls-key", str(pair.key))
    checked = run(*SERVE, "--check", *words, cwd=tmp_path)
    assert (checked.stdout, checked.stderr) == ("", "echod serve: tls-port: port is 3005 already\n")
    assert checked.returncode == 2


@every_command
def test_reload_applies_to_new_connections(tmp_path: Path, how: str) -> None:
    port, admin, file = free_port(), free_port(), tmp_path / "echod.toml"
    places = f"port = {port}\nadmin = {admin}\n"
    file.write_text(places + "record-size = 250\n")
    with serving(how, file) as echod, connected(port) as early:
        early.sendall(RECORD[:10])
        assert exchange(port, RECORD) == RECORD
        before = metrics(admin)
        assert before["echod_config_last_reload_successful"] == 1
        file.write_text(places + "record-size = 10\nkeep-alive = true\nmax-connections-per-host = 2\n")
        reload(echod, "reload: applied record-size, keep-alive, max-connections-per-host")
        assert exchange(port, RECORD[:25]) == RECORD[:20]
        with connected(port) as second, connected(port) as third:
            second.sendall(RECORD[:10])
            assert second.recv(10) == RECORD[:10]
            assert third.recv(1) == b""  # with the early one it would be the third of this host
        early.sendall(RECORD[10:])
        early.shutdown(socket.SHUT_WR)
        assert receive_to_end(early) == RECORD
        until(lambda: metrics(admin)["echod_config_last_reload_success_timestamp_seconds"] > min(before.values()))
        assert metrics(admin)["echod_config_last_reload_successful"] == 1
        echod.stop()
        assert "Traceback" not in echod.output


@every_command
def test_reload_of_a_bad_file_changes_nothing(tmp_path: Path, how: str) -> None:
    port, admin, file = free_port(), free_port(), tmp_path / "echod.toml"
    places = f"port = {port}\nadmin = {admin}\n"
    file.write_text(places + "record-size = 10\n")
    with serving(how, file) as echod:
        before = metrics(admin)
        file.write_text(places + "record-size = 4\ntimeout = 0\nprot = 1\n")
        why = f"{file}: timeout: must be a finite number of seconds, more than 0, not 0; {file}: unknown key 'prot'"
        reload(echod, f"reload refused, nothing has changed: {why}")
        assert exchange(port, RECORD[:12]) == RECORD[:10]
        until(lambda: metrics(admin)["echod_config_last_reload_successful"] == 0)
        stamp = "echod_config_last_reload_success_timestamp_seconds"
        assert metrics(admin)[stamp] == before[stamp]
        file.write_text(places + 'record-size = 4\naccess-log = "/nosuch/access.log"\n')
        reload(
            echod,
            "reload refused, nothing has changed: "
            "access-log: cannot open /nosuch/access.log: No such file or directory",
        )
        assert exchange(port, RECORD[:12]) == RECORD[:10]
        file.unlink()
        reload(echod, f"reload refused, nothing has changed: --config: cannot read {file}: No such file or directory")
        assert exchange(port, RECORD[:12]) == RECORD[:10]
        file.write_text(places + "record-size = 4\n")
        reload(echod, "reload: applied record-size")
        assert exchange(port, RECORD[:12]) == RECORD[:4]
        until(lambda: metrics(admin)["echod_config_last_reload_successful"] == 1)
        echod.stop()
        assert "Traceback" not in echod.output


def test_reload_names_the_options_that_need_a_restart(tmp_path: Path) -> None:
    port, file = free_port(), tmp_path / "echod.toml"
    pair = Authority(tmp_path).issue("echo.test")
    file.write_text(f"port = {port}\n")
    with serving("serve", file) as echod:
        file.write_text(
            f"port = {free_port()}\nbacklog = 20\ntimeout = 20\nreuse-port = true\n"
            f'tls-port = {free_port()}\ntls-certificate = "{pair.certificate}"\ntls-key = "{pair.key}"\n'
        )
        restart = "port, backlog, tls-port, tls-certificate, tls-key, reuse-port"
        reload(echod, f"reload: applied timeout; a restart is needed for: {restart}")
        reload(echod, f"reload: no changed option to apply; a restart is needed for: {restart}")
        assert exchange(port, RECORD) == RECORD
        echod.stop()


def test_command_line_wins_over_environment_over_file_at_a_reload_too(tmp_path: Path) -> None:
    port, file = free_port(), tmp_path / "echod.toml"
    file.write_text(f"port = {port}\nrecord-size = 10\ntimeout = 10\n")
    with serving("serve", file, "--record-size", "4", ECHOD_TIMEOUT="7") as echod:
        file.write_text(f"port = {port}\nrecord-size = 20\ntimeout = 20\n")
        reload(echod, "reload: no changed option to apply")
        assert exchange(port, RECORD[:12]) == RECORD[:4]
        echod.stop()


def test_reload_does_not_read_a_pipe_again(tmp_path: Path) -> None:
    port, file = free_port(), tmp_path / "echod.toml"
    file.write_text(f"port = {port}\nrecord-size = 10\n")
    with serving("serve", file) as echod:
        file.unlink()
        assert run("mkfifo", str(file), cwd=tmp_path, PATH="/usr/bin:/bin").returncode == 0
        reload(echod, f"reload refused, nothing has changed: {file}: is not a regular file, and cannot be read again")
        assert exchange(port, RECORD[:12]) == RECORD[:10]
        echod.stop()


def test_reload_changes_the_access_log(tmp_path: Path) -> None:
    port, file = free_port(), tmp_path / "echod.toml"
    one, other = tmp_path / "one", tmp_path / "other"
    with_log = f'port = {port}\naccess-log = "{{}}"\nlog-format = "{{}}"\n'
    file.write_text(with_log.format(one, "text"))
    with serving("serve", file) as echod:
        assert exchange(port, RECORD) == RECORD
        until(lambda: len(access_lines(one)) == 1)
        file.write_text(with_log.format(other, "text"))
        reload(echod, "reload: applied access-log")
        assert exchange(port, RECORD) == RECORD
        until(lambda: len(access_lines(other)) == 1)
        assert len(access_lines(one)) == 1
        assert "one" not in echod.descriptors()
        file.write_text(f"port = {port}\n")
        reload(echod, "reload: applied access-log", 2)
        assert exchange(port, RECORD) == RECORD
        assert len(access_lines(other)) == 1
        assert "other" not in echod.descriptors()
        file.write_text(with_log.format(other, "json"))
        echod.process.send_signal(signal.SIGHUP)
        echod.wait_for('"message": "reload: applied access-log, log-format"')
        assert exchange(port, RECORD) == RECORD
        until(lambda: len(other.read_text().splitlines()) == 2)
        assert json.loads(other.read_text().splitlines()[1])["reason"] == "echoed"
        echod.stop()


def test_refused_reload_reopens_the_access_log(tmp_path: Path) -> None:
    port, file, log = free_port(), tmp_path / "echod.toml", tmp_path / "access"
    file.write_text(f'port = {port}\naccess-log = "{log}"\n')
    with serving("serve", file) as echod:
        file.write_text("prot = 1\n")
        log.rename(tmp_path / "rotated")
        reload(echod, f"reload refused, nothing has changed: {file}: unknown key 'prot'")
        until(log.exists)
        assert exchange(port, RECORD) == RECORD
        until(lambda: len(access_lines(log)) == 1)
        echod.stop()


@pytest.mark.parametrize("keep_alive", [False, True])
def test_reloads_under_load_lose_no_record(tmp_path: Path, keep_alive: bool) -> None:
    port, tls_port, file = free_port(), free_port(), tmp_path / "echod.toml"
    authority = Authority(tmp_path)
    pairs = [authority.issue("echo.test", file=f"pair-{n}") for n in range(2)]
    context = ssl.create_default_context(cafile=str(authority.certificate))

    def write(number: int) -> None:
        pair = pairs[number % 2]
        file.write_text(
            f"port = {port}\nbacklog = 511\nkeep-alive = {str(keep_alive).lower()}\ntimeout = {20 + number % 2}\n"
            f"max-connections-per-host = {1000 + number % 2}\ndrain-timeout = {5 + number % 2}\n"
            f'tls-port = {tls_port}\ntls-certificate = "{pair.certificate}"\ntls-key = "{pair.key}"\n'
        )

    write(0)
    with serving("serve", file) as echod:
        changed = "timeout, tls-certificate, tls-key, max-connections-per-host, drain-timeout"
        with (
            Load(plain(port), clients=3, keep_alive=keep_alive) as unencrypted,
            Load(over_tls(tls_port, context, "echo.test"), clients=2, keep_alive=keep_alive) as encrypted,
        ):
            for number in range(1, 21):
                for load in (unencrypted, encrypted):
                    load.wait_for_more(5)
                write(number)
                reload(echod, f"reload: applied {changed}; loaded the certificate again", number)
        for load in (unencrypted, encrypted):
            assert not load.tally.failures, load.tally
        echod.stop()
        assert "Traceback" not in echod.output


@every_command
def test_options_from_the_environment(tmp_path: Path, how: str) -> None:
    port, file = free_port(), tmp_path / "echod.toml"
    file.write_text("record-size = 20\nport = 1\nkeep-alive = true\n")
    variables = {
        "ECHOD_PORT": str(port),
        "ECHOD_RECORD_SIZE": "5",
        "ECHOD_KEEP_ALIVE": "no",
        "ECHOD_ALLOW": "::1,192.0.2.0/24",
    }
    with serving(how, file, **variables) as echod:
        assert exchange(port, RECORD[:12]) == RECORD[:5]
        with connected(port, "127.0.0.1") as refused:
            assert refused.recv(1) == b""
        echod.stop()


@every_command
@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("ECHOD_PORT", "70000", "must be a whole number from 1 to 65535, not 70000"),
        ("ECHOD_KEEP_ALIVE", "maybe", "must be true or false (or yes, no, 1, 0), not maybe"),
        ("ECHOD_ALLOW", "::1, x", "must be a network: 'x' does not appear to be an IPv4 or IPv6 network"),
    ],
)
def test_error_names_the_variable(tmp_path: Path, how: str, name: str, value: str, problem: str) -> None:
    (tmp_path / "echod.toml").write_text("")
    refused = run(*COMMANDS[how], cwd=tmp_path, ECHOD_CONFIG="echod.toml", **{name: value})
    prog = {"serve": "echod serve", "twistd": "twistd echod", "tac": "echod"}[how]
    assert (refused.stdout + refused.stderr).splitlines() == [f"{prog}: {name}: {problem}"]
    assert refused.returncode == (2 if how == "serve" else 1)


@pytest.mark.parametrize("how", ["serve", "twistd"])
def test_file_that_echod_config_names(tmp_path: Path, how: str) -> None:
    refused = run(*COMMANDS[how], cwd=tmp_path, ECHOD_CONFIG="nosuch.toml")
    prog = {"serve": "echod serve", "twistd": "twistd echod"}[how]
    assert refused.stderr == f"{prog}: ECHOD_CONFIG: cannot read nosuch.toml: No such file or directory\n"


@every_command
def test_variables_that_are_no_options_are_warned_about(tmp_path: Path, how: str) -> None:
    port, file = free_port(), tmp_path / "echod.toml"
    file.write_text(f"port = {port}\n")
    variables = {
        "ECHOD_TIMOUT": "3",
        "ECHOD_PORT": "tcp://10.0.0.1:3005",
        "ECHOD_SERVICE_HOST": "10.0.0.1",
        "ECHOD_SERVICE_PORT": "3005",
        "ECHOD_PORT_3005_TCP_ADDR": "10.0.0.1",
        "ECHOD_TLS_PORT": "tcp://10.0.0.2:3006",
    }
    with serving(how, file, **variables) as echod:
        assert exchange(port, RECORD) == RECORD
        names = "ECHOD_PORT, ECHOD_PORT_3005_TCP_ADDR, ECHOD_SERVICE_HOST, ECHOD_SERVICE_PORT, ECHOD_TLS_PORT"
        for warning in (
            "ECHOD_TIMOUT: ignored, there is no such option\n",
            f"{names}: ignored, Kubernetes sets such variables for a service whose name begins with echod "
            "(enableServiceLinks: false in the pod's specification prevents it)\n",
        ):
            assert echod.output.count(warning) == 1
        echod.stop()


@pytest.mark.parametrize("how", ["serve", "twistd"])
def test_help_describes_the_environment(tmp_path: Path, how: str) -> None:
    shown = " ".join(run(*COMMANDS[how], "--help", cwd=tmp_path).stdout.split())
    assert "ECHOD_ and its name in upper case" in shown
    assert "--check" in shown
    assert "ECHOD_CONFIG" in shown


def test_certificates_are_warned_about_at_start_and_reload(tmp_path: Path) -> None:
    port, file = free_port(), tmp_path / "echod.toml"
    authority = Authority(tmp_path)
    pair = authority.issue("echo.test", begins=timedelta(days=-9), ends=timedelta(days=-2), file="server")
    pair.key.chmod(0o644)
    file.write_text(
        f'port = {port}\ntls-port = {free_port()}\ntls-certificate = "{pair.certificate}"\ntls-key = "{pair.key}"\n'
    )
    expired = f"tls-certificate: {pair.certificate}: the certificate of CN=echod test expired on "
    readable = f"tls-key: {pair.key} has mode 0644: every user of this host can read the key (chmod 640 or 600)\n"
    checked = run(*SERVE, "--check", "--config", str(file), cwd=tmp_path)
    assert [line.startswith(f"echod serve: warning: {expired}") for line in checked.stderr.splitlines()] == [
        True,
        False,
    ]
    assert checked.stderr.endswith(f"echod serve: warning: {readable}")
    assert (checked.stdout, checked.returncode) == (f"echod serve: the configuration file {file} is valid\n", 0)
    with serving("serve", file) as echod:
        assert (echod.output.count(expired), echod.output.count(readable)) == (1, 1)
        reload(echod, "reload: no changed option to apply; loaded the certificate again")
        until(lambda: (echod.output.count(expired), echod.output.count(readable)) == (2, 2))
        authority.issue("echo.test", ends=timedelta(days=90), file="server")
        pair.key.chmod(0o640)
        reload(echod, "reload: no changed option to apply; loaded the certificate again", 2)
        assert exchange(port, RECORD) == RECORD
        assert (echod.output.count(expired), echod.output.count(readable)) == (2, 2)
        echod.stop()


def test_reload_refuses_credentials_of_systemd(tmp_path: Path) -> None:
    port, file, credentials = free_port(), tmp_path / "echod.toml", tmp_path / "credentials"
    pair = Authority(tmp_path).issue("echo.test")
    credentials.mkdir()
    key = Path(shutil.copy(pair.key, credentials / "tls.key"))
    places = f'port = {port}\ntls-port = {free_port()}\ntls-certificate = "{pair.certificate}"\ntls-key = "{key}"\n'
    file.write_text(places)
    why = (
        f"tls-key: {key} is a systemd credential, copied when the service started: a reload cannot renew it; "
        "restart the service"
    )
    variables = {"CREDENTIALS_DIRECTORY": str(credentials)}
    with serving("serve", file, **variables) as echod:
        file.write_text(places + "record-size = 4\n")
        reload(echod, f"reload refused, nothing has changed: {why}")
        assert exchange(port, RECORD) == RECORD
        echod.stop()
    checked = run(*SERVE, "--check-reload", "--config", str(file), cwd=tmp_path, **variables)
    assert (checked.stdout, checked.stderr, checked.returncode) == ("", f"echod serve: {why}\n", 2)
    assert run(*SERVE, "--check", "--config", str(file), cwd=tmp_path, **variables).returncode == 0
