"""The errors that end in one line to the user, split by whose fault they are.

What a peer does wrong is never an exception here: for the server it is a
`CloseReason`, for the probe an `Outcome`.
"""

__all__ = ["ConfigurationError", "EchodError", "GeneratorError", "ListenError"]


class EchodError(Exception):
    """The base. `str()` of it is one line, fit to be shown without a traceback."""


class ConfigurationError(EchodError):
    """The user asked for something that cannot be: a bad option, key or value."""


class ListenError(EchodError):
    """The host refused a listener: port in use, no permission, no such address."""


class GeneratorError(EchodError):
    """A process that generates load ended before its time."""
