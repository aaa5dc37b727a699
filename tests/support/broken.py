"""The kinds of broken paths, and the diagnosis of each. No two kinds have the same."""

import re
from dataclasses import dataclass

from echod.client.outcomes import Outcome, Step

__all__ = ["KINDS", "Diagnosis", "kinds_of"]


@dataclass(frozen=True)
class Diagnosis:
    """The outcome, step and detail that a probe reports for a broken path."""

    outcome: Outcome
    step: Step
    detail: str
    """A regular expression that matches the whole detail."""

    def matches(self, outcome: Outcome, step: Step, detail: str) -> bool:
        return (outcome, step) == (self.outcome, self.step) and re.fullmatch(self.detail, detail) is not None


KINDS = {
    # The name
    "unknown name": Diagnosis(Outcome.RESOLVE_FAILED, Step.RESOLVE, "no address for this name"),
    "silent resolver": Diagnosis(Outcome.TIMEOUT, Step.RESOLVE, "no answer from the resolver within 0.2 s"),
    # The path
    "refused": Diagnosis(Outcome.REFUSED, Step.CONNECT, "connection refused"),
    "black hole": Diagnosis(Outcome.CONNECT_TIMEOUT, Step.CONNECT, "no answer within 0.2 s"),
    "no route": Diagnosis(Outcome.UNREACHABLE, Step.CONNECT, "network is unreachable"),
    "no such host": Diagnosis(Outcome.UNREACHABLE, Step.CONNECT, "no route to host"),
    "forbidden": Diagnosis(Outcome.UNREACHABLE, Step.CONNECT, "a firewall or a route of this host forbids it"),
    "blackhole route": Diagnosis(
        Outcome.UNREACHABLE,
        Step.CONNECT,
        "no route: a blackhole route, or a link-local address without its interface",
    ),
    "no such interface": Diagnosis(Outcome.UNREACHABLE, Step.CONNECT, "no such interface"),
    "foreign source address": Diagnosis(
        Outcome.CONNECT_FAILED, Step.CONNECT, "the source address is not this host's"
    ),
    # TLS
    "plain echo server": Diagnosis(Outcome.TLS_FAILED, Step.TLS, "the peer is an echo server without TLS"),
    "no TLS": Diagnosis(Outcome.TLS_FAILED, Step.TLS, "the peer does not speak TLS"),
    "nothing in common": Diagnosis(Outcome.TLS_FAILED, Step.TLS, "the server ended the handshake: handshake failure"),
    "handshake closed": Diagnosis(Outcome.TLS_FAILED, Step.TLS, "the connection was closed by the peer"),
    "handshake reset": Diagnosis(Outcome.TLS_FAILED, Step.TLS, "the connection was reset"),
    "handshake silent": Diagnosis(Outcome.TIMEOUT, Step.TLS, "it was not complete after 0.2 s"),
    "expired": Diagnosis(Outcome.TLS_EXPIRED, Step.TLS, r"the certificate expired on \d{4}-\d\d-\d\d"),
    "not yet valid": Diagnosis(
        Outcome.TLS_NOT_YET_VALID, Step.TLS, r"the certificate is not valid before \d{4}-\d\d-\d\d"
    ),
    "wrong authority": Diagnosis(
        Outcome.TLS_UNTRUSTED,
        Step.TLS,
        "the certificate's issuer is not trusted: its certificate is not among the trusted ones",
    ),
    "self-signed": Diagnosis(
        Outcome.TLS_UNTRUSTED, Step.TLS, "the certificate's issuer is not trusted: self-signed certificate"
    ),
    "no subjectAltName": Diagnosis(Outcome.TLS_NO_SAN, Step.TLS, "the certificate has no subjectAltName"),
    "wrong name": Diagnosis(Outcome.TLS_WRONG_NAME, Step.TLS, "the certificate is for a.example, not for localhost"),
    "client certificate missing": Diagnosis(
        Outcome.TLS_CLIENT_CERTIFICATE, Step.TLS, "the server requires a client certificate: .+"
    ),
    "client certificate refused": Diagnosis(
        Outcome.TLS_CLIENT_CERTIFICATE, Step.TLS, "the server refused the client certificate: unknown ca"
    ),
    # The silence before the record
    "reset in silence": Diagnosis(Outcome.RESET, Step.IDLE, r"connection reset after \S+ s of silence"),
    "closed in silence": Diagnosis(Outcome.CLOSED_EARLY, Step.IDLE, r"closed by the peer after \S+ s of silence"),
    "forgotten in silence": Diagnosis(
        Outcome.TIMEOUT,
        Step.ECHO,
        r"0 of 250 bytes were back after \S+ s; the connection had been silent for \S+ s before",
    ),
    "forgotten and reset": Diagnosis(
        Outcome.RESET,
        Step.ECHO,
        r"connection reset after 0 of 250 bytes; the connection had been silent for \S+ s before",
    ),
    # The echo
    "reset at once but reported late": Diagnosis(Outcome.RESET, Step.ECHO, "connection reset after 0 of 250 bytes"),
    "reset at once": Diagnosis(Outcome.RESET, Step.CONNECT, "connection reset as soon as it was established"),
    "reset after 100 bytes": Diagnosis(Outcome.RESET, Step.ECHO, "connection reset after 100 of 250 bytes"),
    "closed after 0 bytes": Diagnosis(Outcome.CLOSED_EARLY, Step.ECHO, "closed by the peer after 0 of 250 bytes"),
    "closed after 1 byte": Diagnosis(Outcome.CLOSED_EARLY, Step.ECHO, "closed by the peer after 1 of 250 bytes"),
    "closed after 249 bytes": Diagnosis(Outcome.CLOSED_EARLY, Step.ECHO, "closed by the peer after 249 of 250 bytes"),
    "swallowed": Diagnosis(Outcome.TIMEOUT, Step.ECHO, r"0 of 250 bytes were back after 0.2 s"),
    "stuck after 99 bytes": Diagnosis(Outcome.TIMEOUT, Step.ECHO, "99 of 250 bytes were back after 0.2 s"),
    "first byte changed": Diagnosis(Outcome.CORRUPT, Step.ECHO, "the byte at offset 0 is not what was sent"),
    "header changed": Diagnosis(Outcome.CORRUPT, Step.ECHO, "the byte at offset 23 is not what was sent"),
    "middle byte changed": Diagnosis(Outcome.CORRUPT, Step.ECHO, "the byte at offset 125 is not what was sent"),
    "last byte changed": Diagnosis(Outcome.CORRUPT, Step.ECHO, "the byte at offset 249 is not what was sent"),
    "one byte too many": Diagnosis(
        Outcome.CORRUPT, Step.ECHO, "more came back than was sent: the byte at offset 250 is one too many"
    ),
    "truncated": Diagnosis(Outcome.CORRUPT, Step.ECHO, "the record ends after 99 of 250 bytes, and record 2 follows"),
    "record of another run": Diagnosis(Outcome.FOREIGN, Step.ECHO, "a record of another run came back"),
    "record from before": Diagnosis(Outcome.STALE, Step.ECHO, "record 1 of this run came back instead"),
    "overtaken": Diagnosis(
        Outcome.REORDERED, Step.ECHO, "it came back before record 1, which was sent earlier"
    ),
    # Another service
    "HTTP server": Diagnosis(
        Outcome.CORRUPT, Step.ECHO, "the byte at offset 0 is not what was sent: an HTTP server answers"
    ),
    "SMTP banner": Diagnosis(
        Outcome.CORRUPT, Step.ECHO, "the byte at offset 0 is not what was sent: an SMTP or FTP server answers"
    ),
    "SMTP banner in silence": Diagnosis(
        Outcome.CORRUPT,
        Step.ECHO,
        "something came back before the record was sent: an SMTP or FTP server answers",
    ),
    "SSH server": Diagnosis(
        Outcome.CORRUPT, Step.ECHO, "the byte at offset 0 is not what was sent: an SSH server answers"
    ),
    "TLS server": Diagnosis(
        Outcome.CORRUPT, Step.ECHO, "the byte at offset 0 is not what was sent: a TLS server answers"
    ),
}  # fmt: skip
"""By kind. If the kernel decides between several diagnoses of a path, each is a kind."""


def kinds_of(outcome: Outcome, step: Step, detail: str) -> set[str]:
    """Return the kinds with this diagnosis; more than one cannot be distinguished."""
    return {name for name, diagnosis in KINDS.items() if diagnosis.matches(outcome, step, detail)}
