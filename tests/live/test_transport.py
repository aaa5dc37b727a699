"""The fast transport over real sockets: what it promises beyond Twisted's own tests of it."""

import errno
import select
import socket
import ssl
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from select import EPOLLERR, EPOLLHUP, EPOLLIN
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.address import IPv6Address
from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.protocol import Protocol
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import EventLoggingObserver
from twisted.internet.threads import deferToThread
from twisted.logger import LogEvent, globalLogPublisher
from twisted.python.failure import Failure

from echod.server.accept_pause import PAUSE, AcceptPause
from echod.transport import background_reactor, fast_reactor
from echod.transport.background import BURST
from echod.transport.connection import FastConnection
from echod.transport.poller import LULL, TURN, Poller
from echod.transport.port import MOST_ACCEPTS, FastPort
from tests.support.certificates import Authority
from tests.support.live import running
from tests.support.processes import abort
from tests.support.sockets import PATIENCE, RECORD, free_port
from tests.support.transport import Listening, Makes, Told, listening, reactor, until

BIG = bytes(n % 251 for n in range(1 << 20)) * 8
"""More than the kernel takes of a client that does not read."""


class Unhashable(Exception):
    """An exception such as a dataclass makes: with equality, and so without a hash."""

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = None  # type: ignore[assignment]  # that is the point


@pytest.fixture
def clients() -> Iterator[Callable[[Listening], socket.socket]]:
    """Give what connects to a port: the kernel does, without a turn of the reactor."""
    connected: list[socket.socket] = []

    def connect(to: Listening) -> socket.socket:
        connected.append(socket.create_connection(("127.0.0.1", to.number), timeout=PATIENCE))
        return connected[-1]

    yield connect
    for each in connected:
        each.close()


Connect = Callable[[Listening], socket.socket]


async def echoes(client: socket.socket) -> bool:
    """Return whether what `client` sends comes back."""
    client.sendall(b"ping")
    return await deferToThread(client.recv, 16) == b"ping"


def read_to_end(client: socket.socket) -> bytes:
    pieces = []
    while piece := client.recv(1 << 16):
        pieces.append(piece)
    return b"".join(pieces)


# Errors


class Bad(Told):
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
        """Not in these tests."""

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
    """Do nothing: the error comes by itself."""


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
async def test_an_error_is_one_connections_own(where: str, clients: Connect, clean_reactor: list[LogEvent]) -> None:
    def make(_: object) -> Protocol:
        if len(numbers) != 1:
            numbers.append("good")
            return Told()
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
        if where != "stopProducing":  # that client is gone itself
            assert await deferToThread(bad.recv, 16) == b""
        assert await echoes(before)
        assert await echoes(clients(here))
        await deferLater(reactor, 0.01)
        (event,) = clean_reactor
        clean_reactor.clear()
        assert event["failure"].type is Unhashable
        named = "tests.support.transport.Makes" if where == "buildProtocol" else "Bad,1,127.0.0.1"
        assert event["system"] == named
        if where in {"dataReceived", "connectionMade", "readConnectionLost", "writeConnectionLost"}:
            assert here.made[1].lost.type is Unhashable
        if where != "buildProtocol":
            assert here.made[1].told == (["read lost", "lost"] if where == "connectionLost" else ["lost"])


@pytest_twisted.ensureDeferred
async def test_an_error_is_not_that_of_whoever_ended_the_connection(
    clients: Connect, clean_reactor: list[LogEvent]
) -> None:
    class Ends(Told):
        def dataReceived(self, data: bytes) -> None:
            bad.transport.loseConnection()
            super().dataReceived(data)

    bad = Bad("connectionLost")
    protocols: list[Protocol] = [bad, Ends()]
    async with listening(lambda _: protocols.pop(0)) as here:
        first = clients(here)
        await until(lambda: len(here.made) == 1)
        bad.transport.loseWriteConnection()  # so that it ends within loseConnection
        assert await echoes(clients(here))
        assert await deferToThread(first.recv, 1) == b""
        assert bad.told == ["lost"]
        assert [event["system"] for event in clean_reactor] == ["Bad,0,127.0.0.1"]
        clean_reactor.clear()


# Writing


