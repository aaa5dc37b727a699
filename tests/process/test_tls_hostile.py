"""Clients that speak TLS in unusual or hostile ways, against a real daemon: the exact close reason of each."""

import json
import shutil
import signal
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from tlslite.api import HandshakeSettings, TLSConnection, TLSRemoteAlert
from tlslite.constants import (
    AlertDescription,
    AlertLevel,
    CertificateType,
    HeartbeatMessageType,
    KeyUpdateMessageType,
)
from tlslite.messages import Alert, ApplicationData, Certificate, ClientHello, Heartbeat

from tests.process.test_abuse import UNTRACED
from tests.process.test_admin import metric
from tests.support.certificates import Authority, Pair
from tests.support.processes import ECHOD, Daemon, daemon, run, until
from tests.support.sockets import PATIENCE, RECORD, connected, free_port, receive_to_end

YEAR = timedelta(days=365)
"""Validity of the certificates: of one that ends soon, the daemon warns."""

NO_OPENSSL = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl (Debian: openssl)")


class Served:
    """A daemon with a TLS listener and an access log."""

    def __init__(self, echod: Daemon, port: int, admin: int, directory: Path, authority: Authority) -> None:
        self.echod = echod
        self.port = port
        self.directory = directory
        self.authority = authority
        self._read = 0
        self.admin = admin
        self.started = echod.output

    @property
    def access_log(self) -> str:
        return (self.directory / "access.log").read_text()

    def ended(self, count: int = 1) -> list[dict[str, Any]]:
        """Wait until `count` more connections have ended; return their lines of the access log."""
        until(lambda: len(self.access_log.splitlines()) >= self._read + count)
        lines = self.access_log.splitlines()[self._read :]
        assert len(lines) == count, lines
        self._read += count
        return [json.loads(line) for line in lines]

    def handshake_failures(self, kind: str) -> float:
        """Return the number of handshakes that failed, by a value of `TLSFailure`."""
        return metric(self.admin, f'echod_tls_handshake_failures_total{{kind="{kind}"}}')

    def check_silence(self) -> None:
        """Fail if the daemon has logged anything since its start."""
        assert self.echod.output == self.started


@contextmanager
def served(directory: Path, *words: str, rsa_key: bool = False, traced: bool = True) -> Iterator[Served]:
    """`rsa_key`: the certificate's key is an RSA key. In TLS 1.2, a client's groups limit the keys of EC too."""
    authority = Authority(directory, days=YEAR.days)
    name = "echo.test"
    key = rsa.generate_private_key(65537, 2048) if rsa_key else None
    pair = authority.issue(name, ends=YEAR) if key is None else authority.issue_for(key, x509.DNSName(name), ends=YEAR)
    pair.key.chmod(0o600)
    port, admin = free_port(), free_port()
    files = ("--tls-certificate", str(pair.certificate), "--tls-key", str(pair.key))
    log = ("--access-log", str(directory / "access.log"), "--log-format", "json")
    places = ("--port", str(free_port()), "--tls-port", str(port), "--admin", str(admin))
    with daemon(
        *ECHOD, "serve", *places, *files, *log, *words, cwd=directory, ready=f"]:{port}", **({} if traced else UNTRACED)
    ) as echod:
        yield Served(echod, port, admin, directory, authority)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A daemon for the tests that want no options."""
    with served(tmp_path_factory.mktemp("daemon")) as shared:
        yield shared


def s_client(port: int, *words: str) -> subprocess.CompletedProcess[bytes]:
    """Send a record with openssl s_client; return its status and output."""
    return subprocess.run(
        ("openssl", "s_client", "-connect", f"localhost:{port}", "-ign_eof", *words),
        input=RECORD,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )


@NO_OPENSSL
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_only_the_groups_of_the_intermediate_profile_are_accepted(tmp_path: Path, version: str) -> None:
    with served(tmp_path, rsa_key=True) as server:
        for group in ("X25519", "prime256v1", "secp384r1"):
            assert s_client(server.port, version, "-quiet", "-groups", group).stdout == RECORD, group
            assert [line["reason"] for line in server.ended()] == ["echoed"]
        for group in ("secp521r1", "X448", "ffdhe2048"):
            finished = s_client(server.port, version, "-quiet", "-groups", group)
            assert (finished.stdout, finished.returncode) == (b"", 1), group
            assert [line["reason"] for line in server.ended()] == ["tls-failed"]
        assert server.handshake_failures("cipher") == 3
        server.check_silence()


class Peer:
    """A client that has completed its handshake and can send any message (tlslite-ng)."""

    def __init__(self, client: socket.socket, version: tuple[int, int]) -> None:
        settings = HandshakeSettings()
        settings.minVersion = settings.maxVersion = version
        self.connection = TLSConnection(client)
        self.connection.handshakeClientCert(settings=settings)

    def send(self, message: Any) -> None:
        for _ in self.connection._sendMsg(message, randomizeFirstBlock=False):
            pass

    def echo(self) -> str:
        """Send a record; return "echo", or the description of the server's alert."""
        try:
            self.connection.write(RECORD)
            echo = self.connection.read(len(RECORD), len(RECORD))
        except TLSRemoteAlert as alert:
            return str(AlertDescription.toStr(alert.description))
        assert bytes(echo) == RECORD
        return "echo"


