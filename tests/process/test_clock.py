"""A step of the wall clock does not change a deadline."""

import time
from pathlib import Path

import pytest

from tests.support.processes import TWISTD, daemon, until
from tests.support.sockets import RECORD, connected, exchange, free_port, receive_to_end

LIBRARY = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))), None)

needs_faketime = pytest.mark.skipif(LIBRARY is None, reason="needs libfaketime (Debian: faketime)")


@needs_faketime
@pytest.mark.parametrize("step", ["+1h", "-1h"])
def test_deadline_during_a_clock_step(tmp_path: Path, step: str) -> None:
    port = free_port()
    offset = tmp_path / "offset"
    offset.write_text("+0")
    environment = {
        "LD_PRELOAD": str(LIBRARY),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    log = tmp_path / "access.log"
    options = ("--port", str(port), "--timeout", "2", "--access-log", str(log))
    with daemon(*TWISTD, *options, cwd=tmp_path, **environment), connected(port) as client:
        started = time.monotonic()
        client.sendall(RECORD[:100])
        time.sleep(0.5)
        offset.write_text(step)
        assert exchange(port, RECORD) == RECORD
        assert receive_to_end(client) == b""
        assert 1.9 < time.monotonic() - started < 3
        until(lambda: log.read_text().count("\n") == 2)  # written after the client has seen the close
    served, silent = log.read_text().splitlines()
    assert " echoed " in served
    assert " timeout " in silent
    hours = abs(int(served[11:13]) - time.gmtime().tm_hour)
    assert hours % 22 == 1, "the wall clock was not stepped"
