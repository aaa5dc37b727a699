"""A run of probes in another process. As a program, it prints each result as a line of JSON."""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.support.processes import run

Wrap = Callable[..., tuple[str, ...]]


def results(cwd: Path, wrap: Wrap, host: str, port: int = 3005, **options: Any) -> list[Any]:
    """Run `PingConfiguration(**options)` with the command that `wrap` returns for it; return the results.

    They have the fields of `ProbeResult`; enums are their values.
    """
    command = (sys.executable, "-m", "tests.support.probe_process", host, str(port), json.dumps(options))
    ran = run(*wrap(*command), cwd=cwd, timeout=60, PYTHONPATH=str(Path(__file__).parents[2]))
    assert ran.returncode == 0, ran.stderr
    return [json.loads(line, object_hook=lambda fields: SimpleNamespace(**fields)) for line in ran.stdout.splitlines()]


def _main(host: str, port: str, options: str) -> None:
    from twisted.internet.defer import Deferred
    from twisted.internet.task import react

    from echod.client.record import described_records
    from echod.probe import PingConfiguration, ProbeResult, prepare_run, target

    fields = json.loads(options)
    if "sweep" in fields:
        fields["sweep"] = range(*fields["sweep"])

    def print_result(result: ProbeResult) -> None:
        text = json.dumps(asdict(result), default=lambda value: value.value if isinstance(value, Enum) else str(value))
        print(text)  # noqa: T201  # the test reads it

    async def probes(reactor: Any) -> None:
        records = described_records(run=1)
        await prepare_run(reactor, target(host, int(port)), PingConfiguration(**fields), records, print_result).start()

    react(lambda reactor: Deferred.fromCoroutine(probes(reactor)))


if __name__ == "__main__":
    _main(*sys.argv[1:])
