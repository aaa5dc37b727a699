"""The probe over TLS, against servers of another implementation: above all, whom it does not send anything to."""

import os
import socket
import ssl
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor as installed
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from echod.client.outcomes import Outcome, ProbeResult, Step
from echod.probe import ClientTLS, ClientTLSContext, probe, target
from echod.server.summary import CloseReason
from tests.support.certificates import DAY, Authority, Pair
from tests.support.live import running
from tests.support.processes import abort
from tests.support.sockets import PATIENCE, RECORD, free_port
from tests.support.tls_server import TLSServer, server_context, tls_server

reactor: Any = installed

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


class Authorities:
    """An authority that probes trust, another one, and one that the first has signed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.trusted = Authority(directory)
        self.other = Authority(directory, "other authority")
        self.between = Authority(directory, "intermediate authority", issuer=self.trusted)
        self.namesake = Authority(directory / "namesake")

    def ask(self, **asked: Any) -> ClientTLSContext:
        """Return the client's side of TLS, the trusted authority trusted."""
        return ClientTLSContext(ClientTLS(ca=str(self.trusted.certificate), **asked))

    def chained(self) -> Pair:
        """Return a pair whose certificate's file has the intermediate authority's too."""
        pair = self.between.issue("localhost")
        with pair.certificate.open("ab") as file:
            file.write(self.between.certificate.read_bytes())
        return pair


@pytest.fixture
def authorities(tmp_path: Path) -> Authorities:
    (tmp_path / "namesake").mkdir()
    return Authorities(tmp_path)


def probe_it(
    port: int, tls: ClientTLSContext, host: str = "localhost", timeout: float = PATIENCE
) -> "Deferred[ProbeResult]":
    return probe(reactor, target(host, port), payload=RECORD, timeout=timeout, tls=tls)


async def finished(server: TLSServer) -> None:
    await deferToThread(server.join)


def day(offset: timedelta) -> str:
    return f"{datetime.now(UTC) + offset:%Y-%m-%d}"


Issue = Callable[[Authorities], Pair]

REFUSED: dict[str, tuple[Issue, str, Outcome, str]] = {
    "expired": (
        lambda a: a.trusted.issue("localhost", begins=-3 * DAY, ends=-2 * DAY),
        "localhost",
        Outcome.TLS_EXPIRED,
        "the certificate expired on {expired}",
    ),
    "not yet valid": (
        lambda a: a.trusted.issue("localhost", begins=2 * DAY, ends=3 * DAY),
        "localhost",
        Outcome.TLS_NOT_YET_VALID,
        "the certificate is not valid before {begins}",
    ),
    "another authority": (
        lambda a: a.other.issue("localhost"),
        "localhost",
        Outcome.TLS_UNTRUSTED,
        "the certificate's issuer is not trusted: its certificate is not among the trusted ones",
    ),
    "another authority of the same name": (
        lambda a: a.namesake.issue("localhost"),
        "localhost",
        Outcome.TLS_UNTRUSTED,
        "the certificate's issuer is not trusted: not signed by the trusted certificate of that name",
    ),
    "self-signed": (
        lambda a: a.other.self_signed("localhost"),
        "localhost",
        Outcome.TLS_UNTRUSTED,
        "the certificate's issuer is not trusted: self-signed certificate",
    ),
    "no intermediate": (
        lambda a: a.between.issue("localhost"),
        "localhost",
        Outcome.TLS_UNTRUSTED,
        "the certificate's issuer is not trusted: its certificate is not among the trusted ones",
    ),
    "no subjectAltName": (
        lambda a: a.trusted.issue(),
        "localhost",
        Outcome.TLS_NO_SAN,
        "the certificate has no subjectAltName",
    ),
    "the name in the subject alone": (
        lambda a: a.trusted.issue(subject="localhost"),
        "localhost",
        Outcome.TLS_NO_SAN,
        "the certificate has no subjectAltName",
    ),
    "the address in the subject alone": (
        lambda a: a.trusted.issue(subject="127.0.0.1"),
        "127.0.0.1",
        Outcome.TLS_NO_SAN,
        "the certificate has no subjectAltName",
    ),
    "another name": (
        lambda a: a.trusted.issue("a.example", "b.example", subject="localhost"),
        "localhost",
        Outcome.TLS_WRONG_NAME,
        "the certificate is for a.example, b.example, not for localhost",
    ),
    "many other names": (
        lambda a: a.trusted.issue(*(f"{n}.example" for n in range(9))),
        "localhost",
        Outcome.TLS_WRONG_NAME,
        "the certificate is for 0.example, 1.example, 2.example, 3.example, 4.example and 4 more, not for localhost",
    ),
    "a name that would write lines": (
        lambda a: a.trusted.issue("a.example\n\x1b[2J"),
        "localhost",
        Outcome.TLS_WRONG_NAME,
        "the certificate is for a.example??[2J, not for localhost",
    ),
    "a name for an IPv4 address": (
        lambda a: a.trusted.issue("localhost", "::1"),
        "127.0.0.1",
        Outcome.TLS_WRONG_NAME,
        "the certificate is for localhost, ::1, not for 127.0.0.1",
    ),
    "a name for an IPv6 address": (
        lambda a: a.trusted.issue("localhost", "127.0.0.1"),
        "::1",
        Outcome.TLS_WRONG_NAME,
        "the certificate is for localhost, 127.0.0.1, not for ::1",
    ),
    "addresses for a name": (
        lambda a: a.trusted.issue("127.0.0.1", "::1"),
        "localhost",
        Outcome.TLS_WRONG_NAME,
        "the certificate is for 127.0.0.1, ::1, not for localhost",
    ),
    "a pattern that is none": (
        lambda a: a.trusted.issue("localhost", "*.*.example"),
        "localhost",
        Outcome.TLS_CERTIFICATE_INVALID,
        "the certificate's names cannot be read: ",
    ),
}


@pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])
@pytest.mark.parametrize("what", REFUSED)
@pytest_twisted.ensureDeferred
async def test_nothing_is_sent_to_a_bad_certificate(authorities: Authorities, what: str, version: Any) -> None:
    issue, host, outcome, words = REFUSED[what]
    with tls_server(context=server_context(issue(authorities), version=version)) as server:
        result = await probe_it(server.port, authorities.ask(), host)
        await finished(server)
        assert (result.outcome, result.step) == (outcome, Step.TLS), result.detail
        assert result.detail.startswith(words.format(expired=day(-2 * DAY), begins=day(2 * DAY)))
        assert "\n" not in result.detail
        assert result.times.connect is not None
        assert (result.received, result.times.tls, result.times.echo) == (0, None, None)
        assert server.received == b""


@pytest.mark.parametrize("what", REFUSED)
@pytest_twisted.ensureDeferred
async def test_insecure_takes_any_certificate(authorities: Authorities, what: str) -> None:
    issue, host, _, _ = REFUSED[what]
    with tls_server(context=server_context(issue(authorities))) as server:
        result = await probe_it(server.port, authorities.ask(insecure=True), host)
        assert result.outcome is Outcome.ECHOED, result.detail
        assert server.received == RECORD


@pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1", "[::1]", "::ffff:127.0.0.1"])
@pytest_twisted.ensureDeferred
async def test_echoed(authorities: Authorities, host: str, version: Any) -> None:
    pair = authorities.trusted.issue("localhost", "127.0.0.1", "::1")
    with tls_server(context=server_context(pair, version=version)) as server:
        result = await probe_it(server.port, authorities.ask(), host)
        assert (result.outcome, result.step, result.received) == (Outcome.ECHOED, Step.ECHO, 250), result.detail
        assert result.times.tls is not None
        assert result.times.tls > 0
        assert server.received == RECORD
        assert server.server_names == (["localhost"] if host == "localhost" else [None])


