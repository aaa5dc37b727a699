"""That the probe's numbers are the path's: over links whose delay, loss, size and memory the test has chosen."""

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

pytestmark = needs_links

ROUND_TRIP = 20_000
"""Microseconds that the link takes, both ways together."""

OFF = 1000
"""Microseconds by which a time may be off: two ends and a link share what processors there are."""


@contextmanager
def server_over(cwd: Path, *options: str, **faults: Any) -> Iterator[Link]:
    """Give a link with `faults` and a daemon at its far end."""
    with link(cwd, **faults) as path, daemon(*path.at("far", *TWISTD, *options), cwd=cwd):
        yield path


def probes(cwd: Path, path: Link, **asked: Any) -> list[Any]:
    """Probe the daemon from the near end."""
    return results(cwd, lambda *command: path.at("near", *command), FAR, **{"interval": 0, **asked})


def test_times_are_the_paths(tmp_path: Path) -> None:
    best: dict[str, float] = {}
    with server_over(tmp_path, delay=ROUND_TRIP / 2e6) as path:
        # Others use the machine too, which makes the link late as well: what it took in fact, the kernel says for each
        # connection. And the quietest turn counts. A probe that told of too long a time would be found out each turn,
        # and one that told of too short a one in any.
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
            pytest.fail(f"microseconds too much in the quietest turn: {best}")
        assert {each.kernel.retransmits for each in found} == {0}


def test_retransmits_are_what_the_link_dropped(tmp_path: Path) -> None:
    with server_over(tmp_path, "--keep-alive", delay=0.001, loss=0.1) as path:
        found = probes(tmp_path, path, count=40, timeout=30, keep_alive=True)
        assert [each.outcome for each in found] == ["echoed"] * 40
        assert len({each.source.port for each in found}) == 1
        counted = found[-1].kernel.retransmits
        link_saw = path.down()
        # Each segment of ours that was dropped was sent again. So is one whose acknowledgement was dropped: the most
        # there can be, unless a stall of this machine lets the kernel take what is late for lost.
        assert 0 < link_saw.dropped_data <= counted <= link_saw.dropped * 2, (counted, link_saw)
        slow = [each for each in found if each.times.echo > 100_000]
        assert slow, "that which was lost costs time"


def test_a_sweep_finds_the_size_that_does_not_get_through(tmp_path: Path) -> None:
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
        # That is what makes it a black hole: the kernel believes that more would get through.
        assert {(each.kernel.mss, each.kernel.path_mtu) for each in found} == {(1500 - headers, 1500)}


@pytest.mark.parametrize(
    ("answer", "outcome", "how"),
    [
        ("nothing", "timeout", "0 of 250 bytes were back after 0.5 s"),
        ("reset", "reset", "connection reset after 0 of 250 bytes"),
    ],
)
def test_idle_finds_what_forgets(tmp_path: Path, answer: str, outcome: str, how: str) -> None:
    with server_over(tmp_path, forget=0.6, answer=answer) as path:
        (short,) = probes(tmp_path, path, count=1, idle=0.2, timeout=0.5)
        assert (short.outcome, short.times.idle >= 200_000) == ("echoed", True)
        (long,) = probes(tmp_path, path, count=1, idle=1.0, timeout=0.5)
        assert (long.outcome, long.step) == (outcome, "echo")
        assert long.detail == f"{how}; the connection had been silent for 1 s before"
