"""A run's result as a file for node_exporter's textfile collector, which reads files whose names end in .prom.

The file describes the last run only, so all its metrics are gauges: there is no rate to compute.
"""

from collections.abc import Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

from echod.client.outcomes import Outcome
from echod.common.addresses import HostPort
from echod.common.assertions import TIME_METRICS
from echod.ping.statistics import Statistics

__all__ = ["run_metrics", "write_metrics"]

EXPORTED_TIMES = ("min", "mean", "p50", "p90", "p99", "max")


def write_metrics(path: Path, target: HostPort, statistics: Statistics, status: int, now: float) -> None:
    """Replace the file atomically by the metrics of a finished run. Raises OSError.

    The library renames a temporary file, with the permissions of the umask, and removes it after an error. It does not
    sync the file to disk: after a crash of the host, the next run writes it again.
    """
    write_to_textfile(str(path), run_metrics(target, statistics, status, now))


def run_metrics(target: HostPort, statistics: Statistics, status: int, now: float) -> CollectorRegistry:
    """Return the metrics of a finished run: `status` is its exit status, `now` is in seconds since the epoch."""
    registry = CollectorRegistry()
    labels = {"host": target.host, "port": str(target.port)}

    def gauges(name: str, help_text: str, values: Iterable[tuple[tuple[str, ...], float]], *more_labels: str) -> None:
        gauge = Gauge(name, help_text, (*labels, *more_labels), registry=registry)
        for more_values, value in values:
            gauge.labels(*labels.values(), *more_values).set(value)

    def one_gauge(name: str, help_text: str, value: float) -> None:
        gauges(name, help_text, [((), value)])

    one_gauge("echod_ping_success", "Whether the run ended with exit status 0.", status == 0)
    one_gauge("echod_ping_end_timestamp_seconds", "End of the run, seconds since the epoch.", now)
    one_gauge("echod_ping_elapsed_seconds", "Duration of the run.", statistics.elapsed)
    one_gauge("echod_ping_sent", "Probes started.", statistics.sent)
    one_gauge("echod_ping_lost_ratio", "Share of the ended probes that were lost.", statistics.lost_percent / 100)
    outcomes = (((each.value,), statistics.outcomes[each]) for each in Outcome)
    gauges("echod_ping_outcomes", "Probes by their outcome.", outcomes, "outcome")
    times = (
        ((phase, name), TIME_METRICS[name](histogram) / 1e6)
        for phase, histogram in statistics.times.items()
        for name in EXPORTED_TIMES
    )
    gauges("echod_ping_phase_seconds", "Times of the phases of a probe.", times, "phase", "statistic")
    return registry
