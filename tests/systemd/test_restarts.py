"""Restarts under load, in each way that the guide describes: no record fails, and none is echoed twice."""

import os
import re
import ssl
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.load import Connect, Load, receive_to_end
from tests.support.processes import until
from tests.systemd.lab import Lab, needs_lab

ETC = Path(__file__).parents[2] / "etc"
RESTARTS = int(os.environ.get("ECHOD_TEST_RESTARTS", "30"))
CLIENTS = 3
"""Clients of each kind."""

PORT, TLS_PORT, ADMIN_PORT = 3005, 3006, 9305
FRONT_PORT, FRONT_TLS_PORT = 3015, 3016

DROP_IN = """\
[Unit]
# The unit's own limit is for a daemon that cannot start; these restarts are as many.
StartLimitIntervalSec=0
[Service]
LogsDirectory=echod
SupplementaryGroups=daemon
"""

OPTIONS = """\
tls-certificate = "/etc/echod/tls.pem"
tls-key = "/etc/echod/tls.key"
access-log = "/var/log/echod/access.log"
keep-alive = {keep_alive}
"""

ROLLING_UNIT = """\
[Service]
Type=notify
NotifyAccess=main
ExecStart=/opt/echod/bin/echod serve --config /etc/echod/rolling.toml
KillMode=mixed
RuntimeDirectory=echod
RuntimeDirectoryPreserve=yes
LogsDirectory=echod
"""

ROLLING_OPTIONS = """\
reuse-port = true
tls-port = 3006
tls-certificate = "/etc/echod/tls.pem"
tls-key = "/etc/echod/tls.key"
access-log = "/var/log/echod/access.log"
admin = 9305
admin-directory = "/run/echod"
backlog = 511
keep-alive = {keep_alive}
"""

HAPROXY = """\
global
  maxconn 500
defaults
  mode tcp
  timeout connect 5s
  timeout client 30s
  timeout server 30s
  timeout check 5s
listen plain
  bind ::1:{front}
  server echod ::1:{port} check inter 100
listen tls
  bind ::1:{front_tls}
  server echod ::1:{tls_port} check inter 100
"""

both_modes = pytest.mark.parametrize("keep_alive", [False, True], ids=["one-record", "keep-alive"])


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """A machine with the units and a certificate; the daemon writes its access log to a file."""
    with Lab(tmp_path) as machine:
        for unit in (*ETC.glob("*.service"), *ETC.glob("*.socket")):
            machine.write(f"/etc/systemd/system/{unit.name}", unit.read_text())
        machine.write("/etc/echod/echod.tac", (ETC / "echod.tac").read_text())
        for service in ("echod.service", "echod@.service"):
            machine.drop_in(service, DROP_IN)
        yield machine


@needs_lab
@both_modes
def test_restarts_behind_inherited_sockets(lab: Lab, tmp_path: Path, keep_alive: bool) -> None:
    context = configure(lab, tmp_path, keep_alive=keep_alive)
    lab.systemctl("start", "echod.socket", "echod-tls.socket", "echod.service")
    with load_on(lab, PORT, TLS_PORT, context, keep_alive=keep_alive) as loads:
        for _ in range(RESTARTS):
            lab.systemctl("restart", "echod.service")
            for load in loads:
                load.wait_for_more(CLIENTS)
    lab.systemctl("stop", "echod.socket", "echod-tls.socket", "echod.service")
    assert_no_loss(lab, loads)


@needs_lab
@both_modes
def test_restarts_of_instances_behind_a_balancer(lab: Lab, tmp_path: Path, keep_alive: bool) -> None:
    instances = [f"echod@{number}.service" for number in (1, 2)]
    sockets = [f"{kind}@{number}.socket" for kind in ("echod", "echod-tls") for number in (1, 2)]
    context = configure(lab, tmp_path, keep_alive=keep_alive)
    lab.systemctl("start", *sockets, *instances)
    with haproxy(lab), load_on(lab, FRONT_PORT, FRONT_TLS_PORT, context, keep_alive=keep_alive) as loads:
        for number in range(RESTARTS):
            lab.systemctl("restart", instances[number % len(instances)])
            for load in loads:
                load.wait_for_more(CLIENTS)
    lab.systemctl("stop", *sockets, *instances)
    assert_no_loss(lab, loads)


