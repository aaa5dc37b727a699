"""The fast transport over real sockets: behaviour that Twisted's own tests do not cover."""

import errno
import json
import os
import select
import socket
import ssl
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from select import EPOLLERR, EPOLLHUP, EPOLLIN
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.abstract import FileDescriptor
from twisted.internet.address import IPv6Address
from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionFdescWentAway, ConnectionLost
from twisted.internet.protocol import Protocol
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import EventLoggingObserver
from twisted.internet.threads import deferToThread
from twisted.logger import LogEvent, globalLogPublisher
from twisted.python.failure import Failure

from echod.server.accept_pause import PAUSE, AcceptPause
from echod.transport import background_reactor, fast_reactor
from echod.transport.accept_queue import AcceptQueue, accept_queue
from echod.transport.background import BURST
from echod.transport.connection import FastConnection
from echod.transport.poller import CROWD, LULL, SLICE, TURN, Poller
from echod.transport.port import FastPort
from tests.support.certificates import Authority
from tests.support.live import running
from tests.support.processes import abort
from tests.support.sockets import PATIENCE, RECORD, free_port
from tests.support.transport import Listener, RecordingEcho, RecordingFactory, listening, reactor, until

BIG = bytes(n % 251 for n in range(1 << 20)) * 8
"""More than the kernel buffers for a client that does not read."""


class Unhashable(Exception):
    """An exception that is not hashable, as one that is a dataclass."""

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = None  # type: ignore[assignment]  # the property under test


@pytest.fixture
def clients() -> Iterator[Callable[[Listener], socket.socket]]:
    """Yield a function that connects to a listener. The kernel completes the handshake; the reactor need not run."""
    connected: list[socket.socket] = []

    def connect(to: Listener) -> socket.socket:
        connected.append(socket.create_connection(("127.0.0.1", to.number), timeout=PATIENCE))
        return connected[-1]

    yield connect
    for each in connected:
        each.close()


Connect = Callable[[Listener], socket.socket]


async def echoes(client: socket.socket) -> bool:
    """Return whether the listener echoes `client`."""
    client.sendall(b"ping")
    return await deferToThread(client.recv, 16) == b"ping"


def read_to_end(client: socket.socket) -> bytes:
    pieces = []
    while piece := client.recv(1 << 16):
        pieces.append(piece)
    return b"".join(pieces)


# Errors