@pytest.mark.parametrize(
    ("name", "indicated"),
    [
        ("echo.example", "echo.example"),
        ("echo.example.", "echo.example"),
        ("any.wild.example", "any.wild.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("192.0.2.1", None),
        ("fe80::1%eth0", None),
    ],
)
@pytest_twisted.ensureDeferred
async def test_another_name_than_the_targets(authorities: Authorities, name: str, indicated: str | None) -> None:
    pair = authorities.trusted.issue("echo.example", "*.wild.example", "xn--bcher-kva.example", "192.0.2.1", "fe80::1")
    with tls_server(context=server_context(pair)) as server:
        result = await probe_it(server.port, authorities.ask(name=name), "127.0.0.1")
        assert result.outcome is Outcome.ECHOED, result.detail
        assert server.server_names == [indicated]


@pytest_twisted.ensureDeferred
async def test_probes_at_once_each_with_its_own_name(authorities: Authorities) -> None:
    with tls_server(context=server_context(authorities.trusted.issue("localhost", "::1"))) as server:
        tls = authorities.ask()
        hosts = ["localhost", "127.0.0.1", "::1"] * 10
        results = await gatherResults([probe_it(server.port, tls, host) for host in hosts])
        outcomes = [result.outcome for result in results]
        assert outcomes == [Outcome.ECHOED, Outcome.TLS_WRONG_NAME, Outcome.ECHOED] * 10
        assert len(server.received) == len(RECORD) * 20


@pytest_twisted.ensureDeferred
async def test_a_chain(authorities: Authorities) -> None:
    with tls_server(context=server_context(authorities.chained())) as server:
        result = await probe_it(server.port, authorities.ask())
        assert result.outcome is Outcome.ECHOED, result.detail


@pytest_twisted.ensureDeferred
async def test_a_certificate_that_is_trusted_itself(authorities: Authorities) -> None:
    own = authorities.other.self_signed("localhost")
    for pair, trusted in (
        (own, own.certificate),
        (authorities.between.issue("localhost"), authorities.between.certificate),
    ):
        with tls_server(context=server_context(pair)) as server:
            result = await probe_it(server.port, ClientTLSContext(ClientTLS(ca=str(trusted))))
            assert result.outcome is Outcome.ECHOED, result.detail


@pytest_twisted.ensureDeferred
async def test_the_platforms_trust_store(authorities: Authorities, monkeypatch: pytest.MonkeyPatch) -> None:
    with tls_server(context=server_context(authorities.trusted.issue("localhost"))) as server:
        refused = await probe_it(server.port, ClientTLSContext(ClientTLS()))
        assert refused.outcome is Outcome.TLS_UNTRUSTED
        monkeypatch.setenv("SSL_CERT_FILE", str(authorities.trusted.certificate))
        result = await probe_it(server.port, ClientTLSContext(ClientTLS()))
        assert result.outcome is Outcome.ECHOED, result.detail


@pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])
@pytest_twisted.ensureDeferred
async def test_client_certificates(authorities: Authorities, version: Any) -> None:
    context = server_context(
        authorities.trusted.issue("localhost"), version=version, client_ca=authorities.trusted.certificate
    )
    shown = authorities.trusted.issue(subject="the client")
    chained = authorities.chained()
    chained.certificate.write_bytes(chained.certificate.read_bytes() + chained.key.read_bytes())
    unknown = authorities.other.issue(subject="a stranger")
    with tls_server(context=context) as server:
        for pair in (shown, chained):
            tls = authorities.ask(certificate=str(pair.certificate), key=None if pair is chained else str(pair.key))
            result = await probe_it(server.port, tls)
            assert result.outcome is Outcome.ECHOED, result.detail
        assert server.client_subjects[0] == ((("commonName", "the client"),),)
        assert len(server.client_subjects) == 2
        server.received = b""
        for tls, words in (
            (authorities.ask(), "the server requires a client certificate: "),
            (
                authorities.ask(certificate=str(unknown.certificate), key=str(unknown.key)),
                "the server refused the client certificate: unknown ca",
            ),
        ):
            result = await probe_it(server.port, tls)
            assert (result.outcome, result.step) == (Outcome.TLS_CLIENT_CERTIFICATE, Step.TLS), result
            assert result.detail.startswith(words)
        assert server.received == b""


