"""Metrics of the process itself, under the names that Prometheus client libraries use.

Not prometheus_client's ProcessCollector: it reads /proc/stat, which a unit with ProcSubset=pid hides, and then exposes
nothing at all. A metric whose source cannot be read is absent.
"""

import resource
import time
from collections.abc import Iterator
from pathlib import Path

from echod.admin.metric_family import Combine, MetricFamily, counter, gauge

__all__ = ["process_metrics"]

PROC = Path("/proc/self")


def process_metrics(since: float, proc: Path = PROC) -> Iterator[MetricFamily]:
    """Yield the metrics of this process. `since` is its start, in seconds since the epoch."""
    yield counter("process_cpu_seconds", "CPU time of the process, user and system.", time.process_time())
    yield gauge(
        "process_start_time_seconds",
        "Start of the process, in seconds since the epoch; of several processes, the last start.",
        Combine.HIGHEST,
        since,
    )
    yield from _memory(proc / "statm")
    yield from _descriptors(proc / "fd")


def _memory(statm: Path) -> Iterator[MetricFamily]:
    try:
        virtual, resident = map(int, statm.read_text(encoding="ascii").split()[:2])  # pages (proc(5))
    except (OSError, ValueError):
        return
    page = resource.getpagesize()
    yield gauge("process_virtual_memory_bytes", "Virtual memory size.", Combine.SUM, virtual * page)
    yield gauge("process_resident_memory_bytes", "Resident memory size.", Combine.SUM, resident * page)


def _descriptors(directory: Path) -> Iterator[MetricFamily]:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit != resource.RLIM_INFINITY:
        yield gauge("process_max_fds", "Limit of open file descriptors.", Combine.SUM, limit)
    try:
        # The listing of the own directory has a descriptor of its own, which is closed at its end.
        count = sum(1 for _ in directory.iterdir()) - 1
    except OSError:
        return
    yield gauge("process_open_fds", "Open file descriptors.", Combine.SUM, count)
