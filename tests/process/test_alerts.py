"""Every alert fires for a real daemon in the state that it is for, and none for a healthy one, with a real Prometheus.

The rules are those of etc/prometheus-alerts.yml with shorter durations: the states would last for up to an hour.
"""

import contextlib
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.process.test_prometheus import PROMETHEUS, PROMTOOL, RULES, Prometheus
from tests.process.test_several_processes import shut_down
from tests.support.certificates import Authority
from tests.support.load import Load, plain
from tests.support.processes import ECHOD, Daemon, daemon, until
from tests.support.sockets import PATIENCE, RECORD, connected, exchange, free_port

pytestmark = [
    pytest.mark.skipif(
        not (PROMTOOL and PROMETHEUS and shutil.which("prlimit")),
        reason="needs promtool, prometheus and prlimit (Debian: prometheus, util-linux)",
    ),
    pytest.mark.alone,  # fifteen daemons, and reactor lag that is to be that of one
]

WINDOW = "15s"
"""In place of each range of the rules."""

CONFIGURATION = """\
global: {{scrape_interval: 250ms, evaluation_interval: 250ms}}
rule_files: [{rules}]
scrape_configs:
  - job_name: echod
    static_configs: [{{targets: [{targets}]}}]
"""

FAULTY = """\
import sys
from echod.main import main
from echod.server.protocol import EchoProtocol

def dataReceived(self, data):
    raise ZeroDivisionError

EchoProtocol.dataReceived = dataReceived
sys.exit(main(sys.argv[1:]))
"""
"""A daemon with a bug."""


PATIENT = ("--timeout", "300")
"""For connections that stay open and send nothing."""


class Scene:
    """The daemons, each by the name of the alert that it causes, and the actions that keep it in its state."""

    def __init__(self, directory: Path, stack: contextlib.ExitStack) -> None:
        self.directory = directory
        self.stack = stack
        self.admin: dict[str, int] = {}
        self.actions: list[Callable[[], None]] = []

    def start(self, name: str, *options: str, command: tuple[str, ...] = ECHOD) -> tuple[Daemon, int]:
        """Start a daemon; return it and its port."""
        port, self.admin[name] = free_port(), free_port()
        words = (*command, "serve", "--port", str(port), "--admin", str(self.admin[name]), *options)
        return self.stack.enter_context(daemon(*words, cwd=self.directory)), port

    def repeat(self, action: Callable[[], None], pause: float) -> None:
        """Call `action` again and again until the end of the test."""
        ending = threading.Event()

        def loop() -> None:
            while not ending.wait(pause):
                action()

        thread = threading.Thread(target=loop)
        thread.start()
        self.stack.callback(thread.join)
        self.stack.callback(ending.set)


def rewritten(rules: Path, directory: Path) -> Path:
    """Write the rules with short durations."""
    text = re.sub(r"^(\s+for:) .*", r"\1 1s", rules.read_text(), flags=re.MULTILINE)
    text = re.sub(r"\[\d+m\]", f"[{WINDOW}]", text)
    short = directory / "rules.yml"
    short.write_text(text)
    return short


def not_ready(scene: Scene) -> None:
    echod, port = scene.start("EchodNotReady")
    shut_down(echod, port)


def restarts(scene: Scene) -> None:
    port, admin = free_port(), free_port()
    scene.admin["EchodRestarts"] = admin
    command = (*ECHOD, "serve", "--port", str(port), "--admin", str(admin))
    running = [scene.stack.enter_context(daemon(*command, cwd=scene.directory))]

    def restart() -> None:
        running.pop().stop(signal.SIGKILL)
        running.append(scene.stack.enter_context(daemon(*command, cwd=scene.directory)))

    scene.repeat(restart, 1.0)


def reload_failed(scene: Scene) -> None:
    file = scene.directory / "echod.toml"
    file.write_text("")
    echod, _ = scene.start("EchodReloadFailed", "--config", str(file))
    file.write_text("no-such-option = 1\n")
    echod.process.send_signal(signal.SIGHUP)


def log_lines_dropped(scene: Scene) -> None:
    _, port = scene.start("EchodLogLinesDropped", "--access-log", "/dev/full")
    scene.stack.enter_context(Load(plain(port), clients=2))  # 10,000 lines are kept before one is dropped


def connection_limit(scene: Scene) -> None:
    _, port = scene.start("EchodNearConnectionLimit", "--max-connections", "4", *PATIENT)
    for _ in range(4):
        scene.stack.enter_context(connected(port))


def refusing(scene: Scene) -> None:
    _, port = scene.start("EchodRefusing", "--max-connections", "1", *PATIENT)
    scene.stack.enter_context(connected(port))

    def connect() -> None:
        with connected(port) as refused, contextlib.suppress(ConnectionResetError):
            refused.recv(1)

    scene.repeat(connect, 0.2)


def listen_overflows(scene: Scene) -> None:
    echod, port = scene.start("EchodListenOverflows", "--backlog", "1")

    def overflow() -> None:
        echod.process.send_signal(signal.SIGSTOP)
        clients = [socket.socket(socket.AF_INET6) for _ in range(8)]
        for client in clients:
            client.setblocking(False)
            client.connect_ex(("::1", port))
        time.sleep(0.05)
        echod.process.send_signal(signal.SIGCONT)
        for client in clients:
            client.close()

    scene.repeat(overflow, 0.5)


