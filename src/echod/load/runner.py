"""The runs of one command: a single run, or the steps of a search. Each run has its own worker processes."""

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred

from echod.common.assertions import Assertion
from echod.load.config import LoadConfiguration, Share, shares
from echod.load.result import LoadResult
from echod.load.search import Search, SearchStep
from echod.load.statistics import LoadStatistics, Slice
from echod.load.worker import Plan
from echod.load.worker_pool import IProcessReactor, WorkerPool

__all__ = ["LoadRunner", "RunObserver"]

LONGEST = 1.05
"""A step of a search achieved its rate if all its records ended within this multiple of its duration."""


class RunObserver:
    """Receives the progress of the runs. This one is the null observer."""

    def on_run_started(self, rate: int | None, statistics: LoadStatistics) -> None:
        """No-op. Called before each run."""

    def on_slice(self) -> None:
        """No-op. Called after a slice was merged into the statistics."""

    def on_step(self, step: SearchStep) -> None:
        """No-op. Called after each step of a search."""


class LoadRunner:
    """Executes the runs one after the other."""

    def __init__(
        self,
        reactor: IProcessReactor,
        command: Sequence[str],
        configuration: LoadConfiguration,
        plan: Callable[[Share], Plan],
        *,
        processes: int,
        now: Callable[[], float],
        observer: RunObserver,
    ) -> None:
        """`command` starts a worker process; `plan` returns the plan of the worker for a share."""
        self._reactor = reactor
        self._command = command
        self._configuration = configuration
        self._plan = plan
        self._processes = processes
        self._now = now
        self._observer = observer
        self._pool: WorkerPool | None = None
        self._stopped = False

    def start(self) -> "Deferred[LoadResult]":
        """Start the first run. The Deferred fires after the last run or after `stop`; it fails with GeneratorError."""
        return Deferred.fromCoroutine(self._all_runs())

    def stop(self) -> None:
        """End the current run, and start no other. The result has what was merged so far."""
        self._stopped = True
        if self._pool is not None:
            self._pool.stop()

    async def _all_runs(self) -> LoadResult:
        assertion = self._configuration.find_max
        if assertion is None:
            return await self._one_run(self._configuration.rate)
        search = Search(self._configuration.first_rate)
        steps: list[SearchStep] = []
        best: LoadResult | None = None
        while True:
            run = await self._one_run(search.rate)
            if self._stopped:
                break
            step = _step(search.rate, run.statistics, assertion, self._configuration.duration)
            steps.append(step)
            self._observer.on_step(step)
            search.record(held=step.held)
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

    async def _one_run(self, rate: int | None) -> LoadResult:
        plans = [self._plan(share) for share in shares(self._configuration, self._processes, rate)]
        statistics = LoadStatistics(len(plans))
        self._observer.on_run_started(rate, statistics)

        def on_slice(part: Slice) -> None:
            statistics.add(part)
            self._observer.on_slice()

        self._pool = WorkerPool(self._reactor, self._command, plans, self._now, on_slice)
        await self._pool.run()
        statistics.finish(self._pool.elapsed, self._pool.unfinished, interrupted=self._stopped)
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
        # A generator that falls behind makes response times longer, never shorter: it cannot make an assertion hold.
        held=verdict.holds and losses_are_judged and statistics.elapsed <= duration * LONGEST,
    )