class Bad(RecordingEcho):
    """Raises in one of its methods."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self._where = where

    def _raise(self, where: str) -> None:
        if where == self._where:
            raise Unhashable(where)

    def connectionMade(self) -> None:
        self._raise("connectionMade")
        if self._where == "stopProducing":
            self.transport.registerProducer(self, True)

    def pauseProducing(self) -> None:
        """Not called in these tests."""

    def stopProducing(self) -> None:
        self._raise("stopProducing")

    def dataReceived(self, data: bytes) -> None:
        self._raise("dataReceived")
        self.transport.loseWriteConnection()

    def readConnectionLost(self) -> None:
        self._raise("readConnectionLost")
        super().readConnectionLost()

    def writeConnectionLost(self) -> None:
        self._raise("writeConnectionLost")

    def connectionLost(self, reason: Any = None) -> None:
        super().connectionLost(reason)
        self._raise("connectionLost")


def just_connect(_: socket.socket) -> None:
    """No-op: the connection alone causes the error."""


TRIGGERS: dict[str, Callable[[socket.socket], object]] = {
    "buildProtocol": just_connect,
    "connectionMade": just_connect,
    "dataReceived": lambda client: client.sendall(b"x"),
    "readConnectionLost": lambda client: client.shutdown(socket.SHUT_WR),
    "writeConnectionLost": lambda client: client.sendall(b"x"),
    "connectionLost": lambda client: client.shutdown(socket.SHUT_WR),
    "stopProducing": abort,
}


@pytest.mark.parametrize("where", TRIGGERS)
@pytest_twisted.ensureDeferred
async def test_an_error_ends_only_its_own_connection(
    where: str, clients: Connect, clean_reactor: list[LogEvent]
) -> None:
    def make(_: object) -> Protocol:
        if len(numbers) != 1:
            numbers.append("good")
            return RecordingEcho()
        numbers.append("bad")
        if where == "buildProtocol":
            raise Unhashable(where)
        return Bad(where)

    numbers: list[str] = []
    async with listening(make) as here:
        before = clients(here)
        assert await echoes(before)
        bad = clients(here)
        await until(lambda: len(numbers) == 2)
        TRIGGERS[where](bad)
        await until(lambda: clean_reactor)
        if where != "stopProducing":  # that client has closed itself
            assert await deferToThread(bad.recv, 16) == b""
        assert await echoes(before)
        assert await echoes(clients(here))
        await deferLater(reactor, 0.01)
        (event,) = clean_reactor
        clean_reactor.clear()
        assert event["failure"].type is Unhashable
        named = "tests.support.transport.RecordingFactory" if where == "buildProtocol" else "Bad,1,127.0.0.1"
        assert event["system"] == named
        if where in {"dataReceived", "connectionMade", "readConnectionLost", "writeConnectionLost"}:
            assert here.protocols[1].reason.type is Unhashable
        if where != "buildProtocol":
            assert here.protocols[1].calls == (["read lost", "lost"] if where == "connectionLost" else ["lost"])


@pytest_twisted.ensureDeferred
async def test_an_error_does_not_reach_the_connection_that_closed_this_one(
    clients: Connect, clean_reactor: list[LogEvent]
) -> None:
    class Ends(RecordingEcho):
        def dataReceived(self, data: bytes) -> None:
            bad.transport.loseConnection()
            super().dataReceived(data)

    bad = Bad("connectionLost")
    protocols: list[Protocol] = [bad, Ends()]
    async with listening(lambda _: protocols.pop(0)) as here:
        first = clients(here)
        await until(lambda: len(here.protocols) == 1)
        bad.transport.loseWriteConnection()  # so that loseConnection ends it at once
        assert await echoes(clients(here))
        assert await deferToThread(first.recv, 1) == b""
        assert bad.calls == ["lost"]
        assert [event["system"] for event in clean_reactor] == ["Bad,0,127.0.0.1"]
        clean_reactor.clear()


# Writing


@pytest_twisted.ensureDeferred
async def test_data_beyond_the_send_buffer_is_sent_in_order(clients: Connect) -> None:
    async with listening(lambda _: RecordingEcho()) as here:
        client = clients(here)
        await until(lambda: here.protocols)
        wire = here.protocols[0].transport
        for begin in range(0, len(BIG), 99_991):
            wire.write(BIG[begin : begin + 99_991])
        assert here.poller.getWriters() == [wire]
        wire.writeSequence([b"and ", b"the ", b"end"])
        wire.loseConnection()
        assert await deferToThread(read_to_end, client) == BIG + b"and the end"
        await until(lambda: here.protocols[0].reason)
        assert here.protocols[0].reason.type is ConnectionDone


class Pushes(RecordingEcho):
    """A push producer: sends until it is paused."""

    def __init__(self) -> None:
        super().__init__()
        self._at = 0
        self._paused = False

    def connectionMade(self) -> None:
        self.transport.registerProducer(self, True)
        self.resumeProducing()

    def pauseProducing(self) -> None:
        self.calls.append("pause")
        self._paused = True

    def resumeProducing(self) -> None:
        self.calls.append("resume")
        self._paused = False
        while not self._paused and self._at < len(BIG):
            self.transport.write(BIG[self._at : self._at + 50_000])
            self._at += 50_000
        if self._at >= len(BIG):
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def stopProducing(self) -> None:
        self.calls.append("stop")


class Pulls(RecordingEcho):
    """A pull producer: sends one piece for each resumeProducing."""

    def __init__(self) -> None:
        super().__init__()
        self._at = 0

    def connectionMade(self) -> None:
        self.transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        if self._at >= len(BIG):
            self.transport.unregisterProducer()
            self.transport.loseConnection()
            return
        self.calls.append("resume")
        self.transport.write(BIG[self._at : self._at + 500_000])
        self._at += 500_000

    def stopProducing(self) -> None:
        self.calls.append("stop")


@pytest_twisted.ensureDeferred
async def test_a_push_producer_is_paused_and_resumed(clients: Connect) -> None:
    async with listening(lambda _: Pushes()) as here:
        client = clients(here)
        await until(lambda: here.protocols and "pause" in here.protocols[0].calls)
        told = list(here.protocols[0].calls)
        await deferLater(reactor, 0.02)
        assert here.protocols[0].calls == told  # the client does not read
        assert await deferToThread(read_to_end, client) == BIG
        await until(lambda: here.protocols[0].reason)
        resumed = [each for each in here.protocols[0].calls if each in {"pause", "resume"}]
        assert resumed[:3] == ["resume", "pause", "resume"]


@pytest_twisted.ensureDeferred
async def test_a_pull_producer_is_served(clients: Connect) -> None:
    async with listening(lambda _: Pulls()) as here:
        assert await deferToThread(read_to_end, clients(here)) == BIG
        await until(lambda: here.protocols[0].reason)
        assert here.protocols[0].calls == ["resume"] * -(-len(BIG) // 500_000) + ["lost"]


@pytest_twisted.ensureDeferred
async def test_write_raises_for_other_types_than_bytes(clients: Connect) -> None:
    async with listening(lambda _: RecordingEcho()) as here:
        client = clients(here)
        await until(lambda: here.protocols)
        for wrong in (bytearray(b"x"), memoryview(b"x"), "x"):
            with pytest.raises(TypeError):
                here.protocols[0].transport.write(wrong)
            with pytest.raises(TypeError):
                here.protocols[0].transport.writeSequence([b"x", wrong])
        assert await echoes(client)


# Ends


@pytest.mark.parametrize("sends", [True, False], ids=["after a send", "alone"])
@pytest_twisted.ensureDeferred
async def test_a_reset_is_reported_as_connection_lost(sends: bool, clients: Connect) -> None:
    async with listening(lambda _: RecordingEcho()) as here:
        client = clients(here)
        await until(lambda: here.protocols)
        protocol = here.protocols[0]
        protocol.transport.pauseProducing()
        abort(client)
        if sends:
            protocol.transport.write(b"too late")  # the kernel reports the reset to this send only
        protocol.transport.resumeProducing()
        await until(lambda: protocol.reason)
        assert protocol.reason.type is ConnectionLost
        assert protocol.calls == ["made", "lost"]


@pytest_twisted.ensureDeferred
async def test_a_close_reaches_the_client_while_another_descriptor_has_the_socket(clients: Connect) -> None:
    async with listening(lambda _: RecordingEcho()) as here:
        client = clients(here)
        await until(lambda: here.protocols)
        transport = here.protocols[0].transport
        inherited = os.dup(transport.fileno())  # as a forked child has it
        try:
            transport.loseConnection()
            assert await deferToThread(read_to_end, client) == b""
        finally:
            os.close(inherited)


@pytest_twisted.ensureDeferred
async def test_a_half_close_without_buffered_data_is_immediate(clients: Connect) -> None:
    async with listening(lambda _: RecordingEcho()) as here:
        client = clients(here)
        await until(lambda: here.protocols)
        protocol = here.protocols[0]
        protocol.transport.write(b"all")
        protocol.transport.loseWriteConnection()
        assert protocol.calls == ["made", "write lost"]
        protocol.transport.loseWriteConnection()
        protocol.transport.write(b"nothing more")
        assert await deferToThread(read_to_end, client) == b"all"
        client.sendall(b"still read")
        await until(lambda: protocol.received == b"still read")
        protocol.transport.loseConnection()
        assert protocol.calls == ["made", "write lost", "lost"]
        assert protocol.reason.type is ConnectionDone


@pytest_twisted.ensureDeferred
async def test_a_half_close_follows_the_buffered_data(clients: Connect) -> None:
    async with listening(lambda _: RecordingEcho()) as here:
        client = clients(here)
        await until(lambda: here.protocols)
        protocol = here.protocols[0]
        protocol.transport.write(BIG)
        protocol.transport.loseWriteConnection()
        await deferLater(reactor, 0.01)
        assert protocol.calls == ["made"]
        assert await deferToThread(read_to_end, client) == BIG
        await until(lambda: protocol.calls == ["made", "write lost"])
        client.shutdown(socket.SHUT_WR)
        await until(lambda: protocol.reason)


@pytest_twisted.ensureDeferred
async def test_a_half_close_after_a_close_is_ignored(clients: Connect) -> None:
    async with listening(lambda _: RecordingEcho()) as here:
        client = clients(here)
        await until(lambda: here.protocols)
        protocol = here.protocols[0]
        protocol.transport.loseConnection()
        protocol.transport.loseWriteConnection()
        assert await deferToThread(client.recv, 1) == b""
        await until(lambda: protocol.reason)
        assert protocol.calls == ["made", "lost"]


@pytest_twisted.ensureDeferred
async def test_nothing_is_sent_after_an_abort(clients: Connect) -> None:
    async with listening(lambda _: RecordingEcho()) as here:
        client = clients(here)
        await until(lambda: here.protocols)
        protocol = here.protocols[0]
        protocol.transport.abortConnection()
        protocol.transport.write(b"too late")
        protocol.transport.loseWriteConnection()
        protocol.transport.loseConnection()
        assert protocol.calls == ["made"]
        with pytest.raises(ConnectionResetError):
            await deferToThread(client.recv, 16)
        await until(lambda: protocol.reason)
        assert protocol.reason.type is ConnectionAborted
        assert protocol.calls == ["made", "lost"]


@pytest_twisted.ensureDeferred
async def test_an_old_event_does_not_reach_the_next_user_of_the_number(clients: Connect) -> None:
    class Ends(RecordingEcho):
        def dataReceived(self, data: bytes) -> None:
            ended.transport.loseWriteConnection()
            ended.transport.loseConnection()

    ended = RecordingEcho()
    protocols = [ended, Ends(), RecordingEcho()]
    async with listening(lambda _: protocols.pop(0)) as here:
        clients(here)
        await until(lambda: len(here.protocols) == 1)
        ends = clients(here)
        await until(lambda: len(here.protocols) == 2)
        ends.sendall(b"x")
        newcomer = clients(here)
        first, second = here.protocols[0].transport.fileno(), here.protocols[1].transport.fileno()
        # A batch of events in which the second connection ends the first, and the newcomer gets its number.
        here.poller.alert = 0  # or the newcomer would be accepted before it
        here.poller._serve_all([(second, EPOLLIN), (here.port.fileno(), EPOLLIN), (first, EPOLLERR | EPOLLHUP)])
        assert here.protocols[0].reason is not None
        assert here.protocols[2].transport.fileno() == first
        assert here.protocols[2].calls == ["made"]
        assert await echoes(newcomer)


# The poller


@pytest.mark.parametrize("transport", ["fast", "stock"])
def test_a_closed_socket_that_a_child_inherited_takes_no_cpu_time(transport: str) -> None:
    command = [sys.executable, "-m", "tests.support.inherited_sockets", transport, "0.5"]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=PATIENCE, check=True)
    report = json.loads(done.stdout)
    assert report["closed"] < 0.2
    assert report["same_number"]
    assert report["reused"] < 0.2
    assert report["echo"] == "ping"


class Foreign(FileDescriptor):
    """A descriptor outside the fast transport; `number` is its fileno, or an exception that fileno raises."""

    def __init__(self, poller: Poller, sock: socket.socket) -> None:
        super().__init__(poller)
        self.number: int | Exception = sock.fileno()
        self.reads = 0
        self.reasons: list[Failure] = []

    def fileno(self) -> int:
        if isinstance(self.number, Exception):
            raise self.number
        return self.number

    def doRead(self) -> None:
        self.reads += 1

    def connectionLost(self, reason: Failure) -> None:
        self.reasons.append(reason)


@pytest.mark.parametrize("number", [-1, OSError(errno.EBADF, "closed")], ids=["-1", "raises"])
@pytest_twisted.ensureDeferred
async def test_a_lost_descriptor_is_removed(
    number: int | Exception, clients: Connect, clean_reactor: list[LogEvent]
) -> None:
    async with listening(lambda _: RecordingEcho()) as here:
        client = clients(here)
        await until(lambda: here.protocols)  # so that its number is not the lost one
        ours, theirs = socket.socketpair()
        duplicate = ours.dup()  # keeps the closed descriptor registered
        with duplicate, theirs:
            lost = Foreign(here.poller, ours)
            here.poller.addReader(lost)
            ours.close()
            lost.number = number
            theirs.send(b"x")
            await until(lambda: lost.reasons)
            await deferLater(reactor, 0.01)
            assert [reason.type for reason in lost.reasons] == [ConnectionFdescWentAway]
            assert lost.reads == 0
            assert here.poller.getReaders() == [here.port, here.protocols[0].transport]
            assert here.poller._poll(0) == []
        assert await echoes(client)
        logged = [event["failure"].type for event in clean_reactor]
        clean_reactor.clear()
        assert logged == ([] if number == -1 else [OSError])


@pytest_twisted.ensureDeferred
async def test_a_connection_gets_the_number_of_a_lost_descriptor(clients: Connect) -> None:
    async with listening(lambda _: RecordingEcho()) as here:
        ours, theirs = socket.socketpair()
        number = ours.fileno()
        duplicate = ours.dup()
        client = clients(here)
        with duplicate, theirs:
            lost = Foreign(here.poller, ours)
            here.poller.addReader(lost)
            ours.close()
            await until(lambda: here.protocols)
            assert here.protocols[0].transport.fileno() == number
            assert [reason.type for reason in lost.reasons] == [ConnectionFdescWentAway]
            theirs.send(b"x")
            assert await echoes(client)
            assert here.poller._poll(0) == []


@pytest_twisted.ensureDeferred
async def test_a_descriptor_that_was_closed_and_then_removed_leaves_no_event(clients: Connect) -> None:
    async with listening(lambda _: RecordingEcho()) as here:
        ours, theirs = socket.socketpair()
        duplicate = ours.dup()
        with duplicate, theirs:
            removed = Foreign(here.poller, ours)
            here.poller.addReader(removed)
            ours.close()
            removed.number = -1
            here.poller.removeReader(removed)
            theirs.send(b"x")
            assert here.poller._poll(0) == []
            assert here.poller.getReaders() == [here.port]
        assert await echoes(clients(here))


@pytest_twisted.ensureDeferred
async def test_an_event_without_a_descriptor_replaces_the_epoll(clients: Connect) -> None:
    async with listening(lambda _: RecordingEcho()) as here:
        ours, theirs = socket.socketpair()
        closed, peer = socket.socketpair()
        with ours, theirs, peer:
            beside = Foreign(here.poller, closed)
            here.poller.addReader(beside)
            closed.close()  # not open any more: its registration cannot be moved
            here.poller._epoll.register(ours.fileno(), EPOLLIN)  # type: ignore[union-attr]  # a port is registered
            theirs.send(b"x")
            await until(lambda: beside.reasons)
            assert here.poller._poll(0) == []
        assert await echoes(clients(here))


def descriptors() -> dict[str, str]:
    """Return the open descriptors of this process, with the names of their files."""
    found = {}
    for each in Path("/proc/self/fd").iterdir():
        try:
            found[each.name] = str(each.readlink())
        except FileNotFoundError:  # the descriptor of the listing itself
            continue
    return found


@pytest_twisted.ensureDeferred
async def test_a_poller_without_registrations_closes_its_epoll(clients: Connect) -> None:
    await deferToThread(time.sleep, 0)  # the thread pool opens its descriptors before the comparison
    before = descriptors()
    async with listening(lambda _: RecordingEcho()) as here:
        client = clients(here)
        assert await echoes(client)
        assert here.poller in reactor.getReaders()
        assert here.poller.fileno() >= 0
        client.close()
    assert here.poller not in reactor.getReaders()
    assert here.poller.fileno() == -1
    assert descriptors() == before


@pytest_twisted.ensureDeferred
async def test_an_empty_poller_opens_a_new_epoll(clients: Connect) -> None:
    async with listening(lambda _: RecordingEcho()) as here:
        here.port.stopReading()
        assert here.poller.fileno() == -1
        here.port.startReading()
        assert await echoes(clients(here))


def test_a_reactor_shutdown_ends_every_connection() -> None:
    own = EPollReactor()
    factory = RecordingFactory(lambda _: RecordingEcho())
    poller = Poller(own)
    port = poller.listenTCP(0, factory, interface="127.0.0.1")
    clients = [socket.create_connection(("127.0.0.1", port.getHost().port), PATIENCE) for _ in range(3)]
    deadline = time.monotonic() + PATIENCE
    while len(factory.protocols) < 3 and time.monotonic() < deadline:
        own.doIteration(0.1)
    own.disconnectAll()
    assert [each.calls for each in factory.protocols] == [["made", "lost"]] * 3
    assert {each.reason.type for each in factory.protocols} == {ConnectionLost}
    assert port.fileno() == -1
    assert poller.fileno() == -1
    for client in clients:
        assert client.recv(1) == b""
        client.close()
    for waker in list(own._internalReaders):
        waker.connectionLost(Failure(ConnectionDone()))
    own._poller.close()


@pytest_twisted.ensureDeferred
async def test_timers_run_while_connections_are_busy(clients: Connect) -> None:
    over = threading.Event()

    def busy(client: socket.socket) -> int:
        count = 0
        while not over.is_set():
            client.sendall(RECORD)
            count += len(client.recv(len(RECORD), socket.MSG_WAITALL)) == len(RECORD)
        return count

    async with listening(lambda _: RecordingEcho()) as here:
        talking = [deferToThread(busy, clients(here)) for _ in range(2)]
        late = []
        try:
            for _ in range(40):
                due = reactor.seconds() + 0.003
                await deferLater(reactor, 0.003)
                late.append(reactor.seconds() - due)
        finally:
            over.set()
        counts = [await each for each in talking]
    assert min(counts) > 10
    assert statistics.median(late) < LULL + TURN + 0.005  # margin for a busy machine


# Accepting


@pytest_twisted.ensureDeferred
async def test_all_waiting_connections_are_accepted_at_once(clients: Connect) -> None:
    async with listening(lambda _: RecordingEcho()) as here:
        here.port.stopReading()
        crowd = [clients(here) for _ in range(30)]
        here.port.doRead()
        assert len(here.protocols) == 30
        here.port.startReading()
        for each in crowd[::13]:
            assert await echoes(each)


@pytest_twisted.ensureDeferred
async def test_the_number_of_accepts_at_a_time_is_bounded(clients: Connect) -> None:
    async with listening(lambda _: RecordingEcho()) as here:
        here.port.stopReading()
        for _ in range(Poller.most_accepts + 5):
            clients(here)
        taken = []
        for _ in range(3):
            before = len(here.protocols)
            here.port.doRead()
            taken.append(len(here.protocols) - before)
        assert taken == [Poller.most_accepts, 5, 0]


@pytest_twisted.ensureDeferred
async def test_connections_are_accepted_between_the_events_of_a_batch(clients: Connect) -> None:
    order: list[str] = []

    class Ordered(RecordingEcho):
        def dataReceived(self, data: bytes) -> None:
            order.append("record")
            if len(order) == 1:
                clients(here)

        def connectionMade(self) -> None:
            order.append("accepted")

    async with listening(lambda _: Ordered()) as here:
        crowd = [clients(here) for _ in range(3 * SLICE)]
        await until(lambda: len(here.protocols) == len(crowd))
        order.clear()
        for each in crowd:
            each.sendall(RECORD)
        await until(lambda: len(order) == len(crowd) + 1)
        assert order == ["record"] * SLICE + ["accepted"] + ["record"] * (2 * SLICE)


@pytest_twisted.ensureDeferred
async def test_a_crowd_is_served_before_more_is_accepted(clients: Connect) -> None:
    order: list[str] = []

    class Ordered(RecordingEcho):
        def dataReceived(self, data: bytes) -> None:
            order.append("record")
            if len(order) == 1:
                clients(here)

        def connectionMade(self) -> None:
            order.append("accepted")

    async with listening(lambda _: Ordered()) as here:
        crowd = [clients(here) for _ in range(CROWD + 1)]
        await until(lambda: len(here.protocols) == CROWD + 1)
        order.clear()
        for each in crowd:
            each.sendall(RECORD)
        await until(lambda: len(order) == CROWD + 2)
        assert order == ["record"] * (CROWD + 1) + ["accepted"]


@pytest_twisted.ensureDeferred
async def test_a_full_queue_is_reported_when_the_port_accepts(clients: Connect) -> None:
    full: list[AcceptQueue | None] = []
    async with listening(lambda _: RecordingEcho(), backlog=3) as here:
        here.port.on_full = lambda: full.append(accept_queue(here.port.socket))
        here.port.stopReading()
        clients(here)
        here.port.doRead()
        for _ in range(4):
            clients(here)
        late = socket.socket()
        late.setblocking(False)
        late.connect_ex(("127.0.0.1", here.port.getHost().port))  # the kernel drops its SYN
        here.port.doRead()
        late.close()
    assert full == [AcceptQueue(waiting=4, limit=3, dropped=1)]


@pytest_twisted.ensureDeferred
async def test_no_accept_follows_stop_listening(clients: Connect) -> None:
    stopped = []

    def make(_: object) -> Protocol:
        stopped.append(maybeDeferred(here.port.stopListening))
        return RecordingEcho()

    async with listening(make) as here:
        here.port.numberAccepts = 10
        for _ in range(3):
            clients(here)
        await until(lambda: stopped)
        await stopped[0]
        assert len(here.protocols) == 1


class WithoutDescriptors:
    """A listening socket in a process without free descriptors."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self.exhausted = True
        self.accepts = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def _accept(self) -> Any:
        return self._take(self._real._accept)

    def accept(self) -> Any:
        return self._take(self._real.accept)

    def _take(self, take: Callable[[], Any]) -> Any:
        self.accepts += 1
        if self.exhausted:
            raise OSError(errno.ENFILE, "")
        return take()


