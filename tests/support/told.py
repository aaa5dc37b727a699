"""A run of probes in a process of its own, and all that it tells: as a program, one line of JSON for each result."""

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


def results(cwd: Path, wrap: Wrap, host: str, port: int = 3005, **asked: Any) -> list[Any]:
    """Run what `PingConfiguration` of `asked` asks for, as the command that `wrap` makes of it; return the results.

    They have the fields of `ProbeResult`; enums are their values.
    """
    command = (sys.executable, "-m", "tests.support.told", host, str(port), json.dumps(asked))
    ran = run(*wrap(*command), cwd=cwd, timeout=60, PYTHONPATH=str(Path(__file__).parents[2]))
    assert ran.returncode == 0, ran.stderr
    return [json.loads(line, object_hook=lambda fields: SimpleNamespace(**fields)) for line in ran.stdout.splitlines()]


def _main(host: str, port: str, options: str) -> None:
    from twisted.internet.defer import Deferred
    from twisted.internet.task import react

    from echod.client.record import described_records
    from echod.probe import PingConfiguration, ProbeResult, prepare_run, target

    asked = json.loads(options)
    if "sweep" in asked:
        asked["sweep"] = range(*asked["sweep"])

    def tell(result: ProbeResult) -> None:
        text = json.dumps(asdict(result), default=lambda value: value.value if isinstance(value, Enum) else str(value))
        print(text)  # noqa: T201  # the test reads it

    async def probes(reactor: Any) -> None:
        records = described_records(run=1)
        await prepare_run(reactor, target(host, int(port)), PingConfiguration(**asked), records, tell).start()

    react(lambda reactor: Deferred.fromCoroutine(probes(reactor)))


if __name__ == "__main__":
    _main(*sys.argv[1:])
