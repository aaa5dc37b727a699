"""The metrics in the formats of Prometheus; docs/observability.md lists them.

Metrics are made from the connection counts at each scrape: a connection has no cost for them.
"""

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

import echod
import twisted
from echod.admin.connection_totals import BucketCounts, ConnectionCounts
from echod.admin.daemon_view import DaemonState, DaemonView
from echod.server.summary import REFUSALS

__all__ = ["DaemonCollector", "Exposition"]

FRESH = 0.25
"""Seconds for which a rendered text is reused, which bounds the cost of scrapes without pause."""

OPENMETRICS = "application/openmetrics-text"


class DaemonCollector(Collector):
    """Makes the metrics of one daemon."""

    def __init__(self, view: DaemonView, log_lines_dropped: Callable[[], Mapping[str, int]]) -> None:
        self._view = view
        self._log_lines_dropped = log_lines_dropped

    def collect(self) -> Iterable[Metric]:
        """Return all metrics as of now."""
        counts = self._view.counts()
        yield from _connections(counts)
        yield from _records(counts)
        yield from _tls(counts)
        yield _counter("echod_log_lines_dropped", "Dropped log lines, by log.", "log", self._log_lines_dropped())
        yield from self._state()
        yield from self._host()

    def _state(self) -> Iterator[Metric]:
        view = self._view
        yield GaugeMetricFamily(
            "echod_ready", "1 if connections are accepted, else 0.", view.state is DaemonState.READY
        )
        yield GaugeMetricFamily(
            "echod_draining",
            "1 if the daemon is stopping and waits for open connections, else 0.",
            view.state is DaemonState.DRAINING,
        )
        yield GaugeMetricFamily("echod_listeners", "Open listeners.", len(view.listening_addresses))
        yield GaugeMetricFamily(
            "echod_config_last_reload_successful",
            "1 if the last reload of the configuration was successful, or there was none, else 0.",
            view.last_reload.successful,
        )
        yield GaugeMetricFamily(
            "echod_config_last_reload_success_timestamp_seconds",
            "Time of the last successful reload of the configuration, or of the start.",
            view.last_reload.succeeded_at,
        )
        if view.max_connections is not None:
            yield GaugeMetricFamily("echod_connections_max", "Limit of open connections.", view.max_connections)
        if view.certificate_not_after is not None:
            yield GaugeMetricFamily(
                "echod_tls_certificate_not_after_timestamp_seconds",
                "End of the server certificate's validity, in seconds since the epoch.",
                view.certificate_not_after,
                unit="seconds",
            )
        build = GaugeMetricFamily(
            "echod_build_info", "Always 1; the labels are the versions in use.", labels=("version", "python", "twisted")
        )
        build.add_metric((echod.__version__, platform.python_version(), twisted.__version__), 1)
        yield build

    def _host(self) -> Iterator[Metric]:
        yield _histogram(
            "echod_reactor_lag_seconds", "How late a call ran that is due every second.", self._view.reactor_lag.lags
        )
        overflows = self._view.listen_overflows()
        if overflows is not None:
            yield CounterMetricFamily(
                "echod_host_listen_overflows",
                "TcpExtListenOverflows of the host: handshakes that found a full accept queue, of any listener.",
                overflows,
            )


class Exposition:
    """Renders the metrics of the daemon and of its process in the format that the Accept header selects."""

    def __init__(
        self, view: DaemonView, log_lines_dropped: Callable[[], Mapping[str, int]], clock: Callable[[], float]
    ) -> None:
        """`log_lines_dropped` returns the number of dropped lines by log. `clock` returns seconds, monotonic."""
        self._registry = CollectorRegistry()
        self._registry.register(DaemonCollector(view, log_lines_dropped))
        ProcessCollector(registry=self._registry)
        self._clock = clock
        # choose_encoder must not see what a client sends: it raises if a version is not a number, and copies any
        # version into the content type. So each format's encoder is chosen once, here.
        self._openmetrics, self._prometheus = choose_encoder(OPENMETRICS), choose_encoder("")
        self._rendered: dict[str, tuple[float, bytes]] = {}
        """Time and text of the last rendering, by content type."""

    def render(self, accept: str) -> tuple[str, bytes]:
        """Return content type and text for an Accept header: OpenMetrics if it names that, else text format."""
        encode, content_type = self._openmetrics if OPENMETRICS in accept else self._prometheus
        now = self._clock()
        rendered_at, text = self._rendered.get(content_type, (now - 2 * FRESH, b""))
        if now - rendered_at >= FRESH:
            text = encode(self._registry)
            self._rendered[content_type] = (now, text)
        return content_type, text


def _connections(counts: ConnectionCounts) -> Iterator[Metric]:
    served = {reason.value: count for reason, count in counts.closed.items() if reason not in REFUSALS}
    refused = {reason.value: count for reason, count in counts.closed.items() if reason in REFUSALS}
    yield CounterMetricFamily("echod_connections_accepted", "Accepted connections.", counts.accepted)
    yield GaugeMetricFamily("echod_connections_active", "Open connections.", counts.active)
    yield _counter("echod_connections_closed", "Ended connections, by close reason.", "reason", served)
    yield _counter("echod_connections_refused", "Refused connections, by reason.", "reason", refused)
    yield _histogram("echod_connection_duration_seconds", "Duration of ended connections.", counts.durations)


def _records(counts: ConnectionCounts) -> Iterator[Metric]:
    yield CounterMetricFamily("echod_records_echoed", "Echoed records.", counts.records)
    yield CounterMetricFamily("echod_received_bytes", "Bytes received.", counts.bytes_received, unit="bytes")
    yield CounterMetricFamily("echod_sent_bytes", "Bytes echoed.", counts.bytes_sent, unit="bytes")
    yield _histogram(
        "echod_record_wait_seconds",
        "Time until a record was complete, from accept or from the end of the record before.",
        counts.waits,
    )


def _tls(counts: ConnectionCounts) -> Iterator[Metric]:
    failures = {kind.value: count for kind, count in counts.handshake_failures.items()}
    yield _counter("echod_tls_handshakes", "Completed TLS handshakes, by version.", "version", counts.handshakes)
    yield _counter("echod_tls_handshake_failures", "Failed TLS handshakes, by kind.", "kind", failures)


def _counter(name: str, help_text: str, label: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(name, help_text, labels=(label,))
    for value, count in counts.items():
        family.add_metric((value,), count)
    return family


def _histogram(name: str, help_text: str, counts: BucketCounts) -> Metric:
    buckets, cumulative = [], 0
    for bound, count in zip((*map(str, counts.bounds), "+Inf"), counts.counts, strict=True):
        cumulative += count
        buckets.append((bound, float(cumulative)))
    return HistogramMetricFamily(name, help_text, buckets=buckets, sum_value=counts.total, unit="seconds")
