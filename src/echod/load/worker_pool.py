"""The worker processes of one run, seen from the parent process."""

import json
import signal
from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.interfaces import IDelayedCall, IReactorProcess, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from echod.common.errors import GeneratorError
from echod.load.statistics import Slice
from echod.load.worker import Plan

__all__ = ["IProcessReactor", "WorkerPool"]

HEAD_START = 0.05
"""Seconds between the message "go" and the start of the run: each process has read the message by then."""

PATIENCE = 2.0
"""Seconds between the message "stop" and SIGKILL for a process that has not ended."""


class IProcessReactor(IReactorProcess, IReactorTime):
    """The interfaces of a reactor that a pool uses."""


class WorkerState(Enum):
    """States of a worker process."""

    STARTING = auto()
    READY = auto()
    RUNNING = auto()
    STOPPING = auto()
    """The message "stop" was sent; there may be no "done" if the run had not started."""
    DONE = auto()
    """The worker has sent its last message."""
    KILLED = auto()
    """SIGKILL was sent after `PATIENCE`; slices received before remain in the result."""
    ENDED = auto()
    """The process has ended as expected."""
    FAILED = auto()
    """The process has ended before its result was complete."""


class WorkerEvent(Enum):
    """Events of a worker process: messages in both directions, SIGKILL by the pool, and its end."""

    READY = auto()
    GO = auto()
    STOP = auto()
    DONE = auto()
    KILL = auto()
    EXIT = auto()
    """It exited with status 0."""
    CRASH = auto()
    """It exited with another status, or by a signal."""


TRANSITIONS: Mapping[WorkerState, Mapping[WorkerEvent, WorkerState]] = {
    WorkerState.STARTING: {
        WorkerEvent.READY: WorkerState.READY,
        WorkerEvent.STOP: WorkerState.STOPPING,
        WorkerEvent.EXIT: WorkerState.FAILED,
        WorkerEvent.CRASH: WorkerState.FAILED,
    },
    WorkerState.READY: {
        WorkerEvent.GO: WorkerState.RUNNING,
        WorkerEvent.STOP: WorkerState.STOPPING,
        WorkerEvent.EXIT: WorkerState.FAILED,
        WorkerEvent.CRASH: WorkerState.FAILED,
    },
    WorkerState.RUNNING: {
        WorkerEvent.STOP: WorkerState.STOPPING,
        WorkerEvent.DONE: WorkerState.DONE,
        WorkerEvent.EXIT: WorkerState.FAILED,
        WorkerEvent.CRASH: WorkerState.FAILED,
    },
    WorkerState.STOPPING: {
        WorkerEvent.READY: WorkerState.STOPPING,
        WorkerEvent.STOP: WorkerState.STOPPING,
        WorkerEvent.DONE: WorkerState.DONE,
        WorkerEvent.KILL: WorkerState.KILLED,
        WorkerEvent.EXIT: WorkerState.ENDED,
        WorkerEvent.CRASH: WorkerState.FAILED,
    },
    WorkerState.DONE: {
        WorkerEvent.STOP: WorkerState.DONE,
        WorkerEvent.KILL: WorkerState.KILLED,
        WorkerEvent.EXIT: WorkerState.ENDED,
        WorkerEvent.CRASH: WorkerState.FAILED,
    },
    WorkerState.KILLED: {
        WorkerEvent.READY: WorkerState.KILLED,
        WorkerEvent.STOP: WorkerState.KILLED,
        WorkerEvent.DONE: WorkerState.KILLED,
        WorkerEvent.EXIT: WorkerState.ENDED,
        WorkerEvent.CRASH: WorkerState.ENDED,
    },
    WorkerState.ENDED: {WorkerEvent.STOP: WorkerState.ENDED},
    WorkerState.FAILED: {WorkerEvent.STOP: WorkerState.FAILED},
}
"""The next state. An event that is missing here is an error of the program."""

OVER = frozenset({WorkerState.ENDED, WorkerState.FAILED})
"""States after the end of the process."""


