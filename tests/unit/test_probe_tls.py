"""The options and files of TLS, and the failures that no test server produces."""

from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from OpenSSL import SSL
from OpenSSL.crypto import X509
from OpenSSL.SSL import X509VerificationCodes
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from echod.client.config import ClientTLS
from echod.client.outcomes import Outcome, Step, TLSSession
from echod.client.protocol import Refusal
from echod.client.tls import _verified as verified
from echod.client.tls_protocol import TLSProbeProtocol
from echod.client.verification import ServerName, certificate_facts, chain_refusal
from echod.common.errors import ConfigurationError
from echod.common.options import command_line_layer, configure
from echod.ping.config import PingConfiguration
from echod.probe import ClientTLSContext
from tests.support.certificates import Authority, Pair


class ConfigurationTests(SynchronousTestCase):
    def refused(self, **options: Any) -> str:
        with self.assertRaises(ConfigurationError) as refusal:
            PingConfiguration(**options)
        self.assertNotIn("\n", str(refusal.exception))
        return str(refusal.exception)

    def test_none_without_the_option(self) -> None:
        self.assertIsNone(PingConfiguration().client_tls)
        self.assertEqual(PingConfiguration(tls=True).client_tls, ClientTLS())

    def test_all_of_it(self) -> None:
        words = [
            ("tls", "true"), ("tls-ca", "ca.pem"), ("tls-name", "[::1]"), ("tls-certificate", "a.pem"),
            ("tls-key", "a.key"), ("tls-insecure", "true"),
        ]  # fmt: skip
        made = configure(PingConfiguration, [command_line_layer(PingConfiguration, words)]).client_tls
        self.assertEqual(made, ClientTLS(ca="ca.pem", name="::1", certificate="a.pem", key="a.key", insecure=True))

    def test_its_options_require_tls(self) -> None:
        for field in ("tls_ca", "tls_name", "tls_certificate", "tls_key"):
            self.assertEqual(self.refused(**{field: "x"}), f"{field.replace('_', '-')}: requires tls")
        self.assertEqual(self.refused(tls_insecure=True), "tls-insecure: requires tls")
        self.assertEqual(self.refused(tls_ca="x", tls_key="y"), "tls-ca, tls-key: requires tls")

    def test_no_key_without_a_certificate(self) -> None:
        self.assertEqual(self.refused(tls=True, tls_key="x"), "tls-key: requires tls-certificate")

    def test_names_that_are_none(self) -> None:
        for name in ("a b", "", "[a]", 1):
            self.assertTrue(self.refused(tls=True, tls_name=name).startswith("tls_name: must be a host"), name)


class FileTests(SynchronousTestCase):
    def setUp(self) -> None:
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.authority = Authority(self.directory)
        self.pair = self.authority.issue(file="client")

    def written(self, content: bytes) -> str:
        path = self.directory / "written.pem"
        path.write_bytes(content)
        return str(path)

    def key(self, key: Any, *, secret: bytes = b"", form: PrivateFormat = PrivateFormat.PKCS8) -> str:
        encryption = BestAvailableEncryption(secret) if secret else NoEncryption()
        return self.written(key.private_bytes(Encoding.PEM, form, encryption))

    def refused(self, **asked: Any) -> str:
        with self.assertRaises(ConfigurationError) as refusal:
            ClientTLSContext(ClientTLS(**asked))
        self.assertNotIn("\n", str(refusal.exception))
        return str(refusal.exception)

    def refused_key(self, key: str) -> str:
        return self.refused(certificate=str(self.pair.certificate), key=key)

    def test_no_such_file(self) -> None:
        missing = str(self.directory / "missing.pem")
        for option in ("ca", "certificate"):
            said = self.refused(**{option: missing})
            self.assertEqual(said, f"tls-{option}: cannot read {missing}: No such file or directory")
        self.assertIn("tls-key: cannot read", self.refused_key(missing))
        self.assertIn("Is a directory", self.refused(ca=str(self.directory)))
        self.assertIn("null byte", self.refused(ca="a\0b"))

    def test_not_pem(self) -> None:
        for content in (b"", b"x", b"\xff\xfe", self.pair.key.read_bytes(), b"-----BEGIN CERTIFICATE-----\nAAAA\n"):
            path = self.written(content)
            self.assertEqual(self.refused(ca=path), f"tls-ca: {path} contains no PEM certificate")
            self.assertEqual(self.refused(certificate=path), f"tls-certificate: {path} contains no PEM certificate")
        for content in (b"", b"x", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"):
            path = self.written(content)
            self.assertEqual(self.refused_key(path), f"tls-key: {path} contains no PEM private key")

    def test_no_key_in_the_certificates_file(self) -> None:
        path = str(self.pair.certificate)
        self.assertEqual(self.refused(certificate=path), f"tls-certificate: {path} contains no PEM private key")

    def test_a_key_with_a_passphrase_is_refused_without_a_prompt(self) -> None:
        key = load_pem_private_key(self.pair.key.read_bytes(), None)
        for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
            self.assertIn("is encrypted; passphrases", self.refused_key(self.key(key, secret=b"x", form=form)))

    def test_another_ones_key(self) -> None:
        for key in (ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048)):
            self.assertIn("is not the key of the certificate", self.refused_key(self.key(key)))

    def test_a_key_type_that_tls_does_not_support(self) -> None:
        self.assertIn(
            "has a key type that TLS does not support", self.refused_key(self.key(x25519.X25519PrivateKey.generate()))
        )

    def test_a_certificate_that_openssl_refuses(self) -> None:
        pair = weak(self.directory)
        self.assertIn("OpenSSL rejects", self.refused(certificate=str(pair.certificate), key=str(pair.key)))

    def test_a_name_that_idna_refuses(self) -> None:
        self.assertTrue(self.refused(name="ü_x.example").startswith("tls-name: ü_x.example is not a host name: "))