@pytest_twisted.ensureDeferred
async def test_what_the_kernel_does_not_take_follows_in_order(clients: Connect) -> None:
    async with listening(lambda _: Told()) as here:
        client = clients(here)
        await until(lambda: here.made)
        wire = here.made[0].transport
        for begin in range(0, len(BIG), 99_991):
            wire.write(BIG[begin : begin + 99_991])
        assert here.poller.getWriters() == [wire]
        wire.writeSequence([b"and ", b"the ", b"end"])
        wire.loseConnection()
        assert await deferToThread(read_to_end, client) == BIG + b"and the end"
        await until(lambda: here.made[0].lost)
        assert here.made[0].lost.type is ConnectionDone


class Pushes(Told):
    """A push producer: sends on until it is paused."""

    def __init__(self) -> None:
        super().__init__()
        self._at = 0
        self._paused = False

    def connectionMade(self) -> None:
        self.transport.registerProducer(self, True)
        self.resumeProducing()

    def pauseProducing(self) -> None:
        self.told.append("pause")
        self._paused = True

    def resumeProducing(self) -> None:
        self.told.append("resume")
        self._paused = False
        while not self._paused and self._at < len(BIG):
            self.transport.write(BIG[self._at : self._at + 50_000])
            self._at += 50_000
        if self._at >= len(BIG):
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def stopProducing(self) -> None:
        self.told.append("stop")


class IsPulled(Told):
    """A pull producer: sends one piece each time it is asked."""

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
        self.told.append("resume")
        self.transport.write(BIG[self._at : self._at + 500_000])
        self._at += 500_000

    def stopProducing(self) -> None:
        self.told.append("stop")


@pytest_twisted.ensureDeferred
async def test_a_push_producer_is_paused_and_resumed(clients: Connect) -> None:
    async with listening(lambda _: Pushes()) as here:
        client = clients(here)
        await until(lambda: here.made and "pause" in here.made[0].told)
        told = list(here.made[0].told)
        await deferLater(reactor, 0.02)
        assert here.made[0].told == told  # nobody reads
        assert await deferToThread(read_to_end, client) == BIG
        await until(lambda: here.made[0].lost)
        resumed = [each for each in here.made[0].told if each in {"pause", "resume"}]
        assert resumed[:3] == ["resume", "pause", "resume"]


