"""Who the server is: the chain as OpenSSL finds it, the name as service_identity does.

Twisted's own check lets a trusted certificate without a subjectAltName pass for any host: it
catches one of service_identity's errors and logs the other. Here every failure refuses.
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

__all__ = ["ServerName", "certificate_facts", "chain_refusal"]

_NAMES_SHOWN = 5
"""A certificate may have hundreds of names, and an output line has to be read."""

_NO_NAME = "presented identifiers"
"""RFC 6125's words, as "reference identifier" is, for the names in a certificate and for the one that is asked for."""

_UNTRUSTED = {
    X509VerificationCodes.ERR_UNABLE_TO_GET_ISSUER_CERT: "its certificate is missing",
    X509VerificationCodes.ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY: "its certificate is not among the trusted ones",
    X509VerificationCodes.ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE: "its certificate was not sent and is not trusted",
    X509VerificationCodes.ERR_DEPTH_ZERO_SELF_SIGNED_CERT: "self-signed certificate",
    X509VerificationCodes.ERR_SELF_SIGNED_CERT_IN_CHAIN: "self-signed certificate in certificate chain",
    X509VerificationCodes.ERR_CERT_SIGNATURE_FAILURE: "the signature is not a trusted one's of that name",
    X509VerificationCodes.ERR_CERT_UNTRUSTED: "its certificate is not to be trusted for this",
}

_WORDS = {
    number: name.removeprefix("ERR_").replace("_", " ").lower()
    for name, number in vars(X509VerificationCodes).items()
    if name.startswith("ERR_")
}


class ServerName:
    """The name or address that a server's certificate has to be for."""

    def __init__(self, host: str) -> None:
        """Raises ValueError where `host` is a name that IDNA refuses."""
        address = parse_address(display_host(host))
        self._is_address = address is not None
        if address is not None:
            self._name = str(address).partition("%")[0]  # a scope id is this host's own matter
        else:
            name = host.removesuffix(".")
            # Names in ASCII are left as they are: some that IDNA refuses are in use, such as those with underscores.
            self._name = name if name.isascii() else idna.encode(name, uts46=True).decode("ascii")

    @property
    def indicated(self) -> bytes | None:
        """What SNI carries: a name, never an address (RFC 6066 section 3)."""
        return None if self._is_address else self._name.encode("ascii")

    def refusal(self, connection: Connection) -> Refusal | None:
        """Return why the certificate of the peer is none of this name's; None where it is one."""
        try:
            certificate = connection.get_peer_certificate(as_cryptography=True)
            assert certificate is not None
            hosts = _hosts(certificate)
            if not hosts:
                return Refusal(Outcome.TLS_NO_SAN, "the certificate's subjectAltName names no host", _NO_NAME)
            verify = verify_ip_address if self._is_address else verify_hostname
            verify(connection, self._name)
        except ExtensionNotFound:
            return Refusal(Outcome.TLS_NO_SAN, "the certificate has no subjectAltName", _NO_NAME)
        except VerificationError:
            said = f"the certificate is for {_listed(hosts)}, not for {self._name}"
            return Refusal(Outcome.TLS_WRONG_NAME, said, "reference identifier")
        except Exception as problem:  # what cannot be verified is refused, whatever the reason
            said = f"the certificate's names cannot be read: {_printable(str(problem))}"
            return Refusal(Outcome.TLS_CERTIFICATE_INVALID, said, _NO_NAME)
        return None


def certificate_facts(connection: Connection, shown: X509 | None = None) -> CertificateFacts | None:
    """Return what the server's certificate says, verified or not; None where it cannot be read, or there is none.

    While the chain is being verified, the certificate is in the chain alone. Where not even there, it is `shown`.
    """
    try:
        chain = connection.get_peer_cert_chain(as_cryptography=True)
        if chain:
            return _facts(chain[0])
        return None if shown is None else _facts(shown.to_cryptography())
    except Exception:  # what a peer wrote into its certificate must not cost the verdict on it
        return None


def _facts(certificate: Certificate) -> CertificateFacts:
    try:
        hosts = _hosts(certificate)
    except ExtensionNotFound:
        hosts = []
    return CertificateFacts(
        subject=_printable(certificate.subject.rfc4514_string()),
        names=tuple(map(_printable, hosts)),
        issuer=_printable(certificate.issuer.rfc4514_string()),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        fingerprint=certificate.fingerprint(SHA256()).hex(),
    )


def chain_refusal(certificate: X509, number: int, depth: int) -> Refusal:
    """Return what the X509 error `number` amounts to; at `depth` 0 is the server's certificate, above it issuers."""
    whose = "the certificate" if depth == 0 else "the certificate of an issuer"
    check = _WORDS.get(number, f"OpenSSL error {number}")
    if number == X509VerificationCodes.ERR_CERT_HAS_EXPIRED:
        return Refusal(Outcome.TLS_EXPIRED, f"{whose} expired on {_date(certificate.get_notAfter())}", check)
    if number == X509VerificationCodes.ERR_CERT_NOT_YET_VALID:
        said = f"{whose} is not valid before {_date(certificate.get_notBefore())}"
        return Refusal(Outcome.TLS_NOT_YET_VALID, said, check)
    if number in _UNTRUSTED:
        return Refusal(Outcome.TLS_UNTRUSTED, f"the certificate's issuer is not trusted: {_UNTRUSTED[number]}", check)
    return Refusal(Outcome.TLS_CERTIFICATE_INVALID, f"{whose} is invalid: {check}", check)


def _hosts(certificate: Certificate) -> list[str]:
    """Return the host names and addresses of the subjectAltName. Raises ExtensionNotFound, or ValueError."""
    names = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
    return [*names.get_values_for_type(DNSName), *map(str, names.get_values_for_type(IPAddress))]


def _date(asn1: bytes | None) -> str:
    """Return the day of an ASN.1 GENERALIZEDTIME: 20261122103000Z."""
    digits = (asn1 or b"").decode("ascii", "replace")
    return f"{digits[:4]}-{digits[4:6]}-{digits[6:8]}"


def _listed(names: list[str]) -> str:
    shown = ", ".join(map(_printable, names[:_NAMES_SHOWN]))
    more = len(names) - _NAMES_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def _printable(text: str) -> str:
    """Return what a peer wrote as one line that moves no cursor."""
    return "".join(c if c.isprintable() else "?" for c in text)
