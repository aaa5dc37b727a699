"""Clients that speak TLS in unusual or hostile ways, against a real daemon: the exact close reason of each."""

import json
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.process.test_abuse import UNTRACED
from tests.process.test_admin import metric
from tests.support.certificates import Authority
from tests.support.processes import ECHOD, Daemon, daemon, until
from tests.support.sockets import PATIENCE, connected, free_port

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
    authority = Authority(directory)
    name = "echo.test"
    key = rsa.generate_private_key(65537, 2048) if rsa_key else None
    pair = authority.issue(name) if key is None else authority.issue_for(key, x509.DNSName(name))
    port, admin = free_port(), free_port()
    files = ("--tls-certificate", str(pair.certificate), "--tls-key", str(pair.key))
    log = ("--access-log", str(directory / "access.log"), "--log-format", "json")
    places = ("--port", str(free_port()), "--tls-port", str(port), "--admin", str(admin))
    with daemon(
        *ECHOD, "serve", *places, *files, *log, *words, cwd=directory, ready=f"]:{port}", **({} if traced else UNTRACED)
    ) as echod:
        yield Served(echod, port, admin, directory, authority)


def s_client(port: int, *words: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run openssl s_client until it ends."""
    return subprocess.run(
        ("openssl", "s_client", "-connect", f"localhost:{port}", "-quiet", *words),
        input=data,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )


@NO_OPENSSL
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_only_the_groups_of_the_intermediate_profile_are_accepted(tmp_path: Path, version: str) -> None:
    record = b"x" * 250
    with served(tmp_path, rsa_key=True) as server:
        for group in ("X25519", "prime256v1", "secp384r1"):
            assert s_client(server.port, version, "-groups", group, data=record).stdout == record, group
            assert [line["reason"] for line in server.ended()] == ["echoed"]
        for group in ("secp521r1", "X448", "ffdhe2048"):
            finished = s_client(server.port, version, "-groups", group, data=record)
            assert (finished.stdout, finished.returncode) == (b"", 1), group
            assert [line["reason"] for line in server.ended()] == ["tls-failed"]
        assert server.handshake_failures("cipher") == 3
        server.check_silence()


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