@needs_lab
@both_modes
def test_processes_that_replace_each_other(lab: Lab, tmp_path: Path, keep_alive: bool) -> None:
    context = configure(lab, tmp_path, keep_alive=keep_alive)
    lab.write("/etc/systemd/system/rolling@.service", ROLLING_UNIT)
    lab.write("/etc/echod/rolling.toml", ROLLING_OPTIONS.format(keep_alive=str(keep_alive).lower()))
    lab.systemctl("daemon-reload")
    lab.systemctl("start", "rolling@0.service")
    with load_on(lab, PORT, TLS_PORT, context, keep_alive=keep_alive) as loads:
        for number in range(RESTARTS):
            lab.systemctl("start", f"rolling@{number + 1}.service")
            lab.systemctl("stop", f"rolling@{number}.service")
            for load in loads:
                load.wait_for_more(CLIENTS)
    metrics = scrape(lab)
    lab.systemctl("stop", f"rolling@{RESTARTS}.service")
    echoed = sum(load.tally.echoed for load in loads)
    assert f"\nechod_records_echoed_total {echoed:.1f}\n" in metrics
    assert '\nechod_connections_closed_total{reason="reset"} 0.0\n' in metrics
    assert f"\nechod_processes_started_total {RESTARTS + 1:.1f}\n" in metrics
    assert_no_loss(lab, loads)


def configure(lab: Lab, directory: Path, *, keep_alive: bool) -> ssl.SSLContext:
    """Write certificate and configuration; return a client's context that trusts the certificate."""
    authority = Authority(directory)
    pair = authority.issue("echo.test")
    lab.write("/etc/echod/tls.pem", pair.certificate.read_text())
    lab.write("/etc/echod/tls.key", pair.key.read_text(), 0o640)
    assert lab.run("chgrp", "daemon", "/etc/echod/tls.key").returncode == 0
    lab.write("/etc/echod/echod.toml", OPTIONS.format(keep_alive=str(keep_alive).lower()))
    lab.systemctl("daemon-reload")
    return ssl.create_default_context(cafile=str(authority.certificate))


@contextmanager
def load_on(lab: Lab, port: int, tls_port: int, context: ssl.SSLContext, *, keep_alive: bool) -> Iterator[list[Load]]:
    """Run clients without and with TLS."""

    def over_tls() -> ssl.SSLSocket:
        wire = lab.connect(tls_port)
        try:
            return context.wrap_socket(wire, server_hostname="echo.test")
        except BaseException:
            wire.close()
            raise

    connects: Sequence[Connect] = (lambda: lab.connect(port), over_tls)
    loads = [Load(connect, clients=CLIENTS, keep_alive=keep_alive, pause=0.002) for connect in connects]
    with ExitStack() as stack:
        for load in loads:
            stack.enter_context(load)
        yield loads


@contextmanager
def haproxy(lab: Lab) -> Iterator[None]:
    """Run HAProxy in the machine, which checks the daemon every 100 ms."""
    text = HAPROXY.format(front=FRONT_PORT, front_tls=FRONT_TLS_PORT, port=PORT, tls_port=TLS_PORT)
    lab.write("/etc/echod/haproxy.cfg", text)
    # HAProxy needs a directory to start in; the machine's root, as nsenter sees it, has no name in the machine.
    balancer = subprocess.Popen(lab.inside("sh", "-c", "cd /etc/echod && exec haproxy -db -f haproxy.cfg"))
    try:
        until(lambda: listens(lab, FRONT_PORT) and listens(lab, FRONT_TLS_PORT))
        yield
    finally:
        balancer.terminate()
        balancer.wait()


def listens(lab: Lab, port: int) -> bool:
    try:
        lab.connect(port).close()
    except ConnectionRefusedError:
        return False
    return True


def scrape(lab: Lab) -> str:
    """Return the metrics of all processes, past and present."""
    with lab.connect(ADMIN_PORT) as client:
        client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        return receive_to_end(client).decode()


def assert_no_loss(lab: Lab, loads: Sequence[Load]) -> None:
    """Compare the clients' counts with the server's access log, which has every connection of every process."""
    assert [load.tally.failures for load in loads] == [{}, {}]
    lines = (lab.root / "var/log/echod/access.log").read_text().splitlines()
    reasons = Counter(line.split()[3] for line in lines)
    assert reasons.keys() == {"echoed"}, reasons
    echoed = sum(int(number) for line in lines for number in re.findall(r"records=(\d+)", line))
    assert echoed == sum(load.tally.echoed for load in loads)
