"""Who started the daemon, and wants to know how it does: systemd, or nobody."""

import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Self

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall
from zope.interface import Interface, implementer

__all__ = ["ISupervisor", "NullSupervisor", "Systemd"]

STATUS_INTERVAL = 10.0
"""Seconds between two lines of status where there is no watchdog to feed."""

RETRY = 0.1
"""Seconds until what systemd had no room for is sent again."""


class ISupervisor(Interface):
    """Is told of the daemon's life."""

    def ready(status: Callable[[], str]) -> None:  # noqa: N805 - an interface's methods take no self
        """It serves. `status` returns one line on how it does, whenever asked."""

    def reloading() -> None:
        """It loads its files again; `ready` follows."""

    def stopping() -> None:
        """It accepts no more, and drains."""

    def stopped() -> None:
        """The last connection is over."""


@implementer(ISupervisor)
class NullSupervisor:
    """Nobody wants to know."""

    def ready(self, status: Callable[[], str]) -> None:
        """Say nothing."""

    def reloading(self) -> None:
        """Say nothing."""

    def stopping(self) -> None:
        """Say nothing."""

    def stopped(self) -> None:
        """Say nothing."""


@implementer(ISupervisor)
class Systemd:
    """Tells systemd, by the protocol of sd_notify(3): a datagram of `NAME=value` lines.

    Where the unit has WatchdogSec=, the watchdog is fed at half its interval, as
    sd_watchdog_enabled(3) advises, by the reactor's own clock: a reactor that no longer turns feeds
    nobody. STATUS goes along with it.
    """

    def __init__(self, address: str, clock: IReactorTime, watchdog: float | None) -> None:
        """`address` is the notification socket's, `watchdog` the interval in seconds."""
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._clock = clock
        self._watchdog = watchdog
        self._feeding: LoopingCall | None = None
        self._stopping = False
        self._unsent: list[bytes] = []
        self._retry: IDelayedCall | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], clock: IReactorTime) -> Self | None:
        """Return the systemd that the environment's variables tell of, or None."""
        address = environment.get("NOTIFY_SOCKET")
        if not address:
            return None
        told = environment.get("WATCHDOG_USEC", "")
        microseconds = int(told) if told.isascii() and told.isdigit() else 0
        ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        return cls(address, clock, microseconds / 1e6 if ours and microseconds else None)

    def ready(self, status: Callable[[], str]) -> None:
        """Say READY, and from now on feed the watchdog."""
        self._say("READY=1", f"STATUS={status()}")
        if self._feeding is None:
            self._feeding = LoopingCall(self._feed, status)
            self._feeding.clock = self._clock
            self._feeding.start(STATUS_INTERVAL if self._watchdog is None else self._watchdog / 2)

    def reloading(self) -> None:
        """Say RELOADING."""
        # systemd compares the time with its own CLOCK_MONOTONIC (Type=notify-reload).
        self._say("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """Say STOPPING; the watchdog is fed until the end."""
        self._stopping = True
        self._say("STOPPING=1", "STATUS=draining")

    def stopped(self) -> None:
        """Feed the watchdog no more."""
        if self._feeding is not None:
            self._feeding.stop()
            self._feeding = None
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def _feed(self, status: Callable[[], str]) -> None:
        if self._unsent:
            return  # systemd has no room, and hears of us as soon as it has
        if self._stopping:
            self._say("WATCHDOG=1")  # the status stays what it is: nothing listens any more
        else:
            self._say("WATCHDOG=1", f"STATUS={status()}")

    def _say(self, *lines: str) -> None:
        self._unsent.append("\n".join(lines).encode())
        if self._retry is None:
            self._send()

    def _send(self) -> None:
        """Send what is unsent, in its order.

        What systemd has no room for, it hears later: a daemon whose READY was lost would be killed.
        sd_notify(3) waits for room, but here clients are waiting.
        """
        self._retry = None
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as wire:
            wire.setblocking(False)
            while self._unsent:
                try:
                    wire.sendto(self._unsent[0], self._address)
                except BlockingIOError:
                    self._retry = self._clock.callLater(RETRY, self._send)
                    return
                except OSError:
                    pass  # a supervisor that does not listen is no reason to stop serving
                del self._unsent[0]
