"""A link between two network namespaces, with faults that a test chooses: two TUN devices, and a process between them.

The near end is 10.9.0.1, the far end 10.9.0.2. Run as a program, the module is that process, the carrier: it prints one
line when the link is up, and at SIGTERM the numbers of dropped packets, as JSON. It needs root and /dev/net/tun.
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
    """A link, while it is up."""

    def __init__(self, carrier: Daemon) -> None:
        self._carrier = carrier
        descriptors = json.loads(carrier.output.partition("link up ")[2].splitlines()[0])
        self._namespaces: dict[str, str] = {
            end: f"/proc/{carrier.pid}/fd/{descriptor}" for end, descriptor in descriptors.items()
        }

    def at(self, end: str, *command: str) -> tuple[str, ...]:
        """Return `command` as one that runs at the `near` or the `far` end."""
        return ("nsenter", f"--net={self._namespaces[end]}", "--", *command)

    def down(self) -> SimpleNamespace:
        """Take the link down; return `dropped`, the number of dropped packets, and `dropped_data`.

        `dropped_data` is the number of those that the near end had sent and that carried data.
        """
        self._carrier.stop(signal.SIGTERM)
        return SimpleNamespace(**json.loads(self._carrier.output.splitlines()[-1]))


@contextmanager
def link(cwd: Path, **faults: Any) -> Iterator[Link]:
    """Yield a link with `faults`: options of this module as a program."""
    options = [word for name, value in faults.items() for word in (f"--{name}", str(value))]
    root = Path(__file__).parents[2]
    command = (sys.executable, "-m", "tests.support.netem", *options)
    with daemon(*command, cwd=cwd, ready="link up", PYTHONPATH=str(root)) as carrier:
        yield Link(carrier)


# The carrier


class Packet:
    """An IPv4 packet (RFC 791), with the fields of its TCP segment (RFC 9293) if it has one."""

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
        """The key of a connection, the same in both directions: the ports, because there are only two addresses."""
        return tuple(sorted(self.ports))

    def reset(self) -> bytes:
        """Return the reset that a host without this connection sends in reply (RFC 9293 section 3.5.2)."""
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
    """Carries packets between the two ends: delays, drops or forgets them as its faults say."""

    def __init__(self, faults: argparse.Namespace) -> None:
        self._faults = faults
        self._random = random.Random(faults.seed)
        self._last_seen: dict[tuple[int, ...], float] = {}
        """The time of the last packet of each connection."""
        self._queue: list[tuple[float, int, int, bytes]] = []
        """A heap of packets on their way: due time, sequence number, descriptor of the device, bytes."""
        self._sent = 0
        self.dropped = self.dropped_data = 0

    def run(self, near: int, far: int) -> None:
        """Carry packets until the process is ended."""
        while True:
            now = time.monotonic()
            while self._queue and self._queue[0][0] <= now:
                _, _, device, data = heapq.heappop(self._queue)
                os.write(device, data)
            wait = self._queue[0][0] - time.monotonic() if self._queue else None
            for device in select.select([near, far], [], [], wait and max(wait, 0))[0]:
                packet = Packet(os.read(device, 65536))
                self._carry(packet, device, far if device == near else near, from_near=device == near)

    def _carry(self, packet: Packet, source: int, destination: int, *, from_near: bool) -> None:
        now = time.monotonic()
        if packet.is_tcp and self._forgotten(packet, now):
            if self._faults.answer == "reset" and packet.payload:
                self._send(source, packet.reset(), now)
            return
        if len(packet.data) > self._faults.largest or self._random.random() < self._faults.loss:
            self.dropped += 1
            self.dropped_data += from_near and packet.is_tcp and packet.payload > 0
            return
        self._send(destination, packet.data, now)

    def _send(self, device: int, data: bytes, now: float) -> None:
        self._sent += 1
        heapq.heappush(self._queue, (now + self._faults.delay, self._sent, device, data))

    def _forgotten(self, packet: Packet, now: float) -> bool:
        """Return whether a NAT that forgets silent connections has forgotten the packet's connection."""
        if not packet.is_syn and now - self._last_seen.get(packet.flow, -1e9) > self._faults.forget:
            self._last_seen.pop(packet.flow, None)
            return True
        self._last_seen[packet.flow] = now
        return False


def _end(name: str, address: str, peer: str) -> tuple[int, int]:
    """Enter a new namespace and make one end of the link in it; return descriptors of the namespace and the device."""
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")
    device = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
    steps = f"ip link set lo up; ip address add {address} peer {peer} dev {name}; ip link set {name} up"
    subprocess.run(["sh", "-ec", steps], check=True)
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY), device


def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--delay", type=float, default=0.0, help="seconds, each way")
    parser.add_argument("--loss", type=float, default=0.0, help="share of the packets that are dropped")
    parser.add_argument("--seed", type=int, default=1, help="seed of the random drops")
    parser.add_argument(
        "--largest", type=int, default=65536, help="bytes; larger packets are dropped without an ICMP error"
    )
    parser.add_argument(
        "--forget", type=float, default=1e9, help="seconds of silence after which a NAT forgets a connection"
    )
    parser.add_argument("--answer", default="", help='"reset": the reply to data on a forgotten connection')
    carrier = Carrier(parser.parse_args())
    near_space, near = _end("near", NEAR, FAR)
    far_space, far = _end("far", FAR, NEAR)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(PermissionError):  # high priority: a busy machine must not add to the link's delay
        os.setpriority(os.PRIO_PROCESS, 0, -20)
    print("link up " + json.dumps({"near": near_space, "far": far_space}), flush=True)  # noqa: T201  # the test reads it
    try:
        carrier.run(near, far)
    except KeyboardInterrupt:
        print(json.dumps({"dropped": carrier.dropped, "dropped_data": carrier.dropped_data}), flush=True)  # noqa: T201  # the test reads it


if __name__ == "__main__":
    _main()
