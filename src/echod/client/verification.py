"""Verification of the server: the chain by OpenSSL, the name by service_identity.

Twisted's own check accepts a trusted certificate without a subjectAltName for any host: it handles one of
service_identity's errors and only logs the other. Here, the server is refused for every error.
"""

import idna
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import Certificate, DNSName, ExtensionNotFound, IPAddress, SubjectAlternativeName
from OpenSSL.crypto import X509
from OpenSSL.SSL import Connection, X509VerificationCodes
from service_identity import VerificationError
from service_identity.pyopenssl import verify_hostname, verify_ip_address

from echod.client.outcomes import CertificateFacts, Outcome
from echod.client.protocol import Refusal
from echod.common.addresses import display_host, parse_address
from echod.common.text import printable

__all__ = ["ServerName", "certificate_facts", "chain_refusal"]

_NAMES_SHOWN = 5
"""A certificate may have hundreds of names; a line of output shows the first ones."""

_NO_NAME = "presented identifiers"
"""RFC 6125's term for the names in a certificate; "reference identifier" is its term for the name to match."""

_UNTRUSTED = {
    X509VerificationCodes.ERR_UNABLE_TO_GET_ISSUER_CERT: "its certificate is missing",
    X509VerificationCodes.ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY: "its certificate is not among the trusted ones",
    X509VerificationCodes.ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE: "its certificate was not sent and is not trusted",
    X509VerificationCodes.ERR_DEPTH_ZERO_SELF_SIGNED_CERT: "self-signed certificate",
    X509VerificationCodes.ERR_SELF_SIGNED_CERT_IN_CHAIN: "self-signed certificate in certificate chain",
    X509VerificationCodes.ERR_CERT_SIGNATURE_FAILURE: "not signed by the trusted certificate of that name",
    X509VerificationCodes.ERR_CERT_UNTRUSTED: "its certificate is not trusted for this purpose",
}

_CHECK_NAMES = {
    number: name.removeprefix("ERR_").replace("_", " ").lower()
    for name, number in vars(X509VerificationCodes).items()
    if name.startswith("ERR_")
}


class ServerName:
    """The name or address that the server's certificate must match."""

    def __init__(self, host: str) -> None:
        """Raises ValueError if `host` is a name that IDNA refuses."""
        address = parse_address(display_host(host))
        self._is_address = address is not None
        if address is not None:
            self._name = str(address).partition("%")[0]  # a scope id has a meaning on this host only
        else:
            name = host.removesuffix(".")
            # Names in ASCII are not encoded: IDNA refuses some that are in use, such as those with underscores.
            self._name = name if name.isascii() else idna.encode(name, uts46=True).decode("ascii")

    @property
    def indicated(self) -> bytes | None:
        """The name to send as SNI; None for an address (RFC 6066 section 3)."""
        return None if self._is_address else self._name.encode("ascii")

    def refusal(self, connection: Connection) -> Refusal | None:
        """Return why the peer's certificate does not match this name; None if it matches."""
        try:
            certificate = connection.get_peer_certificate(as_cryptography=True)
            assert certificate is not None
            hosts = _hosts(certificate)
            if not hosts:
                return Refusal(
                    Outcome.TLS_NO_SAN, "the certificate's subjectAltName has no host name or address", _NO_NAME
                )
            verify = verify_ip_address if self._is_address else verify_hostname
            verify(connection, self._name)
        except ExtensionNotFound:
            return Refusal(Outcome.TLS_NO_SAN, "the certificate has no subjectAltName", _NO_NAME)
        except VerificationError:
            detail = f"the certificate is for {_listed(hosts)}, not for {self._name}"
            return Refusal(Outcome.TLS_WRONG_NAME, detail, "reference identifier")
        except Exception as problem:  # a certificate that cannot be verified is refused, for any reason
            detail = f"the certificate's names cannot be read: {printable(str(problem))}"
            return Refusal(Outcome.TLS_CERTIFICATE_INVALID, detail, _NO_NAME)
        return None


def certificate_facts(connection: Connection, shown: X509 | None = None) -> CertificateFacts | None:
    """Return the facts of the server's certificate, verified or not; None if there is none, or it cannot be read.

    During the verification of the chain, only the chain has the certificate; before that, only `shown`.
    """
    try:
        chain = connection.get_peer_cert_chain(as_cryptography=True)
        if chain:
            return _facts(chain[0])
        return None if shown is None else _facts(shown.to_cryptography())
    except Exception:  # a malformed certificate must not hide the reason of its refusal
        return None


def _facts(certificate: Certificate) -> CertificateFacts:
    try:
        hosts = _hosts(certificate)
    except ExtensionNotFound:
        hosts = []
    return CertificateFacts(
        subject=printable(certificate.subject.rfc4514_string()),
        names=tuple(map(printable, hosts)),
        issuer=printable(certificate.issuer.rfc4514_string()),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        fingerprint=certificate.fingerprint(SHA256()).hex(),
    )


def chain_refusal(certificate: X509, number: int, depth: int) -> Refusal:
    """Return the refusal for the X509 error `number`; at `depth` 0 is the server's certificate, above it issuers."""
    subject = "the certificate" if depth == 0 else "the certificate of an issuer"
    check = _CHECK_NAMES.get(number, f"OpenSSL error {number}")
    if number == X509VerificationCodes.ERR_CERT_HAS_EXPIRED:
        return Refusal(Outcome.TLS_EXPIRED, f"{subject} expired on {_date(certificate.get_notAfter())}", check)
    if number == X509VerificationCodes.ERR_CERT_NOT_YET_VALID:
        detail = f"{subject} is not valid before {_date(certificate.get_notBefore())}"
        return Refusal(Outcome.TLS_NOT_YET_VALID, detail, check)
    if number in _UNTRUSTED:
        return Refusal(Outcome.TLS_UNTRUSTED, f"the certificate's issuer is not trusted: {_UNTRUSTED[number]}", check)
    return Refusal(Outcome.TLS_CERTIFICATE_INVALID, f"{subject} is invalid: {check}", check)


def _hosts(certificate: Certificate) -> list[str]:
    """Return the host names and addresses of the subjectAltName.

    Raises ExtensionNotFound without one, ValueError if it is malformed.
    """
    names = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
    return [*names.get_values_for_type(DNSName), *map(str, names.get_values_for_type(IPAddress))]


def _date(asn1: bytes | None) -> str:
    """Return the date of an ASN.1 GENERALIZEDTIME such as 20261122103000Z."""
    digits = (asn1 or b"").decode("ascii", "replace")
    return f"{digits[:4]}-{digits[4:6]}-{digits[6:8]}"


def _listed(names: list[str]) -> str:
    shown = ", ".join(map(printable, names[:_NAMES_SHOWN]))
    more = len(names) - _NAMES_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