TLS_1_2, TLS_1_3 = (3, 3), (3, 4)


def renegotiate(peer: Peer) -> None:
    peer.send(ClientHello().create((3, 3), bytearray(32), bytearray(), [0xC02B]))


def empty_records(count: int) -> Callable[[Peer], None]:
    """OpenSSL accepts 32 in a row (MAX_EMPTY_RECORDS)."""

    def send(peer: Peer) -> None:
        for _ in range(count):
            peer.send(ApplicationData().create(bytearray()))

    return send


def warnings(count: int) -> Callable[[Peer], None]:
    """OpenSSL accepts 4 in a row (MAX_WARN_ALERT_COUNT) in TLS 1.2."""

    def send(peer: Peer) -> None:
        for _ in range(count):
            peer.send(Alert().create(AlertDescription.user_canceled, AlertLevel.warning))

    return send


def heartbeat(peer: Peer) -> None:
    """CVE-2014-0160: the length is 16 KiB."""
    message = Heartbeat().create(HeartbeatMessageType.heartbeat_request, bytearray(b"x"), 16)
    message.write = lambda: bytearray(b"\1\x40\0x") + bytearray(16)
    peer.send(message)


def unrequested_certificate(peer: Peer) -> None:
    """An answer to a post-handshake authentication that the server has not requested."""
    peer.send(Certificate(CertificateType.x509, TLS_1_3).create([], b""))


def key_updates(peer: Peer) -> None:
    for _ in range(200):
        for _ in peer.connection.send_keyupdate_request(KeyUpdateMessageType.update_requested):
            pass


@pytest.mark.parametrize(
    ("version", "act", "answer", "reason"),
    [
        (TLS_1_2, renegotiate, "no_renegotiation", "echoed"),
        (TLS_1_3, renegotiate, "unexpected_message", "tls-failed"),
        (TLS_1_2, empty_records(30), "echo", "echoed"),
        (TLS_1_2, empty_records(40), "unexpected_message", "tls-failed"),
        (TLS_1_3, empty_records(40), "unexpected_message", "tls-failed"),
        (TLS_1_2, warnings(4), "echo", "echoed"),
        (TLS_1_2, warnings(6), "unexpected_message", "tls-failed"),
        (TLS_1_3, warnings(6), "unexpected_message", "tls-failed"),
        (TLS_1_2, heartbeat, "unexpected_message", "tls-failed"),
        (TLS_1_3, heartbeat, "unexpected_message", "tls-failed"),
        (TLS_1_3, unrequested_certificate, "unexpected_message", "tls-failed"),
        (TLS_1_3, key_updates, "echo", "echoed"),
    ],
)
def test_messages_after_the_handshake(
    server: Served, version: tuple[int, int], act: Callable[[Peer], None], answer: str, reason: str
) -> None:
    with connected(server.port) as client:
        peer = Peer(client, version)
        act(peer)
        assert peer.echo() == answer
    (ended,) = server.ended()
    assert (ended["reason"], ended["records"]) == (reason, int(reason == "echoed"))
    server.check_silence()


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3])
def test_a_fatal_alert_after_the_handshake(server: Served, version: tuple[int, int]) -> None:
    with connected(server.port) as client:
        Peer(client, version).send(Alert().create(AlertDescription.internal_error, AlertLevel.fatal))
        receive_to_end(client)
    assert [line["reason"] for line in server.ended()] == ["tls-failed"]
    server.check_silence()


def record(kind: int, payload: bytes, version: bytes = b"\3\1") -> bytes:
    """Return a TLS record."""
    return bytes([kind]) + version + len(payload).to_bytes(2, "big") + payload


