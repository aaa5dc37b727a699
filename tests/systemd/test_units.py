"""The systemd units under a real systemd."""

import json
import re
import shutil
import ssl
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from threading import Event

import pytest

from tests.support.certificates import Authority, Pair
from tests.support.load import Load, receive_record, receive_to_end
from tests.support.processes import until
from tests.support.sockets import PATIENCE, RECORD
from tests.systemd.lab import Lab, needs_lab

ETC = Path(__file__).parents[2] / "etc"
UNITS = sorted(path.name for path in ETC.iterdir() if path.suffix in {".service", ".socket"})
RESTARTS = 20
TLS_PORT = 3006

TLS_OPTIONS = """\
keep-alive = true
tls-certificate = "/etc/echod/tls.pem"
"""

needs_analyze = pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="needs systemd-analyze (Debian: systemd)"
)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """A machine with the units, the .tac file and the example configuration, listening on the inherited socket."""
    with Lab(tmp_path) as machine:
        for unit in UNITS:
            machine.write(f"/etc/systemd/system/{unit}", (ETC / unit).read_text())
        machine.write("/etc/echod/echod.tac", (ETC / "echod.tac").read_text())
        machine.write("/etc/echod/echod.toml", configuration())
        machine.systemctl("daemon-reload")
        yield machine


def configuration(options: str = "") -> str:
    """Return the example configuration with `options`."""
    return (ETC / "echod.toml").read_text() + options


def exchange(lab: Lab, host: str = "::1") -> bytes:
    with lab.connect(3005, host) as client:
        client.sendall(RECORD)
        return receive_to_end(client)


def main_pid(lab: Lab, unit: str = "echod.service") -> int:
    return int(lab.show(unit, "MainPID"))


@needs_analyze
@pytest.mark.parametrize("unit", [unit.replace("@", "@1") for unit in UNITS])
def test_systemd_verifies_the_units(tmp_path: Path, unit: str) -> None:
    units = tmp_path / "etc" / "systemd" / "system"
    units.mkdir(parents=True)
    for ours in UNITS:
        shutil.copy(ETC / ours, units)
    for target in ("sysinit", "basic", "shutdown", "sockets", "multi-user"):
        (units / f"{target}.target").write_text("[Unit]\n")
    for command in ("opt/echod/bin/twistd", "opt/echod/bin/echod", "bin/kill"):
        (tmp_path / command).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / command).write_text("#!/bin/sh\n")
        (tmp_path / command).chmod(0o755)
    verified = analyze(f"--root={tmp_path}", "verify", "--man=no", "--recursive-errors=yes", unit)
    assert (verified.returncode, verified.stdout) == (0, "")


@needs_analyze
@pytest.mark.parametrize("unit", ["echod.service", "echod@.service"])
def test_exposure_is_at_most_0_3(unit: str) -> None:
    rated = analyze("security", "--no-pager", "--offline=true", "--threshold=3", str(ETC / unit))
    assert rated.returncode == 0, rated.stdout


def test_both_services_have_the_same_settings() -> None:
    one, many = (
        re.findall(r"^[A-Z].*", (ETC / unit).read_text().split("\n[Service]\n")[1], re.MULTILINE)
        for unit in ("echod.service", "echod@.service")
    )
    assert one[:-1] == many[:-1]  # the last one is Also=, which names the socket


@needs_lab
def test_admin_socket_from_systemd(lab: Lab) -> None:
    lab.systemctl("start", "echod.socket", "echod-admin.socket", "echod.service")
    assert exchange(lab) == RECORD

    def get(path: str) -> bytes:
        with lab.connect(9305, "127.0.0.1") as client:
            client.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            return receive_to_end(client)

    assert get("/readyz").endswith(b"\r\n\r\nready\n")
    metrics = get("/metrics")
    assert b"\nechod_records_echoed_total 1.0\n" in metrics
    for name in (
        *(b"process_cpu_seconds_total", b"process_start_time_seconds", b"process_resident_memory_bytes"),
        *(b"process_virtual_memory_bytes", b"process_open_fds", b"process_max_fds"),
        *(b'echod_listener_queue_length{listener="', b'echod_listener_queue_limit{listener="'),
    ):
        assert b"\n" + name in metrics
    # The service could read only the counter of its private network namespace, in which no listener is.
    assert b"echod_host_listen_overflows_total" not in metrics
    with lab.connect(9305, "127.0.0.1"):  # and an open connection does not hold up the end
        lab.systemctl("stop", "echod.service")
    assert lab.show("echod.service", "Result") == "success"


