"""The daemon as a Twisted service: it listens, serves, reloads its files, and drains before it stops."""

import os
from collections.abc import Callable, Sequence

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.interfaces import (
    IDelayedCall,
    IListeningPort,
    IReactorTime,
    IReadDescriptor,
)
from twisted.logger import Logger
from twisted.python.failure import Failure

from echod.common.errors import ConfigurationError, ListenError
from echod.server.accept_pause import AcceptPause
from echod.server.connections import Connections
from echod.server.open_listener import Listener, OpenListener, listening_address
from echod.server.port_close import close_without_loss
from echod.server.supervisor import ISupervisor
from echod.server.tls import ServerTLS

__all__ = ["EchoService", "Listener", "listening_address", "system_error_text"]


class EchoService(Service):
    """Listens from `privilegedStartService` on; drains the connections in `stopService`."""

    _log = Logger()

    def __init__(
        self,
        listeners: Sequence[Listener],
        connections: Connections,
        clock: IReactorTime,
        supervisor: ISupervisor,
        drain_timeout: float,
        *,
        reloaders: Sequence[tuple[str, Callable[[], None]]],
        give_up: Callable[[], object],
        tls: ServerTLS | None = None,
    ) -> None:
        """`reloaders` are (name, function) pairs for `reload`; a function may raise ConfigurationError.

        `drain_timeout` is in seconds. `give_up` ends the process. `tls` is kept for display only.
        """
        self.tls = tls
        self.connections = connections
        self.draining = False
        """Whether the daemon accepts no more connections, and waits for the open ones to end."""
        self._listeners = listeners
        self._clock = clock
        self._supervisor = supervisor
        self._drain_timeout = drain_timeout
        self._reloaders = reloaders
        self._give_up = give_up
        self._ports: list[OpenListener] = []
        self._ready_call: IDelayedCall | None = None

    def privilegedStartService(self) -> None:
        """Listen, while the process may still bind ports below 1024.

        Raises ListenError, and then nothing listens: a daemon that lacks one of its listeners must not appear to run.
        """
        super().privilegedStartService()  # type: ignore[no-untyped-call]  # Twisted's Service has no annotations
        for listener in self._listeners:
            self._listen(listener)

    def startService(self) -> None:
        """Serve. Listens first if `privilegedStartService` was not called."""
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's Service has no annotations
        if not self._ports:
            self.privilegedStartService()
        # In the reactor's first turn, and not before: "ready" means that clients are served.
        self._ready_call = self._clock.callLater(0, self._supervisor.ready, self.status)

    def stopService(self) -> "Deferred[None]":
        """Stop accepting; return a Deferred that fires when the last connection has ended.

        Records in progress have the drain timeout to finish; then the connections that are still open are cut. A
        service that was never started stops listening, if it listens.
        """
        if not self.running:
            return self._stop_listening()
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted's Service has no annotations
        self.draining = True
        if self._ready_call is not None and self._ready_call.active():
            self._ready_call.cancel()
        self._supervisor.stopping()
        not_listening = self._stop_listening()
        if self.connections:
            self._log.info(
                "stopping: {open} connection(s) have {timeout:g} s to finish",
                open=len(self.connections),
                timeout=self._drain_timeout,
            )
        drained = self.connections.drain()
        timer = self._clock.callLater(self._drain_timeout, self.cut)

        def end(_: None) -> "Deferred[None]":
            if timer.active():
                timer.cancel()
            self._supervisor.stopped()
            return not_listening

        return drained.addCallback(end)

    def cut(self) -> None:
        """Cut every connection."""
        if self.connections:
            self._log.warn("cutting {open} connection(s)", open=len(self.connections))
        self.connections.cut()

    def reload(self) -> None:
        """Load the reloadable files again. For a bad file an error is logged, and the old content stays in use."""
        if not self.running:
            return
        self._supervisor.reloading()
        self.run_reloaders(self._reloaders)
        self._supervisor.ready(self.status)

    def run_reloaders(self, reloaders: Sequence[tuple[str, Callable[[], None]]]) -> None:
        """Call these reloaders. For a bad file an error is logged, and the old content stays in use."""
        for name, load in reloaders:
            try:
                load()
            except ConfigurationError as problem:
                self._log.error("the {name} stays as it was: {problem}", name=name, problem=problem)
            else:
                self._log.info("loaded the {name} again", name=name)

    def status(self) -> str:
        """Return the daemon's status in one line."""
        return f"listening on {', '.join(self.listening_addresses)}; {len(self.connections)} connection(s) open"

    @property
    def listening_addresses(self) -> list[str]:
        """The addresses on which the daemon listens, without those of listeners that have closed."""
        return [each.address for each in self._ports if each.is_reachable]

    @property
    def open_listeners(self) -> Sequence[OpenListener]:
        """The listeners that were opened, and that the daemon has not closed itself."""
        return self._ports

    def _listen(self, listener: Listener) -> None:
        starting = True
        failed: ListenError | None = None

        def fail(failure: Failure) -> None:
            nonlocal failed
            failed = ListenError(f"cannot listen on {listener.name}: {system_error_text(failure.value)}")
            if not starting:  # the endpoint failed after the call, so no caller can catch the error
                self._log.critical("{problem}", problem=failed)
                self._give_up()

        listener.endpoint.listen(listener.factory).addCallbacks(self._listening, fail, (listener,))
        starting = False
        if failed is not None:
            self._stop_listening()
            raise failed

    def _listening(self, port: IListeningPort, listener: Listener) -> None:
        self._ports.append(OpenListener(listener, port, AcceptPause(port, self._clock)))
        self._log.info("listening on {address}", address=listening_address(port, listener.name))

    def _stop_listening(self) -> "Deferred[None]":
        ports, self._ports = self._ports, []
        if not ports:
            return succeed(None)
        return DeferredList([Deferred.fromCoroutine(_close(each)) for each in ports]).addCallback(lambda _: None)


async def _close(listener: OpenListener) -> None:
    if not listener.listener.inherited and IReadDescriptor.providedBy(listener.port):
        close_without_loss(listener.port)  # a failed accept in it begins a pause
        listener.pause.stop()
        return
    listener.pause.stop()
    stopping = listener.port.stopListening()
    if stopping is not None:
        await stopping


def system_error_text(problem: BaseException | None) -> str:
    """Return the operating system's text for an error, without the text that Twisted adds."""
    inner = getattr(problem, "socketError", problem)
    if isinstance(inner, OSError) and inner.errno:
        return os.strerror(inner.errno).lower()
    return str(inner)
