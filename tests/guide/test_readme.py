"""README.md, executed in a checkout, on a machine that has never seen echod."""

from tests.guide.conftest import HERE, HOST
from tests.guide.document import Document
from tests.guide.terminal import Terminal
from tests.systemd.lab import Lab, needs_lab

PROGRAM = """\
import os
from twisted.internet.defer import Deferred
from twisted.internet.task import react

async def main(reactor):
{lines}

react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
"""
"""A program around the lines of the document, which use `reactor` and `await`."""


@needs_lab
def test_readme(new_machine: Lab) -> None:
    page = Document("README.md")
    variables = new_machine.variables
    with (
        Terminal(new_machine, HERE, **variables, PIP_NO_COMPILE="1") as first,  # saves some seconds
        Terminal(new_machine, HERE, **variables) as terminal,
        Terminal(new_machine, HERE, **variables) as third,
    ):
        first.start(page.take("sh").text, ready="listening on [::]:3005")
        # A tour of 60 seconds
        for _ in range(5):
            terminal.run(page.take("console"))
        third.call(". .venv/bin/activate")
        third.start(page.take("sh").text, ready="listening on [::]:3007")
        terminal.run(page.take("console"))
        third.stop()
        # Running the daemon: two commands, each in the foreground
        beside, alone = page.take("sh").text.splitlines()
        third.start(beside, ready="listening on [::]:3008")
        third.stop()
        first.stop()
        third.start(alone, ready="listening on [::]:3005")
        # Running the probe
        lines = "".join(f"    {line}\n" for line in page.take("python").text.splitlines())
        new_machine.write(f"{HERE}/program.py", PROGRAM.format(lines=lines))
        status, output = terminal.call("python -W error program.py")
        assert (status, output[:12]) == (0, "Outcome.ECHO"), output
        assert f"host='{HOST}'" not in output  # the result has the address, not the name
        # Generating load
        terminal.run(page.take("console"))
        assert (new_machine.root / f"{HERE}/run.html".removeprefix("/")).read_text().startswith("<!DOCTYPE html>")
        # Further
        page.leave("sh", reason="it runs all tests; tests/process/test_package.py compares it with .ci/run")
        page.finish()