@needs_lab
def test_start_returns_when_clients_are_served(lab: Lab) -> None:
    # Its configuration is a pipe: the daemon cannot be ready before the pipe is written.
    lab.write("/etc/echod/pipe", "")
    assert lab.run("sh", "-c", "cd /etc/echod; rm pipe; mkfifo -m 644 pipe").returncode == 0
    lab.drop_in("echod.service", "[Service]\nEnvironment=ECHOD_CONFIG=/etc/echod/pipe\n")
    lab.systemctl("start", "echod.socket")
    with lab.connect(3005) as early:
        early.sendall(RECORD)
        starting = subprocess.Popen(lab.inside("systemctl", "start", "echod.service"))
        try:
            pipe = (lab.root / "etc/echod/pipe").open("w")  # waits until the daemon reads it
            assert lab.show("echod.service", "ActiveState") == "activating"
            assert starting.poll() is None
            with pipe:
                pipe.write(configuration())
            assert starting.wait(PATIENCE) == 0
        finally:
            starting.kill()
            starting.wait(PATIENCE)
        assert lab.show("echod.service", "ActiveState") == "active"
        assert receive_to_end(early) == RECORD  # connected before the daemon started
    for host in ("::1", "127.0.0.1"):
        assert exchange(lab, host) == RECORD
    assert lab.show("echod.service", "StatusText") == "listening on [::]:3005; 0 connection(s) open"
    lab.systemctl("stop", "echod.service")
    assert lab.show("echod.service", "Result") == "success"
    assert lab.show("echod.service", "NRestarts") == "0"


@needs_lab
def test_watchdog_restarts_a_process_that_hangs(lab: Lab) -> None:
    lab.drop_in("echod.service", "[Service]\nWatchdogSec=2s\n")
    lab.systemctl("start", "echod.socket", "echod.service")
    time.sleep(2.5)  # longer than the watchdog waits
    assert exchange(lab) == RECORD
    hanging = main_pid(lab)
    assert lab.show("echod.service", "NRestarts") == "0"
    lab.run("kill", "-STOP", str(hanging))
    assert exchange(lab) == RECORD
    assert lab.show("echod.service", "NRestarts") == "1"
    assert main_pid(lab) != hanging
    said = lab.journal("echod.service")
    assert "Watchdog timeout" in said
    assert "Fatal Python error: Aborted" in said  # with where it was


@needs_lab
def test_failing_start_logs_the_reason_and_keeps_the_port(lab: Lab) -> None:
    lab.write("/etc/echod/echod.toml", "prot = 3005\n")
    lab.systemctl("start", "echod.socket")
    with lab.connect(3005) as client:
        client.sendall(RECORD)
        until(lambda: int(lab.show("echod.service", "NRestarts")) > 0)
        assert lab.show("echod.socket", "ActiveState") == "active"
        said = lab.journal("echod.service")
        assert "echod: /etc/echod/echod.toml: unknown key 'prot'" in said
        assert "Traceback" not in said
        lab.write("/etc/echod/echod.toml", configuration())
        assert receive_to_end(client) == RECORD


@needs_lab
def test_a_daemon_that_cannot_start_leaves_no_client_waiting(lab: Lab) -> None:
    lab.write("/etc/echod/echod.toml", "prot = 3005\n")
    lab.drop_in("echod.service", "[Unit]\nStartLimitBurst=3\n")  # 30 starts would take a minute
    lab.systemctl("start", "echod.socket", "echod-admin.socket")
    with lab.connect(3005) as client:
        client.sendall(RECORD)
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    for unit in ("echod.service", "echod.socket", "echod-admin.socket"):
        until(lambda unit=unit: lab.show(unit, "ActiveState") == "failed")  # type: ignore[misc]  # mypy infers no default
    with pytest.raises(ConnectionRefusedError):
        lab.connect(3005)
    lab.write("/etc/echod/echod.toml", configuration())
    lab.systemctl("reset-failed", "echod*")
    lab.systemctl("start", "echod.service")
    assert exchange(lab) == RECORD


