"""The round-trip times of the probe, compared with those of a client in C on the same path at the same time."""

import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.interop.test_interop import Peers, c_server, compiled, echod_server
from tests.support.probe_process import results
from tests.support.processes import run

pytestmark = pytest.mark.alone

ROUNDS = 6
COUNT = 60
"""Records of each client in a round."""
TOLERANCE = 150
"""Microseconds by which the two may differ: the time of an event loop in Python until it reads what has arrived."""


@contextmanager
def server(directory: Path, *, kept: bool) -> Iterator[int]:
    """Yield the port of a server: echod for a kept connection, the C server for a connection for each record.

    With a connection for each record, the time until a server in Python accepts would be part of the C client's round
    trip, because that client sends at once, and not of the probe's.
    """
    if kept:
        with echod_server("--keep-alive", cwd=directory) as port:
            yield port
    else:
        peers = Peers(client="", server=compiled(directory, "echo_server"))
        with c_server(peers, str(2 * ROUNDS * COUNT), cwd=directory) as (_, port):
            yield port


@pytest.mark.parametrize("kept", [False, True], ids=["each", "kept"])
def test_the_probe_and_the_c_client_measure_the_same_round_trip(tmp_path: Path, kept: bool) -> None:
    client = compiled(tmp_path, "rtt_client")
    in_c: list[float] = []
    probed: list[float] = []
    with server(tmp_path, kept=kept) as port:
        for _ in range(ROUNDS):
            ran = run(client, "127.0.0.1", str(port), str(COUNT), "kept" if kept else "each", cwd=tmp_path)
            assert ran.returncode == 0, ran.stderr
            in_c.append(statistics.median(int(line) / 1000 for line in ran.stdout.splitlines()))
            found = results(
                tmp_path, lambda *command: command, "127.0.0.1", port, count=COUNT, interval=0, keep_alive=kept
            )
            assert {each.outcome for each in found} == {"echoed"}
            probed.append(statistics.median(each.times.echo for each in found))
            # The least of the medians counts, because other work on the machine adds to some rounds. A probe that
            # measures too much or too little does so in every round.
            if len(probed) > 1 and abs(min(probed) - min(in_c)) < TOLERANCE:
                break
    assert abs(min(probed) - min(in_c)) < TOLERANCE, (in_c, probed)
