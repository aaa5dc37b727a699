"""Whether a log whose reader stalls has an effect on the echo.

    python -m bench.stalled_log --seconds 60 --rounds 3

Each round runs `echod load` against `echod serve --access-log -` twice, in random order: once the reader of the log
reads, once it reads only after the load. The load is closed-loop, with one record per connection or with --keep-alive;
it has one processor, and the daemon has another one. Status 1 if a record is lost, if the daemon's memory grows by more
than 1 MiB in the second half of the run, or if the lines that were read and those that the metric counts as dropped are
not as many as the connections. The p99 of a round is that of the stalled run divided by that of the other run.
"""

# ruff: noqa: T201
# What it prints is its output.

import argparse
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.measure import free_port

CONNECTIONS = 8
GROWTH = 1024
"""KiB of resident memory."""
LINE = re.compile(rb" echoed records=\d+ ")


@dataclass(frozen=True)
class Run:
    """The figures of one run of the load."""

    echoed: int
    failed: int
    p99: int
    """Microseconds."""
    growth: int
    """KiB of resident memory."""
    connections: int
    """Connections that the daemon closed."""
    lines: int
    """Lines read from the log."""
    dropped: int
    """Lines that the metric counts."""

    @property
    def problems(self) -> list[str]:
        """What is wrong."""
        missing = self.connections - self.lines - self.dropped
        return [
            *([f"{self.failed} record(s) lost"] if self.failed else []),
            *([f"memory grew by {self.growth} KiB"] if self.growth > GROWTH else []),
            *([f"{missing} line(s) neither written nor counted"] if missing else []),
        ]


class Reader:
    """The reader of the log."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.lines = 0
        self._thread = threading.Thread(target=self._read)

    def start(self) -> None:
        """Read from now on."""
        self._thread.start()

    def join(self) -> None:
        """Wait for the end of the log."""
        self._thread.join()

    def _read(self) -> None:
        rest = b""
        while piece := os.read(self._descriptor, 1 << 16):
            *lines, rest = (rest + piece).split(b"\n")
            self.lines += sum(LINE.search(line) is not None for line in lines)


def run(*, stalled: bool, keep_alive: bool, seconds: float) -> Run:
    """Run the load once."""
    port, admin = free_port(), free_port()
    kept = ["--keep-alive"] if keep_alive else []
    options = ["--port", str(port), "--admin", str(admin), "--backlog", "1024", "--access-log", "-", *kept]
    read_end, write_end = os.pipe()
    reader = Reader(read_end)
    command = on_processor(0, "serve", *options)
    daemon = subprocess.Popen(command, stdout=write_end, stderr=subprocess.DEVNULL)  # noqa: S603 - our own command
    os.close(write_end)
    try:
        wait_for(admin)
        if not stalled:
            reader.start()
        with tempfile.TemporaryDirectory() as directory:
            result = Path(directory, "result")
            words = ["-c", str(CONNECTIONS), "-d", f"{seconds:g}", "--processes", "1", "--json", str(result), *kept]
            command = on_processor(1, "load", *words, "::1", str(port))
            load = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603 - the same
            time.sleep(seconds / 2)
            before = resident(daemon.pid)
            load.wait()
            growth = resident(daemon.pid) - before
            figures = json.loads(result.read_text())
        if stalled:
            reader.start()
        time.sleep(1)  # the last connections end, and the log is written
        metrics = scrape(admin)
        daemon.terminate()
        reader.join()
    finally:
        daemon.kill()
        daemon.wait()
        os.close(read_end)
    return Run(
        echoed=figures["echoed"],
        failed=figures["failed"],
        p99=figures["response_time_us"]["p99"],
        growth=growth,
        connections=sum_of(metrics, "echod_connections_closed_total"),
        lines=reader.lines,
        dropped=sum_of(metrics, 'echod_log_lines_dropped_total{log="access"'),
    )


def on_processor(number: int, *words: str) -> Sequence[str]:
    """Return a command of echod on one of the processors."""
    processors = sorted(os.sched_getaffinity(0))
    return ("taskset", "-c", str(processors[number % len(processors)]), sys.executable, "-m", "echod", *words)


def wait_for(admin: int) -> None:
    """Wait until the daemon is ready."""
    for _ in range(1000):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{admin}/readyz"):
                return
        except OSError:
            time.sleep(0.02)
    raise SystemExit("the daemon is not ready")


def scrape(admin: int) -> str:
    """Return the metrics of the daemon."""
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/metrics") as response:
        text: bytes = response.read()
        return text.decode()


def sum_of(metrics: str, name: str) -> int:
    """Return the sum of the metrics whose names and labels begin with `name`."""
    return round(sum(float(line.split()[-1]) for line in metrics.splitlines() if line.startswith(name)))


def resident(pid: int) -> int:
    """Return the resident memory of a process, in KiB."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1])


def main() -> int:
    """Run the rounds; return the exit status."""
    parser = argparse.ArgumentParser(description="Measure the effect of a stalled reader of the access log.")
    parser.add_argument("--seconds", type=float, default=60, help="length of a run [default: 60]")
    parser.add_argument("--rounds", type=int, default=3, help="pairs of runs [default: 3]")
    parser.add_argument("--keep-alive", action="store_true", help="record after record on each connection")
    asked = parser.parse_args()
    ratios, problems = [], 0
    for number in range(asked.rounds):
        runs = {}
        for stalled in random.sample((False, True), 2):
            measured = run(stalled=stalled, keep_alive=asked.keep_alive, seconds=asked.seconds)
            runs[stalled] = measured
            problems += len(measured.problems)
            print(
                f"round {number + 1}, {'stalled' if stalled else 'reading'}: {measured}", *measured.problems, sep="; "
            )
        ratios.append(runs[True].p99 / runs[False].p99)
    print(f"p99 stalled / reading: {statistics.median(ratios):.2f} [{min(ratios):.2f}-{max(ratios):.2f}]")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
