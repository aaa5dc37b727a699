"""A process that generates load for `echod load`, which starts it and drives it by lines."""

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
    """Generate load as the parent says, until it says no more."""
    from twisted.internet import reactor  # importing it installs it

    # Ctrl-C reaches every process of the terminal; the parent says what it means for this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    use_monotonic_clock(reactor)
    core = cast("IReactorCore", reactor)

    def stop() -> None:
        with suppress(ReactorNotRunning):
            core.stop()

    worker = Worker(_fast_or_stock(reactor), stop)
    core.callWhenRunning(lambda: StandardIO(worker))
    # Without Twisted's handlers: SIGTERM ends it at once.
    core.run(installSignalHandlers=False)  # type: ignore[call-arg]  # the interface has it not, every reactor has


def _fast_or_stock(reactor: Any) -> IProbeReactor:
    if hasattr(select, "epoll"):
        from echod.transport.client_poller import (
            ClientPoller,  # not before: it takes names from select that only Linux has
        )

        reactor = ClientPoller(reactor)
    return cast("IProbeReactor", reactor)


if __name__ == "__main__":
    main()