def weak(directory: Path) -> Pair:
    """A certificate whose key is too short for OpenSSL's default security level."""
    key = rsa.generate_private_key(65537, 1024)
    return Authority(directory).issue_for(key)


class ChainTests(SynchronousTestCase):
    certificate: Any = SimpleNamespace(get_notAfter=lambda: b"20261122103000Z", get_notBefore=lambda: None)

    def test_an_issuers_dates(self) -> None:
        outcome, detail, check = chain_refusal(self.certificate, X509VerificationCodes.ERR_CERT_HAS_EXPIRED, 1)
        self.assertEqual(outcome, Outcome.TLS_EXPIRED)
        self.assertEqual(detail, "the certificate of an issuer expired on 2026-11-22")
        self.assertEqual(check, "cert has expired")

    def test_a_date_that_is_none(self) -> None:
        outcome, _, _ = chain_refusal(self.certificate, X509VerificationCodes.ERR_CERT_NOT_YET_VALID, 0)
        self.assertEqual(outcome, Outcome.TLS_NOT_YET_VALID)

    def test_any_other_failure(self) -> None:
        for number, words in (
            (X509VerificationCodes.ERR_INVALID_PURPOSE, "the certificate is invalid: invalid purpose"),
            (X509VerificationCodes.ERR_CERT_REVOKED, "the certificate is invalid: cert revoked"),
            (9999, "the certificate is invalid: OpenSSL error 9999"),
        ):
            self.assertEqual(chain_refusal(self.certificate, number, 0)[:2], (Outcome.TLS_CERTIFICATE_INVALID, words))


class NameTests(SynchronousTestCase):
    def refusal(self, host: str, certificate: x509.Certificate | None) -> Any:
        def get_peer_certificate(as_cryptography: bool = False) -> Any:
            return certificate if as_cryptography or certificate is None else X509.from_cryptography(certificate)

        connection: Any = SimpleNamespace(get_peer_certificate=get_peer_certificate)
        return ServerName(host).refusal(connection)

    def issued(self, *names: x509.GeneralName) -> x509.Certificate:
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        return x509.load_pem_x509_certificate(
            Authority(Path(directory.name))
            .issue_for(ec.generate_private_key(ec.SECP256R1()), *names)
            .certificate.read_bytes()
        )

    def test_no_certificate(self) -> None:
        self.assertEqual(self.refusal("a.example", None)[0], Outcome.TLS_CERTIFICATE_INVALID)

    def test_names_of_no_host(self) -> None:
        refusal = self.refusal("a.example", self.issued(x509.RFC822Name("a@a.example")))
        self.assertEqual(
            refusal[:2], (Outcome.TLS_NO_SAN, "the certificate's subjectAltName has no host name or address")
        )

    def test_an_address_written_as_a_name(self) -> None:
        outcome, detail, _ = self.refusal("127.0.0.1", self.issued(x509.DNSName("127.0.0.1")))
        self.assertEqual(outcome, Outcome.TLS_CERTIFICATE_INVALID)
        self.assertIn("Invalid DNS pattern", detail)

    def test_one_of_its_names(self) -> None:
        self.assertIsNone(self.refusal("A.example", self.issued(x509.DNSName("b.example"), x509.DNSName("a.example"))))


