"""The process as a whole: reactor clock, reactor run, signals, limits, uncaught errors."""

import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Mapping
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
    "error_line",
    "is_journal",
    "on_next_stop_signal",
    "on_signal",
    "one_line_excepthook",
    "open_standard_descriptors",
    "use_monotonic_clock",
]

T = TypeVar("T")


def use_monotonic_clock(reactor: Any) -> None:
    """Make `reactor` use the monotonic clock for its timers.

    Twisted's reactors use `time.time`: a step of the wall clock forward fires every timer at once, a step backward
    delays them all by as much. Calls that are already scheduled keep their remaining time.
    """
    ahead = time.monotonic() - reactor.seconds()
    reactor.seconds = time.monotonic
    pending: IDelayedCall
    for pending in reactor.getDelayedCalls():
        call = cast("Any", pending)
        call.time += ahead
        call.seconds = time.monotonic


class ReactorRun(Generic[T]):
    """One run of the reactor, from its start to its result."""

    def __init__(self, reactor: IReactorCore) -> None:
        self._reactor = reactor
        self._results: list[T | Failure] = []

    @property
    def finished(self) -> bool:
        """Whether the run has a result."""
        return bool(self._results)

    def finish(self, result: T | Failure) -> None:
        """Stop the reactor, with a result or with a failure."""
        self._results.append(result)
        with suppress(ReactorNotRunning):  # if a signal ended the run, the reactor is already stopping
            self._reactor.stop()

    def run(self) -> T:
        """Run the reactor; return the first result, or raise the exception of the first failure."""
        self._reactor.run()
        result = self._results[0]
        if isinstance(result, Failure):
            result.raiseException()
        return result


def open_standard_descriptors() -> None:
    """Open /dev/null in place of each closed standard stream, before the process opens anything else.

    Else a socket would get its descriptor, and with it the output that is written there.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest descriptor that is free


def is_journal(descriptor: int | None, environment: Mapping[str, str]) -> bool:
    """Return whether a stream is the journal of systemd, by JOURNAL_STREAM (systemd.exec(5))."""
    named = environment.get("JOURNAL_STREAM")
    if descriptor is None or named is None:
        return False
    status = os.fstat(descriptor)
    return named == f"{status.st_dev}:{status.st_ino}"


def error_line(text: str) -> str:
    """Return `text` for standard error, with the priority of an error if that is the journal (sd-daemon(3))."""
    descriptor = 2 if sys.stderr is sys.__stderr__ is not None else None
    return f"<3>{text}" if is_journal(descriptor, os.environ) else text


def descriptor_limit() -> int | None:
    """Return the limit of open files of the process; None if there is no limit."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if limit == resource.RLIM_INFINITY else limit


def on_signal(reactor: IReactorCore, number: signal.Signals, handler: Callable[[], None]) -> None:
    """Call `handler` in the reactor at each signal `number`, after the handler that the signal had before."""
    previous = signal.getsignal(number)

    def handle(signum: int, frame: Any) -> None:
        if callable(previous):
            previous(signum, frame)
        cast("Any", reactor).callFromThread(handler)

    signal.signal(number, handle)


def on_next_stop_signal(reactor: IReactorCore, handler: Callable[[], None]) -> None:
    """Call `handler` in the reactor at each further SIGTERM or SIGINT, which the reactor ignores while it stops."""

    def handle(*_: object) -> None:
        cast("Any", reactor).callFromThread(handler)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)


def one_line_excepthook(kind: type[BaseException], problem: BaseException, trace: TracebackType | None) -> None:
    """Print an EchodError in one line. A `sys.excepthook`, as twistd does not catch errors of a service's start."""
    if isinstance(problem, EchodError):
        print(f"echod: {problem}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, problem, trace)