@pytest.mark.parametrize(
    ("version", "ciphers", "words"),
    [
        (ssl.TLSVersion.TLSv1_1, "DEFAULT@SECLEVEL=0", "the server ended the handshake: protocol version"),
        (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-SHA256", "the server ended the handshake: handshake failure"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_nothing_in_common(authorities: Authorities, version: Any, ciphers: str, words: str) -> None:
    context = server_context(authorities.trusted.issue("localhost"), version=version, ciphers=ciphers)
    with tls_server(context=context) as server:
        result = await probe_it(server.port, authorities.ask(insecure=True))
        assert (result.outcome, result.step, result.detail) == (Outcome.TLS_FAILED, Step.TLS, words)


def say_hello(connection: socket.socket) -> None:
    connection.sendall(b"220 mail.example ESMTP\r\n")
    connection.recv(65536)


def echo(connection: socket.socket) -> None:
    while data := connection.recv(65536):
        connection.sendall(data)


def close(connection: socket.socket) -> None:
    connection.recv(65536)


def close_within_the_handshake(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"\x16\x03\x03\x00\x7a\x02")


def reset(connection: socket.socket) -> None:
    connection.recv(65536)
    abort(connection)


@pytest.mark.parametrize(
    ("behave", "words"),
    [
        (say_hello, "the peer does not speak TLS"),
        (echo, "the peer is an echo server without TLS"),
        (close, "the connection was closed by the peer"),
        (close_within_the_handshake, "the connection was closed by the peer"),
        (reset, "the connection was reset"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_no_handshake(authorities: Authorities, behave: Any, words: str) -> None:
    with tls_server(behave) as server:
        result = await probe_it(server.port, authorities.ask())
        assert (result.outcome, result.step, result.detail) == (Outcome.TLS_FAILED, Step.TLS, words)
        assert result.times.connect is not None


@pytest_twisted.ensureDeferred
async def test_random_answers(authorities: Authorities) -> None:
    with tls_server(lambda connection: connection.sendall(os.urandom(2000))) as server:
        for _ in range(20):
            result = await probe_it(server.port, authorities.ask())
            assert (result.outcome, result.step) == (Outcome.TLS_FAILED, Step.TLS)
            assert result.detail


@pytest_twisted.ensureDeferred
async def test_silence(authorities: Authorities) -> None:
    with tls_server(close_when_the_peer_does) as server:
        result = await probe_it(server.port, authorities.ask(), timeout=0.3)
        assert (result.outcome, result.step) == (Outcome.TIMEOUT, Step.TLS)
        assert result.detail == "it was not complete after 0.3 s"


def close_when_the_peer_does(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass


@pytest_twisted.ensureDeferred
async def test_cancelled_during_the_handshake(authorities: Authorities) -> None:
    with tls_server(close_when_the_peer_does) as server:
        probing: Any = probe_it(server.port, authorities.ask())
        while len(server._threads) == 1:
            await deferLater(reactor, 0.005)
        await deferLater(reactor, 0.02)
        probing.cancel()
        with pytest.raises(CancelledError):
            await probing
        await finished(server)


@pytest_twisted.ensureDeferred
async def test_a_peer_that_never_closes(authorities: Authorities) -> None:
    def hold(connection: socket.socket) -> None:
        with server.handshake(connection) as client:
            server.echo(client)
            server.stopped.wait(PATIENCE)

    with tls_server(hold, server_context(authorities.trusted.issue("localhost"))) as server:
        started = time.monotonic()
        result = await probe_it(server.port, authorities.ask())
        assert result.outcome is Outcome.ECHOED
        assert time.monotonic() - started < PATIENCE / 2
        hasty = await probe_it(server.port, authorities.ask(), timeout=0.5)
        assert hasty.outcome is Outcome.ECHOED, hasty.detail


@pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])
@pytest_twisted.ensureDeferred
async def test_ends_within_the_echo(authorities: Authorities, version: Any) -> None:
    def close_notify(client: ssl.SSLSocket) -> None:
        client.unwrap()

    def fin(client: ssl.SSLSocket) -> None:
        with socket.socket(fileno=client.detach()) as bare:
            bare.settimeout(PATIENCE)
            bare.shutdown(socket.SHUT_WR)
            bare.recv(65536)

    def rst(client: ssl.SSLSocket) -> None:
        abort(socket.socket(fileno=client.detach()))

    context = server_context(authorities.trusted.issue("localhost"), version=version)
    for end, outcome, words in (
        (close_notify, Outcome.CLOSED_EARLY, "closed by the peer after 100 of 250 bytes"),
        (fin, Outcome.CLOSED_EARLY, "closed by the peer after 100 of 250 bytes"),
        (rst, Outcome.RESET, "connection reset after 100 of 250 bytes"),
    ):

        def behave(connection: socket.socket, end: Callable[[ssl.SSLSocket], None] = end) -> None:
            with server.handshake(connection) as client:
                assert len(client.recv(65536)) == 250
                client.sendall(RECORD[:100])
                server.stopped.wait(0.1)  # so that a reset does not overtake them
                end(client)

        with tls_server(behave, context) as server:
            result = await probe_it(server.port, authorities.ask())
            assert (result.outcome, result.step, result.detail) == (outcome, Step.ECHO, words)
            assert result.times.tls is not None


@pytest.mark.parametrize("keep_alive", [False, True])
@pytest_twisted.ensureDeferred
async def test_the_daemon(authorities: Authorities, keep_alive: bool) -> None:
    pair = authorities.trusted.issue("localhost", "::1")
    port = free_port()
    async with running(
        tls_port=port, tls_certificate=str(pair.certificate), tls_key=str(pair.key), keep_alive=keep_alive
    ) as daemon:
        for host in ("localhost", "::1"):
            started = time.monotonic()
            result = await probe_it(port, authorities.ask(), host)
            assert result.outcome is Outcome.ECHOED, result.detail
            assert time.monotonic() - started < PATIENCE / 2
        assert await daemon.ends(2) == [CloseReason.ECHOED] * 2


@pytest_twisted.ensureDeferred
async def test_the_daemons_port_without_tls(authorities: Authorities) -> None:
    async with running(timeout=0.2) as daemon:
        result = await probe_it(daemon.port, authorities.ask())
        assert (result.outcome, result.step) == (Outcome.TLS_FAILED, Step.TLS), result.detail


@pytest_twisted.ensureDeferred
async def test_a_name_that_idna_refuses(authorities: Authorities) -> None:
    result = await probe_it(1, authorities.ask(), "ü_x.invalid")
    assert (result.outcome, result.step) == (Outcome.RESOLVE_FAILED, Step.RESOLVE)
