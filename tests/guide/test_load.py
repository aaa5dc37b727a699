"""docs/load.md, executed."""

import re

from tests.guide.conftest import HERE
from tests.guide.document import Document
from tests.guide.expected import differs
from tests.guide.terminal import Terminal
from tests.systemd.lab import Lab, needs_lab

MACHINE = [
    (r"from \d+ process(?:es)?", r"from \d+ process(es)?"),
    (r"^(?:generator: |The generator fell behind).*$", r"(generator: |The generator fell behind).*"),
]
"""What depends on the machine: the number of its cores, and whether it is fast enough."""

PERCENTILES = [(r'(?:response|service)": \d+', r'(response|service)": \d+')]
RATE = [
    (r"\d+ sent, \d+ echoed", r"\d+ sent, \d+ echoed"),
    (r"up to \d+ records/s", r"up to \d+ records/s"),
]

SEARCH_STEPS = re.compile(r"(?:^\d+ records/s: p99<20ms: .+: (?:holds|failed.*)\n)+", re.MULTILINE)

LATENESS = re.compile(r"^(?:generator: |The generator fell behind).*\n", re.MULTILINE)
"""A search ends without this line if the machine is fast enough for its last step."""


@needs_lab
def test_load(machine: Lab) -> None:
    page = Document("docs/load.md")
    with Terminal(machine, HERE, **machine.variables) as terminal:
        # Response time and service time
        terminal.show(page.take("console"), [*MACHINE, *PERCENTILES])
        # Search
        block = page.take("console")
        (search,) = block.steps
        _, output = terminal.call(search.command)
        shown, actual = (LATENESS.sub("", SEARCH_STEPS.sub("the steps\n", text)) for text in (search.output, output))
        assert not (problem := differs(shown, actual, [*MACHINE, *RATE])), f"{block.place}: {problem}"
        # Files
        terminal.run(page.take("console"))
        page.finish()
    for name in ("stall.html", "both.html"):
        assert (machine.root / f"{HERE}/{name}".removeprefix("/")).read_text().startswith("<!DOCTYPE html>")
