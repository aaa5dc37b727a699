"""Errors that are shown to the user in one line: one class for the user, one for the host, one for echod itself.

A fault of a peer is not an exception: the server reports it as a `CloseReason`, the probe as an `Outcome`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum

__all__ = ["ConfigurationError", "EchodError", "GeneratorError", "ListenError", "Problems", "UnexpectedEvent"]


class EchodError(Exception):
    """Base class. `str()` is one line for the user, shown without a traceback."""


class ConfigurationError(EchodError):
    """A wrong option, key or value, or options that exclude each other. `str()` is the first of the problems."""

    def __init__(self, *problems: str) -> None:
        """`problems` are one or more, each one line for the user."""
        super().__init__(*problems)
        self.problems = problems

    def __str__(self) -> str:
        return self.problems[0]


class Problems:
    """Collects the problems of several steps, so that one error reports them all."""

    def __init__(self) -> None:
        self._found: list[str] = []

    @contextmanager
    def collected(self) -> Iterator[None]:
        """Collect the problems of a ConfigurationError that the block raises."""
        try:
            yield
        except ConfigurationError as problem:
            self._found += problem.problems

    def raise_if_any(self) -> None:
        """Raise ConfigurationError with all collected problems, if there are any."""
        if self._found:
            raise ConfigurationError(*self._found)


class ListenError(EchodError):
    """The host refused a listener: port in use, no permission, no such address."""


class GeneratorError(EchodError):
    """A load worker process ended before the run did."""


class UnexpectedEvent(Exception):
    """A state machine has no transition for an event in its state: a fault of echod; no user or peer causes it."""

    def __init__(self, state: Enum, event: Enum) -> None:
        super().__init__(f"no transition for {event.name} in {state.name}")
        self.state = state
        self.event = event