@pytest_twisted.ensureDeferred
async def test_a_port_without_descriptors_pauses(clients: Connect) -> None:
    async with listening(lambda _: RecordingEcho()) as here:
        clock = Clock()
        scarce: Any = WithoutDescriptors(here.port.socket)
        here.port.socket = scarce
        AcceptPause(here.port, clock)
        client = clients(here)
        await until(lambda: scarce.accepts)
        await deferLater(reactor, 0.02)
        assert scarce.accepts == 2  # one of FastPort, one of Twisted's Port, which handles the error
        assert here.poller.getReaders() == []
        scarce.exhausted = False
        clock.advance(PAUSE)
        assert await echoes(client)
        assert clock.getDelayedCalls() == []


@pytest_twisted.ensureDeferred
async def test_a_client_without_a_protocol_is_disconnected(clients: Connect) -> None:
    async with listening(lambda _: None) as here:
        assert await deferToThread(clients(here).recv, 1) == b""
        assert here.poller.getReaders() == [here.port]


@pytest_twisted.ensureDeferred
async def test_a_scoped_address(clients: Connect) -> None:
    seen: list[Any] = []

    def make(address: object) -> Protocol:
        seen.append(address)
        return RecordingEcho()

    async with listening(make) as here:
        here.port.stopReading()
        clients(here)
        wire: Any = here.port.socket
        descriptor, _ = wire._accept()
        accepted = socket.SocketType(socket.AF_INET, socket.SOCK_STREAM, 0, descriptor)
        lo = socket.if_nametoindex("lo")
        here.port._addressType = IPv6Address  # as a port that listens on ::
        here.port._serve(accepted, ("fe80::1", 4000, 0, lo))
        assert seen == [IPv6Address("TCP", "fe80::1%lo", 4000, 0, lo)]
        peer = here.protocols[0].transport.getPeer()
        assert peer == seen[0]


