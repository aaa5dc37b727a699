"""The daemon in this process's reactor."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.task import deferLater

from echod.server.assembly import make_service
from echod.server.config import ServerConfiguration
from echod.server.summary import WAIT_BOUNDS, CloseReason
from tests.support.memory import MemoryObserver
from tests.support.sockets import PATIENCE, free_port

reactor: Any = installed


class Running:
    """A daemon in this process."""

    def __init__(self, **options: Any) -> None:
        self.observer = MemoryObserver()
        if "listen" not in options:
            options.setdefault("port", free_port())
        self.port: int = options.get("port", 0)
        self.waits = [0] * (len(WAIT_BOUNDS) + 1)
        self.service = make_service(ServerConfiguration(**options), reactor, observer=self.observer, waits=self.waits)
        self.service.privilegedStartService()
        self.service.startService()

    async def ends(self, count: int) -> list[CloseReason]:
        """Wait until `count` connections are over; return their reasons."""
        deadline = time.monotonic() + PATIENCE
        while len(self.observer.summaries) < count and time.monotonic() < deadline:
            await deferLater(reactor, 0.005)
        return self.observer.reasons


@asynccontextmanager
async def running(**options: Any) -> AsyncIterator[Running]:
    daemon = Running(**options)
    try:
        yield daemon
    finally:
        if daemon.service.running:
            stopped = daemon.service.stopService()
            daemon.service.cut()
            await stopped