class EndTests(SynchronousTestCase):
    """What the end of a connection amounts to."""

    def ended(self, problem: Exception, step: Step, *, received: int = 0, met: bool = True) -> Any:
        protocol = TLSProbeProtocol(lambda: 0.0, Clock(), lambda _: None, lambda _: None, shows_certificate=False)
        transport: Any = SimpleNamespace(
            tcp_reason=Failure(ConnectionLost()), certificate_received=met, echoes_without_tls=False
        )
        protocol.transport = transport
        protocol.step = step
        end = protocol.ended_by(Failure(problem), f"after {received} of 250 bytes", received)
        return (end.outcome, end.detail, protocol.step)

    def error(self, words: str) -> SSL.Error:
        return SSL.Error([("SSL routines", "", words)])

    def test_alerts_about_our_certificate(self) -> None:
        for words in ("tlsv13 alert certificate required", "sslv3 alert bad certificate", "ssl/tls alert unknown ca"):
            outcome, detail, step = self.ended(self.error(words), Step.ECHO)
            self.assertEqual((outcome, step), (Outcome.TLS_CLIENT_CERTIFICATE, Step.TLS))
            self.assertIn(words.partition("alert ")[2], detail)

    def test_the_same_alerts_for_other_reasons(self) -> None:
        problem = self.error("sslv3 alert handshake failure")
        self.assertEqual(self.ended(problem, Step.TLS, met=False)[0], Outcome.TLS_FAILED)
        self.assertEqual(self.ended(problem, Step.ECHO, received=9)[0], Outcome.RESET)

    def test_other_errors(self) -> None:
        outcome, detail, step = self.ended(self.error("tlsv1 alert internal error"), Step.ECHO, received=9)
        self.assertEqual((outcome, step), (Outcome.RESET, Step.ECHO))
        self.assertEqual(detail, "broken off after 9 of 250 bytes: tlsv1 alert internal error")
        self.assertEqual(self.ended(SSL.Error([]), Step.TLS)[1], "[]")
        self.assertEqual(self.ended(SSL.Error(), Step.TLS)[1], "Error")
        self.assertEqual(self.ended(ConnectionDone(), Step.TLS)[1], "the connection was reset")


class HandshakeTests(SynchronousTestCase):
    def test_a_chain_refused_before_is_not_forgiven(self) -> None:
        ended: list[str] = []
        protocol = TLSProbeProtocol(lambda: 0.0, Clock(), lambda _: None, lambda _: None, shows_certificate=False)
        transport: Any = SimpleNamespace(getHandle=lambda: None, abortConnection=lambda: ended.append("aborted"))
        protocol.transport = transport
        first = Refusal(Outcome.TLS_EXPIRED, "first", "cert has expired")
        protocol.refuse(first)
        protocol.refuse(Refusal(Outcome.TLS_UNTRUSTED, "second"))
        protocol.handshakeCompleted()
        self.assertEqual((ended, protocol.ready.called), (["aborted"], False))
        self.assertEqual(protocol.refusal, first)
        self.assertEqual(protocol.tls, TLSSession(failed_check="cert has expired"))


class FactsTests(SynchronousTestCase):
    """The facts of a certificate that OpenSSL does not return."""

    def setUp(self) -> None:
        with TemporaryDirectory() as directory:
            pem = Authority(Path(directory)).issue("a.example").certificate.read_bytes()
        self.shown = X509.from_cryptography(x509.load_pem_x509_certificate(pem))

    def connection(self, chain: Any) -> Any:
        def get_peer_cert_chain(*, as_cryptography: bool) -> Any:
            if isinstance(chain, Exception):
                raise chain
            return chain

        return SimpleNamespace(get_peer_cert_chain=get_peer_cert_chain)

    def test_none_while_the_chain_is_verified(self) -> None:
        nothing: Any
        for nothing in (None, []):
            self.assertIsNone(certificate_facts(self.connection(nothing)))
            facts = certificate_facts(self.connection(nothing), self.shown)
            assert facts is not None
            self.assertEqual(facts.names, ("a.example",))

    def test_unreadable(self) -> None:
        for problem in (ValueError(), x509.InvalidVersion("", 9), TypeError()):
            self.assertIsNone(certificate_facts(self.connection(problem), self.shown))

    def test_the_refusal_does_not_depend_on_them(self) -> None:
        for depth in (0, 1):
            none: Any = None
            protocol = TLSProbeProtocol(lambda: 0.0, Clock(), none, none, shows_certificate=False)
            connection = self.connection(None)
            connection.get_app_data = lambda protocol=protocol: SimpleNamespace(wrappedProtocol=protocol)
            self.assertFalse(verified(connection, self.shown, X509VerificationCodes.ERR_CERT_HAS_EXPIRED, depth, 0))
            refusal: Any = protocol.refusal
            session: Any = protocol.tls
            self.assertEqual(refusal.outcome, Outcome.TLS_EXPIRED)
            self.assertEqual(session.failed_check, "cert has expired")
            self.assertEqual(session.certificate is None, depth > 0)