# Users of the transport


@pytest_twisted.ensureDeferred
async def test_the_handle_is_a_socket(clients: Connect) -> None:
    async with listening(lambda _: RecordingEcho()) as here:
        client = clients(here)
        await until(lambda: here.protocols)
        wire = here.protocols[0].transport
        number = wire.fileno()
        handle = wire.getHandle()
        assert isinstance(handle, socket.socket)
        assert handle is wire.getHandle()
        assert (handle.fileno(), handle.getpeername()) == (number, client.getsockname())
        assert handle.gettimeout() == 0
        assert await echoes(client)


@pytest_twisted.ensureDeferred
async def test_the_last_echo_of_a_drain_carries_the_fin() -> None:
    port = free_port()
    async with running(port=port, keep_alive=True) as daemon:
        with socket.create_connection(("::1", port), timeout=PATIENCE) as client:
            client.sendall(RECORD + RECORD[:100])
            assert await deferToThread(client.recv, 250, socket.MSG_WAITALL) == RECORD
            (connection,) = daemon.service.connections._open
            stopped = daemon.service.stopService()
            client.sendall(RECORD[100:])
            assert await deferToThread(read_to_end, client) == RECORD
            wire: Any = connection.transport  # type: ignore[attr-defined]  # it is an EchoProtocol
            assert isinstance(wire, FastConnection)
            assert wire.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_CORK) == 1
        await stopped


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    authority = Authority(tmp_path_factory.mktemp("certificates"))
    server = authority.issue("localhost", "127.0.0.1", file="server")
    return authority.certificate, server.certificate, server.key


