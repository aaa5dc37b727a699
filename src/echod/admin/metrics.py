"""The metrics in the formats of Prometheus; docs/observability.md lists them.

Metrics are made from the connection counts at each scrape: a connection has no cost for them.
"""

import platform
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

import echod
import twisted
from echod.admin.connection_totals import ConnectionCounts
from echod.admin.daemon_view import DaemonView
from echod.admin.metric_family import BucketCounts, Combine, Kind, MetricFamily, counter, gauge, histogram
from echod.admin.process_group import ProcessGroup
from echod.admin.process_metrics import process_metrics
from echod.admin.snapshot import DaemonState, Snapshot
from echod.server.summary import REFUSALS

__all__ = ["FRESH", "Exposition", "own_snapshot"]

FRESH = 0.25
"""Seconds for which a rendered text of a single process is reused, which bounds the cost of scrapes without pause."""

OPENMETRICS = "application/openmetrics-text"

_UNITS = ("seconds", "bytes")
"""The units in names of metrics, which OpenMetrics has in a separate line too."""


def own_snapshot(view: DaemonView, now: float) -> Snapshot:
    """Return the snapshot of this process as of `now`, in seconds of the monotonic clock."""
    counts = view.counts()
    families = (
        *_connections(counts),
        *_records(counts),
        *_tls(counts),
        *_daemon(view),
        *_listeners(view),
        *process_metrics(view.since),
    )
    return Snapshot(
        states=(view.state,),
        since=view.since,
        written=now,
        addresses=tuple(view.listening_addresses),
        lag=view.reactor_lag.latest,
        families={family.name: family for family in families},
    )


def _daemon(view: DaemonView) -> Iterator[MetricFamily]:
    yield counter("echod_processes_started", "Processes that were started.", 1)
    if view.max_connections is not None:
        yield gauge("echod_connections_max", "Limit of open connections.", Combine.SUM, view.max_connections)
    if view.certificate_not_after is not None:
        yield gauge(
            "echod_tls_certificate_not_after_timestamp_seconds",
            "End of the server certificate's validity, in seconds since the epoch.",
            Combine.LOWEST,
            view.certificate_not_after,
        )
    yield gauge(
        "echod_config_last_reload_successful",
        "1 if the last reload of the configuration was successful, or there was none, else 0.",
        Combine.LOWEST,
        view.last_reload.successful,
    )
    yield gauge(
        "echod_config_last_reload_success_timestamp_seconds",
        "Time of the last successful reload of the configuration, or of the start.",
        Combine.LOWEST,
        view.last_reload.succeeded_at,
    )
    yield counter("echod_log_lines_dropped", "Dropped log lines, by log.", view.log_lines_dropped(), "log")
    yield MetricFamily(
        "echod_build_info",
        "Always 1; the labels are the versions in use.",
        Kind.GAUGE,
        Combine.HIGHEST,
        ("version", "python", "twisted"),
        {(echod.__version__, platform.python_version(), twisted.__version__): 1},
    )
    yield histogram("echod_reactor_lag_seconds", "How late a call ran that is due every second.", view.reactor_lag.lags)


def _listeners(view: DaemonView) -> Iterator[MetricFamily]:
    yield gauge("echod_listeners", "Open listeners.", Combine.SUM, len(view.listening_addresses))
    queues = {listener.name: listener.queue for listener in view.listeners}
    yield gauge(
        "echod_listener_queue_length",
        "Connections that wait for accept, by listener; of several processes, the longest queue.",
        Combine.HIGHEST,
        {name: queue.waiting for name, queue in queues.items() if queue is not None},
        "listener",
    )
    yield gauge(
        "echod_listener_queue_limit",
        "Backlog of a listener, as the kernel limits it; the queue holds one connection more.",
        Combine.LOWEST,
        {name: queue.limit for name, queue in queues.items() if queue is not None},
        "listener",
    )
    yield counter(
        "echod_listener_drops",
        "Packets that the kernel dropped at a listener: of handshakes that found the queue full, and stray ones.",
        view.dropped(),
        "listener",
    )
    overflows = view.listen_overflows()
    if overflows is not None:
        yield MetricFamily(
            "echod_host_listen_overflows",
            "TcpExtListenOverflows of the host: handshakes that found a full accept queue, of any listener.",
            Kind.COUNTER,
            Combine.HIGHEST,  # each process reads the same counter
            (),
            {(): overflows},
        )


def _states(snapshot: Snapshot) -> Iterator[MetricFamily]:
    """Yield what follows from the states of the processes."""
    ready = snapshot.states.count(DaemonState.READY)
    draining = DaemonState.DRAINING in snapshot.states
    yield gauge("echod_ready", "1 if connections are accepted, else 0.", Combine.HIGHEST, bool(ready))
    yield gauge(
        "echod_draining",
        "1 if a process is stopping and waits for open connections, else 0.",
        Combine.HIGHEST,
        draining,
    )
    yield gauge("echod_processes", "Running processes.", Combine.SUM, len(snapshot.states))
    yield gauge("echod_processes_ready", "Running processes that accept connections.", Combine.SUM, ready)


