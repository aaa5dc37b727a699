"""What belongs to the process as a whole: its clock, its signals, its last words."""

import resource
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Generic, TypeVar, cast

from twisted.internet.error import ReactorNotRunning
from twisted.internet.interfaces import IDelayedCall, IReactorCore
from twisted.python.failure import Failure

from echod.common.errors import EchodError

__all__ = [
    "ReactorRun",
    "descriptor_limit",
    "on_next_stop_signal",
    "on_signal",
    "one_line_excepthook",
    "use_monotonic_clock",
]

T = TypeVar("T")


def use_monotonic_clock(reactor: Any) -> None:
    """Make `reactor` count its seconds on a clock that nobody can set.

    Twisted's reactors count on `time.time`, so that a step of the wall clock fires every
    deadline at once, or none for as long as the step was. Calls that are already
    scheduled keep their distance.
    """
    ahead = time.monotonic() - reactor.seconds()
    reactor.seconds = time.monotonic
    pending: IDelayedCall
    for pending in reactor.getDelayedCalls():
        call = cast("Any", pending)
        call.time += ahead
        call.seconds = time.monotonic


class ReactorRun(Generic[T]):
    """One run of the reactor, from its start to what it comes to."""

    def __init__(self, reactor: IReactorCore) -> None:
        self._reactor = reactor
        self._found: list[T | Failure] = []

    @property
    def finished(self) -> bool:
        """Whether there is what it came to."""
        return bool(self._found)

    def finish(self, found: T | Failure) -> None:
        """End it with what was found, or with what went wrong."""
        self._found.append(found)
        with suppress(ReactorNotRunning):  # where a signal ended the run, the reactor is stopping already
            self._reactor.stop()

    def run(self) -> T:
        """Run the reactor; return what was found first, or raise what went wrong."""
        self._reactor.run()
        found = self._found[0]
        if isinstance(found, Failure):
            found.raiseException()
        return found


def descriptor_limit() -> int | None:
    """Return how many files the process may have open; None where the system sets no limit."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if limit == resource.RLIM_INFINITY else limit


def on_signal(reactor: IReactorCore, number: signal.Signals, act: Callable[[], None]) -> None:
    """Call `act` in the reactor at each such signal, after whatever handled the signal so far."""
    before = signal.getsignal(number)

    def handle(signum: int, frame: Any) -> None:
        if callable(before):
            before(signum, frame)
        cast("Any", reactor).callFromThread(act)

    signal.signal(number, handle)


def on_next_stop_signal(reactor: IReactorCore, act: Callable[[], None]) -> None:
    """Call `act` in the reactor at SIGTERM or SIGINT from now on: the reactor would ignore them while it stops."""

    def handle(*_: object) -> None:
        cast("Any", reactor).callFromThread(act)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)


def one_line_excepthook(kind: type[BaseException], problem: BaseException, trace: TracebackType | None) -> None:
    """An excepthook: twistd lets what stops a service from starting fall through to it."""
    if isinstance(problem, EchodError):
        print(f"echod: {problem}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, problem, trace)