@needs_lab
def test_options_of_a_listener_do_not_collide_with_the_socket(lab: Lab) -> None:
    lab.write("/etc/echod/echod.toml", configuration('port = 3009\ninterface = "::1"\nbacklog = 511\n'))
    lab.systemctl("start", "echod.service")
    assert exchange(lab) == RECORD
    assert "not used, because systemd passed a socket: port, interface" in lab.journal("echod.service")


@needs_lab
def test_a_socket_is_added_to_a_service_under_load(lab: Lab) -> None:
    lab.systemctl("enable", "--now", "echod.service")
    load = Load(lambda: lab.connect(3005), clients=8)
    with load:
        load.wait_for_more()
        lab.systemctl("enable", "echod-admin.socket")
        lab.systemctl("restart", "echod.service")
        load.wait_for_more(8)
        assert lab.show("echod-admin.socket", "ActiveState") == "active"
        with lab.connect(9305, "127.0.0.1"):
            pass
    assert load.tally.failures == {}
    assert_nothing_unusual(lab)


@needs_lab
def test_a_socket_beside_a_running_service_is_refused_without_harm(lab: Lab) -> None:
    lab.systemctl("enable", "--now", "echod.service")
    before = main_pid(lab)
    assert lab.run("systemctl", "enable", "--now", "echod-admin.socket").returncode == 1
    assert exchange(lab) == RECORD
    assert main_pid(lab) == before
    lab.systemctl("restart", "echod.service")
    with lab.connect(9305, "127.0.0.1"):
        pass


@needs_lab
def test_a_socket_that_no_listener_uses_is_in_the_log(lab: Lab) -> None:
    lab.write("/etc/echod/echod.toml", configuration('listen = ["unix:/tmp/echo.sock"]\n'))
    lab.systemctl("start", "echod.service")
    expected = "the socket echo from systemd belongs to no listener: its clients are not served"
    assert expected in lab.journal("echod.service")


@needs_lab
def test_no_client_fails_during_restarts_under_load(lab: Lab) -> None:
    lab.systemctl("start", "echod.socket", "echod.service")
    seen = {main_pid(lab)}
    load = Load(lambda: lab.connect(3005), clients=8)
    with load:
        load.wait_for_more()
        for _ in range(RESTARTS):
            lab.systemctl("restart", "echod.service")
            seen.add(main_pid(lab))
            load.wait_for_more(8)
    assert len(seen) == 1 + RESTARTS
    assert load.tally.failures == {}
    assert load.tally.slowest < 10
    assert_nothing_unusual(lab)