def talk_tls(port: int, authority: Path) -> bytes:
    context = ssl.create_default_context(cafile=str(authority))
    with (
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as client,
    ):
        client.sendall(RECORD)
        return client.recv(1000)


@pytest.mark.filterwarnings("ignore:Passing pyOpenSSL:DeprecationWarning")  # Twisted's own endpoint does
@pytest_twisted.ensureDeferred
async def test_ssl_endpoint_strings(pair: tuple[Path, Path, Path]) -> None:
    authority, certificate, key = pair
    text = f"ssl:0:privateKey={key}:certKey={certificate}:interface=127.0.0.1"
    port: Any = await serverFromString(Poller(reactor), text).listen(RecordingFactory(lambda _: RecordingEcho()))
    assert isinstance(port, FastPort)
    try:
        assert await deferToThread(talk_tls, port.getHost().port, authority) == RECORD
    finally:
        await port.stopListening()


class StartsTLS(RecordingEcho):
    """Starts TLS with the first byte."""

    context: Any

    def connectionMade(self) -> None:
        self.transport.startTLS(self.context)


@pytest_twisted.ensureDeferred
async def test_start_tls(pair: tuple[Path, Path, Path]) -> None:
    authority, certificate, key = pair
    StartsTLS.context = DefaultOpenSSLContextFactory(str(key), str(certificate))
    async with listening(lambda _: StartsTLS()) as here:
        assert await deferToThread(talk_tls, here.number, authority) == RECORD
        await until(lambda: here.protocols[0].reason)


