"""The processes that generate a run's load, as their parent sees them."""

import json
import signal
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.interfaces import IReactorProcess, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from echod.common.errors import GeneratorError
from echod.load.statistics import Slice
from echod.load.worker import Plan

__all__ = ["IProcessReactor", "WorkerPool"]

HEAD_START = 0.05
"""Seconds from the word to begin to the beginning: by then every process has read it."""

PATIENCE = 2.0
"""Seconds that a process has to end once it was told to stop; then it is killed."""


class IProcessReactor(IReactorProcess, IReactorTime):
    """What a crew needs of a reactor."""


class WorkerPool:
    """Workers, one for each plan, that begin together."""

    def __init__(
        self,
        reactor: IProcessReactor,
        command: Sequence[str],
        plans: Sequence[Plan],
        now: Callable[[], float],
        told: Callable[[Slice], None],
    ) -> None:
        """`command` starts a worker; `now` is the host's monotonic clock; `told` takes each slice of each worker."""
        self._reactor = reactor
        self._command = command
        self._now = now
        self.told = told
        self._members = [_Member(self, number, plan) for number, plan in enumerate(plans, start=1)]
        self._problem: GeneratorError | None = None
        self._last_call: Any = None
        self._done: Deferred[None] = Deferred()
        self.started = False
        """Whether all were ready, and were told to begin."""

    @property
    def elapsed(self) -> float:
        """Seconds from the beginning of what counts to the end of its last record."""
        return max(member.elapsed for member in self._members)

    @property
    def unfinished(self) -> int:
        """Records that were due and had not ended when the run was stopped."""
        return sum(member.unfinished for member in self._members)

    def run(self) -> "Deferred[None]":
        """Start them. It fires when all are over, and fails with GeneratorError where one ended before its time."""
        for member in self._members:
            self._reactor.spawnProcess(
                member,
                self._command[0],
                self._command,
                env=None,
                childFDs={0: "w", 1: "r", 2: 2},
            )
        return self._done

    def stop(self) -> None:
        """End it now, with what there is."""
        for member in self._members:
            member.say({"stop": True})
        if self._last_call is None and not self._done.called:
            self._last_call = self._reactor.callLater(PATIENCE, self._kill)

    def is_ready(self) -> None:
        """Take note that one more is ready; when all are, they begin."""
        if all(member.ready for member in self._members):
            self.started = True
            at = self._now() + HEAD_START
            for member in self._members:
                member.say({"go": at})

    def ended(self, problem: GeneratorError | None) -> None:
        """Take note that one is over, in order or by a problem: then the others are stopped."""
        if problem is not None and self._problem is None:
            self._problem = problem
            self.stop()
        if any(member.runs for member in self._members):
            return
        if self._last_call is not None and self._last_call.active():
            self._last_call.cancel()
        if self._problem is None:
            self._done.callback(None)
        else:
            self._done.errback(self._problem)

    def _kill(self) -> None:
        for member in self._members:
            member.kill()


class _Member(ProcessProtocol):
    """One worker."""

    def __init__(self, crew: WorkerPool, number: int, plan: Plan) -> None:
        self._crew = crew
        self._number = number
        self._plan = plan
        self._held = b""
        self.ready = False
        self.runs = True
        self.elapsed = 0.0
        self.unfinished = 0
        self._done = False
        self._stopped = False

    def say(self, told: dict[str, Any]) -> None:
        """Tell it something, unless it is over."""
        self._stopped = self._stopped or "stop" in told
        if self.transport is not None and self.runs:
            self.transport.write(json.dumps(told).encode("ascii") + b"\n")

    def kill(self) -> None:
        """End it without asking."""
        if self.runs and self.transport is not None:
            self.transport.signalProcess("KILL")

    def connectionMade(self) -> None:
        """Tell it what to do."""
        self.say(self._plan.plain())

    def outReceived(self, data: bytes) -> None:
        """Take in what it tells."""
        *lines, self._held = (self._held + data).split(b"\n")
        for line in lines:
            match json.loads(line):
                case {"ready": True}:
                    self.ready = True
                    self._crew.is_ready()
                case {"slice": plain}:
                    self._crew.told(Slice.of(plain))
                case {"done": {"elapsed": float(elapsed), "unfinished": int(unfinished)}}:
                    self._done = True
                    self.elapsed, self.unfinished = elapsed, unfinished

    def processEnded(self, reason: Failure) -> None:
        """Take note of its end."""
        self.runs = False
        in_order = reason.check(ProcessDone) and (self._done or self._stopped)
        self._crew.ended(None if in_order else GeneratorError(self._obituary(reason)))

    def _obituary(self, reason: Failure) -> str:
        how = "ended without its result"
        if isinstance(reason.value, ProcessTerminated):
            by = reason.value.signal
            how = f"exited with status {reason.value.exitCode}"
            if by is not None:
                how = f"was killed by {signal.Signals(by).name}"
        assert self.transport is not None
        return f"generator process {self._number} {how}; there is no result"
