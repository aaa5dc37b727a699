"""The daemon as those who look at it see it."""

from collections.abc import Callable
from enum import Enum

from echod.admin.reactor_lag import Pulse
from echod.admin.totals import Figures, Totals
from echod.server.service import EchoService

__all__ = ["DaemonState", "Observed"]


class DaemonState(Enum):
    """Whether it serves. The values are fixed: the page and /readyz show them."""

    STARTING = "starting"
    """No listener is up yet."""
    READY = "ready"
    DRAINING = "draining"
    """It accepts no more, and waits for what is open to end."""


class Observed:
    """The daemon, and all that is known of how it does. Nothing here changes it."""

    def __init__(
        self,
        service: EchoService,
        totals: Totals,
        pulse: Pulse,
        listen_overflows: Callable[[], int | None],
        wall_clock: Callable[[], float],
    ) -> None:
        """`wall_clock` returns seconds since the epoch; from now on counts how long the daemon is up."""
        self._service = service
        self._totals = totals
        self.pulse = pulse
        self.listen_overflows = listen_overflows
        self.now = wall_clock
        self.since = wall_clock()

    @property
    def state(self) -> DaemonState:
        """Whether it serves."""
        if self._service.draining:
            return DaemonState.DRAINING
        return DaemonState.READY if self._service.running and self._service.places else DaemonState.STARTING

    @property
    def places(self) -> list[str]:
        """Where it listens now."""
        return self._service.places

    @property
    def most_connections(self) -> int | None:
        """How many connections may be open; None is no limit."""
        return self._service.connections.limit

    @property
    def certificate_not_after(self) -> float | None:
        """Until when the certificate is valid, seconds since the epoch; None without TLS."""
        return None if self._service.tls is None else self._service.tls.not_after

    def figures(self) -> Figures:
        """Return what the connections came to until now."""
        return self._totals.figures(self._service.connections)