ALERT, HANDSHAKE, APPLICATION_DATA, HEARTBEAT = 21, 22, 23, 24
SSL_2_CIPHERS = bytes.fromhex("010080 020080 030080 040080 050080 060040 0700c0")
SSL_2_HELLO = b"\x80\x2e\1%b" + (21).to_bytes(2, "big") + b"\0\0\0\x10" + SSL_2_CIPHERS + bytes(16)
SSL_3_HELLO = b"\1\0\0\x2b\3\0" + bytes(32) + b"\0" + b"\0\4\0\x0a\0\5" + b"\1\0"


def client_hello() -> bytes:
    """Return the handshake message of a ClientHello, without the head of its record."""
    outgoing = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="echo.test")
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()[5:]


@pytest.mark.parametrize(
    ("sent", "alert", "failure"),
    [
        (SSL_2_HELLO.replace(b"%b", b"\0\2"), None, "not-tls"),
        (SSL_2_HELLO.replace(b"%b", b"\3\3"), None, "not-tls"),
        (record(HANDSHAKE, SSL_3_HELLO, b"\3\0"), "protocol_version", "version"),
        (b"\x16\3\1\xff\xff" + bytes(70_000), "record_overflow", "other"),
        (record(HANDSHAKE, b"\1\xff\xff\xff" + bytes(16_380)), "illegal_parameter", "other"),
        (record(HANDSHAKE, b"") * 50, "unexpected_message", "other"),
        (record(ALERT, b"\2\x28"), "unexpected_message", "not-tls"),
        (record(ALERT, b"\1\0"), "unexpected_message", "not-tls"),
        (record(APPLICATION_DATA, b"x"), "unexpected_message", "not-tls"),
        (record(HEARTBEAT, b"\1\x40\0"), "unexpected_message", "not-tls"),
    ],
    ids=[
        *("SSL 2", "SSL 2 hello of TLS", "SSL 3", "long record", "long message", "empty records"),
        *("alert", "close_notify", "application data", "heartbeat"),
    ],
)
def test_messages_instead_of_a_handshake(server: Served, sent: bytes, alert: str | None, failure: str) -> None:
    before = server.handshake_failures(failure)
    with connected(server.port) as client:
        client.sendall(sent)
        received = receive_to_end(client)
    assert [line["reason"] for line in server.ended()] == ["tls-failed"]
    assert server.handshake_failures(failure) == before + 1
    server.check_silence()
    expected = b"" if alert is None else bytes([2, getattr(AlertDescription, alert)])
    assert received[5:] == expected


def test_a_client_hello_in_records_of_one_byte(server: Served) -> None:
    before = server.handshake_failures("client-refused")
    with connected(server.port) as client:
        client.sendall(b"".join(record(HANDSHAKE, bytes([each])) for each in client_hello()))
        assert client.recv(1) == bytes([HANDSHAKE])
        client.sendall(record(ALERT, b"\2\x28", b"\3\3"))
        receive_to_end(client)
    assert [line["reason"] for line in server.ended()] == ["tls-failed"]
    assert server.handshake_failures("client-refused") == before + 1
    server.check_silence()


class Resumption:
    """TLS connections with a client's certificate, which can resume the session of the one before."""

    def __init__(self, server: Served, version: ssl.TLSVersion, certificate: Pair | None = None) -> None:
        self.context = ssl.create_default_context(cafile=str(server.authority.certificate))
        self.context.minimum_version = self.context.maximum_version = version
        if certificate is not None:
            self.context.load_cert_chain(certificate.certificate, certificate.key)
        self._port = server.port
        self._session: ssl.SSLSession | None = None

    def echo(self) -> bool:
        """Echo a record; return whether the session was resumed. Raises OSError."""
        with (
            connected(self._port) as client,
            self.context.wrap_socket(client, server_hostname="echo.test", session=self._session) as tls,
        ):
            tls.sendall(RECORD)
            assert receive_to_end(tls) == RECORD
            self._session = tls.session
            return bool(tls.session_reused)


VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


@VERSIONS
def test_a_resumed_session_has_the_clients_certificate(tmp_path: Path, version: ssl.TLSVersion) -> None:
    with served(tmp_path, "--tls-client-ca", str(tmp_path / "test-authority.pem")) as server:
        client = Resumption(server, version, server.authority.issue(subject="client"))
        assert [client.echo(), client.echo()] == [False, True]
        assert [(line["reason"], line["subject"]) for line in server.ended(2)] == [("echoed", "CN=client")] * 2
        server.check_silence()


