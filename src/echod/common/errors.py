"""Errors that are shown to the user in one line: one class for the user, one for the host, one for echod itself.

A fault of a peer is not an exception: the server reports it as a `CloseReason`, the probe as an `Outcome`.
"""

from enum import Enum

__all__ = ["ConfigurationError", "EchodError", "GeneratorError", "ListenError", "UnexpectedEvent"]


class EchodError(Exception):
    """Base class. `str()` is one line for the user, shown without a traceback."""


class ConfigurationError(EchodError):
    """A wrong option, key or value, or options that exclude each other."""


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
