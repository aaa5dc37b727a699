"""A generator in a process of its own, and what it and its parent say to each other: JSON, an object a line.

| from   | line                                        | means                                          |
| ------ | ------------------------------------------- | ---------------------------------------------- |
| parent | `{"host", "port", "given", "share", "run"}` | what to generate: words of the command line    |
| worker | `{"ready": true}`                           | its connections are there                      |
| parent | `{"go": seconds}`                           | begin then, by the monotonic clock of the host |
| worker | `{"slice": ...}`                            | what came of a slice of time                   |
| parent | `{"stop": true}`, or the end of the stream  | end now                                        |
| worker | `{"done": {"elapsed", "unfinished"}}`       | it is over                                     |
"""

import gc
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

from twisted.internet.protocol import connectionDone
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from echod.client.attempts import IProbeReactor
from echod.client.probe import tls_of
from echod.client.record import described_records
from echod.common.addresses import HostPort
from echod.common.options import command_line_layer, configure
from echod.load.config import LoadConfiguration, Share
from echod.load.generator import Generator
from echod.load.statistics import Slice

__all__ = ["Plan", "Worker"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one worker is to do."""

    target: HostPort
    given: tuple[tuple[str, str], ...]
    """The options, as (name, text) pairs of a command line."""
    share: Share
    run: int
    """The number by which its records are known, 0 to 2**64 - 1."""

    def plain(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "host": self.target.host,
            "port": self.target.port,
            "given": self.given,
            "share": asdict(self.share),
            "run": self.run,
        }


class Worker(LineOnlyReceiver):
    """Does what its parent says, over standard input and output."""

    delimiter = b"\n"
    MAX_LENGTH = 1 << 20  # a plan has the words of a command line

    def __init__(self, reactor: IProbeReactor, ended: Callable[[], None]) -> None:
        """`ended` is called when there is nothing more to do."""
        self._reactor = reactor
        self._ended = ended
        self._generator: Generator | None = None

    def lineReceived(self, line: bytes) -> None:
        """Do what the line says."""
        match json.loads(line):
            case {"go": float(at)} if self._generator is not None:
                gc.collect()
                gc.freeze()  # what is there now stays: the collector need not look at it in the middle of the run
                self._generator.start(at).addCallback(self._done)
            case {"stop": True}:
                self._stop()
            case plan:
                self._prepare(plan)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The parent is gone, and there is nobody to generate load for."""
        self._stop()
        self._ended()

    def _prepare(self, plan: Any) -> None:
        configuration = configure(LoadConfiguration, [command_line_layer(LoadConfiguration, plan["given"])])
        share = Share(**plan["share"])
        self._generator = Generator(
            self._reactor,
            configuration.route_to(HostPort(plan["host"], plan["port"])),
            configuration,
            share,
            described_records(plan["run"]),
            Random(f"{configuration.seed}:{share.part}").random,  # noqa: S311  # a schedule is no secret
            self._told,
            tls=tls_of(configuration),
        )
        self._generator.prepare().addCallback(lambda _: self._say({"ready": True}))

    def _told(self, part: Slice) -> None:
        self._say({"slice": part.plain()})

    def _stop(self) -> None:
        if self._generator is not None and self._generator.started:
            self._generator.stop()
        else:
            self._ended()

    def _done(self, unfinished: int) -> None:
        assert self._generator is not None
        self._say({"done": {"elapsed": self._generator.elapsed, "unfinished": unfinished}})
        assert self.transport is not None
        self.transport.loseConnection()

    def _say(self, told: dict[str, Any]) -> None:
        line = json.dumps(told, separators=(",", ":")).encode("ascii")
        self.sendLine(line)  # type: ignore[no-untyped-call]  # Twisted's has no annotations
