"""How bytes get from the kernel to the protocols and back: the fast transport.

Factory, Protocol and endpoints above it are those of any Twisted program. What is here takes the place of three
things below them, each because of what it cost (system calls and µs of the server for one echo of 250 bytes):

- **The dispatch** (`poller`). Twisted's epoll reactor goes through a logging context for each event. A poller
  within the reactor, with an epoll descriptor of its own, dispatches directly, and takes one turn of the reactor for
  all that is ready.
- **The write** (`connection`). Twisted buffers, waits until the socket is writable, sends, and waits no more: two
  epoll_ctl and one epoll_wait for each echo. Here the socket is asked first, and has room.
- **Accept and close** (`port`, `connection`), which Twisted never tuned for connections of one record.

What is served beside the echo, and must not disturb it, has a poller within that poller, which takes no more than a
share of the time (`background`).

A subclass of the epoll reactor would do the same with an epoll_wait less, but it has to be installed before anything
else imports the reactor: a plain `twistd -n echod` could not have it. A poller is an `IReadDescriptor` of whichever
reactor runs. What that costs with few connections, it makes up for by staying with them while they are lively: see
`poller.LULL`.

docs/performance.md has the figures.
"""

import select
from typing import Any

from twisted.internet.interfaces import IReactorFDSet
from twisted.logger import Logger

__all__ = ["background_reactor", "fast_reactor"]

_log = Logger()


def fast_reactor(reactor: Any) -> Any:
    """Return what takes the place of `reactor` where listeners are made.

    It is a `Poller`; or itself, without Linux's epoll or where the reactor is none that waits for descriptors.
    """
    if not hasattr(select, "epoll") or not IReactorFDSet.providedBy(reactor):
        _log.info("no epoll here: the transport is stock Twisted")
        return reactor
    from echod.transport.poller import Poller  # not before: it takes names from select that only Linux has

    return Poller(reactor)


def background_reactor(sockets: Any) -> Any:
    """Return what takes the place of `sockets` where those listeners are made that must not disturb its own.

    It is a `BackgroundPoller` of a `Poller`'s; of plain Twisted, which knows no such thing, itself.
    """
    if not hasattr(select, "epoll"):
        return sockets
    from echod.transport.background import BackgroundPoller  # as above
    from echod.transport.poller import Poller

    return BackgroundPoller(sockets) if isinstance(sockets, Poller) else sockets
