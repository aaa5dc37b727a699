"""docs/ping.md, executed."""

from tests.guide.conftest import HERE
from tests.guide.document import Document
from tests.guide.terminal import Terminal
from tests.systemd.lab import Lab, needs_lab

PERCENTILES = [(r"\[\d+,\d+\]", r"\[\d+,\d+\]")]


@needs_lab
def test_ping(machine: Lab) -> None:
    page = Document("docs/ping.md")
    with (
        Terminal(machine, HERE, **machine.variables) as daemon,
        Terminal(machine, HERE, **machine.variables) as terminal,
    ):
        daemon.start("echod serve", ready="listening on [::]:3005")
        terminal.run(page.take("console"))  # Lines
        terminal.run(page.take("console"))  # Objects
        terminal.show(page.take("console"), PERCENTILES)
        terminal.run(page.take("console"))  # Assertions
        terminal.run(page.take("console"))  # Monitoring plugin
        page.finish()