@needs_lab
def test_reload_uses_the_new_certificate_and_keeps_connections(lab: Lab, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    old, new = authority.issue("echo.test"), authority.issue("echo.test")
    with_tls(lab, old, 'tls-key = "/etc/echod/tls.key"\n')
    # The key belongs to root and a group; the service is in that group under any user name.
    lab.drop_in("echod.service", "[Service]\nSupplementaryGroups=daemon\n")
    lab.systemctl("start", "echod.socket", "echod-tls.socket", "echod.service")
    context = ssl.create_default_context(cafile=str(authority.certificate))
    first: list[bytes] = []
    served: list[bytes] = []
    ending = Event()

    def stay() -> ssl.SSLSocket:
        client = tls_connected(lab, context)
        first.append(certificate_of(client))
        return client

    def come_and_go() -> None:
        while not ending.is_set():
            with tls_connected(lab, context) as client:
                client.sendall(RECORD)
                assert receive_record(client) == RECORD
                served.append(certificate_of(client))

    def wait_for_more(what: bytes) -> None:
        enough = served.count(what) + 50
        until(lambda: served.count(what) >= enough or any(each.done() for each in comers))

    staying = Load(stay, clients=8, keep_alive=True, pause=0.005)
    with ThreadPoolExecutor(4) as pool:
        comers = [pool.submit(come_and_go) for _ in range(4)]
        try:
            with staying:
                until(lambda: len(first) == 8)
                wait_for_more(der(old))
                install(lab, new)
                lab.systemctl("reload", "echod.service")
                wait_for_more(der(new))
                install(lab, old, key=new)  # what does not fit changes nothing
                refused = lab.run("systemctl", "reload", "echod.service")
                assert refused.returncode == 1
                assert "is not the key of the certificate" in lab.journal("echod.service")
                wait_for_more(der(new))
                staying.wait_for_more()
        finally:
            ending.set()
        for each in comers:
            each.result(PATIENCE)
    # At most one client per thread was connecting during the change.
    assert served[served.index(der(new)) :].count(der(old)) <= len(comers)
    assert staying.tally.failures == {}
    assert first == [der(old)] * 8
    assert lab.show("echod.service", "NRestarts") == "0"
    assert_nothing_unusual(lab)


@needs_lab
def test_key_that_only_root_may_read(lab: Lab, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    old, new = authority.issue("echo.test"), authority.issue("echo.test")
    with_tls(lab, old, 'tls-key = "/run/credentials/echod.service/tls.key"\n')
    (lab.root / "etc/echod/tls.key").chmod(0o600)
    shown = re.findall(r"^#(LoadCredential=.*)", (ETC / "echod.service").read_text(), re.MULTILINE)
    lab.drop_in("echod.service", f"[Service]\n{shown[0]}\n")
    lab.systemctl("start", "echod.socket", "echod-tls.socket")
    context = ssl.create_default_context(cafile=str(authority.certificate))
    for pair in (old, new):
        install(lab, pair)
        lab.systemctl("restart", "echod.service")
        with tls_connected(lab, context) as client:
            assert certificate_of(client) == der(pair)
            client.sendall(RECORD)
            assert receive_record(client) == RECORD


@needs_lab
def test_reload_with_credentials_fails_and_advises_a_restart(lab: Lab, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    old, new = authority.issue("echo.test"), authority.issue("echo.test")
    key = "/run/credentials/echod.service/tls.key"
    with_tls(lab, old, f'tls-key = "{key}"\n')
    (lab.root / "etc/echod/tls.key").chmod(0o600)
    shown = re.findall(r"^#(LoadCredential=.*)", (ETC / "echod.service").read_text(), re.MULTILINE)
    lab.drop_in("echod.service", f"[Service]\n{shown[0]}\n")
    lab.systemctl("start", "echod.socket", "echod-tls.socket", "echod.service")
    install(lab, new)
    assert lab.run("systemctl", "reload", "echod.service").returncode == 1
    advice = "copied when the service started: a reload cannot renew it; restart the service"
    assert f"tls-key: {key} is a systemd credential, {advice}" in lab.journal("echod.service")
    context = ssl.create_default_context(cafile=str(authority.certificate))
    with tls_connected(lab, context) as client:
        assert certificate_of(client) == der(old)
    lab.systemctl("restart", "echod.service")
    with tls_connected(lab, context) as client:
        assert certificate_of(client) == der(new)


@needs_lab
def test_reload_of_a_bad_file_fails_and_of_a_good_one_is_applied(lab: Lab) -> None:
    lab.systemctl("start", "echod.socket", "echod.service")
    assert exchange(lab) == RECORD
    daemon = main_pid(lab)
    lab.write("/etc/echod/echod.toml", configuration("timeout = 0\n"))
    assert lab.run("systemctl", "reload", "echod.service").returncode == 1
    problem = "timeout: must be a finite number of seconds, more than 0, not 0"
    assert f"echod serve: /etc/echod/echod.toml: {problem}" in lab.journal("echod.service")
    assert "reload refused" not in lab.journal("echod.service")  # the daemon was not signalled
    assert exchange(lab) == RECORD
    lab.write("/etc/echod/echod.toml", configuration("record-size = 10\n"))
    lab.systemctl("reload", "echod.service")
    until(lambda: "reload: applied record-size\n" in lab.journal("echod.service"))
    assert exchange(lab) == RECORD[:10]
    assert main_pid(lab) == daemon
    assert lab.show("echod.service", "ActiveState") == "active"
    assert lab.show("echod.service", "StatusText") == "listening on [::]:3005; 0 connection(s) open"
    # A signal without the check before it: refused by the daemon, and in its status.
    lab.write("/etc/echod/echod.toml", configuration("timeout = 0\n"))
    lab.run("kill", "-HUP", str(daemon))
    refused = "; the last reload was refused"
    until(lambda: lab.show("echod.service", "StatusText").endswith(refused))
    assert lab.show("echod.service", "ActiveState") == "active"
    assert exchange(lab) == RECORD[:10]


@needs_lab
def test_rotation_of_the_log_signals_running_daemons_only(lab: Lab) -> None:
    (script,) = re.findall(r"^ +(systemctl .*)$", (ETC / "echod.logrotate").read_text(), re.MULTILINE)
    rotate = ("sh", "-c", script)

    def reopened() -> int:
        return lab.journal("echod*.service").count("loaded the access log again")

    lab.write("/etc/echod/echod.toml", configuration('access-log = "-"\n'))
    assert lab.run(*rotate).returncode == 0  # nothing has ever run
    lab.systemctl("start", "echod.service")
    assert lab.run(*rotate).returncode == 0
    until(lambda: reopened() == 1)
    lab.systemctl("stop", "echod.socket", "echod.service")
    assert lab.run(*rotate).returncode == 0
    lab.systemctl("start", "echod@1.service", "echod@2.service")
    assert lab.run(*rotate).returncode == 0
    until(lambda: reopened() == 3)
    lab.systemctl("stop", "echod@1.service", "echod@2.service", "echod@1.socket", "echod@2.socket")
    lab.write("/etc/echod/echod.toml", "prot = 3005\n")
    lab.drop_in("echod.service", "[Service]\nRestart=no\n")
    assert lab.run("systemctl", "start", "echod.service").returncode == 1
    assert lab.show("echod.service", "ActiveState") == "failed"
    assert lab.run(*rotate).returncode == 0


@needs_lab
def test_reload_by_pattern(lab: Lab) -> None:
    lab.systemctl("reload", "echod*.service")  # nothing runs: nothing to reload
    lab.systemctl("start", "echod@1.service", "echod@2.service")
    before = main_pid(lab, "echod@1.service")
    lab.systemctl("reload", "echod*.service")
    assert main_pid(lab, "echod@1.service") == before
    for unit in ("echod@1.service", "echod@2.service"):
        assert f"Reloaded {unit}" in lab.journal(unit)


@needs_lab
def test_several_processes_on_one_port(lab: Lab) -> None:
    lab.systemctl("enable", "--now", "echod@1.socket", "echod@2.socket")
    served = {1: False, 2: False}
    deadline = time.monotonic() + PATIENCE
    while not all(served.values()) and time.monotonic() < deadline:
        assert exchange(lab) == RECORD
        served = {n: lab.show(f"echod@{n}.service", "ActiveState") == "active" for n in served}
    assert all(served.values())
    # Each process gets its share: while one is stopped, some clients wait, and none fails.
    load = Load(lambda: lab.connect(3005), clients=8)
    with load:
        load.wait_for_more()
        lab.systemctl("restart", "echod@1.service")
        load.wait_for_more()
    assert load.tally.failures == {}
    assert main_pid(lab, "echod@1.service") != main_pid(lab, "echod@2.service")
    assert_nothing_unusual(lab)


@needs_lab
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_journal_has_each_line_in_time_with_its_priority(lab: Lab, log_format: str) -> None:
    lab.write("/etc/echod/echod.toml", configuration(f'access-log = "-"\nlog-format = "{log_format}"\n'))
    lab.systemctl("start", "echod.socket", "echod.service")
    assert exchange(lab) == RECORD
    time.sleep(1)
    assert "echoed" in lab.journal("echod.service")
    lab.systemctl("stop", "echod.service")
    entries = journal_entries(lab)
    access = [message for _, message in entries if "echoed" in message]
    logged = [message for _, message in entries if "echoed" not in message]
    if log_format == "text":
        (line,) = access
        assert re.fullmatch(r"\[::1\]:\d+ \S+ echoed records=1 received=250 sent=250 duration=[\d.]+", line)
        assert all(re.match(r"\[[\w.]+#info\] ", message) for message in logged)
        said = [message.split("#info] ")[1] for message in logged]
    else:
        assert [json.loads(message)["reason"] for message in access] == ["echoed"]
        said = [json.loads(message)["message"] for message in logged]
    assert said[0].startswith("twistd ")
    assert said[1:] == [
        "listening on [::]:3005",
        "Received SIGTERM, shutting down.",
        "Main loop terminated.",
        "Server Shut Down.",
    ]
    assert {priority for priority, _ in entries} == {6}


@needs_lab
def test_journal_has_the_priority_of_a_warning_and_of_a_failed_start(lab: Lab) -> None:
    lab.write("/etc/echod/echod.toml", configuration("max-connections = 100000\n"))
    lab.systemctl("start", "echod.socket", "echod.service")
    assert exchange(lab) == RECORD
    lab.write("/etc/echod/echod.toml", "nosuch = 1\n")
    lab.run("systemctl", "restart", "echod.service")
    entries = journal_entries(lab)
    (warning,) = [message for priority, message in entries if priority == 4]
    assert "max-connections: 100000 is more than the limit of open files" in warning
    (error, *_) = [message for priority, message in entries if priority == 3]
    assert error == "echod: /etc/echod/echod.toml: unknown key 'nosuch'"


def journal_entries(lab: Lab) -> list[tuple[int, str]]:
    """Return priority and text of what echod.service has logged."""
    lines = lab.run("journalctl", "--output=json", "_SYSTEMD_UNIT=echod.service").stdout.splitlines()
    return [(int(entry["PRIORITY"]), entry["MESSAGE"]) for entry in map(json.loads, lines)]


@needs_lab
def test_one_scrape_has_the_sum_of_all_instances(lab: Lab) -> None:
    instances = (1, 2, 3)
    sockets = [f"{name}@{n}.socket" for name in ("echod", "echod-admin") for n in instances]
    lab.systemctl("start", *sockets, *(f"echod@{n}.service" for n in instances))

    def scrape() -> dict[str, float]:
        with lab.connect(9305, "127.0.0.1") as client:
            client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            text = receive_to_end(client).decode()
        lines = (line.rpartition(" ") for line in text.partition("\r\n\r\n")[2].splitlines())
        return {name: float(value) for name, _, value in lines if not name.startswith("#")}

    until(lambda: scrape()["echod_processes_ready"] == 3)
    scrapes = []
    for round_ in range(1, 5):
        for _ in range(30):
            assert exchange(lab) == RECORD
        until(lambda round_=round_: scrape()["echod_records_echoed_total"] == 30 * round_)  # type: ignore[misc]  # mypy cannot tell a default's type
        scrapes.append(scrape())
        if round_ in instances:  # one is restarted, one is killed, and one stops until its socket starts it again
            lab.systemctl(*(("restart", "kill --signal=KILL", "stop")[round_ - 1]).split(), f"echod@{round_}.service")
            scrapes.append(scrape())
    counters = {name for name in scrapes[0] if name.partition("{")[0].endswith(("_total", "_count", "_sum", "_bucket"))}
    assert len(counters) > 50
    for before, after in pairwise(scrapes):
        assert {name for name in counters if after[name] < before[name]} == set()
    assert scrapes[-1]["echod_processes_started_total"] == 6
    assert "Traceback" not in lab.journal("echod@*.service")


def with_tls(lab: Lab, pair: Pair, key: str) -> None:
    lab.write("/etc/echod/echod.toml", configuration(TLS_OPTIONS + key))
    install(lab, pair)
    lab.systemctl("daemon-reload")


def install(lab: Lab, pair: Pair, key: Pair | None = None) -> None:
    lab.write("/etc/echod/tls.pem", pair.certificate.read_text())
    lab.write("/etc/echod/tls.key", (key or pair).key.read_text(), 0o640)
    assert lab.run("chgrp", "daemon", "/etc/echod/tls.key").returncode == 0


def tls_connected(lab: Lab, context: ssl.SSLContext) -> ssl.SSLSocket:
    wire = lab.connect(TLS_PORT)
    try:
        return context.wrap_socket(wire, server_hostname="echo.test")
    except BaseException:
        wire.close()
        raise


def certificate_of(client: ssl.SSLSocket) -> bytes:
    return client.getpeercert(binary_form=True) or b""


def der(pair: Pair) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pair.certificate.read_text())


def analyze(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ("systemd-analyze", *words),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def assert_nothing_unusual(lab: Lab) -> None:
    said = lab.journal("echod*.service")
    for word in ("Traceback", "Unhandled", "cutting", "Failed"):
        assert word not in said, said
