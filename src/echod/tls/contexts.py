"""OpenSSL contexts, as both sides begin them."""

from OpenSSL import SSL

from echod.common.errors import ConfigurationError
from echod.tls.pem import load_certificates, load_key

__all__ = ["new_context", "show_certificate"]

CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20"
"""For TLS 1.2: forward secrecy and authenticated encryption only (RFC 9325 section 4.2). TLS 1.3 has no others."""


def new_context(method: int) -> SSL.Context:
    """Return a context for TLS 1.2 and newer; `method` is `SSL.TLS_SERVER_METHOD` or `SSL.TLS_CLIENT_METHOD`."""
    context = SSL.Context(method)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_cipher_list(CIPHERS)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    return context


def show_certificate(context: SSL.Context, path: str, key_path: str | None) -> None:
    """Let the context show the certificate in the file `path`, its chain after it.

    The key is in the file `key_path`, or with None in the same. Raises ConfigurationError, which names the
    options tls-certificate and tls-key.
    """
    certificate, *chain = load_certificates("tls-certificate", path)
    key_path = key_path or path
    key = load_key("tls-key" if key_path != path else "tls-certificate", key_path)
    try:
        context.use_certificate(certificate)
        for each in chain:
            context.add_extra_chain_cert(each)
    except SSL.Error as problem:
        raise ConfigurationError(f"tls-certificate: OpenSSL refuses {path}: {problem.args[0][-1][-1]}") from None
    try:
        context.use_privatekey(key)  # type: ignore[arg-type]  # what it does not take, it raises TypeError for
        context.check_privatekey()
    except SSL.Error:
        raise ConfigurationError(f"tls-key: {key_path} is not the certificate's key") from None
    except TypeError:
        raise ConfigurationError(f"tls-key: {key_path} is of a kind that TLS has no use for") from None
