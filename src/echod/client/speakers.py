"""Who answers in an echo server's place, told by the first bytes that came."""

__all__ = ["speaker"]

_BEGINNINGS = {
    b"HTTP/": "an HTTP server",  # RFC 9112 section 4
    b"SSH-": "an SSH server",  # RFC 4253 section 4.2
    b"220 ": "an SMTP or FTP server",  # RFC 5321 section 4.2, RFC 959 section 4.2
    b"220-": "an SMTP or FTP server",
    b"* OK": "an IMAP server",  # RFC 9051 section 7.1.1
    b"+OK": "a POP3 server",  # RFC 1939 section 3
}

_TLS_TYPES = range(20, 24)
"""ContentType of RFC 8446 section 5.1: change_cipher_spec, alert, handshake, application_data."""

_TLS_VERSIONS = range(5)
"""The minor numbers of legacy_record_version, from SSL 3.0 up; the major one is always 3."""


def speaker(came: bytes) -> str | None:
    """Return who begins to speak with the bytes `came`; None where that cannot be told."""
    for beginning, who in _BEGINNINGS.items():
        if came.startswith(beginning):
            return who
    if len(came) > 2 and came[0] in _TLS_TYPES and came[1] == 3 and came[2] in _TLS_VERSIONS:  # noqa: PLR2004  # above
        return "a TLS server"
    return None