class _GroupCollector(Collector):
    """Makes the metrics of a group of processes in the form of prometheus_client."""

    def __init__(self, group: ProcessGroup) -> None:
        self._group = group

    def collect(self) -> Iterable[Metric]:
        """Return all metrics as of now."""
        snapshot = self._group.snapshot()
        return [_metric(family) for family in (*_states(snapshot), *snapshot.families.values())]


class Exposition:
    """Renders the metrics in the format that the Accept header selects."""

    def __init__(self, group: ProcessGroup, clock: Callable[[], float], fresh: float = FRESH) -> None:
        """`clock` returns seconds, monotonic; `fresh` is the time in seconds for which a rendered text is reused."""
        self._registry = CollectorRegistry()
        self._registry.register(_GroupCollector(group))
        self._clock = clock
        self._fresh = fresh
        # choose_encoder must not see what a client sends: it raises if a version is not a number, and copies any
        # version into the content type. So each format's encoder is chosen once, here.
        self._openmetrics, self._prometheus = choose_encoder(OPENMETRICS), choose_encoder("")
        self._rendered: dict[str, tuple[float, bytes]] = {}
        """Time and text of the last rendering, by content type."""

    def render(self, accept: str) -> tuple[str, bytes]:
        """Return content type and text for an Accept header: OpenMetrics if it names that, else text format."""
        encode, content_type = self._openmetrics if OPENMETRICS in accept else self._prometheus
        now = self._clock()
        rendered_at, text = self._rendered.get(content_type, (now - self._fresh, b""))
        if now - rendered_at >= self._fresh:
            text = encode(self._registry)
            self._rendered[content_type] = (now, text)
        return content_type, text


def _connections(counts: ConnectionCounts) -> Iterator[MetricFamily]:
    served = {reason.value: count for reason, count in counts.closed.items() if reason not in REFUSALS}
    refused = {reason.value: count for reason, count in counts.closed.items() if reason in REFUSALS}
    yield counter("echod_connections_accepted", "Accepted connections.", counts.accepted)
    yield gauge("echod_connections_active", "Open connections.", Combine.SUM, counts.active)
    yield counter("echod_connections_closed", "Ended connections, by close reason.", served, "reason")
    yield counter("echod_connections_refused", "Refused connections, by reason.", refused, "reason")
    yield histogram("echod_connection_duration_seconds", "Duration of ended connections.", counts.durations)


def _records(counts: ConnectionCounts) -> Iterator[MetricFamily]:
    yield counter("echod_records_echoed", "Echoed records.", counts.records)
    yield counter("echod_received_bytes", "Bytes received.", counts.bytes_received)
    yield counter("echod_sent_bytes", "Bytes echoed.", counts.bytes_sent)
    yield histogram(
        "echod_record_wait_seconds",
        "Time until a record was complete, from accept or from the end of the record before.",
        counts.waits,
    )


def _tls(counts: ConnectionCounts) -> Iterator[MetricFamily]:
    failures = {kind.value: count for kind, count in counts.handshake_failures.items()}
    yield counter("echod_tls_handshakes", "Completed TLS handshakes, by version.", counts.handshakes, "version")
    yield counter("echod_tls_handshake_failures", "Failed TLS handshakes, by kind.", failures, "kind")


def _metric(family: MetricFamily) -> Metric:
    """Return a family in the form of prometheus_client."""
    unit = next((unit for unit in _UNITS if family.name.endswith(f"_{unit}")), "")
    metric: CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily
    if family.kind is Kind.HISTOGRAM:
        metric = HistogramMetricFamily(family.name, family.help, labels=family.labels, unit=unit)
    elif family.kind is Kind.COUNTER:
        metric = CounterMetricFamily(family.name, family.help, labels=family.labels, unit=unit)
    else:
        metric = GaugeMetricFamily(family.name, family.help, labels=family.labels, unit=unit)
    for labels, value in family.samples.items():
        if isinstance(value, BucketCounts):
            assert isinstance(metric, HistogramMetricFamily)
            metric.add_metric(labels, buckets=_cumulative(value), sum_value=value.total)
        else:
            assert not isinstance(metric, HistogramMetricFamily)
            metric.add_metric(labels, value)
    return metric


def _cumulative(counts: BucketCounts) -> list[tuple[str, float]]:
    buckets, cumulative = [], 0
    for bound, count in zip((*map(str, counts.bounds), "+Inf"), counts.counts, strict=True):
        cumulative += count
        buckets.append((bound, float(cumulative)))
    return buckets
