"""The probe's numbers against links of known delay, loss, MTU and idle timeout."""

import math
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.netem import FAR, Link, link, needs_links
from tests.support.probe_process import results
from tests.support.processes import TWISTD, daemon

pytestmark = [needs_links, pytest.mark.alone]

ROUND_TRIP = 20_000
"""The link's round-trip time in microseconds."""

OFF = 1000
"""Allowed error of a time in microseconds: both ends and the link share the processors."""


@contextmanager
def server_over(cwd: Path, *options: str, **faults: Any) -> Iterator[Link]:
    """Yield a link with `faults` and a daemon at its far end."""
    with link(cwd, **faults) as path, daemon(*path.at("far", *TWISTD, *options), cwd=cwd):
        yield path


def probes(cwd: Path, path: Link, **options: Any) -> list[Any]:
    """Probe the daemon from the near end; return the results."""
    return results(cwd, lambda *command: path.at("near", *command), FAR, **{"interval": 0, **options})


def test_times_are_those_of_the_path(tmp_path: Path) -> None:
    best: dict[str, float] = {}
    with server_over(tmp_path, delay=ROUND_TRIP / 2e6) as path:
        # Other load on the machine delays the link too: the reference is the round-trip time that the kernel measured
        # on each connection. The turn with the smallest error counts: a probe whose times are too long fails in every
        # turn, and one whose times are too short in any.
        for _ in range(8):
            found = probes(tmp_path, path, count=11)
            assert [each.outcome for each in found] == ["echoed"] * 11
            assert min(each.kernel.min_rtt for each in found) >= ROUND_TRIP
            for name, off in {
                "connect": [each.times.connect - each.kernel.min_rtt for each in found],
                "echo": [each.times.echo - each.kernel.min_rtt for each in found],
                "the link": [each.kernel.min_rtt - ROUND_TRIP for each in found],
            }.items():
                assert min(off) >= 0, (name, off)
                best[name] = min(statistics.median(off), best.get(name, math.inf))
            if max(best.values()) < OFF:
                break
        else:
            pytest.fail(f"excess in the best turn, microseconds: {best}")
        assert {each.kernel.retransmits for each in found} == {0}


def test_retransmits_are_those_that_the_link_dropped(tmp_path: Path) -> None:
    with server_over(tmp_path, "--keep-alive", delay=0.001, loss=0.1) as path:
        found = probes(tmp_path, path, count=40, timeout=30, keep_alive=True)
        assert [each.outcome for each in found] == ["echoed"] * 40
        assert len({each.source.port for each in found}) == 1
        counted = found[-1].kernel.retransmits
        link_saw = path.down()
        # A dropped segment is sent again, and so is one whose acknowledgement was dropped: at most one retransmission
        # of each kind for each drop, unless a stall of this machine makes the kernel take late segments for lost.
        assert 0 < link_saw.dropped_data <= counted <= link_saw.dropped * 2, (counted, link_saw)
        slow = [each for each in found if each.times.echo > 100_000]
        assert slow, "a retransmission takes time"


def test_a_sweep_finds_the_largest_size_that_passes(tmp_path: Path) -> None:
    headers = 20 + 20 + 12  # IPv4, TCP, its timestamps
    with server_over(tmp_path, "--stream", largest=1000) as path:
        found = probes(tmp_path, path, sweep=[1000 - headers - 2, 1000 - headers + 4, 1], timeout=0.4)
        assert [each.size for each in found if each.outcome == "echoed"] == [946, 947, 948]
        lost = [each for each in found if each.outcome != "echoed"]
        assert [each.size for each in lost] == [949, 950, 951]
        for each in lost:
            assert (each.outcome, each.step, each.received) == ("timeout", "echo", 0)
            assert each.detail == f"0 of {each.size} bytes were back after 0.4 s"
            assert each.kernel.retransmits > 0
        # A black hole: the kernel still assumes the larger MTU.
        assert {(each.kernel.mss, each.kernel.path_mtu) for each in found} == {(1500 - headers, 1500)}


@pytest.mark.parametrize(
    ("answer", "outcome", "how"),
    [
        ("nothing", "timeout", "0 of 250 bytes were back after 0.5 s"),
        ("reset", "reset", "connection reset after 0 of 250 bytes"),
    ],
)
def test_idle_finds_a_path_that_forgets_connections(tmp_path: Path, answer: str, outcome: str, how: str) -> None:
    with server_over(tmp_path, forget=0.6, answer=answer) as path:
        (short,) = probes(tmp_path, path, count=1, idle=0.2, timeout=0.5)
        assert (short.outcome, short.times.idle >= 200_000) == ("echoed", True)
        (long,) = probes(tmp_path, path, count=1, idle=1.0, timeout=0.5)
        assert (long.outcome, long.step) == (outcome, "echo")
        assert long.detail == f"{how}; the connection had been silent for 1 s before"
