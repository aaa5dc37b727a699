"""A run as a file for node_exporter's textfile collector, which takes what ends in .prom.

What is in the file is of the last run alone, so all of it are gauges: there is nothing to take a rate of.
"""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from echod.client.outcomes import Outcome
from echod.common.addresses import HostPort
from echod.common.assertions import TIME_METRICS
from echod.ping.statistics import Statistics

__all__ = ["run_metrics"]

SHOWN_TIMES = ("min", "mean", "p50", "p90", "p99", "max")


def run_metrics(target: HostPort, statistics: Statistics, status: int, now: float) -> bytes:
    """Return a run that has ended as metrics in Prometheus' text format.

    `status` is the run's exit status, `now` seconds since the epoch.
    """
    registry = CollectorRegistry()
    labels = {"host": target.host, "port": str(target.port)}

    def gauges(name: str, about: str, values: Iterable[tuple[tuple[str, ...], float]], *more: str) -> None:
        gauge = Gauge(name, about, (*labels, *more), registry=registry)
        for those, value in values:
            gauge.labels(*labels.values(), *those).set(value)

    def one(name: str, about: str, value: float) -> None:
        gauges(name, about, [((), value)])

    one("echod_ping_success", "Whether the run ended with exit status 0.", status == 0)
    one("echod_ping_end_timestamp_seconds", "When the run ended, seconds since the epoch.", now)
    one("echod_ping_elapsed_seconds", "How long the run took.", statistics.elapsed)
    one("echod_ping_sent", "Probes that were started.", statistics.sent)
    one("echod_ping_lost_ratio", "Probes that were lost, of those that ended.", statistics.lost_percent / 100)
    outcomes = (((each.value,), statistics.outcomes[each]) for each in Outcome)
    gauges("echod_ping_outcomes", "Probes by their outcome.", outcomes, "outcome")
    times = (
        ((phase, name), TIME_METRICS[name](measured) / 1e6)
        for phase, measured in statistics.times.items()
        for name in SHOWN_TIMES
    )
    gauges("echod_ping_phase_seconds", "How long the phases of a probe took.", times, "phase", "statistic")
    return generate_latest(registry)
