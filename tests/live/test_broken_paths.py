"""Paths broken for real, each of which is told in a way of its own: tests/support/broken.py has the table.

Those for which a kernel of their own is needed are in tests/process/test_broken_paths.py.
"""

import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor as installed
from twisted.internet.threads import deferToThread

from echod.client.outcomes import Outcome, ProbeResult, Step
from echod.client.record import described, described_records
from echod.probe import ClientTLS, ClientTLSContext, PingConfiguration, Session, prepare_run, probe, target
from tests.support import peers
from tests.support.broken import kinds_of
from tests.support.certificates import DAY, Authority, Pair
from tests.support.live import running
from tests.support.memory import MemoryResolver
from tests.support.processes import abort
from tests.support.sockets import PATIENCE, RECORD, free_port
from tests.support.tls_server import TLSServer, server_context, tls_server

reactor: Any = installed

RUN = 7
OURS = [described(RUN, n, n, 250) for n in (1, 2)]
SOON = 0.2
"""Seconds for a probe that is to run out of time."""


class Resolving:
    """The reactor, with another resolver."""

    def __init__(self, resolver: MemoryResolver) -> None:
        self.nameResolver = resolver

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)


class Lab:
    """What broken paths are made of, and the probes that meet them."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.trusted = Authority(directory)
        self.other = Authority(directory, "another authority")
        self.stack = stack

    def peer(self, behave: peers.Peer) -> int:
        """Start a peer; return its port."""
        return self.stack.enter_context(peers.peer(behave))

    def tls_server(self, pair: Pair, **options: Any) -> TLSServer:
        """Start a server that echoes over TLS."""
        return self.stack.enter_context(tls_server(context=server_context(pair, **options)))

    async def plain(self, port: int, timeout: float = PATIENCE, **more: Any) -> ProbeResult:
        """Probe a port of 127.0.0.1."""
        return await probe(reactor, target("127.0.0.1", port), payload=OURS[0], timeout=timeout, **more)

    async def secure(self, port: int, timeout: float = PATIENCE, shown: Pair | None = None) -> ProbeResult:
        """Probe a port of localhost over TLS."""
        files: dict[str, Any] = {}
        if shown is not None:
            files = {"certificate": str(shown.certificate), "key": str(shown.key)}
        tls = ClientTLSContext(ClientTLS(ca=str(self.trusted.certificate), **files))
        return await probe(reactor, target("localhost", port), payload=OURS[0], timeout=timeout, tls=tls)

    async def certified(self, *names: str, by: Authority | None = None, **options: Any) -> ProbeResult:
        """Probe a server with such a certificate."""
        return await self.secure(self.tls_server((by or self.trusted).issue(*names, **options)).port)

    async def named(self, resolver: MemoryResolver) -> ProbeResult:
        """Probe a name."""
        there: Any = Resolving(resolver)
        return await probe(there, target("echo.example"), payload=OURS[0], timeout=SOON)

    async def second(self, behave: peers.Peer) -> list[ProbeResult]:
        """Send two records on one connection."""
        session = Session(reactor, target("127.0.0.1", self.peer(behave)))
        probing = [session.probe(record, timeout=PATIENCE) for record in OURS]
        results = [await each for each in probing]
        await session.close()
        return results


Make = Callable[[Lab], Awaitable[ProbeResult]]

PATHS: dict[str, Make] = {}
"""By kind; after a comma, the variant."""


def path(kind: str) -> Callable[[Make], Make]:
    def add(make: Make) -> Make:
        PATHS[kind] = make
        return make

    return add


def where(kind: str, behave: peers.Peer, timeout: float = PATIENCE, **more: Any) -> None:
    """Add the path to a peer on a plain port."""
    PATHS[kind] = lambda lab: lab.plain(lab.peer(behave), timeout, **more)


def where_tls(kind: str, behave: peers.Peer, timeout: float = PATIENCE) -> None:
    """Add the path to a peer without TLS on a TLS port."""
    PATHS[kind] = lambda lab: lab.secure(lab.peer(behave), timeout)


@path("unknown name")
async def _(lab: Lab) -> ProbeResult:
    return await lab.named(MemoryResolver())


@path("silent resolver")
async def _(lab: Lab) -> ProbeResult:
    return await lab.named(MemoryResolver(at_once=False))


@path("refused")
async def _(lab: Lab) -> ProbeResult:
    return await lab.plain(free_port())


@path("black hole")
async def _(lab: Lab) -> ProbeResult:
    return await lab.plain(lab.stack.enter_context(peers.full_backlog()), SOON)


@path("no such interface")
async def _(lab: Lab) -> ProbeResult:
    return await probe(reactor, target("fe80::1%nosuch"), payload=RECORD, timeout=PATIENCE)


# TLS

HTTP = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
SMTP = b"220 mail.example ESMTP, and may your queue be short\r\n"


def closes_within_the_handshake(connection: socket.socket, said: bytes = b"") -> None:
    connection.recv(65536)
    connection.sendall(said)


def resets_within_the_handshake(connection: socket.socket) -> None:
    connection.recv(65536)
    abort(connection)


where_tls("plain echo server", peers.stream)
where_tls("no TLS", peers.greets(SMTP))
where_tls("no TLS, but HTTP", peers.answers(HTTP))
where_tls("handshake closed", closes_within_the_handshake)
where_tls("handshake closed, half of it done", lambda c: closes_within_the_handshake(c, b"\x16\x03\x03\x00\x7a\x02"))
where_tls("handshake reset", resets_within_the_handshake)
where_tls("handshake reset, at once", abort)
where_tls("handshake silent", peers.hears, SOON)


@path("plain echo server, the daemon")
async def _(lab: Lab) -> ProbeResult:
    async with running() as daemon:
        return await lab.secure(daemon.port)


@path("nothing in common")
async def _(lab: Lab) -> ProbeResult:
    options = {"version": ssl.TLSVersion.TLSv1_2, "ciphers": "ECDHE-RSA-AES128-GCM-SHA256"}
    return await lab.secure(lab.tls_server(lab.trusted.issue("localhost"), **options).port)


PATHS["expired"] = lambda lab: lab.certified("localhost", begins=-3 * DAY, ends=-2 * DAY)
PATHS["not yet valid"] = lambda lab: lab.certified("localhost", begins=2 * DAY, ends=3 * DAY)
PATHS["wrong authority"] = lambda lab: lab.certified("localhost", by=lab.other)
PATHS["self-signed"] = lambda lab: lab.secure(lab.tls_server(lab.other.self_signed("localhost")).port)
PATHS["no subjectAltName"] = lambda lab: lab.certified()
PATHS["wrong name"] = lambda lab: lab.certified("a.example")


def demanding(kind: str, version: ssl.TLSVersion, *, shows: bool) -> None:
    """Add the path to a server that demands a certificate of the client."""

    async def make(lab: Lab) -> ProbeResult:
        own = lab.trusted.issue("localhost")
        server = lab.tls_server(own, version=version, client_ca=lab.trusted.certificate)
        return await lab.secure(server.port, shown=lab.other.issue(subject="a stranger") if shows else None)

    PATHS[kind] = make


demanding("client certificate missing, TLS 1.2", ssl.TLSVersion.TLSv1_2, shows=False)
demanding("client certificate missing, TLS 1.3", ssl.TLSVersion.TLSv1_3, shows=False)
demanding("client certificate refused, TLS 1.2", ssl.TLSVersion.TLSv1_2, shows=True)
demanding("client certificate refused, TLS 1.3", ssl.TLSVersion.TLSv1_3, shows=True)


# The silence before the record


def closes_in_silence(connection: socket.socket) -> None:
    connection.settimeout(0.05)
    with suppress(TimeoutError):
        connection.recv(1)


def goes_deaf(connection: socket.socket) -> None:
    """Behave as a NAT that has forgotten the connection: bytes after a silence are dropped."""
    connection.settimeout(0.05)
    with suppress(TimeoutError):
        peers.stream(connection)
    connection.settimeout(PATIENCE)
    peers.hears(connection)


def resets_what_comes(connection: socket.socket) -> None:
    connection.recv(1)
    abort(connection)


where("reset in silence", peers.forgets(0.05), idle=PATIENCE)
where("closed in silence", closes_in_silence, idle=PATIENCE)
where("forgotten in silence", goes_deaf, SOON, idle=0.15)
where("forgotten and reset", resets_what_comes, idle=0.15)
where("SMTP banner in silence", peers.greets(SMTP), idle=0.15)

# The echo

where("reset at once", abort)
where("reset after 100 bytes", peers.resets_after(100))
where("closed after 0 bytes", peers.closes_after(0))
where("closed after 1 byte", peers.closes_after(1))
where("closed after 249 bytes", peers.closes_after(249))
where("swallowed", peers.hears, SOON)
where("swallowed, for too long a time", peers.delays(2 * SOON), SOON)
where("stuck after 99 bytes", peers.sends(OURS[0].data[:99]), SOON)
where("first byte changed", peers.flips(0))
where("header changed", peers.flips(23))
where("middle byte changed", peers.flips(125))
where("last byte changed", peers.flips(249))
where("one byte too many", peers.sends(OURS[0].data + b"!"))
where("record of another run", peers.sends(described(8, 1, 1, 250).data))


@path("record from before")
async def _(lab: Lab) -> ProbeResult:
    results: list[ProbeResult] = []
    configuration = PingConfiguration(count=2, interval=0.0)
    there = target("127.0.0.1", lab.peer(peers.one_behind()))
    await prepare_run(reactor, there, configuration, described_records(RUN), results.append).start()
    return results[1]


@path("overtaken")
async def _(lab: Lab) -> ProbeResult:
    first, second = await lab.second(peers.swaps)
    assert first.outcome is Outcome.ECHOED
    return second


@path("truncated")
async def _(lab: Lab) -> ProbeResult:
    first, second = await lab.second(peers.truncates)
    assert second.outcome is Outcome.ECHOED
    return first


where("HTTP server", peers.answers(HTTP))
where("SMTP banner", peers.greets(b"220 mail.example\r\n"), SOON)
where("SSH server", peers.greets(b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n" + bytes(9)))
where("TLS server", peers.answers(b"\x15\x03\x01\x00\x02\x02\x46"))  # alert protocol_version (RFC 8446 section 6)

EITHER = {
    "reset at once": {"reset at once", "reset at once but reported late"},
    "handshake reset, at once": {"reset at once", "handshake reset"},
}
"""Whether the kernel reports the connection before its reset, or with it, depends on microseconds."""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with ExitStack() as stack:
        yield Lab(tmp_path, stack)


@pytest.mark.parametrize("name", PATHS)
@pytest_twisted.ensureDeferred
async def test_each_broken_path_has_its_own_diagnosis(lab: Lab, name: str) -> None:
    kind, _, _ = name.partition(", ")
    result = await PATHS[name](lab)
    told = kinds_of(result.outcome, result.step, result.detail)
    assert len(told) == 1, (told, result)
    assert told <= EITHER.get(name, {kind}), (told, result.detail)
    assert (result.times.echo is None, result.echoed) == (True, False)
    if result.attempts:
        assert (result.times.connect is None) == (result.step in {Step.RESOLVE, Step.CONNECT})
    await deferToThread(lab.stack.close)


@pytest_twisted.ensureDeferred
async def test_a_reset_is_never_reported_as_a_close(lab: Lab) -> None:
    port = lab.peer(abort)
    for _ in range(100):
        result = await lab.plain(port)
        assert result.outcome is Outcome.RESET, result


@pytest_twisted.ensureDeferred
async def test_a_tls_server_probed_without_tls_cannot_be_identified(lab: Lab) -> None:
    """OpenSSL closes the connection without sending anything, as others do."""
    server = lab.tls_server(lab.trusted.issue("localhost"))
    result = await lab.plain(server.port)
    assert (result.outcome in {Outcome.RESET, Outcome.CLOSED_EARLY}, result.received) == (True, 0), result
    assert result.step is Step.ECHO
