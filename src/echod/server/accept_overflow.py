"""One log line when the accept queue of a listener overflows.

The kernel counts overflows per network namespace, where they may be another program's, and dropped packets per socket,
where a stray packet may be one of them. So the line needs both facts about the listener's own socket: its queue is
full, and the kernel has dropped packets there. Only ports of the fast transport look at their queue.
"""

from typing import Any

from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger

from echod.transport.accept_queue import accept_queue
from echod.transport.port import FastPort

__all__ = ["warn_of_overflows"]

_log = Logger()

_WRAP = 2**32
"""The kernel's counter of dropped packets begins at 0 again here."""


def warn_of_overflows(port: IListeningPort, name: str, setting: str) -> None:
    """Log once that the accept queue of `port` overflowed. `setting` is what sets its backlog, for the reader."""
    listening: Any = port  # Twisted's port has no type for its socket
    before = accept_queue(listening.socket) if isinstance(port, FastPort) else None
    if before is None:
        return

    def look() -> None:
        queue = accept_queue(listening.socket)
        if queue is None or queue.dropped == before.dropped:
            return
        del listening.on_full
        _log.warn(
            "the accept queue of {name} overflowed: {waiting} connections wait, and the kernel has dropped {dropped} "
            "packet(s) of others, whose clients try again after a second or more; raise {setting}, now {limit}, and "
            "net.core.somaxconn if that is lower",
            name=name,
            waiting=queue.waiting,
            dropped=(queue.dropped - before.dropped) % _WRAP,
            setting=setting,
            limit=queue.limit,
        )

    listening.on_full = look
