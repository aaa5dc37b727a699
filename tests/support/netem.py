"""A link of two network namespaces whose faults a test chooses: two TUN devices, and a process that carries packets.

The near end is 10.9.0.1, the far end 10.9.0.2. As a program it is that process: it prints one line when the link is
up, and at SIGTERM what it has done, as JSON. Needs root and /dev/net/tun.
"""

import argparse
import ctypes
import fcntl
import heapq
import json
import os
import random
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.namespaces import missing
from tests.support.processes import Daemon, daemon

NEAR, FAR = "10.9.0.1", "10.9.0.2"

_TUNSETIFF = 0x400454CA  # linux/if_tun.h
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_CLONE_NEWNET = 0x40000000  # linux/sched.h
_MISSING = missing() or ("" if os.access("/dev/net/tun", os.R_OK | os.W_OK) else "needs /dev/net/tun")

needs_links = pytest.mark.skipif(bool(_MISSING), reason=_MISSING)


class Link:
    """A link that is up."""

    def __init__(self, carrier: Daemon) -> None:
        self._carrier = carrier
        said = json.loads(carrier.output.partition("link up ")[2].splitlines()[0])
        self._ends: dict[str, str] = {end: f"/proc/{carrier.pid}/fd/{descriptor}" for end, descriptor in said.items()}

    def at(self, end: str, *command: str) -> tuple[str, ...]:
        """Return `command` as one that runs at the `near` or the `far` end."""
        return ("nsenter", f"--net={self._ends[end]}", "--", *command)

    def down(self) -> SimpleNamespace:
        """Take it down; return how many packets it dropped, and how many of those the near end had sent with data."""
        self._carrier.stop(signal.SIGTERM)
        return SimpleNamespace(**json.loads(self._carrier.output.splitlines()[-1]))


@contextmanager
def link(cwd: Path, **faults: Any) -> Iterator[Link]:
    """Give a link with `faults`, the options of this module as a program."""
    words = [word for name, value in faults.items() for word in (f"--{name}", str(value))]
    root = Path(__file__).parents[2]
    command = (sys.executable, "-m", "tests.support.netem", *words)
    with daemon(*command, cwd=cwd, ready="link up", PYTHONPATH=str(root)) as carrier:
        yield Link(carrier)


# The process


class Packet:
    """An IPv4 packet with a TCP segment (RFC 791, RFC 9293), or with something else."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.is_tcp = len(data) >= 40 and data[0] >> 4 == 4 and data[9] == 6
        if self.is_tcp:
            self.start = (data[0] & 15) * 4
            self.ports = struct.unpack_from("!HH", data, self.start)
            self.payload = len(data) - self.start - (data[self.start + 12] >> 4) * 4
            self.is_syn = bool(data[self.start + 13] & 2)

    @property
    def flow(self) -> tuple[int, ...]:
        """Return what both directions of a connection have in common; the addresses are always the same two."""
        return tuple(sorted(self.ports))

    def reset(self) -> bytes:
        """Return the reset that a host without such a connection answers with (RFC 9293 section 3.5.2)."""
        (acknowledged,) = struct.unpack_from("!I", self.data, self.start + 8)
        source, destination = self.data[16:20], self.data[12:16]
        segment = struct.pack("!HHIIBBHHH", self.ports[1], self.ports[0], acknowledged, 0, 5 << 4, 4, 0, 0, 0)
        pseudo = source + destination + struct.pack("!HH", 6, len(segment))
        segment = segment[:16] + _checksum(pseudo + segment) + segment[18:]
        header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(segment), 0, 0, 64, 6, 0, source, destination)
        return header[:10] + _checksum(header) + header[12:] + segment


def _checksum(data: bytes) -> bytes:
    total = sum(word for (word,) in struct.iter_unpack("!H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF)


class Carrier:
    """Carries packets between the two ends, as its faults let it."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self._asked = asked
        self._chance = random.Random(asked.seed)
        self._seen: dict[tuple[int, ...], float] = {}
        self._under_way: list[tuple[float, int, int, bytes]] = []
        self._count = 0
        self.dropped = self.dropped_data = 0

    def run(self, near: int, far: int) -> None:
        """Carry packets until the process is ended."""
        while True:
            now = time.monotonic()
            while self._under_way and self._under_way[0][0] <= now:
                _, _, end, data = heapq.heappop(self._under_way)
                os.write(end, data)
            wait = self._under_way[0][0] - time.monotonic() if self._under_way else None
            for end in select.select([near, far], [], [], wait and max(wait, 0))[0]:
                self._take(Packet(os.read(end, 65536)), end, far if end == near else near, from_near=end == near)

    def _take(self, packet: Packet, came: int, goes: int, *, from_near: bool) -> None:
        arrived = time.monotonic()
        if packet.is_tcp and self._forgotten(packet, arrived):
            if self._asked.answer == "reset" and packet.payload:
                self._send(came, packet.reset(), arrived)
            return
        if len(packet.data) > self._asked.largest or self._chance.random() < self._asked.loss:
            self.dropped += 1
            self.dropped_data += from_near and packet.is_tcp and packet.payload > 0
            return
        self._send(goes, packet.data, arrived)

    def _send(self, end: int, data: bytes, arrived: float) -> None:
        self._count += 1
        heapq.heappush(self._under_way, (arrived + self._asked.delay, self._count, end, data))

    def _forgotten(self, packet: Packet, now: float) -> bool:
        """Say whether a NAT that forgets a silent connection has forgotten this one."""
        if not packet.is_syn and now - self._seen.get(packet.flow, -1e9) > self._asked.forget:
            self._seen.pop(packet.flow, None)
            return True
        self._seen[packet.flow] = now
        return False


def _end(name: str, address: str, other: str) -> tuple[int, int]:
    """Enter a new namespace and make one end of the link in it; return descriptors of the namespace and the device."""
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")
    device = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
    steps = f"ip link set lo up; ip address add {address} peer {other} dev {name}; ip link set {name} up"
    subprocess.run(["sh", "-ec", steps], check=True)
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY), device


def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--delay", type=float, default=0.0, help="seconds, each way")
    parser.add_argument("--loss", type=float, default=0.0, help="share of the packets that are dropped")
    parser.add_argument("--seed", type=int, default=1, help="of that choice")
    parser.add_argument("--largest", type=int, default=65536, help="bytes; larger packets are dropped in silence")
    parser.add_argument("--forget", type=float, default=1e9, help="seconds of silence that end a connection")
    parser.add_argument("--answer", default="", help='"reset": to data on a connection that was forgotten')
    carrier = Carrier(parser.parse_args())
    near_space, near = _end("near", NEAR, FAR)
    far_space, far = _end("far", FAR, NEAR)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(PermissionError):  # a link is not late because the machine is busy
        os.setpriority(os.PRIO_PROCESS, 0, -20)
    print("link up " + json.dumps({"near": near_space, "far": far_space}), flush=True)  # noqa: T201  # the test reads it
    try:
        carrier.run(near, far)
    except KeyboardInterrupt:
        print(json.dumps({"dropped": carrier.dropped, "dropped_data": carrier.dropped_data}), flush=True)  # noqa: T201  # the test reads it


if __name__ == "__main__":
    _main()
