"""What Prometheus reads. docs/observability.md lists it all.

A scrape reads counters that are there anyway; so what a scrape costs, connections do not pay.
"""

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

import echod
import twisted
from echod.admin.daemon_view import DaemonState, Observed
from echod.admin.totals import Counts, Figures
from echod.server.summary import REFUSALS

__all__ = ["DaemonCollector", "Exposition"]

FRESH = 0.25
"""Seconds for which what was rendered is served again: whoever scrapes without pause costs little more for it."""

OPENMETRICS = "application/openmetrics-text"


class DaemonCollector(Collector):
    """Tells of one daemon."""

    def __init__(self, observed: Observed) -> None:
        self._observed = observed

    def collect(self) -> Iterable[Metric]:
        """Return all there is at this moment."""
        figures = self._observed.figures()
        yield from _connections(figures)
        yield from _records(figures)
        yield from _tls(figures)
        yield from self._state()
        yield from self._host()

    def _state(self) -> Iterator[Metric]:
        observed = self._observed
        yield GaugeMetricFamily(
            "echod_ready", "Whether connections are accepted: 1, or 0.", observed.state is DaemonState.READY
        )
        yield GaugeMetricFamily(
            "echod_draining", "Whether the daemon is told to stop and waits.", observed.state is DaemonState.DRAINING
        )
        yield GaugeMetricFamily("echod_listeners", "Listeners that are up.", len(observed.places))
        if observed.most_connections is not None:
            yield GaugeMetricFamily(
                "echod_connections_max", "Connections that may be open at a time.", observed.most_connections
            )
        if observed.certificate_not_after is not None:
            yield GaugeMetricFamily(
                "echod_tls_certificate_not_after_timestamp_seconds",
                "Until when the certificate that is shown is valid, seconds since the epoch.",
                observed.certificate_not_after,
                unit="seconds",
            )
        build = GaugeMetricFamily(
            "echod_build_info", "1, and what runs as labels.", labels=("version", "python", "twisted")
        )
        build.add_metric((echod.__version__, platform.python_version(), twisted.__version__), 1)
        yield build

    def _host(self) -> Iterator[Metric]:
        yield _histogram(
            "echod_reactor_lag_seconds", "How late a call was that is due every second.", self._observed.pulse.lag
        )
        overflows = self._observed.listen_overflows()
        if overflows is not None:
            yield CounterMetricFamily(
                "echod_host_listen_overflows",
                "TcpExtListenOverflows of the host: handshakes that found a full accept queue, any listener's.",
                overflows,
            )


class Exposition:
    """Renders a registry of one daemon's metrics and of its process's, in the format that a scraper asks for."""

    def __init__(self, observed: Observed, clock: Callable[[], float]) -> None:
        """`clock` returns seconds, monotonic."""
        self._registry = CollectorRegistry()
        self._registry.register(DaemonCollector(observed))
        ProcessCollector(registry=self._registry)
        self._clock = clock
        # What a client sends is not for choose_encoder: it raises where a version is no number, and has the content
        # type say whatever version there is. So it is asked once for each format.
        self._openmetrics, self._prometheus = choose_encoder(OPENMETRICS), choose_encoder("")
        self._rendered: dict[str, tuple[float, bytes]] = {}
        """By content type: when, and what."""

    def render(self, accept: str) -> tuple[str, bytes]:
        """Return content type and text for an Accept header: OpenMetrics where it names that, else Prometheus's own."""
        encode, kind = self._openmetrics if OPENMETRICS in accept else self._prometheus
        now = self._clock()
        at, text = self._rendered.get(kind, (now - 2 * FRESH, b""))
        if now - at >= FRESH:
            text = encode(self._registry)
            self._rendered[kind] = (now, text)
        return kind, text


def _connections(figures: Figures) -> Iterator[Metric]:
    served = {reason.value: count for reason, count in figures.closed.items() if reason not in REFUSALS}
    refused = {reason.value: count for reason, count in figures.closed.items() if reason in REFUSALS}
    yield CounterMetricFamily("echod_connections_accepted", "Connections that were let in.", figures.accepted)
    yield GaugeMetricFamily("echod_connections_active", "Connections that are open.", figures.active)
    yield _counter("echod_connections_closed", "Connections that are over, by close reason.", "reason", served)
    yield _counter("echod_connections_refused", "Connections that were not let in.", "reason", refused)
    yield _histogram("echod_connection_duration_seconds", "How long connections lasted.", figures.durations)


def _records(figures: Figures) -> Iterator[Metric]:
    yield CounterMetricFamily("echod_records_echoed", "Records that were echoed.", figures.records)
    yield CounterMetricFamily("echod_received_bytes", "Bytes that came.", figures.bytes_received, unit="bytes")
    yield CounterMetricFamily("echod_sent_bytes", "Bytes that were echoed.", figures.bytes_sent, unit="bytes")
    yield _histogram(
        "echod_record_wait_seconds",
        "How long a record took to come, from accept or from the end of the record before.",
        figures.waits,
    )


def _tls(figures: Figures) -> Iterator[Metric]:
    failures = {kind.value: count for kind, count in figures.handshake_failures.items()}
    yield _counter("echod_tls_handshakes", "TLS handshakes that succeeded.", "version", figures.handshakes)
    yield _counter("echod_tls_handshake_failures", "TLS handshakes that came to nothing, by kind.", "kind", failures)


def _counter(name: str, about: str, label: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(name, about, labels=(label,))
    for value, count in counts.items():
        family.add_metric((value,), count)
    return family


def _histogram(name: str, about: str, counts: Counts) -> Metric:
    buckets, below = [], 0
    for bound, count in zip((*map(str, counts.bounds), "+Inf"), counts.counts, strict=True):
        below += count
        buckets.append((bound, float(below)))
    return HistogramMetricFamily(name, about, buckets=buckets, sum_value=counts.total, unit="seconds")
