"""From an endpoint's failure to an outcome."""

import errno
import os
import socket

from twisted.internet.error import (
    ConnectBindError,
    ConnectError,
    ConnectionRefusedError,
    DNSLookupError,
    TCPTimedOutError,
    TimeoutError,
    UnknownHostError,
)

from echod.core.outcomes import Outcome

__all__ = ["outcome_of"]

_UNREACHABLE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN}


def outcome_of(problem: BaseException | None) -> tuple[Outcome, str]:
    """Return the outcome that a failure to connect amounts to, and what more there is to say of it."""
    match problem:
        case DNSLookupError() | UnknownHostError():
            return Outcome.RESOLVE_FAILED, "no address for this name"
        case socket.gaierror():  # of a literal only its scope is looked up
            return Outcome.UNREACHABLE, "no such interface"
        case ConnectionRefusedError():
            return Outcome.REFUSED, "connection refused"
        case TimeoutError() | TCPTimedOutError():
            return Outcome.CONNECT_TIMEOUT, "no answer"
        case ConnectBindError(osError=errno.EADDRNOTAVAIL):
            return Outcome.CONNECT_FAILED, "the source address is none of this host's"
        case ConnectError(osError=int(number)) if number in _UNREACHABLE:
            return Outcome.UNREACHABLE, os.strerror(number).lower()
        case ConnectError(osError=int(number)):
            return Outcome.CONNECT_FAILED, os.strerror(number).lower()
        case _:
            return Outcome.CONNECT_FAILED, str(problem) or type(problem).__name__
