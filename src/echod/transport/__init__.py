"""The fast transport: TCP connections for Twisted protocols at less CPU time than stock Twisted.

Factory, Protocol and endpoints are those of any Twisted program. The package replaces three layers below them:

- **Dispatch** (`poller`). Twisted's epoll reactor sets up a logging context for each event. The poller has its own
  epoll, which is one descriptor of the reactor, and dispatches all ready connections in one call from the reactor.
- **Write** (`connection`). Twisted buffers the data, waits until the socket is writable, sends, and stops waiting: two
  epoll_ctl and one epoll_wait for each echo. The fast transport sends first and buffers only the rest.
- **Accept and close** (`port`, `connection`), with fewer system calls for connections of one record.

`background` has a poller with a limited share of the time, for the admin server. `private` lists the private names of
Twisted and CPython that the package uses.

A subclass of the epoll reactor would save one epoll_wait, but it must be installed before the first import of the
reactor, which `twistd -n echod` does not allow. A poller is an `IReadDescriptor` of any reactor.

docs/performance.md has the figures.
"""

import select
from typing import Any

from twisted.internet.interfaces import IReactorFDSet
from twisted.logger import Logger

from echod.transport import private

__all__ = ["background_reactor", "fast_reactor"]

_log = Logger()


def fast_reactor(reactor: Any) -> Any:
    """Return the reactor to create listeners with: a `Poller`, or `reactor` itself for the stock transport.

    The stock transport is used if the system has no epoll, if the reactor does not wait for descriptors, or if a
    private name is missing; the log then has one line with the cause.
    """
    if not hasattr(select, "epoll") or not IReactorFDSet.providedBy(reactor):
        _log.info("using the stock transport: epoll is not available")
        return reactor
    if lacking := private.missing():
        _log.warn("using the stock transport: Twisted or Python lacks {names}", names="; ".join(lacking))
        return reactor
    from echod.transport.poller import Poller  # the module imports names of select that only Linux has

    return Poller(reactor)


def background_reactor(sockets: Any) -> Any:
    """Return the reactor for listeners that must not delay those of `sockets`, the result of `fast_reactor`.

    It is a `BackgroundPoller` inside a `Poller`; for the stock transport it is `sockets` itself.
    """
    if not hasattr(select, "epoll"):
        return sockets
    from echod.transport.background import BackgroundPoller  # as above
    from echod.transport.poller import Poller

    return BackgroundPoller(sockets) if isinstance(sockets, Poller) else sockets
