"""A listener whose accepted socket a forked child inherits: the CPU time that the process then takes.

A script: `python -m tests.support.inherited_sockets TRANSPORT SECONDS`, with `fast` or `stock` and the seconds of each
measurement. The child ends when its parent closes a pipe or exits. Prints one JSON object; the CPU times are shares of
one processor.
"""

import json
import os
import signal
import socket
import sys
import time
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import deferLater, react

from echod.transport.poller import Poller
from tests.support.transport import RecordingEcho, RecordingFactory, until

LIMIT = 20
"""Seconds after which an alarm ends the child."""


def fork_holder() -> int:
    """Fork a child that keeps every open descriptor; return the pipe whose closing ends it."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.close(writing)
        signal.alarm(LIMIT)
        os.read(reading, 1)
        os._exit(0)
    os.close(reading)
    return writing


async def cpu_share(reactor: Any, seconds: float) -> float:
    """Return the CPU time that this process takes in the next `seconds`, divided by them."""
    began = time.process_time()
    await deferLater(reactor, seconds)
    return (time.process_time() - began) / seconds


async def measure(reactor: Any, transport: str, seconds: float) -> dict[str, object]:
    factory = RecordingFactory(lambda _: RecordingEcho())
    port = (Poller(reactor) if transport == "fast" else reactor).listenTCP(0, factory, interface="127.0.0.1")
    address = ("127.0.0.1", port.getHost().port)

    first = socket.create_connection(address)
    await until(lambda: factory.protocols)
    number = factory.protocols[0].transport.fileno()
    second = socket.socket()  # before the number is free
    holder = fork_holder()
    factory.protocols[0].transport.loseWriteConnection()
    first.shutdown(socket.SHUT_WR)  # the socket is now readable for as long as the child keeps it open
    await until(lambda: factory.protocols[0].reason)
    closed = await cpu_share(reactor, seconds)

    second.connect(address)
    await until(lambda: len(factory.protocols) == 2)
    same_number = factory.protocols[1].transport.fileno() == number
    reused = await cpu_share(reactor, seconds)
    second.sendall(b"ping")
    await until(lambda: factory.protocols[1].received)
    echo = second.recv(16).decode()

    os.close(holder)
    os.wait()  # the child has the clients' sockets too
    first.close()
    second.close()
    await until(lambda: factory.protocols[1].reason)
    await port.stopListening()
    return {"closed": closed, "same_number": same_number, "reused": reused, "echo": echo}


def main(reactor: Any, transport: str, seconds: str) -> "Deferred[None]":
    async def report() -> None:
        sys.stdout.write(json.dumps(await measure(reactor, transport, float(seconds))))

    return ensureDeferred(report())


if __name__ == "__main__":
    react(main, sys.argv[1:])
