import contextlib
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from echod.common.errors import ConfigurationError
from echod.server.config import ServerConfiguration
from echod.server.tls import ServerTLS, TLSFiles
from echod.tls import contexts
from tests.support.certificates import Authority, Pair


def offered_serial(tls: ServerTLS, curve: ec.EllipticCurve | None = None) -> int:
    """Return the serial number of the certificate that a new client receives; `curve` is the only one it supports."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    if curve is not None:
        context.set_tmp_ecdh(curve)
    client = SSL.Connection(context, None)
    client.set_connect_state()
    server = tls.serverConnectionForTLS(None)  # type: ignore[arg-type]  # it does not use the protocol
    server.set_accept_state()
    for _ in range(4):
        for one, other in ((client, server), (server, client)):
            with contextlib.suppress(SSL.WantReadError):
                one.do_handshake()
            with contextlib.suppress(SSL.WantReadError):
                other.bio_write(one.bio_read(1 << 16))
    certificate = client.get_peer_certificate(as_cryptography=True)
    assert certificate is not None
    return certificate.serial_number


class ServerTLSTests(SynchronousTestCase):
    def setUp(self) -> None:
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.authority = Authority(self.directory)
        self.pair = self.authority.issue("localhost", file="server")

    def files(self, **changed: object) -> TLSFiles:
        files = {"certificate": str(self.pair.certificate), "key": str(self.pair.key), "client_ca": None}
        return TLSFiles(**(files | changed))  # type: ignore[arg-type]  # the tests pass the right types

    def file(self, name: str, content: bytes) -> str:
        path = self.directory / name
        path.write_bytes(content)
        return str(path)

    def key_file(self, key: PrivateKeyTypes, encryption: KeySerializationEncryption) -> str:
        return self.file("other.key", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))

    def error(self, **changed: object) -> str:
        """Return the error's text, one line, of the files with these changes."""
        with self.assertRaises(ConfigurationError) as refused:
            ServerTLS(self.files(**changed))
        self.assertNotIn("\n", str(refused.exception))
        return str(refused.exception)

    def test_the_groups_of_the_key_exchange(self) -> None:
        offered_serial(ServerTLS(self.files()), ec.SECP384R1())
        self.assertRaises(SSL.Error, offered_serial, ServerTLS(self.files()), ec.SECP521R1())

    def test_a_version_of_cryptography_without_the_function_keeps_the_groups_of_openssl(self) -> None:
        self.patch(contexts, "lib", object())
        offered_serial(ServerTLS(self.files()), ec.SECP521R1())

    def test_a_reload_offers_the_new_certificate(self) -> None:
        tls = ServerTLS(self.files())
        before = offered_serial(tls)
        self.authority.issue("localhost", file="server")
        self.assertEqual(offered_serial(tls), before)
        tls.prepare(self.files())()
        self.assertNotEqual(offered_serial(tls), before)

    def test_a_reload_of_a_bad_file_keeps_the_old_certificate(self) -> None:
        tls = ServerTLS(self.files())
        before = offered_serial(tls)
        for content in (b"garbage", b""):
            self.pair.certificate.write_bytes(content)
            with self.assertRaises(ConfigurationError):
                tls.prepare(self.files())
            self.assertEqual(offered_serial(tls), before)

    def test_one_file_with_key_certificate_and_chain(self) -> None:
        both = self.file(
            "both.pem",
            self.pair.key.read_bytes() + self.pair.certificate.read_bytes() + self.authority.certificate.read_bytes(),
        )
        ServerTLS(self.files(certificate=both, key=None))

    def test_the_error_of_an_unreadable_file(self) -> None:
        for option in ("certificate", "key", "client_ca"):
            error = self.error(**{option: "/nosuch"})
            self.assertEqual(error, f"tls-{option.replace('_', '-')}: cannot read /nosuch: No such file or directory")

    def test_the_error_of_a_file_that_is_not_pem(self) -> None:
        garbage = self.file("garbage.pem", b"garbage")
        self.assertIn("contains no PEM certificate", self.error(certificate=garbage))
        self.assertIn("contains no PEM private key", self.error(key=garbage))
        self.assertIn("contains no PEM certificate", self.error(client_ca=garbage))

    def test_the_key_of_another_certificate_is_refused(self) -> None:
        other: Pair = self.authority.issue("localhost", file="other")
        self.assertIn("is not the key of the certificate", self.error(key=str(other.key)))

    def test_an_encrypted_key_is_refused(self) -> None:
        key = self.key_file(ec.generate_private_key(ec.SECP256R1()), BestAvailableEncryption(b"secret"))
        self.assertIn("is encrypted; passphrases are not supported", self.error(key=key))

    def test_a_key_that_cannot_sign_is_refused(self) -> None:
        key = self.key_file(x25519.X25519PrivateKey.generate(), NoEncryption())
        self.assertIn("tls-key: ", self.error(key=key))


class ConfigurationTests(SynchronousTestCase):
    def test_a_tls_listener_requires_a_certificate_and_so_do_key_and_authorities(self) -> None:
        for options in ({"tls_port": 1}, {"tls_listen": ("tcp:1",)}, {"tls_key": "x"}, {"tls_client_ca": "x"}):
            with self.assertRaises(ConfigurationError):
                ServerConfiguration(**options)
        self.assertTrue(ServerConfiguration(tls_port=1, tls_certificate="x").has_tls)
