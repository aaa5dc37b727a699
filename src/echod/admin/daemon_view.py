"""The daemon's state and counters, read-only, for the pages and the metrics."""

from collections.abc import Callable
from enum import Enum
from pathlib import Path

from echod.admin.connection_totals import ConnectionCounts, ConnectionTotals
from echod.admin.reactor_lag import ReactorLag
from echod.server.reload import Reload
from echod.server.service import EchoService

__all__ = ["DaemonState", "DaemonView", "listen_overflows"]

NETSTAT = Path("/proc/net/netstat")


class DaemonState(Enum):
    """The state of the daemon. The values are fixed: the live page and /readyz show them."""

    STARTING = "starting"
    """Nothing listens yet."""
    READY = "ready"
    """Connections are accepted."""
    DRAINING = "draining"
    """Nothing is accepted any more; open connections are finishing."""


class DaemonView:
    """Read-only access to the daemon's state, its connection counts, its reactor lag and the host's counters."""

    def __init__(
        self,
        service: EchoService,
        totals: ConnectionTotals,
        reactor_lag: ReactorLag,
        listen_overflows: Callable[[], int | None],
        wall_clock: Callable[[], float],
    ) -> None:
        """`wall_clock` returns seconds since the epoch; the uptime counts from this call."""
        self._service = service
        self._totals = totals
        self.reactor_lag = reactor_lag
        self.listen_overflows = listen_overflows
        self.now = wall_clock
        self.since = wall_clock()

    @property
    def state(self) -> DaemonState:
        """The daemon's state."""
        if self._service.draining:
            return DaemonState.DRAINING
        return (
            DaemonState.READY if self._service.running and self._service.listening_addresses else DaemonState.STARTING
        )

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

    def counts(self) -> ConnectionCounts:
        """Return the connection counts at this moment."""
        return self._totals.counts(self._service.connections)


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