class WorkerPool:
    """Starts one worker process for each plan, lets all of them start the run together, and waits for their end."""

    def __init__(
        self,
        reactor: IProcessReactor,
        command: Sequence[str],
        plans: Sequence[Plan],
        now: Callable[[], float],
        on_slice: Callable[[Slice], None],
    ) -> None:
        """`command` starts a worker; `now` is the host's monotonic clock; `on_slice` receives each worker's slices."""
        self._reactor = reactor
        self._command = command
        self._now = now
        self.on_slice = on_slice
        self._workers = [_WorkerProcess(self, number, plan) for number, plan in enumerate(plans, start=1)]
        self._error: GeneratorError | None = None
        self._kill_call: IDelayedCall | None = None
        self._done: Deferred[None] = Deferred()

    @property
    def elapsed(self) -> float:
        """Seconds from the end of the warm-up to the end of the last record."""
        return max(worker.elapsed for worker in self._workers)

    @property
    def unfinished(self) -> int:
        """Records that were due and had not ended when the run was stopped. A killed worker does not report its own."""
        return sum(worker.unfinished for worker in self._workers)

    def run(self) -> "Deferred[None]":
        """Start the processes.

        The Deferred fires when all have ended. It fails with GeneratorError if one has ended before its result was
        complete, unless the pool killed it after `stop`.
        """
        for worker in self._workers:
            self._reactor.spawnProcess(
                worker,
                self._command[0],
                self._command,
                env=None,
                childFDs={0: "w", 1: "r", 2: 2},
            )
        return self._done

    def stop(self) -> None:
        """Stop all workers; kill those that have not ended after `PATIENCE`."""
        for worker in self._workers:
            worker.stop()
        if self._kill_call is None and not self._done.called:
            self._kill_call = self._reactor.callLater(PATIENCE, self._kill)

    def on_ready(self) -> None:
        """Start the run if all workers are ready."""
        if all(worker.state is WorkerState.READY for worker in self._workers):
            at = self._now() + HEAD_START
            for worker in self._workers:
                worker.go(at)

    def on_end(self, error: GeneratorError | None) -> None:
        """Handle the end of a worker process; after an error, stop the others."""
        if error is not None and self._error is None:
            self._error = error
            self.stop()
        if any(worker.state not in OVER for worker in self._workers):
            return
        if self._kill_call is not None and self._kill_call.active():
            self._kill_call.cancel()
        if self._error is None:
            self._done.callback(None)
        else:
            self._done.errback(self._error)

    def _kill(self) -> None:
        for worker in self._workers:
            worker.kill()


class _WorkerProcess(ProcessProtocol):
    """One worker process."""

    def __init__(self, pool: WorkerPool, number: int, plan: Plan) -> None:
        self._pool = pool
        self._number = number
        self._plan = plan
        self._partial_line = b""
        self.state = WorkerState.STARTING
        self.elapsed = 0.0
        self.unfinished = 0

    def go(self, at: float) -> None:
        """Send the start time."""
        self._advance(WorkerEvent.GO)
        self._send({"go": at})

    def stop(self) -> None:
        """Send "stop" unless the process has ended."""
        self._advance(WorkerEvent.STOP)
        if self.state not in OVER:
            self._send({"stop": True})

    def kill(self) -> None:
        """Send SIGKILL unless the process has ended."""
        if self.state not in OVER:
            self._advance(WorkerEvent.KILL)
            assert self.transport is not None
            self.transport.signalProcess("KILL")

    def connectionMade(self) -> None:
        """Send the plan."""
        self._send(self._plan.to_object())

    def outReceived(self, data: bytes) -> None:
        """Handle the worker's messages."""
        *lines, self._partial_line = (self._partial_line + data).split(b"\n")
        for line in lines:
            match json.loads(line):
                case {"ready": True}:
                    self._advance(WorkerEvent.READY)
                    self._pool.on_ready()
                case {"slice": plain}:
                    part = Slice.from_object(plain)
                    self.elapsed = max(self.elapsed, part.until)  # until "done" has the exact time
                    self._pool.on_slice(part)
                case {"done": {"elapsed": float(elapsed), "unfinished": int(unfinished)}}:
                    self._advance(WorkerEvent.DONE)
                    self.elapsed, self.unfinished = elapsed, unfinished

    def processEnded(self, reason: Failure) -> None:
        """Report the end of the process to the pool."""
        self._advance(WorkerEvent.EXIT if reason.check(ProcessDone) else WorkerEvent.CRASH)
        self._pool.on_end(None if self.state is WorkerState.ENDED else GeneratorError(self._description(reason)))

    def _advance(self, event: WorkerEvent) -> None:
        self.state = TRANSITIONS[self.state][event]

    def _send(self, message: dict[str, Any]) -> None:
        if self.transport is not None:
            self.transport.write(json.dumps(message).encode("ascii") + b"\n")

    def _description(self, reason: Failure) -> str:
        end = "ended without its result"
        if isinstance(reason.value, ProcessTerminated):
            end = f"exited with status {reason.value.exitCode}"
            if reason.value.signal is not None:
                end = f"was killed by {signal.Signals(reason.value.signal).name}"
        return f"generator process {self._number} {end}; there is no result"