@VERSIONS
def test_a_ticket_does_not_replace_a_certificate_of_a_new_authority(tmp_path: Path, version: ssl.TLSVersion) -> None:
    """After a reload, the tickets from before it are worth nothing."""
    with served(tmp_path, "--tls-client-ca", str(tmp_path / "test-authority.pem")) as server:
        client = Resumption(server, version, server.authority.issue(subject="client"))
        assert client.echo() is False
        server.authority.certificate.write_bytes(Authority(tmp_path, "another").certificate.read_bytes())
        server.echod.process.send_signal(signal.SIGHUP)
        server.echod.wait_for("loaded the certificate again")
        with pytest.raises((ConnectionError, ssl.SSLError)):
            client.echo()
        assert [line["reason"] for line in server.ended(2)] == ["echoed", "tls-failed"]
        assert server.handshake_failures("client-certificate") == 1


@VERSIONS
def test_no_certificate_no_echo(tmp_path: Path, version: ssl.TLSVersion) -> None:
    with served(tmp_path, "--tls-client-ca", str(tmp_path / "test-authority.pem")) as server:
        with pytest.raises((ConnectionError, ssl.SSLError)):
            Resumption(server, version).echo()
        assert [line["reason"] for line in server.ended()] == ["tls-failed"]
        assert server.handshake_failures("client-certificate") == 1
        server.check_silence()


@NO_OPENSSL
def test_early_data_is_not_accepted(tmp_path: Path, server: Served) -> None:
    session, early = str(tmp_path / "session.pem"), tmp_path / "early"
    early.write_bytes(RECORD)
    assert s_client(server.port, "-tls1_3", "-quiet", "-sess_out", session).stdout == RECORD
    words = ("openssl", "sess_id", "-in", session, "-noout", "-text")
    assert "Max Early Data: 0" in run(*words, cwd=tmp_path).stdout
    resumed = s_client(server.port, "-tls1_3", "-sess_in", session, "-early_data", str(early)).stdout
    assert b"Early data was not sent" in resumed
    assert b"Reused, TLSv1.3" in resumed
    assert [(line["reason"], line["received"]) for line in server.ended(2)] == [("echoed", 250)] * 2
    server.check_silence()


EVIL = 'a"\\\r\n\x1b[2J\0 2026-01-01T00:00:00.000Z [::1]:1 [::]:1 ok\N{RIGHT-TO-LEFT OVERRIDE}\N{LINE SEPARATOR}ü'


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_the_subject_of_a_certificate_is_one_line_of_the_log(tmp_path: Path, log_format: str) -> None:
    """The last option wins: the log is text if the test asks for it."""
    words = ("--tls-client-ca", str(tmp_path / "test-authority.pem"), "--log-format", log_format)
    with served(tmp_path, *words) as server:
        client = Resumption(server, ssl.TLSVersion.TLSv1_3, server.authority.issue(subject=EVIL))
        client.echo()
        until(lambda: server.access_log.endswith("\n"))
        server.check_silence()
        line = server.access_log.removesuffix("\n")
    assert line.isascii()
    assert line.isprintable()
    subject = json.loads(line)["subject"] if log_format == "json" else json.loads(line.partition(" subject=")[2])
    assert subject == rfc4514(EVIL)


def rfc4514(name: str) -> str:
    """Return the subject of a certificate with this common name (RFC 4514 section 2.4)."""
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]).rfc4514_string()


def test_silent_connections_take_little_memory(tmp_path: Path) -> None:
    number = 150
    with served(tmp_path, "--backlog", "511", traced=False) as server, ExitStack() as held:
        before = server.echod.resident_kilobytes()
        for _ in range(number):
            held.enter_context(connected(server.port))
        until(lambda: metric(server.admin, "echod_connections_active") == number)
        without_handshake = server.echod.resident_kilobytes()
        context = ssl.create_default_context(cafile=str(server.authority.certificate))
        for _ in range(number):
            held.enter_context(
                context.wrap_socket(held.enter_context(connected(server.port)), server_hostname="echo.test")
            )
        until(lambda: metric(server.admin, 'echod_tls_handshakes_total{version="TLSv1.3"}') == number)
        after_handshake = server.echod.resident_kilobytes()
    assert (without_handshake - before) / number < 30
    assert (after_handshake - without_handshake) / number < 32
