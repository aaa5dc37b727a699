"""Certificates and keys from PEM files, with errors that name the option."""

from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates
from OpenSSL import crypto

from echod.core.errors import ConfigurationError

__all__ = ["TLSFiles", "load_authorities", "load_chain", "load_key"]


@dataclass(frozen=True, slots=True)
class TLSFiles:
    """Where the server's side of TLS is."""

    certificate: str
    """The server's certificate, its chain after it."""
    key: str | None
    """Its key; None: in the certificate's file."""
    client_ca: str | None
    """The authorities that sign clients' certificates; None: clients need none."""


def load_chain(option: str, path: str) -> list[crypto.X509]:
    """Return the certificates in the file, in their order. Raises ConfigurationError."""
    try:
        found = load_pem_x509_certificates(_read(option, path))
    except ValueError:
        raise ConfigurationError(f"{option}: {path} holds no PEM certificate") from None
    return [crypto.X509.from_cryptography(each) for each in found]


def load_authorities(option: str, path: str) -> list[crypto.X509]:
    """Return the authorities' certificates in the file. Raises ConfigurationError."""
    return load_chain(option, path)


def load_key(option: str, path: str) -> crypto.PKey:
    """Return the private key in the file. Raises ConfigurationError, also for one that wants a passphrase."""
    content = _read(option, path)
    try:
        return crypto.PKey.from_cryptography_key(load_pem_private_key(content, None))  # type: ignore[arg-type]  # kinds that TLS has no use for raise TypeError
    except ValueError:
        raise ConfigurationError(f"{option}: {path} holds no PEM private key") from None
    except TypeError:
        raise ConfigurationError(
            f"{option}: {path} wants a passphrase, or is of a kind that TLS has no use for"
        ) from None


def _read(option: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as problem:
        raise ConfigurationError(f"{option}: cannot read {path}: {problem.strerror}") from None
