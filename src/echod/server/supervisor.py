"""Who started the daemon, and wants to know how it does: systemd, or nobody."""

import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Self

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from zope.interface import Interface, implementer

__all__ = ["ISupervisor", "NoSupervisor", "Systemd"]


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
class NoSupervisor:
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

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], clock: IReactorTime) -> Self | None:
        """Return the systemd that the environment's variables tell of, or None."""
        address = environment.get("NOTIFY_SOCKET")
        if not address:
            return None
        microseconds = environment.get("WATCHDOG_USEC", "")
        ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        return cls(address, clock, int(microseconds) / 1e6 if ours and microseconds.isdigit() else None)

    def ready(self, status: Callable[[], str]) -> None:
        """Say READY, and from now on feed the watchdog."""
        self._say("READY=1", f"STATUS={status()}")
        if self._feeding is None:
            interval = 10.0 if self._watchdog is None else self._watchdog / 2
            self._feeding = LoopingCall(lambda: self._say("WATCHDOG=1", f"STATUS={status()}"))
            self._feeding.clock = self._clock
            self._feeding.start(interval)

    def reloading(self) -> None:
        """Say RELOADING."""
        # systemd compares the time with its own CLOCK_MONOTONIC (Type=notify-reload).
        self._say("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """Say STOPPING; the watchdog is fed until the end."""
        self._say("STOPPING=1", "STATUS=draining")

    def stopped(self) -> None:
        """Feed the watchdog no more."""
        if self._feeding is not None:
            self._feeding.stop()
            self._feeding = None

    def _say(self, *lines: str) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as wire:
            wire.setblocking(False)
            try:
                wire.sendto("\n".join(lines).encode(), self._address)
            except OSError:
                return  # a supervisor that does not listen is no reason to stop serving