def queue_full(scene: Scene) -> None:
    """No descriptor is left for further connections; that of Prometheus is open already."""
    echod, port = scene.start("EchodListenerQueueFull", "--backlog", "2")

    def exhaust() -> None:
        used = max(int(path.name) for path in Path(f"/proc/{echod.pid}/fd").iterdir()) + 1
        resource.prlimit(echod.pid, resource.RLIMIT_NOFILE, (used - 8, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        for _ in range(8):
            client = scene.stack.enter_context(socket.socket(socket.AF_INET6))
            client.setblocking(False)
            client.connect_ex(("::1", port))

    scene.actions.append(exhaust)


def reactor_lag(scene: Scene) -> None:
    echod, _ = scene.start("EchodReactorLag")

    def stop_for_a_moment() -> None:
        echod.process.send_signal(signal.SIGSTOP)
        time.sleep(0.7)
        echod.process.send_signal(signal.SIGCONT)

    scene.repeat(stop_for_a_moment, 0.1)


def certificate(name: str, ends: timedelta) -> Callable[[Scene], None]:
    def start(scene: Scene) -> None:
        pair = Authority(scene.directory, name).issue("localhost", ends=ends)
        tls = ("--tls-certificate", str(pair.certificate), "--tls-key", str(pair.key))
        scene.start(name, "--tls-port", str(free_port()), *tls)

    return start


def tls_failures(scene: Scene) -> None:
    port = free_port()
    pair = Authority(scene.directory, "failures").issue("localhost", ends=timedelta(days=90))
    tls = ("--tls-certificate", str(pair.certificate), "--tls-key", str(pair.key))
    scene.start("EchodTLSFailures", "--tls-port", str(port), *tls)
    scene.repeat(lambda: check(exchange(port, b"GET / HTTP/1.1\r\n\r\n") != RECORD), 0.2)


def bug(scene: Scene) -> None:
    script = scene.directory / "faulty.py"
    script.write_text(FAULTY)
    _, port = scene.start("EchodError", command=(sys.executable, str(script)))

    def send() -> None:
        with contextlib.suppress(ConnectionResetError):
            exchange(port, RECORD)

    scene.repeat(send, 0.5)


def check(condition: bool) -> None:
    assert condition


STATES: tuple[Callable[[Scene], None], ...] = (
    not_ready,
    restarts,
    reload_failed,
    log_lines_dropped,
    connection_limit,
    refusing,
    listen_overflows,
    queue_full,
    reactor_lag,
    certificate("EchodCertificateExpires", timedelta(days=10)),
    certificate("EchodCertificateExpired", timedelta(minutes=-1)),
    tls_failures,
    bug,
)


@contextlib.contextmanager
def prometheus(directory: Path, targets: list[int]) -> Iterator[Prometheus]:
    own = free_port()
    configuration = directory / "prometheus.yml"
    configuration.write_text(
        CONFIGURATION.format(
            rules=rewritten(RULES, directory), targets=", ".join(f'"127.0.0.1:{port}"' for port in targets)
        )
    )
    assert PROMETHEUS is not None
    process = subprocess.Popen(
        (
            *(PROMETHEUS, f"--config.file={configuration}", f"--storage.tsdb.path={directory / 'data'}"),
            *(f"--web.listen-address=127.0.0.1:{own}", "--log.level=error"),
        ),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        running = Prometheus(own)
        until(running.ready)
        yield running
    finally:
        process.terminate()
        process.wait(PATIENCE)


def test_every_alert_fires_for_a_real_daemon_and_none_for_a_healthy_one(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        scene = Scene(tmp_path, stack)
        scene.admin["EchodDown"] = free_port()
        _, healthy = scene.start("healthy")
        for state in STATES:
            state(scene)
        scene.repeat(lambda: check(exchange(healthy, RECORD) == RECORD), 0.2)
        names = {f"127.0.0.1:{port}": name for name, port in scene.admin.items()}
        with prometheus(tmp_path, list(scene.admin.values())) as running:
            until(lambda: len(running.query("up == 1")) == len(scene.admin) - 1)
            for action in scene.actions:
                action()
            fired: dict[str, set[str]] = {name: set() for name in scene.admin}

            def all_fired() -> bool:
                for alert in running.get("/api/v1/alerts")["alerts"]:
                    if alert["state"] == "firing":
                        fired[names[alert["labels"]["instance"]]].add(alert["labels"]["alertname"])
                return all(name in fired[name] for name in scene.admin if name != "healthy")

            deadline = time.monotonic() + 60
            while not all_fired() and time.monotonic() < deadline:
                time.sleep(0.25)
        assert {name: name in alerts for name, alerts in fired.items()} == {
            name: name != "healthy" for name in names.values()
        }
        # The counter of overflows is that of the whole host.
        assert fired["healthy"] - {"EchodListenOverflows"} == set()
    assert set(fired) - {"healthy"} == set(re.findall(r"alert: (\w+)", RULES.read_text()))
