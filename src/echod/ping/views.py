"""The output formats of a run: lines for people, JSON objects for programs, one line for a monitoring system."""

from collections import deque
from collections.abc import Callable
from typing import Protocol

from echod.cli.terminal import Output
from echod.client.outcomes import ProbeResult
from echod.common.addresses import HostPort
from echod.common.assertions import AssertionResult, run_succeeded
from echod.ping.config import PingConfiguration
from echod.ping.json_objects import probe_object, summary_object
from echod.ping.nagios import plugin_line, plugin_result
from echod.ping.statistics import Statistics
from echod.ping.text import header_line, live_line, result_lines, summary_lines

__all__ = ["View", "make_view"]

RECENT = 100
"""The number of round trips kept for the sparkline: more than any sparkline shows."""

LIVE_INTERVAL = 0.1
"""Seconds between updates of the live line's text: faster ones could not be read, and percentiles take time."""


class View(Protocol):
    """The output of a run."""

    def begin(self) -> None:
        """Show the start of the run."""

    def on_result(self, result: ProbeResult) -> None:
        """Show the result of a probe, which the statistics contain already."""

    def redraw(self) -> None:
        """Adapt the live line to a changed terminal width."""

    def end(self, verdicts: list[AssertionResult]) -> int:
        """Show the end of the run, when the statistics are complete. Return the exit status."""


def make_view(
    target: HostPort, config: PingConfiguration, statistics: Statistics, output: Output, now: Callable[[], float]
) -> View:
    """Return the view for the output format of the configuration. `now` is in seconds, on a monotonic clock."""
    if config.nagios:
        return _PluginView(target, config, statistics, output)
    if config.json:
        return _ObjectView(target, config, statistics, output)
    return _LineView(target, config, statistics, output, now)


class _BaseView:
    def __init__(self, target: HostPort, config: PingConfiguration, statistics: Statistics, output: Output) -> None:
        self._target = target
        self._config = config
        self._statistics = statistics
        self._output = output

    def begin(self) -> None:
        """No-op."""

    def on_result(self, result: ProbeResult) -> None:
        """No-op."""

    def redraw(self) -> None:
        """No-op: there is no live line."""

    def _status(self, verdicts: list[AssertionResult]) -> int:
        return 0 if run_succeeded(self._statistics, verdicts) else 1


class _LineView(_BaseView):
    def __init__(
        self,
        target: HostPort,
        config: PingConfiguration,
        statistics: Statistics,
        output: Output,
        now: Callable[[], float],
    ) -> None:
        super().__init__(target, config, statistics, output)
        self._now = now
        self._recent: deque[int | None] = deque(maxlen=RECENT)
        self._live = ""
        self._live_until = float("-inf")

    def begin(self) -> None:
        self._output.write_lines(header_line(self._target, self._config.sizes, self._config.client_tls))

    def on_result(self, result: ProbeResult) -> None:
        self._recent.append(result.times.echo if result.echoed else None)
        if not self._config.quiet:
            lines = result_lines(result, self._output, verbose=self._config.verbose)
            self._output.write_lines(*lines, live=self._live_line)

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
            self._live_until = now + LIVE_INTERVAL
            self._live = live_line(self._statistics, tuple(self._recent), self._output)
        return self._live


class _ObjectView(_BaseView):
    def on_result(self, result: ProbeResult) -> None:
        if not self._config.quiet:
            self._output.write_lines(probe_object(result))

    def end(self, verdicts: list[AssertionResult]) -> int:
        if self._config.quiet or self._config.summary:
            self._output.write_lines(summary_object(self._target, self._statistics, verdicts))
        return self._status(verdicts)


class _PluginView(_BaseView):
    def end(self, verdicts: list[AssertionResult]) -> int:
        thresholds = self._config.warning, self._config.critical
        result = plugin_result(self._statistics, *thresholds)
        self._output.write_lines(plugin_line(self._target, self._statistics, result, *thresholds))
        return result.state
