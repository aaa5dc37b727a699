"""`echod ping --tls` as an operator types it."""

from pathlib import Path

import pytest

from tests.process.test_ping import ping
from tests.support.certificates import DAY, Authority
from tests.support.processes import ECHOD, run
from tests.support.sockets import RECORD
from tests.support.tls_server import server_context, tls_server


def test_echoes_over_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("localhost", "127.0.0.1")
    client = authority.issue(subject="the client")
    context = server_context(pair, client_ca=authority.certificate)
    words = ("--tls", "--tls-ca", str(authority.certificate), "--tls-certificate", str(client.certificate))
    with tls_server(context=context) as server:
        pinged = ping(
            tmp_path, "127.0.0.1", str(server.port), "-c", "2", "-i", "0", *words, "--tls-key", str(client.key)
        )
        assert pinged.returncode == 0
        lines = pinged.stdout.splitlines()
        assert lines[0] == f"ECHO 127.0.0.1 port {server.port} over TLS: 250 bytes a record"
        assert lines[2].startswith(f"250 bytes from 127.0.0.1 port {server.port}: seq=2 time=")
        assert len(server.received) == len(RECORD) * 2


def test_a_bad_certificate_is_one_line_and_nothing_sent(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with tls_server(context=server_context(authority.issue("a.example"))) as server:
        words = ("localhost", str(server.port), "-c", "1", "--tls", "--tls-ca", str(authority.certificate))
        pinged = ping(tmp_path, *words)
        assert pinged.returncode == 1
        why = "TLS handshake failed: the certificate is for a.example, not for localhost"
        assert pinged.stdout.splitlines()[1].endswith(f": seq=1 {why}")
        assert "1 sent, 0 echoed, 1 lost (100%)" in pinged.stdout
        assert server.received == b""

        named = ping(tmp_path, *words, "--tls-name", "a.example")
        assert named.returncode == 0


def test_insecure_says_so(tmp_path: Path) -> None:
    expired = Authority(tmp_path).issue("a.example", begins=-3 * DAY, ends=-2 * DAY)
    with tls_server(context=server_context(expired)) as server:
        pinged = ping(tmp_path, "::1", str(server.port), "-c", "1", "--tls", "--tls-insecure")
    assert pinged.returncode == 0
    assert pinged.stdout.splitlines()[0].endswith(" over TLS, the server not verified: 250 bytes a record")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--tls-ca", "x.pem"), "tls-ca: requires tls"),
        (("--tls", "--tls-ca", "nosuch.pem"), "tls-ca: cannot read nosuch.pem: No such file or directory"),
        (("--tls", "--tls-key", "x.key"), "tls-key: requires tls-certificate"),
        (("--tls", "--tls-name", "a b"), "--tls-name: must be a host: 'a b' is not a host name"),
    ],
)
def test_usage_errors_are_one_line_and_status_2(tmp_path: Path, words: tuple[str, ...], why: str) -> None:
    pinged = run(*ECHOD, "ping", "::1", *words, cwd=tmp_path)
    assert (pinged.returncode, pinged.stdout, pinged.stderr) == (2, "", f"echod ping: {why}\n")
