"""The OpenSSL context that server and client have in common."""

from OpenSSL import SSL
from OpenSSL._util import lib  # pyOpenSSL 26.4 has no public name for SSL_CTX_set1_curves_list(3)

from echod.common.errors import ConfigurationError
from echod.tls.pem import load_certificates, load_key

__all__ = ["limit_groups", "new_context", "show_certificate"]

CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20"
"""TLS 1.2 suites with forward secrecy and authenticated encryption (RFC 9325 section 4.2); all of TLS 1.3 have both."""

GROUPS = b"X25519:prime256v1:secp384r1"
"""The groups of the key exchange in Mozilla's intermediate profile (Server Side TLS 5.7)."""


def new_context(method: int) -> SSL.Context:
    """Return a context for TLS 1.2 and newer; `method` is `SSL.TLS_SERVER_METHOD` or `SSL.TLS_CLIENT_METHOD`."""
    context = SSL.Context(method)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_cipher_list(CIPHERS)
    # OpenSSL keeps 33 KiB of buffers for each connection otherwise, also while it is idle.
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    return context


def limit_groups(context: SSL.Context) -> None:
    """Accept only `GROUPS` for the key exchange.

    For servers alone: a probe has to reach servers that offer other groups. Only cryptography 48 and newer have the
    function; with an older one OpenSSL's own groups remain, X448 and secp521r1 among them.
    """
    set_groups = getattr(lib, "SSL_CTX_set1_curves_list", None)
    if set_groups is not None:
        accepted = set_groups(context._context, GROUPS)  # noqa: SLF001 - see the import
        assert accepted == 1, "OpenSSL knows the groups"


def show_certificate(context: SSL.Context, path: str, key_path: str | None) -> None:
    """Make the context present the certificate in the file `path`, followed by its chain.

    The key is in the file `key_path`, or in the same file if that is None. Raises ConfigurationError with the name of
    the option: tls-certificate or tls-key.
    """
    certificate, *chain = load_certificates("tls-certificate", path)
    key_path = key_path or path
    key = load_key("tls-key" if key_path != path else "tls-certificate", key_path)
    try:
        context.use_certificate(certificate)
        for intermediate in chain:
            context.add_extra_chain_cert(intermediate)
    except SSL.Error as problem:
        raise ConfigurationError(f"tls-certificate: OpenSSL rejects {path}: {problem.args[0][-1][-1]}") from None
    try:
        context.use_privatekey(key)  # type: ignore[arg-type]  # it raises TypeError for other key types
        context.check_privatekey()
    except SSL.Error:
        raise ConfigurationError(f"tls-key: {key_path} is not the key of the certificate") from None
    except TypeError:
        raise ConfigurationError(f"tls-key: {key_path} has a key type that TLS does not support") from None