@pytest_twisted.ensureDeferred
async def test_unix_endpoint_strings(tmp_path: Path) -> None:
    async with running(listen=(f"unix:{tmp_path}/echo",)) as daemon:

        def talk() -> bytes:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(PATIENCE)
                client.connect(f"{tmp_path}/echo")
                client.sendall(RECORD)
                client.shutdown(socket.SHUT_WR)
                return read_to_end(client)

        assert await deferToThread(talk) == RECORD
        await daemon.ends(1)


@pytest_twisted.ensureDeferred
async def test_the_reactor_adopts_unix_sockets(tmp_path: Path) -> None:
    poller = Poller(reactor)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(f"{tmp_path}/echo")
        bound.listen()
        bound.setblocking(False)
        port: Any = poller.adoptStreamPort(bound.fileno(), socket.AF_UNIX, RecordingFactory(lambda _: RecordingEcho()))
    try:
        assert not isinstance(port, FastPort)
        assert poller.fileno() == -1
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(f"{tmp_path}/echo")
            assert await echoes(client)
    finally:
        await maybeDeferred(port.stopListening)


# Background poller


@pytest_twisted.ensureDeferred
async def test_background_listeners_are_served(clients: Connect) -> None:
    async with listening(lambda _: RecordingEcho()) as rest:
        background = background_reactor(rest.poller)
        async with listening(lambda _: RecordingEcho(), background) as behind:
            assert isinstance(behind.port, FastPort)
            for _ in range(3):
                assert await echoes(clients(rest))
                assert await echoes(clients(behind))
            client = clients(behind)
            sending = deferToThread(client.sendall, BIG[: 1 << 20])
            sending.addCallback(lambda _: client.shutdown(socket.SHUT_WR))
            assert await deferToThread(read_to_end, client) == BIG[: 1 << 20]
            await sending
        assert background.fileno() == -1
        assert rest.poller.getReaders() == [rest.port, *(each.transport for each in rest.protocols)]
        assert await echoes(clients(rest))


