"""The probes of each tick of a run, as a configuration asks for them."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.error import DNSLookupError
from twisted.python.failure import Failure

from echod.client.attempts import IProbeReactor
from echod.client.deadline import Clocks
from echod.client.outcomes import Outcome, PhaseTimes, ProbeResult, Step
from echod.client.probe import start_probe
from echod.client.record import Record, RecordSource
from echod.client.resolver import addresses_of
from echod.client.route import Route
from echod.client.session import Session
from echod.common.addresses import HostPort
from echod.ping.config import PingConfiguration
from echod.ping.run import OnResult, ProbeRun

if TYPE_CHECKING:
    from echod.client.tls import ClientTLSContext

__all__ = ["Prober", "prepare_run"]


def prepare_run(
    reactor: IProbeReactor,
    target: HostPort,
    configuration: PingConfiguration,
    source: RecordSource,
    on_result: OnResult,
    *,
    tls: "ClientTLSContext | None" = None,
    clocks: Clocks = Clocks(),  # noqa: B008  # it is frozen
) -> ProbeRun:
    """Return the run of `configuration`, ready to be started; `on_result` is called with each result.

    `source` makes the records; `tls` is the context of `configuration.client_tls`. Raises ConfigurationError if the
    target is a literal of a family that the configuration excludes.
    """
    prober = Prober(reactor, configuration.route_to(target), configuration, source, tls, clocks)
    return ProbeRun(
        reactor,
        prober,
        interval=configuration.interval,
        count=configuration.probes,
        deadline=configuration.deadline,
        on_result=on_result,
    )


class Prober:
    """Sends one probe each tick, or one to each address of the name."""

    def __init__(
        self,
        reactor: IProbeReactor,
        route: Route,
        configuration: PingConfiguration,
        source: RecordSource,
        tls: "ClientTLSContext | None",
        clocks: Clocks,
    ) -> None:
        self._reactor = reactor
        self._route = route
        self._config = configuration
        self._source = source
        self._tls = tls
        self._clocks = clocks
        self._sessions: dict[HostPort | None, Session] = {}
        """By address of the route; None for any address."""

    def tick(self, sequence: int, on_result: OnResult) -> "Deferred[None]":
        """Send the probes of this sequence number, from 1 up; call `on_result` with the result of each.

        The Deferred fires when all of them have ended. Cancelled, it fails with CancelledError.
        """
        if self._config.each_address:
            return Deferred.fromCoroutine(self._probe_each_address(sequence, on_result))
        return self._probe(self._route, self._record(sequence), self._config.timeout).addCallback(on_result)

    def close(self, *, at_once: bool = False) -> "Deferred[None]":
        """Close the connections that are kept between ticks. The Deferred fires when they are closed."""
        closing = [session.close(at_once=at_once) for session in self._sessions.values()]
        closed: Deferred[None] = DeferredList(closing).addCallback(lambda _: None)
        return closed

    def _record(self, sequence: int) -> Record:
        sizes = self._config.sizes
        return self._source(sequence, sizes[(sequence - 1) % len(sizes)], round(self._clocks.wall() * 1e6))

    def _probe(
        self, route: Route, record: Record, timeout: float, resolve: int | None = None
    ) -> "Deferred[ProbeResult]":
        if self._config.keep_alive:
            if route.address not in self._sessions:
                self._sessions[route.address] = Session(self._reactor, route, tls=self._tls, clocks=self._clocks)
            return self._sessions[route.address].probe(record, timeout=timeout, resolve=resolve)
        return start_probe(
            self._reactor,
            route,
            record,
            timeout,
            idle=self._config.idle,
            tls=self._tls,
            clocks=self._clocks,
            resolve=resolve,
        )

    async def _probe_each_address(self, sequence: int, on_result: OnResult) -> None:
        started, began = datetime.fromtimestamp(self._clocks.wall(), UTC), self._clocks.now()
        record = self._record(sequence)
        resolving = addresses_of(self._reactor, self._route)
        timer = self._reactor.callLater(self._config.timeout, resolving.cancel)
        try:
            addresses = await resolving
        except (CancelledError, DNSLookupError) as problem:
            if timer.active() and isinstance(problem, CancelledError):
                raise
            unresolved = ProbeResult(
                target=self._route.target,
                outcome=Outcome.RESOLVE_FAILED,
                step=Step.RESOLVE,
                sequence=sequence,
                started=started,
                times=PhaseTimes(),
                size=len(record.data),
                detail="no address for this name",
            )
            if isinstance(problem, CancelledError):
                detail = f"no answer from the resolver within {self._config.timeout:g} s"
                unresolved = replace(unresolved, outcome=Outcome.TIMEOUT, detail=detail)
            on_result(unresolved)
            return
        finally:
            if timer.active():
                timer.cancel()
        resolution = self._clocks.now() - began
        resolve = None if self._route.literal is not None else round(resolution * 1e6)
        # In a busy process the answer can be read after the timeout, before its timer is called.
        left = max(self._config.timeout - resolution, 0.0)
        probing = [
            self._probe(replace(self._route, address=address), self._record(sequence), left, resolve).addCallback(
                on_result
            )
            for address in addresses
        ]
        for succeeded, result in await DeferredList(probing, consumeErrors=True):
            if not succeeded:
                cast("Failure", result).raiseException()
