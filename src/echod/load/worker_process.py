"""The main program of a worker process. `echod load` starts it and controls it by messages on its standard input."""

import resource
import select
import signal
from contextlib import suppress
from typing import Any, cast

from twisted.internet.error import ReactorNotRunning
from twisted.internet.interfaces import IReactorCore
from twisted.internet.stdio import StandardIO

from echod.cli.process import use_monotonic_clock
from echod.client.attempts import IProbeReactor
from echod.load.worker import Worker

__all__ = ["main"]


def main() -> None:
    """Run a worker until its run has ended or the parent has closed standard input."""
    from twisted.internet import reactor  # importing it installs it

    # The terminal sends SIGINT to all its processes; the parent decides when a worker stops.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    use_monotonic_clock(reactor)
    core = cast("IReactorCore", reactor)

    def stop() -> None:
        with suppress(ReactorNotRunning):
            core.stop()

    worker = Worker(_fast_or_stock(reactor), stop)
    core.callWhenRunning(lambda: StandardIO(worker))
    # No signal handlers from Twisted: SIGTERM ends the process at once.
    core.run(installSignalHandlers=False)  # type: ignore[call-arg]  # not in the interface, but in every reactor


def _fast_or_stock(reactor: Any) -> IProbeReactor:
    if hasattr(select, "epoll"):
        from echod.transport.client_poller import (
            ClientPoller,  # imports names from select that exist on Linux only
        )

        reactor = ClientPoller(reactor)
    return cast("IProbeReactor", reactor)


if __name__ == "__main__":
    main()