@pytest_twisted.ensureDeferred
async def test_a_background_poller_resumes_after_its_pause(clients: Connect) -> None:
    class Slow(RecordingEcho):
        def dataReceived(self, data: bytes) -> None:
            time.sleep(2 * BURST)
            super().dataReceived(data)

    async with listening(lambda _: RecordingEcho()) as rest:
        background = background_reactor(rest.poller)
        async with listening(lambda _: Slow(), background) as behind:
            client = clients(behind)
            assert await echoes(client)
            assert background not in rest.poller.getReaders()
            assert await echoes(clients(rest))
            assert await echoes(client)


# Choice of the transport


@pytest.mark.parametrize(("transport", "fast"), [("fast", True), ("stock", False)])
@pytest_twisted.ensureDeferred
async def test_the_configured_transport_is_used(transport: str, fast: bool) -> None:
    port = free_port()
    async with running(port=port, transport=transport) as daemon:
        (listener,) = daemon.service._ports
        assert isinstance(listener.port, FastPort) == fast


@pytest.mark.parametrize("lacks", ["epoll", "descriptors"])
@pytest_twisted.ensureDeferred
async def test_stock_transport_without_epoll(lacks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    events = EventLoggingObserver()
    globalLogPublisher.addObserver(events)
    try:
        if lacks == "descriptors":
            clock = Clock()
            assert fast_reactor(clock) is clock
        else:
            monkeypatch.delattr(select, "epoll")
            port = free_port()
            async with running(port=port) as daemon:
                (listener,) = daemon.service._ports
                assert not isinstance(listener.port, FastPort)
                with socket.create_connection(("::1", port), timeout=PATIENCE) as client:
                    client.sendall(RECORD)
                    assert await deferToThread(read_to_end, client) == RECORD
                await daemon.ends(1)
    finally:
        globalLogPublisher.removeObserver(events)
    assert sum("epoll is not available" in str(event["log_format"]) for event in events) == 1
