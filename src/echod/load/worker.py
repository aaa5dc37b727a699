"""One worker: a generator in its own process, and its messages to and from the parent process.

A message is a JSON object on one line.

| from   | message                                     | meaning                                                    |
| ------ | ------------------------------------------- | ---------------------------------------------------------- |
| parent | `{"host", "port", "given", "share", "run"}` | the plan; options are (name, text) pairs of a command line |
| worker | `{"ready": true}`                           | kept connections are established                           |
| parent | `{"go": seconds}`                           | start at this time of the host's monotonic clock           |
| worker | `{"slice": ...}`                            | one slice of the statistics                                |
| parent | `{"stop": true}`, or the end of the stream  | end now                                                    |
| worker | `{"done": {"elapsed", "unfinished"}}`       | the run has ended                                          |
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
    """The work of one worker."""

    target: HostPort
    given: tuple[tuple[str, str], ...]
    """The options, as (name, text) pairs of a command line."""
    share: Share
    run: int
    """The run number in its records, 0 to 2**64 - 1."""

    def to_object(self) -> dict[str, Any]:
        """Return the message."""
        return {
            "host": self.target.host,
            "port": self.target.port,
            "given": self.given,
            "share": asdict(self.share),
            "run": self.run,
        }


class Worker(LineOnlyReceiver):
    """Receives the parent's messages on standard input, and sends its own to standard output."""

    delimiter = b"\n"
    MAX_LENGTH = 1 << 20  # a plan contains all options of a command line

    def __init__(self, reactor: IProbeReactor, on_end: Callable[[], None]) -> None:
        """`on_end` is called when the process can exit."""
        self._reactor = reactor
        self._on_end = on_end
        self._generator: Generator | None = None

    def lineReceived(self, line: bytes) -> None:
        """Handle one message."""
        match json.loads(line):
            case {"go": float(at)} if self._generator is not None:
                gc.collect()
                gc.freeze()  # the objects that exist now live until the end: no collection during the run scans them
                self._generator.start(at).addCallback(self._on_done)
            case {"stop": True}:
                self._stop()
            case plan:
                self._prepare(plan)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The parent has exited or closed the stream: end the run."""
        self._stop()
        self._on_end()

    def _prepare(self, plan: Any) -> None:
        configuration = configure(LoadConfiguration, [command_line_layer(LoadConfiguration, plan["given"])])
        self._generator = Generator(
            self._reactor,
            configuration.route_to(HostPort(plan["host"], plan["port"])),
            configuration,
            Share(**plan["share"]),
            described_records(plan["run"]),
            # Each part of a Poisson schedule needs the same sequence of random numbers, so no part number in the seed.
            Random(configuration.seed).random,  # noqa: S311  # a schedule is not a secret
            self._on_slice,
            tls=tls_of(configuration),
        )
        self._generator.prepare().addCallback(lambda _: self._send({"ready": True}))

    def _on_slice(self, part: Slice) -> None:
        self._send({"slice": part.to_object()})

    def _stop(self) -> None:
        if self._generator is not None and self._generator.started:
            self._generator.stop()
        else:
            self._on_end()

    def _on_done(self, unfinished: int) -> None:
        assert self._generator is not None
        self._send({"done": {"elapsed": self._generator.elapsed, "unfinished": unfinished}})
        assert self.transport is not None
        self.transport.loseConnection()

    def _send(self, message: dict[str, Any]) -> None:
        line = json.dumps(message, separators=(",", ":")).encode("ascii")
        self.sendLine(line)  # type: ignore[no-untyped-call]  # Twisted's has no annotations
