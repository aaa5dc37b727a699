"""The faces of a run: lines for people, objects for programs, one line for a monitoring system."""

from collections import deque
from collections.abc import Callable
from typing import Protocol

from echod.cli.terminal import Output
from echod.client.outcomes import ProbeResult
from echod.common.addresses import HostPort
from echod.common.assertions import AssertionResult, run_succeeded
from echod.ping.config import PingConfiguration
from echod.ping.json_objects import probe_object, summary_object
from echod.ping.nagios import judged, plugin_line
from echod.ping.statistics import Statistics
from echod.ping.text import header_line, live_line, result_lines, summary_lines

__all__ = ["View", "view_of"]

RECENT = 100
"""Round trips that a sparkline is made of, at most: wider than any."""

LIVE_EVERY = 0.1
"""Seconds for which the live line's text is good: percentiles are dear, and nobody reads faster."""


class View(Protocol):
    """What shows a run while it goes on."""

    def begin(self) -> None:
        """The first probe is about to start."""

    def told(self, result: ProbeResult) -> None:
        """A probe has ended; the statistics hold it already."""

    def redraw(self) -> None:
        """The terminal has another width."""

    def end(self, verdicts: list[AssertionResult]) -> int:
        """The run is over, and the statistics are complete. Return the exit status."""


def view_of(
    target: HostPort, configuration: PingConfiguration, statistics: Statistics, output: Output, now: Callable[[], float]
) -> View:
    """Return the view that is asked for. `now` is in seconds, on a monotonic clock."""
    if configuration.nagios:
        return _PluginView(target, configuration, statistics, output)
    if configuration.json:
        return _ObjectView(target, configuration, statistics, output)
    return _LineView(target, configuration, statistics, output, now)


class _BaseView:
    def __init__(
        self, target: HostPort, configuration: PingConfiguration, statistics: Statistics, output: Output
    ) -> None:
        self._target = target
        self._asked = configuration
        self._statistics = statistics
        self._output = output

    def begin(self) -> None:
        """Say nothing."""

    def told(self, result: ProbeResult) -> None:
        """Say nothing."""

    def redraw(self) -> None:
        """There is nothing to redraw."""

    def _status(self, verdicts: list[AssertionResult]) -> int:
        return 0 if run_succeeded(self._statistics, verdicts) else 1


class _LineView(_BaseView):
    def __init__(
        self,
        target: HostPort,
        configuration: PingConfiguration,
        statistics: Statistics,
        output: Output,
        now: Callable[[], float],
    ) -> None:
        super().__init__(target, configuration, statistics, output)
        self._now = now
        self._recent: deque[int | None] = deque(maxlen=RECENT)
        self._live = ""
        self._live_until = float("-inf")

    def begin(self) -> None:
        self._output.write_lines(header_line(self._target, self._asked.sizes, self._asked.client_tls))

    def told(self, result: ProbeResult) -> None:
        self._recent.append(result.times.echo if result.echoed else None)
        if not self._asked.quiet:
            self._output.write_lines(
                *result_lines(result, self._output, verbose=self._asked.verbose), live=self._live_line
            )

    def redraw(self) -> None:
        if self._live:
            self._live_until = float("-inf")
            self._output.write_lines(live=self._live_line)

    def end(self, verdicts: list[AssertionResult]) -> int:
        self._output.write_lines(*summary_lines(self._target, self._statistics, self._output))
        return self._status(verdicts)

    def _live_line(self) -> str:
        now = self._now()
        if now >= self._live_until:
            self._live_until = now + LIVE_EVERY
            self._live = live_line(self._statistics, tuple(self._recent), self._output)
        return self._live


class _ObjectView(_BaseView):
    def told(self, result: ProbeResult) -> None:
        if not self._asked.quiet:
            self._output.write_lines(probe_object(result))

    def end(self, verdicts: list[AssertionResult]) -> int:
        if self._asked.quiet or self._asked.summary:
            self._output.write_lines(summary_object(self._target, self._statistics, verdicts))
        return self._status(verdicts)


class _PluginView(_BaseView):
    def end(self, verdicts: list[AssertionResult]) -> int:
        thresholds = self._asked.warning, self._asked.critical
        judgement = judged(self._statistics, *thresholds)
        self._output.write_lines(plugin_line(self._target, self._statistics, judgement, *thresholds))
        return judgement.state
