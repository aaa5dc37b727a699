"""All the runs that a configuration asks for: one, or those of a search, each with processes of its own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from twisted.internet.defer import Deferred

from echod.common.assertions import Assertion
from echod.load.config import LoadConfiguration, Share, shares
from echod.load.search import Search, SearchStep
from echod.load.statistics import LoadStatistics, Slice
from echod.load.worker import Plan
from echod.load.worker_pool import IProcessReactor, WorkerPool

__all__ = ["LoadResult", "LoadRunner", "Watcher"]

IN_TIME = 1.05
"""By how much a step of a search may outlast its duration until all is echoed: beyond, its rate was not kept up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadResult:
    """What came of it: of a search, the best run, or where none held the last."""

    rate: int | None
    """Asked for, records a second; None: closed loop."""
    processes: int
    statistics: LoadStatistics
    steps: tuple[SearchStep, ...] = ()
    found: int | None = None
    """Of a search: the highest rate at which the assertion held; None: at none."""


class Watcher:
    """Hears how it goes, and says nothing: for those who want to know of less than all of it."""

    def begun(self, rate: int | None, statistics: LoadStatistics) -> None:
        """A run is about to begin."""

    def told(self) -> None:
        """There is more in the statistics."""

    def stepped(self, step: SearchStep) -> None:
        """A step of a search is over."""


class LoadRunner:
    """Carries the runs out, one after the other."""

    def __init__(
        self,
        reactor: IProcessReactor,
        command: Sequence[str],
        configuration: LoadConfiguration,
        plan: Callable[[Share], Plan],
        *,
        processes: int,
        now: Callable[[], float],
        watcher: Watcher,
    ) -> None:
        """`plan` says what a process does for its share of a run of `configuration`."""
        self._reactor = reactor
        self._command = command
        self._asked = configuration
        self._plan = plan
        self._processes = processes
        self._now = now
        self._watcher = watcher
        self._crew: WorkerPool | None = None
        self._stopped = False

    def start(self) -> "Deferred[LoadResult]":
        """Begin. It fires at the end, also at that by `stop`; it fails with GeneratorError."""
        return Deferred.fromCoroutine(self._all())

    def stop(self) -> None:
        """End it now, with what there is."""
        self._stopped = True
        if self._crew is not None:
            self._crew.stop()

    async def _all(self) -> LoadResult:
        assertion = self._asked.find_max
        if assertion is None:
            return await self._one(self._asked.rate)
        search = Search(self._asked.first_rate)
        steps: list[SearchStep] = []
        best: LoadResult | None = None
        while True:
            run = await self._one(search.rate)
            if self._stopped:
                break
            step = _step(search.rate, run.statistics, assertion, self._asked.duration)
            steps.append(step)
            self._watcher.stepped(step)
            search.tried(held=step.held)
            best = run if step.held else best
            if search.over:
                break
        shown = best or run
        return LoadResult(
            rate=shown.rate,
            processes=shown.processes,
            statistics=shown.statistics,
            steps=tuple(steps),
            found=search.holds,
        )

    async def _one(self, rate: int | None) -> LoadResult:
        plans = [self._plan(share) for share in shares(self._asked, self._processes, rate)]
        statistics = LoadStatistics(len(plans))
        self._watcher.begun(rate, statistics)

        def told(part: Slice) -> None:
            statistics.add(part)
            self._watcher.told()

        self._crew = WorkerPool(self._reactor, self._command, plans, self._now, told)
        await self._crew.run()
        statistics.finish(self._crew.elapsed, self._crew.unfinished, interrupted=self._stopped)
        return LoadResult(rate=rate, processes=len(plans), statistics=statistics)


def _step(rate: int, statistics: LoadStatistics, assertion: Assertion, duration: float) -> SearchStep:
    verdict = assertion.evaluate(statistics)
    losses_are_judged = assertion.judges_losses or not statistics.lost
    return SearchStep(
        rate=rate,
        achieved=statistics.rate,
        verdict=verdict,
        lost=statistics.lost,
        behind=statistics.behind,
        # A generator that falls behind makes response times longer, never shorter: what holds, holds in spite of it.
        held=verdict.holds and losses_are_judged and statistics.elapsed <= duration * IN_TIME,
    )
