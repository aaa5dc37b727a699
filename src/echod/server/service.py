"""The daemon's life: listen, serve, load again, drain, end."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocolFactory,
    IReactorTime,
    IReadDescriptor,
    IStreamServerEndpoint,
)
from twisted.logger import Logger
from twisted.python.failure import Failure

from echod.common.addresses import HostPort
from echod.common.errors import ConfigurationError, ListenError
from echod.server.accept_pause import AcceptPause
from echod.server.connections import Connections
from echod.server.factory import host_port
from echod.server.port_close import close_without_loss
from echod.server.supervisor import ISupervisor
from echod.server.tls import ServerTLS

__all__ = ["EchoService", "Listener", "listening_address", "system_error_text"]


@dataclass(frozen=True)
class Listener:
    """An endpoint and what serves its clients."""

    name: str
    endpoint: IStreamServerEndpoint
    factory: IProtocolFactory
    inherited: bool = False
    """Whether the socket is another process's, which keeps it: what waits in its queue is not lost when we close."""


@dataclass(frozen=True)
class _Open:
    """A listener that listens."""

    listener: Listener
    port: IListeningPort
    rest: AcceptPause


class EchoService(Service):
    """Listens from `privilegedStartService` on, and drains in `stopService`."""

    _log = Logger()

    def __init__(
        self,
        listeners: Sequence[Listener],
        connections: Connections,
        clock: IReactorTime,
        supervisor: ISupervisor,
        drain_timeout: float,
        *,
        load_again: Sequence[tuple[str, Callable[[], None]]],
        give_up: Callable[[], object],
        tls: ServerTLS | None = None,
    ) -> None:
        """`load_again` are what `reload` calls; they may raise ConfigurationError. `give_up` ends the process.

        `tls` is for those who look at the daemon.
        """
        self.tls = tls
        self.connections = connections
        self.draining = False
        """Whether it accepts no more, and waits for what is open to end."""
        self._listeners = listeners
        self._clock = clock
        self._supervisor = supervisor
        self._drain_timeout = drain_timeout
        self._load_again = load_again
        self._give_up = give_up
        self._ports: list[_Open] = []

    def privilegedStartService(self) -> None:
        """Listen, while the process may still bind low ports.

        Raises ListenError, and then listens nowhere: a daemon that is deaf on one of its
        listeners must not look as if it ran.
        """
        super().privilegedStartService()  # type: ignore[no-untyped-call]  # Twisted's Service has no annotations
        for listener in self._listeners:
            self._listen(listener)

    def startService(self) -> None:
        """Serve. Listens first where nothing has called `privilegedStartService`."""
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's Service has no annotations
        if not self._ports:
            self.privilegedStartService()
        # When the reactor turns, and not before: ready means that clients are served.
        self._becoming_ready = self._clock.callLater(0, self._supervisor.ready, self.status)

    def stopService(self) -> "Deferred[None]":
        """Stop accepting at once; the Deferred fires when the last connection is over.

        Records in flight have the drain timeout to finish; what is left then is cut.
        """
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted's Service has no annotations
        self.draining = True
        if self._becoming_ready.active():
            self._becoming_ready.cancel()
        self._supervisor.stopping()
        stopped = self._stop_listening()
        if self.connections:
            self._log.info(
                "stopping: {open} connection(s) have {timeout:g} s to finish",
                open=len(self.connections),
                timeout=self._drain_timeout,
            )
        drained = self.connections.drain()
        timer = self._clock.callLater(self._drain_timeout, self.cut)

        def disarm(_: object) -> "Deferred[None]":
            if timer.active():
                timer.cancel()
            self._supervisor.stopped()
            return stopped

        return drained.addCallback(disarm)

    def cut(self) -> None:
        """End every connection now."""
        if self.connections:
            self._log.warn("cutting {open} connection(s)", open=len(self.connections))
        self.connections.cut()

    def reload(self) -> None:
        """Load again what comes from files and may change: certificates, keys. What is bad keeps the old."""
        if not self.running:
            return
        self._supervisor.reloading()
        self.load(self._load_again)
        self._supervisor.ready(self.status)

    def load(self, files: Sequence[tuple[str, Callable[[], None]]]) -> None:
        """Load some of what `reload` loads. What is bad keeps the old, and the log says so."""
        for what, load in files:
            try:
                load()
            except ConfigurationError as problem:
                self._log.error("the {what} stays as it was: {problem}", what=what, problem=problem)
            else:
                self._log.info("loaded the {what} again", what=what)

    def status(self) -> str:
        """Return how it does, in one line."""
        return f"listening on {', '.join(self.places)}; {len(self.connections)} connection(s) open"

    @property
    def places(self) -> list[str]:
        """Where it listens now, in words."""
        return [listening_address(each.port, each.listener.name) for each in self._ports]

    def _listen(self, listener: Listener) -> None:
        starting = True
        failed: ListenError | None = None

        def take(failure: Failure) -> None:
            nonlocal failed
            failed = ListenError(f"cannot listen on {listener.name}: {system_error_text(failure.value)}")
            if not starting:  # an endpoint that takes its time, and fails when nobody can catch it any more
                self._log.critical("{problem}", problem=failed)
                self._give_up()

        listener.endpoint.listen(listener.factory).addCallbacks(self._listening, take, (listener,))
        starting = False
        if failed is not None:
            self._stop_listening()
            raise failed

    def _listening(self, port: IListeningPort, listener: Listener) -> None:
        self._ports.append(_Open(listener, port, AcceptPause(port, self._clock)))
        self._log.info("listening on {address}", address=listening_address(port, listener.name))

    def _stop_listening(self) -> "Deferred[None]":
        ports, self._ports = self._ports, []
        stopping = [Deferred.fromCoroutine(_stopped(each)) for each in ports]
        return DeferredList(stopping).addCallback(lambda _: None)


async def _stopped(leaving: _Open) -> None:
    if not leaving.listener.inherited and IReadDescriptor.providedBy(leaving.port):
        close_without_loss(leaving.port)
        leaving.rest.stop()
        return
    leaving.rest.stop()
    stopping = leaving.port.stopListening()
    if stopping is not None:
        await stopping


def listening_address(port: IListeningPort, name: str) -> str:
    """Return where `port` listens; where its address says nothing, as of a Unix socket, the `name` it goes by."""
    address: HostPort = host_port(port.getHost())
    return str(address) if address.host else name


def system_error_text(problem: BaseException | None) -> str:
    """Return what the operating system said, without Twisted's words around it."""
    inner = getattr(problem, "socketError", problem)
    if isinstance(inner, OSError) and inner.errno:
        return os.strerror(inner.errno).lower()
    return str(inner)
