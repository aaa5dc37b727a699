"""Certificates and keys from PEM files, with errors that name the option."""

from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import Certificate, load_pem_x509_certificates

from echod.core.errors import ConfigurationError

__all__ = ["TLSFiles", "load_certificates", "load_key"]


@dataclass(frozen=True, slots=True)
class TLSFiles:
    """Where the server's side of TLS is."""

    certificate: str
    """The server's certificate, its chain after it."""
    key: str | None
    """Its key; None: in the certificate's file."""
    client_ca: str | None
    """The authorities that sign clients' certificates; None: clients need none."""


def load_certificates(option: str, path: str) -> list[Certificate]:
    """Return the certificates in the file, in their order. Raises ConfigurationError."""
    try:
        return load_pem_x509_certificates(_read(option, path))
    except ValueError:
        raise ConfigurationError(f"{option}: {path} holds no PEM certificate") from None


def load_key(option: str, path: str) -> PrivateKeyTypes:
    """Return the private key in the file. Raises ConfigurationError, also for one that wants a passphrase."""
    try:
        return load_pem_private_key(_read(option, path), None)
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigurationError(f"{option}: {path} holds no PEM private key") from None
    except TypeError:
        raise ConfigurationError(f"{option}: {path} wants a passphrase, which nobody is there to give") from None


def _read(option: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as problem:
        raise ConfigurationError(f"{option}: cannot read {path}: {problem.strerror}") from None
