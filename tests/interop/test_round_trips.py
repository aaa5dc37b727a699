"""The round trip that the probe tells, held against that of a bare client in C, on the same path at the same time."""

import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.interop.test_interop import Peers, c_server, compiled, echod_server
from tests.support.probe_process import results
from tests.support.processes import run

TURNS = 6
COUNT = 60
APART = 150
"""Microseconds by which the two may differ: what an event loop in Python takes until it reads what the kernel has."""


@contextmanager
def server(directory: Path, *, kept: bool) -> Iterator[int]:
    """Give the port of a server.

    Where each record has a connection of its own, it is the one in C: the time that a server in Python takes to accept
    would count for a client that sends at once, and not for one that is in Python too.
    """
    if kept:
        with echod_server("--keep-alive", cwd=directory) as port:
            yield port
    else:
        peers = Peers(client="", server=compiled(directory, "echo_server"))
        with c_server(peers, str(2 * TURNS * COUNT), cwd=directory) as (_, port):
            yield port


@pytest.mark.parametrize("kept", [False, True], ids=["each", "kept"])
def test_the_probe_and_a_bare_client_tell_the_same(tmp_path: Path, kept: bool) -> None:
    client = compiled(tmp_path, "rtt_client")
    bare: list[float] = []
    told: list[float] = []
    with server(tmp_path, kept=kept) as port:
        for _ in range(TURNS):
            ran = run(client, "127.0.0.1", str(port), str(COUNT), "kept" if kept else "each", cwd=tmp_path)
            assert ran.returncode == 0, ran.stderr
            bare.append(statistics.median(int(line) / 1000 for line in ran.stdout.splitlines()))
            found = results(
                tmp_path, lambda *command: command, "127.0.0.1", port, count=COUNT, interval=0, keep_alive=kept
            )
            assert {each.outcome for each in found} == {"echoed"}
            told.append(statistics.median(each.times.echo for each in found))
            # Others use the machine too, so the quietest turn of each counts. A probe that told of too long a time, or
            # of too short a one, would be found out in every turn.
            if len(told) > 1 and abs(min(told) - min(bare)) < APART:
                break
    assert abs(min(told) - min(bare)) < APART, (bare, told)
