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

from echod.client.outcomes import Outcome

__all__ = ["outcome_of"]

_FORBIDDEN = "a firewall or a route of this host forbids it"

_OF_THE_KERNEL = {
    **{
        number: (Outcome.UNREACHABLE, os.strerror(number).lower())
        for number in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN)
    },
    errno.EACCES: (Outcome.UNREACHABLE, _FORBIDDEN),  # connect(2), ERRORS
    errno.EPERM: (Outcome.UNREACHABLE, _FORBIDDEN),
    errno.EINVAL: (
        Outcome.UNREACHABLE,
        "no way there: a blackhole route, or a link-local address without its interface",
    ),
    # A reset in answer to the SYN is a refusal; this one came when the connection was there, before we were told.
    errno.ECONNRESET: (Outcome.RESET, "connection reset as soon as it was established"),
}


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
        case ConnectError(osError=int(number)) if number in _OF_THE_KERNEL:
            return _OF_THE_KERNEL[number]
        case ConnectError(osError=int(number)):
            return Outcome.CONNECT_FAILED, os.strerror(number).lower()
        case _:
            return Outcome.CONNECT_FAILED, str(problem) or type(problem).__name__
