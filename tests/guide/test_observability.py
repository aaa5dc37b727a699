"""docs/observability.md, executed."""

from tests.guide.conftest import HERE
from tests.guide.document import Document
from tests.guide.terminal import Terminal
from tests.systemd.lab import Lab, needs_lab

COLLECTOR = "/var/lib/prometheus/node-exporter"


@needs_lab
def test_observability(machine: Lab) -> None:
    page = Document("docs/observability.md")
    with (
        Terminal(machine, HERE, **machine.variables) as daemon,
        Terminal(machine, HERE, **machine.variables) as other,
        Terminal(machine, HERE, **machine.variables) as terminal,
    ):
        # The admin server, and health and readiness
        daemon.start(page.take("sh").text, ready="listening on [::]:3005")
        terminal.run(page.take("console"))
        # Several processes
        daemon.stop()
        command = page.take("sh").text
        for each in (daemon, other):
            each.start(command, ready="listening on [::]:3005")
        terminal.run(page.take("console"))
        # Prometheus, Grafana, alerts
        terminal.call("rm -rf /etc/prometheus")  # of the host's own Prometheus
        terminal.run(page.take("sh"))
        terminal.run(page.take("yaml"))
        status, output = terminal.call("promtool check config /etc/prometheus/prometheus.yml")
        assert status == 0, output
        # A probe's result as a file
        terminal.call(f"mkdir -p {COLLECTOR}")  # node_exporter's package makes it
        terminal.run(page.take("sh"))
        status, output = terminal.call(f"promtool check metrics <{COLLECTOR}/echod.prom")
        assert (status, output) == (0, "")
        page.finish()
