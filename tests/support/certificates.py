"""Certificates for tests: authorities, and the certificates that they sign, valid and invalid."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as PEM files."""

    certificate: Path
    key: Path


class Authority:
    """A certificate authority for one test. Its files are in `directory`."""

    def __init__(
        self, directory: Path, name: str = "test authority", issuer: "Authority | None" = None, days: int = 1
    ) -> None:
        """`issuer` signs the authority's own certificate, which ends in `days`; None: it is self-signed."""
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        certificate = (
            _builder(self._name, (issuer or self)._name, self._key.public_key(), -DAY, days * DAY)
            .add_extension(constraints, critical=True)
            .sign((issuer or self)._key, hashes.SHA256())
        )
        self.certificate = directory / f"{name.replace(' ', '-')}.pem"
        self.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))

    def issue(
        self,
        *names: str,
        subject: str = "echod test",
        begins: timedelta = -DAY,
        ends: timedelta = DAY,
        file: str = "",
    ) -> Pair:
        """Issue a certificate for DNS names and IP addresses; without names, it has no subjectAltName.

        `begins` and `ends` are the limits of its validity, counted from now. `file` is the stem of the files' names.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        return self._issue(key, _name(subject), [_general(n) for n in names], begins, ends, file)

    def self_signed(self, *names: str) -> Pair:
        """Issue a self-signed certificate: its key and its subject are the authority's."""
        return self._issue(self._key, self._name, [_general(n) for n in names])

    def issue_for(self, key: Key, *names: x509.GeneralName, ends: timedelta = DAY) -> Pair:
        """Issue a certificate for `key`, of any kind, and for names of any kind."""
        return self._issue(key, _name("echod test"), names, ends=ends)

    def _issue(
        self,
        key: Key,
        subject: x509.Name,
        names: Sequence[x509.GeneralName],
        begins: timedelta = -DAY,
        ends: timedelta = DAY,
        file: str = "",
    ) -> Pair:
        builder = _builder(subject, self._name, key.public_key(), begins, ends)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        stem = file or f"issued-{certificate.serial_number:x}"
        pair = Pair(self._directory / f"{stem}.pem", self._directory / f"{stem}.key")
        pair.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
        pair.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return pair


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
    begins: timedelta,
    ends: timedelta,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
