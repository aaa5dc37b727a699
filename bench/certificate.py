"""The certificate for the case `tls-64`."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.measure import BenchError

__all__ = ["Pair", "make_certificate"]


@dataclass(frozen=True)
class Pair:
    """The paths of the PEM files of a certificate and its key."""

    certificate: str
    key: str


def make_certificate(directory: Path) -> Pair:
    """Write a self-signed certificate with a P-256 key, valid for a day, to `directory`.

    Raises BenchError without the package cryptography, which is a dependency of echod's.
    """
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    except ImportError:
        raise BenchError("cryptography is not installed: no certificate") from None
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = x509.CertificateBuilder(
        issuer_name=name,
        subject_name=name,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now - timedelta(days=1),
        not_valid_after=now + timedelta(days=1),
    ).sign(key, hashes.SHA256())
    pair = Pair(str(directory / "certificate.pem"), str(directory / "key.pem"))
    Path(pair.certificate).write_bytes(certificate.public_bytes(Encoding.PEM))
    Path(pair.key).write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return pair
