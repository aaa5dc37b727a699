"""The daemon's state and counters, read-only, for the pages and the metrics."""

import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from echod.admin.connection_totals import ConnectionCounts, ConnectionTotals
from echod.admin.reactor_lag import ReactorLag
from echod.admin.snapshot import DaemonState
from echod.server.open_listener import OpenListener
from echod.server.reload import Reload
from echod.server.service import EchoService

__all__ = ["DaemonView", "is_own_namespace", "listen_overflows"]

NETSTAT = Path("/proc/self/net/netstat")

_SO_NETNS_COOKIE = 71
"""Linux 5.14, asm-generic/socket.h: a number that identifies a socket's network namespace."""


class DaemonView:
    """Read-only access to the daemon's state, its connection counts, its reactor lag and the host's counters."""

    def __init__(
        self,
        service: EchoService,
        totals: ConnectionTotals,
        reactor_lag: ReactorLag,
        read_overflows: Callable[[], int | None],
        log_lines_dropped: Callable[[], Mapping[str, int]],
        wall_clock: Callable[[], float],
    ) -> None:
        """`read_overflows` returns the overflows of the network namespace of this process.

        `log_lines_dropped` returns the number of dropped lines by log. `wall_clock` returns seconds since the
        epoch; the uptime counts from this call.
        """
        self._service = service
        self._totals = totals
        self._read_overflows = read_overflows
        self.log_lines_dropped = log_lines_dropped
        self._own_namespace = False
        """Whether the listeners are in the network namespace of this process."""
        self._dropped_before: dict[str, int] = {}
        """Packets dropped at a listener before this process had it, by name."""
        self._dropped: dict[str, int] = {}
        self.reactor_lag = reactor_lag
        self.now = wall_clock
        self.since = wall_clock()

    @property
    def state(self) -> DaemonState:
        """The daemon's state."""
        if self._service.draining:
            return DaemonState.DRAINING
        if not self._service.running or not self._service.open_listeners:
            return DaemonState.STARTING
        reachable = all(listener.is_reachable for listener in self._service.open_listeners)
        return DaemonState.READY if reachable else DaemonState.NOT_LISTENING

    @property
    def listeners(self) -> Sequence[OpenListener]:
        """The listeners that were opened."""
        return self._service.open_listeners

    @property
    def listening_addresses(self) -> list[str]:
        """Addresses of the listeners that are up."""
        return self._service.listening_addresses

    @property
    def max_connections(self) -> int | None:
        """Limit of open connections; None: no limit."""
        return self._service.connections.limit

    @property
    def certificate_not_after(self) -> float | None:
        """End of the certificate's validity, in seconds since the epoch; None without TLS."""
        return None if self._service.tls is None else self._service.tls.not_after

    @property
    def last_reload(self) -> Reload:
        """The result of the last reload of the configuration."""
        return self._service.last_reload

    def dropped(self) -> dict[str, int]:
        """Return the packets that the kernel has dropped at each listener, by name; closed listeners included."""
        for listener in self._service.open_listeners:
            queue = listener.queue
            if queue is not None:
                before = queue.dropped if listener.listener.inherited else 0
                before = self._dropped_before.setdefault(listener.name, before)
                self._dropped[listener.name] = (queue.dropped - before) % 2**32
        return dict(self._dropped)

    def listen_overflows(self) -> int | None:
        """Return the overflows of the listeners' network namespace. None: it is not that of this process, or unknown.

        A service with PrivateNetwork=yes has sockets of the host's namespace, but reads the counters of its own.
        """
        listeners = self._service.open_listeners
        if listeners:
            sockets = [listener.socket for listener in listeners]
            self._own_namespace = all(each is None or is_own_namespace(each) for each in sockets)
        return self._read_overflows() if self._own_namespace else None

    def counts(self) -> ConnectionCounts:
        """Return the connection counts at this moment."""
        return self._totals.counts(self._service.connections)


def is_own_namespace(of: socket.socket) -> bool:
    """Return whether a socket is in the network namespace of this process. False if the kernel does not say."""
    if of.family == socket.AF_UNIX:
        return True
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:  # the one family that hardened units may create
            return _namespace(of) == _namespace(own)
    except (OSError, struct.error):
        return False


def _namespace(of: socket.socket) -> int:
    cookie: int
    (cookie,) = struct.unpack("=Q", of.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8))
    return cookie


def listen_overflows(path: Path = NETSTAT) -> int | None:
    """Return TcpExtListenOverflows: handshakes that found a full accept queue, of any listener.

    The kernel counts per network namespace. None if it does not report the counter. The file holds pairs of
    lines, names and values (proc(5)).
    """
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return None
    for names, values in zip(lines[::2], lines[1::2], strict=False):
        if names.startswith("TcpExt:"):
            value = dict(zip(names.split(), values.split(), strict=False)).get("ListenOverflows", "")
            return int(value) if value.isdigit() else None
    return None
