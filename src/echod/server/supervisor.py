"""The supervisor that started the daemon and is notified of its state: systemd, or none."""

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
"""Seconds between two status notifications, if the unit has no watchdog."""

RETRY = 0.1
"""Seconds until a datagram is sent again, after systemd's queue was full."""


class ISupervisor(Interface):
    """Receives the changes of the daemon's state."""

    def ready(status: Callable[[], str]) -> None:  # noqa: N805 - an interface's methods take no self
        """The daemon serves. `status` returns its present status in one line, and may be called at any time."""

    def reloading() -> None:
        """The daemon loads its files again; `ready` follows."""

    def stopping() -> None:
        """The daemon accepts no more connections, and drains."""

    def stopped() -> None:
        """The last connection has ended."""


@implementer(ISupervisor)
class NullSupervisor:
    """The supervisor of a daemon that has none."""

    def ready(self, status: Callable[[], str]) -> None:
        """No-op."""

    def reloading(self) -> None:
        """No-op."""

    def stopping(self) -> None:
        """No-op."""

    def stopped(self) -> None:
        """No-op."""


@implementer(ISupervisor)
class Systemd:
    """Notifies systemd by the protocol of sd_notify(3): datagrams of `NAME=value` lines.

    If the unit has WatchdogSec=, the watchdog is notified at half its interval, as sd_watchdog_enabled(3) advises, by a
    call of the reactor: a reactor that hangs sends no notification. STATUS is sent with it.
    """

    def __init__(self, address: str, clock: IReactorTime, watchdog: float | None) -> None:
        """Notify at the socket `address`; `watchdog` is the unit's interval in seconds. None: no watchdog."""
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._clock = clock
        self._watchdog = watchdog
        self._watchdog_loop: LoopingCall | None = None
        self._stopping = False
        self._queue: list[bytes] = []
        self._retry: IDelayedCall | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], clock: IReactorTime) -> Self | None:
        """Return the systemd whose socket is named in `environment`, by NOTIFY_SOCKET; None: no socket is named."""
        address = environment.get("NOTIFY_SOCKET")
        if not address:
            return None
        interval = environment.get("WATCHDOG_USEC", "")
        microseconds = int(interval) if interval.isascii() and interval.isdigit() else 0
        ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        return cls(address, clock, microseconds / 1e6 if ours and microseconds else None)

    def ready(self, status: Callable[[], str]) -> None:
        """Send READY; from now on, notify the watchdog."""
        self._send("READY=1", f"STATUS={status()}")
        if self._watchdog_loop is None:
            self._watchdog_loop = LoopingCall(self._notify_watchdog, status)
            self._watchdog_loop.clock = self._clock
            self._watchdog_loop.start(STATUS_INTERVAL if self._watchdog is None else self._watchdog / 2)

    def reloading(self) -> None:
        """Send RELOADING."""
        # systemd compares the time with its own CLOCK_MONOTONIC (Type=notify-reload).
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """Send STOPPING. The watchdog is notified until the end of the drain."""
        self._stopping = True
        self._send("STOPPING=1", "STATUS=draining")

    def stopped(self) -> None:
        """End the notifications."""
        if self._watchdog_loop is not None:
            self._watchdog_loop.stop()
            self._watchdog_loop = None
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def _notify_watchdog(self, status: Callable[[], str]) -> None:
        if self._queue:
            return  # systemd's queue is full: the waiting datagrams are sent first
        if self._stopping:
            self._send("WATCHDOG=1")  # without a status: no listener is left to name
        else:
            self._send("WATCHDOG=1", f"STATUS={status()}")

    def _send(self, *lines: str) -> None:
        self._queue.append("\n".join(lines).encode())
        if self._retry is None:
            self._send_queued()

    def _send_queued(self) -> None:
        """Send the waiting datagrams, in their order.

        If systemd's queue is full, they are sent later, because systemd would kill a daemon whose READY was lost.
        sd_notify(3) blocks in that case; a reactor must not.
        """
        self._retry = None
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as datagrams:
            datagrams.setblocking(False)
            while self._queue:
                try:
                    datagrams.sendto(self._queue[0], self._address)
                except BlockingIOError:
                    self._retry = self._clock.callLater(RETRY, self._send_queued)
                    return
                except OSError:
                    pass  # systemd does not listen: the daemon serves without it
                del self._queue[0]
