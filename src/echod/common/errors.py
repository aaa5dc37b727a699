"""Errors that are shown to the user in one line: one class for the user, one for the host, one for echod itself.

A fault of a peer is not an exception: the server reports it as a `CloseReason`, the probe as an `Outcome`.
"""

__all__ = ["ConfigurationError", "EchodError", "GeneratorError", "ListenError"]


class EchodError(Exception):
    """Base class. `str()` is one line for the user, shown without a traceback."""


class ConfigurationError(EchodError):
    """A wrong option, key or value, or options that exclude each other."""


class ListenError(EchodError):
    """The host refused a listener: port in use, no permission, no such address."""


class GeneratorError(EchodError):
    """A load worker process ended before the run did."""
