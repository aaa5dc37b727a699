"""The private names of Twisted and CPython that the fast transport uses, and the check that they exist.

Private names may change in any release. `fast_reactor` calls `missing` at start and uses stock Twisted if a name is
missing. tests/unit/test_private_names.py compares the list with the source of the package, in both directions.
"""

import socket
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from twisted.internet.protocol import Protocol
from twisted.internet.tcp import Port, Server

__all__ = ["PRIVATE_NAMES", "SERVER_ATTRIBUTES", "PrivateName", "missing"]


@dataclass(frozen=True, slots=True)
class PrivateName:
    """A private attribute of a class, or of its instances."""

    owner: type
    name: str
    reason: str
    """The use that the fast transport makes of it."""

    def __str__(self) -> str:
        return f"{self.owner.__module__}.{self.owner.__qualname__}.{self.name}"


PRIVATE_NAMES = (
    PrivateName(socket.socket, "_accept", "accept without the wrapper object of socket.socket.accept"),
    PrivateName(Port, "_buildAddr", "the address object of a client, IPv4 or IPv6"),
    PrivateName(Port, "_fromListeningDescriptor", "a port of a descriptor that systemd passed"),
    PrivateName(Port, "_logger", "server/accept_pause.py replaces it, to receive the failures of accept"),
    PrivateName(Port, "_realPortNumber", "the port number in the repr of a connection"),
    PrivateName(Port, "_type", "'TLS' in the log line of a closed TLS port"),
    PrivateName(Server, "_aborting", "an aborted connection ignores loseConnection"),
    PrivateName(Server, "_addressType", "the address class of getPeer and getHost"),
    PrivateName(Server, "_closeSocket", "close with a reset"),
    PrivateName(Server, "_closeWriteConnection", "doWrite calls it when the buffer is empty; overridden"),
    PrivateName(Server, "_getLogPrefix", "the name of the protocol in the log"),
    PrivateName(Server, "_tempDataBuffer", "the list of data to send after dataBuffer; created with the first write"),
    PrivateName(Server, "_tempDataLen", "the length of that data in bytes; write sends at once only if it is 0"),
    PrivateName(Server, "_writeDisconnected", "the sending side is shut down"),
    PrivateName(Server, "_writeDisconnecting", "the sending side is shut down when the buffer is empty"),
)

SERVER_ATTRIBUTES = frozenset(
    {
        "_addressType",
        "_tempDataBuffer",
        "_tempDataLen",
        "client",
        "connected",
        "fileno",
        "hostname",
        "logstr",
        "protocol",
        "reactor",
        "repstr",
        "server",
        "sessionno",
        "socket",
    }
)
"""The instance attributes that `Server.__init__` and its bases set for an IPv6 client.

`FastConnection` does not call that method: it sets these attributes, or has a class attribute, a method or a property
of the same name. A new attribute in Twisted would be missing from it.
"""


class _Reactor:
    """Ignores the descriptor of the sample connection."""

    def addReader(self, reader: object) -> None:
        """No-op."""


def _server_attributes() -> frozenset[str]:
    """Return the names of the instance attributes of a new `Server`."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        arguments: Any = (ours, Protocol(), ("::1", 1, 0, 0), SimpleNamespace(_realPortNumber=1), 0, _Reactor())
        return frozenset(vars(Server(*arguments)))


def missing() -> list[str]:
    """Return a description of each private name that is missing, and of each change of `Server.__init__`."""
    try:
        attributes = _server_attributes()
    except Exception as problem:  # Server has changed
        return [f"twisted.internet.tcp.Server as it was known ({type(problem).__name__}: {problem})"]
    lacking = [
        str(each)
        for each in PRIVATE_NAMES
        if not hasattr(each.owner, each.name) and not (each.owner is Server and each.name in attributes)
    ]
    if attributes != SERVER_ATTRIBUTES:
        changed = ", ".join(sorted(attributes ^ SERVER_ATTRIBUTES))
        lacking.append(f"the known attributes of twisted.internet.tcp.Server (changed: {changed})")
    return lacking
