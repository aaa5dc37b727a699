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

from echod.common.errors import ListenError
from echod.server.accept_overflow import warn_of_overflows
from echod.server.accept_pause import AcceptPause
from echod.server.certificate_watch import CertificateWatch
from echod.server.config import ServerConfiguration
from echod.server.connections import Connections
from echod.server.open_listener import Listener, OpenListener, listening_address
from echod.server.port_close import close_without_loss
from echod.server.reload import Reload
from echod.server.supervisor import ISupervisor

__all__ = ["EchoService", "system_error_text"]


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
        last_reload: Reload,
        give_up: Callable[[], object],
        certificates: CertificateWatch | None = None,
    ) -> None:
        """`drain_timeout` is in seconds. `give_up` ends the process. `certificates`: None without TLS."""
        self.tls = None if certificates is None else certificates.tls
        """The server's side of TLS, for display only; None without TLS."""
        self.last_reload = last_reload
        self.drain_timeout = drain_timeout
        """Seconds. A change counts for a drain that has not begun."""
        self.connections = connections
        self.draining = False
        """Whether the daemon accepts no more connections, and waits for the open ones to end."""
        self._listeners = listeners
        self._clock = clock
        self._supervisor = supervisor
        self._certificates = certificates
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
        if self._certificates is not None:
            self._certificates.start()
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
        if self._certificates is not None:
            self._certificates.stop()
        self._supervisor.stopping()
        not_listening = self._stop_listening()
        if self.connections:
            self._log.info(
                "stopping: {open} connection(s) have {timeout:g} s to finish",
                open=len(self.connections),
                timeout=self.drain_timeout,
            )
        drained = self.connections.drain()
        timer = self._clock.callLater(self.drain_timeout, self.cut)

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

    def reload(self, read: Callable[[], ServerConfiguration], reopen: Callable[[], None] = lambda: None) -> None:
        """Read a configuration and apply it to new connections, as a whole or not at all; log the result.

        `read` raises ConfigurationError if there is a problem. `reopen` is called after it, with any result.
        """
        if not self.running:
            return
        self._supervisor.reloading()
        try:
            self.last_reload.run(read)
            if self._certificates is not None and self.last_reload.successful:
                self._certificates.log_warnings()
            reopen()
        finally:  # systemd waits for it
            self._supervisor.ready(self.status)

    def status(self) -> str:
        """Return the daemon's status in one line."""
        refused = "" if self.last_reload.successful else "; the last reload was refused"
        addresses = ", ".join(self.listening_addresses)
        return f"listening on {addresses}; {len(self.connections)} connection(s) open{refused}"

    @property
    def listening_addresses(self) -> list[str]:
        """The addresses on which the daemon listens, without those of listeners that have closed."""
        return [each.name for each in self._ports if each.is_reachable]

    @property
    def open_listeners(self) -> Sequence[OpenListener]:
        """The listeners that were opened, and that the daemon has not closed itself."""
        return self._ports

    def _listen(self, listener: Listener) -> None:
        starting = True
        failed: ListenError | None = None

        def fail(failure: Failure) -> None:
            nonlocal failed
            failed = ListenError(f"cannot listen on {listener.text}: {system_error_text(failure.value)}")
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
        address = listening_address(port, listener.text)
        for echo in listener.echoes:
            echo.listener = address
        warn_of_overflows(port, address, listener.backlog_setting)
        kind = f" ({listener.kind})" if listener.kind else ""
        self._log.info("listening on {address}{kind}", address=address, kind=kind)

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
