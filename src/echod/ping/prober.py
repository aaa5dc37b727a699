"""What each beat of a run sends out, as a configuration asks for it."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.error import DNSLookupError
from twisted.python.failure import Failure

from echod.client.attempts import IProbeReactor
from echod.client.course import Clocks, Course
from echod.client.line import Line
from echod.client.outcomes import Outcome, PhaseTimes, ProbeResult, Step
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
    """Return the run that `configuration` asks for, ready to be started; `on_result` is called with each result.

    `source` makes the records; `tls` is made from `configuration.client_tls`. Raises ConfigurationError where the
    target is a literal of a family that is not to be used.
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
    """Carries out the beats of a run: one probe each, or one for each address of the name."""

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
        self._asked = configuration
        self._source = source
        self._tls = tls
        self._clocks = clocks
        self._sessions: dict[HostPort | None, Session] = {}

    def tick(self, sequence: int, on_result: OnResult) -> "Deferred[None]":
        """Send out what belongs to this sequence number, from 1 up; tell of each result. Fires when all have ended.

        Cancelled, it fails with CancelledError.
        """
        if self._asked.each_address:
            return Deferred.fromCoroutine(self._each_address(sequence, on_result))
        return self._probe(self._route, self._record(sequence), self._asked.timeout).addCallback(on_result)

    def close(self, *, at_once: bool = False) -> "Deferred[None]":
        """End the connections that are kept; return what fires when they are over."""
        closing = [session.close(at_once=at_once) for session in self._sessions.values()]
        closed: Deferred[None] = DeferredList(closing).addCallback(lambda _: None)
        return closed

    def _record(self, sequence: int) -> Record:
        sizes = self._asked.sizes
        return self._source(sequence, sizes[(sequence - 1) % len(sizes)], self._microseconds())

    def _microseconds(self) -> int:
        return round(self._clocks.wall() * 1e6)

    def _probe(
        self, route: Route, record: Record, timeout: float, resolve: int | None = None
    ) -> "Deferred[ProbeResult]":
        if self._asked.keep_alive:
            if route.address not in self._sessions:
                self._sessions[route.address] = Session(self._reactor, route, tls=self._tls, clocks=self._clocks)
            return self._sessions[route.address].probe(record, timeout=timeout, resolve=resolve)
        course = Course(self._reactor, self._clocks, route.target, record, timeout)
        course.resolve = resolve
        Line(self._reactor, route, self._tls, self._clocks, idle=self._asked.idle).join(course)
        return course.result

    async def _each_address(self, sequence: int, on_result: OnResult) -> None:
        started, began = datetime.fromtimestamp(self._clocks.wall(), UTC), self._clocks.now()
        record = self._record(sequence)
        looking = addresses_of(self._reactor, self._route)
        timer = self._reactor.callLater(self._asked.timeout, looking.cancel)
        try:
            addresses = await looking
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
                detail = f"no answer from the resolver within {self._asked.timeout:g} s"
                unresolved = replace(unresolved, outcome=Outcome.TIMEOUT, detail=detail)
            on_result(unresolved)
            return
        finally:
            if timer.active():
                timer.cancel()
        took = self._clocks.now() - began
        resolve = None if self._route.literal is not None else round(took * 1e6)
        probing = [
            self._probe(
                replace(self._route, address=address), self._record(sequence), self._asked.timeout - took, resolve
            ).addCallback(on_result)
            for address in addresses
        ]
        for good, outcome in await DeferredList(probing, consumeErrors=True):
            if not good:
                cast("Failure", outcome).raiseException()
