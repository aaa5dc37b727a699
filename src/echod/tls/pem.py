"""Read certificates and keys from PEM files. Errors name the option that holds the path."""

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import Certificate, load_pem_x509_certificates

from echod.common.errors import ConfigurationError

__all__ = ["load_certificates", "load_key"]


def load_certificates(option: str, path: str) -> list[Certificate]:
    """Return the certificates of the file in file order. Raises ConfigurationError."""
    try:
        return load_pem_x509_certificates(_read(option, path))
    except ValueError:
        raise ConfigurationError(f"{option}: {path} contains no PEM certificate") from None


def load_key(option: str, path: str) -> PrivateKeyTypes:
    """Return the private key of the file. Raises ConfigurationError, also if the key is encrypted."""
    try:
        return load_pem_private_key(_read(option, path), None)
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigurationError(f"{option}: {path} contains no PEM private key") from None
    except TypeError:
        raise ConfigurationError(f"{option}: the key in {path} is encrypted; passphrases are not supported") from None


def _read(option: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as problem:  # a path with a null byte is a ValueError
        why = problem.strerror if isinstance(problem, OSError) else problem
        raise ConfigurationError(f"{option}: cannot read {path}: {why}") from None