@pytest_twisted.ensureDeferred
async def test_a_pull_producer_is_served(clients: Connect) -> None:
    async with listening(lambda _: IsPulled()) as here:
        assert await deferToThread(read_to_end, clients(here)) == BIG
        await until(lambda: here.made[0].lost)
        assert here.made[0].told == ["resume"] * -(-len(BIG) // 500_000) + ["lost"]


@pytest_twisted.ensureDeferred
async def test_what_is_not_bytes_is_refused(clients: Connect) -> None:
    async with listening(lambda _: Told()) as here:
        client = clients(here)
        await until(lambda: here.made)
        for wrong in (bytearray(b"x"), memoryview(b"x"), "x"):
            with pytest.raises(TypeError):
                here.made[0].transport.write(wrong)
            with pytest.raises(TypeError):
                here.made[0].transport.writeSequence([b"x", wrong])
        assert await echoes(client)


# Ends


@pytest.mark.parametrize("sends", [True, False], ids=["after a send", "alone"])
@pytest_twisted.ensureDeferred
async def test_a_reset_is_told_as_one(sends: bool, clients: Connect) -> None:
    async with listening(lambda _: Told()) as here:
        client = clients(here)
        await until(lambda: here.made)
        protocol = here.made[0]
        protocol.transport.pauseProducing()
        abort(client)
        if sends:
            protocol.transport.write(b"too late")  # the kernel tells of the reset here, and only here
        protocol.transport.resumeProducing()
        await until(lambda: protocol.lost)
        assert protocol.lost.type is ConnectionLost
        assert protocol.told == ["made", "lost"]


@pytest_twisted.ensureDeferred
async def test_a_half_close_with_nothing_buffered_is_done_at_once(clients: Connect) -> None:
    async with listening(lambda _: Told()) as here:
        client = clients(here)
        await until(lambda: here.made)
        protocol = here.made[0]
        protocol.transport.write(b"all")
        protocol.transport.loseWriteConnection()
        assert protocol.told == ["made", "write lost"]
        protocol.transport.loseWriteConnection()
        protocol.transport.write(b"nothing more")
        assert await deferToThread(read_to_end, client) == b"all"
        client.sendall(b"still read")
        await until(lambda: protocol.received == b"still read")
        protocol.transport.loseConnection()
        assert protocol.told == ["made", "write lost", "lost"]
        assert protocol.lost.type is ConnectionDone


@pytest_twisted.ensureDeferred
async def test_a_half_close_with_data_buffered_waits_for_it(clients: Connect) -> None:
    async with listening(lambda _: Told()) as here:
        client = clients(here)
        await until(lambda: here.made)
        protocol = here.made[0]
        protocol.transport.write(BIG)
        protocol.transport.loseWriteConnection()
        await deferLater(reactor, 0.01)
        assert protocol.told == ["made"]
        assert await deferToThread(read_to_end, client) == BIG
        await until(lambda: protocol.told == ["made", "write lost"])
        client.shutdown(socket.SHUT_WR)
        await until(lambda: protocol.lost)


@pytest_twisted.ensureDeferred
async def test_a_half_close_after_a_close_is_none(clients: Connect) -> None:
    async with listening(lambda _: Told()) as here:
        client = clients(here)
        await until(lambda: here.made)
        protocol = here.made[0]
        protocol.transport.loseConnection()
        protocol.transport.loseWriteConnection()
        assert await deferToThread(client.recv, 1) == b""
        await until(lambda: protocol.lost)
        assert protocol.told == ["made", "lost"]


@pytest_twisted.ensureDeferred
async def test_nothing_is_sent_after_an_abort(clients: Connect) -> None:
    async with listening(lambda _: Told()) as here:
        client = clients(here)
        await until(lambda: here.made)
        protocol = here.made[0]
        protocol.transport.abortConnection()
        protocol.transport.write(b"too late")
        protocol.transport.loseWriteConnection()
        protocol.transport.loseConnection()
        assert protocol.told == ["made"]
        with pytest.raises(ConnectionResetError):
            await deferToThread(client.recv, 16)
        await until(lambda: protocol.lost)
        assert protocol.lost.type is ConnectionAborted
        assert protocol.told == ["made", "lost"]


@pytest_twisted.ensureDeferred
async def test_an_event_is_not_served_to_whom_the_descriptor_went(clients: Connect) -> None:
    class Ends(Told):
        def dataReceived(self, data: bytes) -> None:
            ended.transport.loseWriteConnection()
            ended.transport.loseConnection()

    ended = Told()
    protocols = [ended, Ends(), Told()]
    async with listening(lambda _: protocols.pop(0)) as here:
        clients(here)
        await until(lambda: len(here.made) == 1)
        ends = clients(here)
        await until(lambda: len(here.made) == 2)
        ends.sendall(b"x")
        newcomer = clients(here)
        first, second = here.made[0].transport.fileno(), here.made[1].transport.fileno()
        # A batch as the kernel may give it: the second ends the first, whose descriptor the newcomer gets.
        here.poller._serve_all([(second, EPOLLIN), (here.port.fileno(), EPOLLIN), (first, EPOLLERR | EPOLLHUP)])
        assert here.made[0].lost is not None
        assert here.made[2].transport.fileno() == first
        assert here.made[2].told == ["made"]
        assert await echoes(newcomer)


# The poller


def descriptors() -> dict[str, str]:
    """Return what this process has open."""
    found = {}
    for each in Path("/proc/self/fd").iterdir():
        try:
            found[each.name] = str(each.readlink())
        except FileNotFoundError:  # that of the listing itself
            continue
    return found


@pytest_twisted.ensureDeferred
async def test_a_poller_with_nothing_to_wait_for_has_no_descriptor(clients: Connect) -> None:
    await deferToThread(time.sleep, 0)  # the thread's own wake-up descriptors are there already
    before = descriptors()
    async with listening(lambda _: Told()) as here:
        client = clients(here)
        assert await echoes(client)
        assert here.poller in reactor.getReaders()
        assert here.poller.fileno() >= 0
        client.close()
    assert here.poller not in reactor.getReaders()
    assert here.poller.fileno() == -1
    assert descriptors() == before


@pytest_twisted.ensureDeferred
async def test_a_poller_that_was_empty_serves_again(clients: Connect) -> None:
    async with listening(lambda _: Told()) as here:
        here.port.stopReading()
        assert here.poller.fileno() == -1
        here.port.startReading()
        assert await echoes(clients(here))


def test_a_reactor_that_ends_tells_every_connection() -> None:
    own = EPollReactor()
    factory = Makes(lambda _: Told())
    poller = Poller(own)
    port = poller.listenTCP(0, factory, interface="127.0.0.1")
    clients = [socket.create_connection(("127.0.0.1", port.getHost().port), PATIENCE) for _ in range(3)]
    deadline = time.monotonic() + PATIENCE
    while len(factory.made) < 3 and time.monotonic() < deadline:
        own.doIteration(0.1)
    own.disconnectAll()
    assert [each.told for each in factory.made] == [["made", "lost"]] * 3
    assert {each.lost.type for each in factory.made} == {ConnectionLost}
    assert port.fileno() == -1
    assert poller.fileno() == -1
    for client in clients:
        assert client.recv(1) == b""
        client.close()
    for waker in list(own._internalReaders):
        waker.connectionLost(Failure(ConnectionDone()))
    own._poller.close()


@pytest_twisted.ensureDeferred
async def test_timers_are_kept_while_connections_are_busy(clients: Connect) -> None:
    over = threading.Event()

    def busy(client: socket.socket) -> int:
        count = 0
        while not over.is_set():
            client.sendall(RECORD)
            count += len(client.recv(len(RECORD), socket.MSG_WAITALL)) == len(RECORD)
        return count

    async with listening(lambda _: Told()) as here:
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
    assert statistics.median(late) < LULL + TURN + 0.005  # a machine that does other things as well


# Accepting


@pytest_twisted.ensureDeferred
async def test_a_burst_is_accepted_in_batches(clients: Connect) -> None:
    async with listening(lambda _: Told()) as here:
        assert here.port.numberAccepts == 1
        crowd = [clients(here) for _ in range(40)]
        await until(lambda: len(here.made) == 40)
        assert 1 <= here.port.numberAccepts <= MOST_ACCEPTS
        for each in crowd[::13]:
            assert await echoes(each)
        numbers = []
        for _ in range(6):
            crowd.append(clients(here))
            await until(lambda: len(here.made) == len(crowd))
            numbers.append(here.port.numberAccepts)
        assert numbers[-1] <= 2


@pytest_twisted.ensureDeferred
async def test_one_turn_takes_as_many_as_came_of_late(clients: Connect) -> None:
    async with listening(lambda _: Told()) as here:
        here.port.stopReading()
        for _ in range(30):
            clients(here)
        taken = []
        while len(here.made) < 30:
            before = len(here.made)
            here.port.doRead()
            taken.append(len(here.made) - before)
        assert taken == [1, 1, 1, 1, 2, 2, 2, 2, 4, 4, 4, 4, 2]
        assert here.port.numberAccepts == 2
        here.port.doRead()
        assert here.port.numberAccepts == 1


@pytest_twisted.ensureDeferred
async def test_who_stops_the_listening_is_the_last_one(clients: Connect) -> None:
    stopped = []

    def make(_: object) -> Protocol:
        stopped.append(maybeDeferred(here.port.stopListening))
        return Told()

    async with listening(make) as here:
        here.port.numberAccepts = 10
        for _ in range(3):
            clients(here)
        await until(lambda: stopped)
        await stopped[0]
        assert len(here.made) == 1


class Poor:
    """A listening socket of a process that has no descriptor left."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self.poor = True
        self.accepts = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def _accept(self) -> Any:
        return self._take(self._real._accept)

    def accept(self) -> Any:
        return self._take(self._real.accept)

    def _take(self, take: Callable[[], Any]) -> Any:
        self.accepts += 1
        if self.poor:
            raise OSError(errno.ENFILE, "")
        return take()


@pytest_twisted.ensureDeferred
async def test_a_port_without_descriptors_rests(clients: Connect) -> None:
    async with listening(lambda _: Told()) as here:
        clock = Clock()
        poor: Any = Poor(here.port.socket)
        here.port.socket = poor
        AcceptPause(here.port, clock)
        client = clients(here)
        await until(lambda: poor.accepts)
        await deferLater(reactor, 0.02)
        assert poor.accepts == 2  # ours, and Twisted's, which knows what to make of it
        assert here.poller.getReaders() == []
        poor.poor = False
        clock.advance(PAUSE)
        assert await echoes(client)
        assert clock.getDelayedCalls() == []


@pytest_twisted.ensureDeferred
async def test_who_is_refused_is_closed(clients: Connect) -> None:
    async with listening(lambda _: None) as here:
        assert await deferToThread(clients(here).recv, 1) == b""
        assert here.poller.getReaders() == [here.port]


@pytest_twisted.ensureDeferred
async def test_a_scoped_address(clients: Connect) -> None:
    seen: list[Any] = []

    def make(address: object) -> Protocol:
        seen.append(address)
        return Told()

    async with listening(make) as here:
        here.port.stopReading()
        clients(here)
        wire: Any = here.port.socket
        descriptor, _ = wire._accept()
        accepted = socket.SocketType(socket.AF_INET, socket.SOCK_STREAM, 0, descriptor)
        lo = socket.if_nametoindex("lo")
        here.port._addressType = IPv6Address  # a port of ::, for all that it looks at
        here.port._serve(accepted, ("fe80::1", 4000, 0, lo))
        assert seen == [IPv6Address("TCP", "fe80::1%lo", 4000, 0, lo)]
        peer = here.made[0].transport.getPeer()
        assert peer == seen[0]


# What else stands above it


@pytest_twisted.ensureDeferred
async def test_the_handle_is_a_socket(clients: Connect) -> None:
    async with listening(lambda _: Told()) as here:
        client = clients(here)
        await until(lambda: here.made)
        wire = here.made[0].transport
        number = wire.fileno()
        handle = wire.getHandle()
        assert isinstance(handle, socket.socket)
        assert handle is wire.getHandle()
        assert (handle.fileno(), handle.getpeername()) == (number, client.getsockname())
        assert handle.gettimeout() == 0
        assert await echoes(client)


@pytest_twisted.ensureDeferred
async def test_a_drains_last_echo_takes_the_fin_along() -> None:
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
    port: Any = await serverFromString(Poller(reactor), text).listen(Makes(lambda _: Told()))
    assert isinstance(port, FastPort)
    try:
        assert await deferToThread(talk_tls, port.getHost().port, authority) == RECORD
    finally:
        await port.stopListening()


class StartsTLS(Told):
    """Speaks TLS from the first byte on, by startTLS."""

    context: Any

    def connectionMade(self) -> None:
        self.transport.startTLS(self.context)


@pytest_twisted.ensureDeferred
async def test_start_tls(pair: tuple[Path, Path, Path]) -> None:
    authority, certificate, key = pair
    StartsTLS.context = DefaultOpenSSLContextFactory(str(key), str(certificate))
    async with listening(lambda _: StartsTLS()) as here:
        assert await deferToThread(talk_tls, here.number, authority) == RECORD
        await until(lambda: here.made[0].lost)


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
async def test_an_adopted_unix_socket_is_the_reactors(tmp_path: Path) -> None:
    poller = Poller(reactor)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(f"{tmp_path}/echo")
        bound.listen()
        bound.setblocking(False)
        port: Any = poller.adoptStreamPort(bound.fileno(), socket.AF_UNIX, Makes(lambda _: Told()))
    try:
        assert not isinstance(port, FastPort)
        assert poller.fileno() == -1
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(f"{tmp_path}/echo")
            assert await echoes(client)
    finally:
        await maybeDeferred(port.stopListening)


# In the background


@pytest_twisted.ensureDeferred
async def test_what_is_in_the_background_is_served_beside_the_rest(clients: Connect) -> None:
    async with listening(lambda _: Told()) as rest:
        background = background_reactor(rest.poller)
        async with listening(lambda _: Told(), background) as behind:
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
        assert rest.poller.getReaders() == [rest.port, *(each.transport for each in rest.made)]
        assert await echoes(clients(rest))


@pytest_twisted.ensureDeferred
async def test_what_has_taken_its_share_goes_on_after_a_pause(clients: Connect) -> None:
    class Slow(Told):
        def dataReceived(self, data: bytes) -> None:
            time.sleep(2 * BURST)
            super().dataReceived(data)

    async with listening(lambda _: Told()) as rest:
        background = background_reactor(rest.poller)
        async with listening(lambda _: Slow(), background) as behind:
            client = clients(behind)
            assert await echoes(client)
            assert background not in rest.poller.getReaders()
            assert await echoes(clients(rest))
            assert await echoes(client)


# Which transport


@pytest.mark.parametrize(("transport", "fast"), [("fast", True), ("stock", False)])
@pytest_twisted.ensureDeferred
async def test_the_transport_that_was_asked_for(transport: str, fast: bool) -> None:
    port = free_port()
    async with running(port=port, transport=transport) as daemon:
        (listener,) = daemon.service._ports
        assert isinstance(listener.port, FastPort) == fast


@pytest.mark.parametrize("lacks", ["epoll", "descriptors"])
@pytest_twisted.ensureDeferred
async def test_stock_where_there_is_no_epoll(lacks: str, monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert sum("no epoll" in str(event["log_format"]) for event in events) == 1
