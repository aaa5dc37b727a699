"""A listener that listens: its address, its accept queue, and whether clients can still reach it."""

import errno
import os
import socket
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint

from echod.common.addresses import host_port
from echod.server.accept_pause import AcceptPause
from echod.server.factory import EchoFactory, ReplaceableFactory
from echod.transport.accept_queue import AcceptQueue, accept_queue

__all__ = ["Listener", "OpenListener", "listening_address"]

_IP = (socket.AF_INET, socket.AF_INET6)


@dataclass(frozen=True)
class Listener:
    """An endpoint, and the factory for its clients' connections."""

    text: str
    """The listener as the configuration has it, for errors. Once it listens, its name is its address."""
    endpoint: IStreamServerEndpoint
    factory: ReplaceableFactory
    echoes: Sequence[EchoFactory]
    """The factories that report its connections, under the listener's name."""
    kind: str = ""
    """What its connections begin with, such as "TLS", for the log; empty: the exchange itself."""
    backlog_setting: str = "--backlog"
    """What sets the length of its queue, for the log."""
    inherited: bool = False
    """Whether another process keeps the socket too: its queue of connections then outlasts the daemon."""

    @property
    def name(self) -> str:
        """The listener's name in summaries."""
        return self.echoes[0].listener


@dataclass(frozen=True)
class OpenListener:
    """A listener that listens."""

    listener: Listener
    port: IListeningPort
    pause: AcceptPause

    @property
    def name(self) -> str:
        """The address for display, which is the listener's name."""
        return self.listener.name

    @property
    def socket(self) -> socket.socket | None:
        """The listening socket; None if it is closed."""
        listening: socket.socket | None = getattr(self.port, "socket", None)
        return listening

    @property
    def queue(self) -> AcceptQueue | None:
        """The accept queue; None if the socket does not listen for TCP, or the system is not Linux."""
        listening = self.socket
        return None if listening is None else accept_queue(listening)

    @property
    def is_reachable(self) -> bool:
        """Whether clients can connect: the port is open, the kernel accepts for it, and its address is of this host.

        The kernel keeps a socket whose address was removed from the interface in the state of listening, and reports
        nothing. A port that is not one of Twisted's own counts as reachable.
        """
        port: Any = self.port
        if not getattr(port, "connected", True):
            return False
        listening = self.socket
        if listening is None or listening.family not in _IP:
            return True
        try:
            if not listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                return False
            return not _is_removed(listening.family, listening.getsockname())
        except OSError:
            return False


def listening_address(port: IListeningPort, text: str) -> str:
    """Return the address of `port` for display: host and port, or the path of a Unix socket; `text` for any other.

    A name of Linux's abstract namespace begins with @.
    """
    bound = port.getHost()
    if isinstance(bound, UNIXAddress) and bound.name:
        return os.fsdecode(bound.name).replace("\0", "@")
    address = host_port(bound)
    return str(address) if address.host else text


def _is_removed(family: int, address: tuple[Any, ...]) -> bool:
    """Return whether an IP address is no longer one of this host: nothing can be bound to it. False if unknown."""
    try:
        # UDP: a bind to port 0 of it takes no port that a listener needs.
        with closing(socket.socket(family, socket.SOCK_DGRAM)) as trial:
            trial.bind((address[0], 0, *address[2:]))
    except OSError as problem:  # a service that inherits its sockets may not be allowed to create one
        return problem.errno == errno.EADDRNOTAVAIL
    return False
