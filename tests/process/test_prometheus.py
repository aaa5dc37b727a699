"""The metrics, the dashboard and the alert rules, with a real Prometheus."""

import json
import re
import shutil
import signal
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import Authority
from tests.support.load import Load, plain
from tests.support.processes import ECHOD, TWISTD, daemon, run, until
from tests.support.sockets import PATIENCE, exchange, free_port

ROOT = Path(__file__).parents[2]
RULES = ROOT / "etc" / "prometheus-alerts.yml"
DASHBOARD = ROOT / "etc" / "grafana-dashboard.json"
PAGE = ROOT / "docs" / "observability.md"

PROMTOOL = shutil.which("promtool")
PROMETHEUS = shutil.which("prometheus")

pytestmark = pytest.mark.skipif(
    not (PROMTOOL and PROMETHEUS), reason="needs promtool and prometheus (Debian: prometheus)"
)

CONFIGURATION = """\
global: {{scrape_interval: 250ms, evaluation_interval: 250ms}}
rule_files: [{rules}]
scrape_configs:
  - job_name: echod
    static_configs: [{{targets: ["127.0.0.1:{admin}", "[::1]:{admin}"]}}]
"""


class Prometheus:
    def __init__(self, port: int) -> None:
        self._port = port

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=PATIENCE) as answer:
            text = answer.read()
        return json.loads(text)["data"] if path.startswith("/api") else text

    def query(self, expression: str) -> list[float]:
        """Return the values of an instant query."""
        result = self.get("/api/v1/query?" + urllib.parse.urlencode({"query": expression}))
        return [float(each["value"][1]) for each in result["result"]]

    def ready(self) -> bool:
        try:
            return bool(self.get("/-/ready"))
        except urllib.error.URLError:
            return False


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Prometheus, int, int]]:
    """A Prometheus that scrapes an echod with some traffic; the echod's port and admin port."""
    directory = tmp_path_factory.mktemp("prometheus")
    port, tls_port, admin, own = (free_port() for _ in range(4))
    authority = Authority(directory)
    pair = authority.issue("localhost")
    tls = ("--tls-port", str(tls_port), "--tls-certificate", str(pair.certificate), "--tls-key", str(pair.key))
    configuration = directory / "prometheus.yml"
    configuration.write_text(CONFIGURATION.format(rules=RULES, admin=admin))
    assert PROMETHEUS is not None
    with daemon(*TWISTD, "--port", str(port), "--admin", str(admin), *tls, cwd=directory):
        process = subprocess.Popen(
            (
                *(PROMETHEUS, f"--config.file={configuration}", f"--storage.tsdb.path={directory / 'data'}"),
                *(f"--web.listen-address=127.0.0.1:{own}", "--log.level=error"),
            ),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            prometheus = Prometheus(own)
            until(prometheus.ready)
            until(lambda: prometheus.query("echod_ready") == [1.0, 1.0])
            with Load(plain(port), clients=2, pause=0.01) as load:
                pinged = run(
                    *(*ECHOD, "ping", "-c", "2", "-i", "0", "--tls", "--tls-ca", str(authority.certificate)),
                    *("localhost", str(tls_port)),
                    cwd=directory,
                )
                assert pinged.returncode == 0, pinged.stdout + pinged.stderr
                exchange(tls_port, b"GET / HTTP/1.1\r\n\r\n")
                load.wait_for_more(100)
                until(lambda: min(prometheus.query("rate(echod_records_echoed_total[1m])"), default=0) > 0)
                until(lambda: sum(prometheus.query("rate(echod_tls_handshakes_total[1m])")) > 0)
            yield prometheus, port, admin
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)


def scraped(admin: int, accept: str = "text/plain") -> str:
    request = urllib.request.Request(f"http://127.0.0.1:{admin}/metrics", headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        text: str = answer.read().decode()
    return text


def test_promtool_accepts_the_metrics(scene: tuple[Prometheus, int, int]) -> None:
    assert PROMTOOL is not None
    checked = subprocess.run(
        (PROMTOOL, "check", "metrics"), input=scraped(scene[2]), capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_scraped_as_openmetrics(scene: tuple[Prometheus, int, int]) -> None:
    prometheus, _, admin = scene
    targets = prometheus.get("/api/v1/targets")["activeTargets"]
    assert [(each["health"], each["lastError"]) for each in targets] == [("up", "")] * 2
    assert scraped(admin, "application/openmetrics-text;version=1.0.0").endswith("# EOF\n")


def test_counted_values(scene: tuple[Prometheus, int, int]) -> None:
    prometheus, _, _ = scene
    until(lambda: prometheus.query('echod_tls_handshakes_total{version="TLSv1.3",instance=~"127.*"}') == [2.0])
    until(lambda: prometheus.query('echod_tls_handshake_failures_total{kind="not-tls",instance=~"127.*"}') == [1.0])
    until(lambda: prometheus.query('echod_connections_active{instance=~"127.*"}') == [0.0])
    equal = "echod_records_echoed_total == on (instance) echod_record_wait_seconds_count"
    assert len(prometheus.query(equal)) == 2
    (left,) = prometheus.query('echod_tls_certificate_not_after_timestamp_seconds{instance=~"127.*"} - time()')
    assert 80_000 < left <= 86_400


def test_every_dashboard_query_has_a_result(scene: tuple[Prometheus, int, int]) -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(queries) > 20
    for written in queries:
        query = written.replace("$job", "echod").replace("$instance", ".+").replace("$__rate_interval", "1m")
        assert "$" not in query
        assert scene[0].query(query), query


def test_rules_are_loaded_and_healthy(scene: tuple[Prometheus, int, int]) -> None:
    prometheus = scene[0]

    def rules() -> list[Any]:
        return [rule for group in prometheus.get("/api/v1/rules")["groups"] for rule in group["rules"]]

    until(lambda: all(rule["health"] == "ok" for rule in rules()))
    assert {rule["name"] for rule in rules()} == set(re.findall(r"alert: (\w+)", RULES.read_text()))
    # Every metric in a rule is one that echod exports.
    for name in set(re.findall(r"\bechod_\w+", RULES.read_text())):
        assert prometheus.query(name), name


def test_alert_rules_with_promtool() -> None:
    assert PROMTOOL is not None
    tests = ROOT / "tests" / "prometheus" / "alerts_test.yml"
    checked = subprocess.run((PROMTOOL, "test", "rules", str(tests)), capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    tested = set(re.findall(r"alertname: (\w+)", tests.read_text()))
    assert tested == set(re.findall(r"alert: (\w+)", RULES.read_text()))


def test_documentation_lists_exactly_the_exported_metrics(scene: tuple[Prometheus, int, int]) -> None:
    exposed = set(re.findall(r"^# TYPE (\w+) ", scraped(scene[2]), re.MULTILINE))
    table = set(re.findall(r"^\| `((?:echod|process)_\w+)` \|", PAGE.read_text(), re.MULTILINE))
    ping = {name for name in table if name.startswith("echod_ping_")}
    assert table - ping == exposed
