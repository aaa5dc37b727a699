"""The kinds of broken paths, and how each is told: one that is told like another cannot be told from it."""

import re
from dataclasses import dataclass

from echod.client.outcomes import Outcome, Step

__all__ = ["KINDS", "Told", "kinds_of"]


@dataclass(frozen=True)
class Told:
    """How a broken path is told of."""

    outcome: Outcome
    step: Step
    sentence: str
    """A regular expression for the whole of it."""

    def fits(self, outcome: Outcome, step: Step, detail: str) -> bool:
        return (outcome, step) == (self.outcome, self.step) and re.fullmatch(self.sentence, detail) is not None


KINDS = {
    # The name
    "unknown name": Told(Outcome.RESOLVE_FAILED, Step.RESOLVE, "no address for this name"),
    "silent resolver": Told(Outcome.TIMEOUT, Step.RESOLVE, "no answer from the resolver within 0.2 s"),
    # The way there
    "refused": Told(Outcome.REFUSED, Step.CONNECT, "connection refused"),
    "black hole": Told(Outcome.CONNECT_TIMEOUT, Step.CONNECT, "no answer within 0.2 s"),
    "no route": Told(Outcome.UNREACHABLE, Step.CONNECT, "network is unreachable"),
    "no such host": Told(Outcome.UNREACHABLE, Step.CONNECT, "no route to host"),
    "forbidden": Told(Outcome.UNREACHABLE, Step.CONNECT, "a firewall or a route of this host forbids it"),
    "blackhole route": Told(
        Outcome.UNREACHABLE,
        Step.CONNECT,
        "no route: a blackhole route, or a link-local address without its interface",
    ),
    "no such interface": Told(Outcome.UNREACHABLE, Step.CONNECT, "no such interface"),
    "foreign source address": Told(
        Outcome.CONNECT_FAILED, Step.CONNECT, "the source address is not this host's"
    ),
    # TLS
    "plain echo server": Told(Outcome.TLS_FAILED, Step.TLS, "what answers is an echo server without TLS"),
    "no TLS": Told(Outcome.TLS_FAILED, Step.TLS, "what answers does not speak TLS"),
    "nothing in common": Told(Outcome.TLS_FAILED, Step.TLS, "the server broke it off: handshake failure"),
    "handshake closed": Told(Outcome.TLS_FAILED, Step.TLS, "the connection was closed by the peer"),
    "handshake reset": Told(Outcome.TLS_FAILED, Step.TLS, "the connection was reset"),
    "handshake silent": Told(Outcome.TIMEOUT, Step.TLS, "it was not complete after 0.2 s"),
    "expired": Told(Outcome.TLS_EXPIRED, Step.TLS, r"the certificate expired on \d{4}-\d\d-\d\d"),
    "not yet valid": Told(Outcome.TLS_NOT_YET_VALID, Step.TLS, r"the certificate is not valid before \d{4}-\d\d-\d\d"),
    "wrong authority": Told(
        Outcome.TLS_UNTRUSTED,
        Step.TLS,
        "the certificate's issuer is not trusted: its certificate is not among the trusted ones",
    ),
    "self-signed": Told(
        Outcome.TLS_UNTRUSTED, Step.TLS, "the certificate's issuer is not trusted: self-signed certificate"
    ),
    "no subjectAltName": Told(Outcome.TLS_NO_SAN, Step.TLS, "the certificate has no subjectAltName"),
    "wrong name": Told(Outcome.TLS_WRONG_NAME, Step.TLS, "the certificate is for a.example, not for localhost"),
    "client certificate missing": Told(
        Outcome.TLS_CLIENT_CERTIFICATE, Step.TLS, "the server wants a client certificate: .+"
    ),
    "client certificate refused": Told(
        Outcome.TLS_CLIENT_CERTIFICATE, Step.TLS, "the server refused the client certificate: unknown ca"
    ),
    # The silence before the record
    "reset in silence": Told(Outcome.RESET, Step.IDLE, r"connection reset after \S+ s of silence"),
    "closed in silence": Told(Outcome.CLOSED_EARLY, Step.IDLE, r"closed by the peer after \S+ s of silence"),
    "forgotten in silence": Told(
        Outcome.TIMEOUT,
        Step.ECHO,
        r"0 of 250 bytes were back after \S+ s; the connection had been silent for \S+ s before",
    ),
    "forgotten and reset": Told(
        Outcome.RESET,
        Step.ECHO,
        r"connection reset after 0 of 250 bytes; the connection had been silent for \S+ s before",
    ),
    # The echo
    "reset at once but told late": Told(Outcome.RESET, Step.ECHO, "connection reset after 0 of 250 bytes"),
    "reset at once": Told(Outcome.RESET, Step.CONNECT, "connection reset as soon as it was established"),
    "reset after 100 bytes": Told(Outcome.RESET, Step.ECHO, "connection reset after 100 of 250 bytes"),
    "closed after 0 bytes": Told(Outcome.CLOSED_EARLY, Step.ECHO, "closed by the peer after 0 of 250 bytes"),
    "closed after 1 byte": Told(Outcome.CLOSED_EARLY, Step.ECHO, "closed by the peer after 1 of 250 bytes"),
    "closed after 249 bytes": Told(Outcome.CLOSED_EARLY, Step.ECHO, "closed by the peer after 249 of 250 bytes"),
    "swallowed": Told(Outcome.TIMEOUT, Step.ECHO, r"0 of 250 bytes were back after 0.2 s"),
    "stuck after 99 bytes": Told(Outcome.TIMEOUT, Step.ECHO, "99 of 250 bytes were back after 0.2 s"),
    "first byte changed": Told(Outcome.CORRUPT, Step.ECHO, "the byte at offset 0 is not what was sent"),
    "header changed": Told(Outcome.CORRUPT, Step.ECHO, "the byte at offset 23 is not what was sent"),
    "middle byte changed": Told(Outcome.CORRUPT, Step.ECHO, "the byte at offset 125 is not what was sent"),
    "last byte changed": Told(Outcome.CORRUPT, Step.ECHO, "the byte at offset 249 is not what was sent"),
    "one byte too many": Told(
        Outcome.CORRUPT, Step.ECHO, "more came back than was sent: the byte at offset 250 is one too many"
    ),
    "truncated": Told(Outcome.CORRUPT, Step.ECHO, "the record ends after 99 of 250 bytes, and record 2 follows"),
    "record of another run": Told(Outcome.FOREIGN, Step.ECHO, "a record of another run came back"),
    "record from before": Told(Outcome.STALE, Step.ECHO, "record 1 of this run came back instead"),
    "overtaken": Told(
        Outcome.REORDERED, Step.ECHO, "it came back before record 1, which was sent earlier"
    ),
    # Another service
    "HTTP server": Told(
        Outcome.CORRUPT, Step.ECHO, "the byte at offset 0 is not what was sent: an HTTP server answers"
    ),
    "SMTP banner": Told(
        Outcome.CORRUPT, Step.ECHO, "the byte at offset 0 is not what was sent: an SMTP or FTP server answers"
    ),
    "SMTP banner in silence": Told(
        Outcome.CORRUPT,
        Step.ECHO,
        "something came back before the record was sent: an SMTP or FTP server answers",
    ),
    "SSH server": Told(
        Outcome.CORRUPT, Step.ECHO, "the byte at offset 0 is not what was sent: an SSH server answers"
    ),
    "TLS server": Told(
        Outcome.CORRUPT, Step.ECHO, "the byte at offset 0 is not what was sent: a TLS server answers"
    ),
}  # fmt: skip
"""By what is broken. Where a path takes one of several turns, which is the kernel's choice, each is a kind."""


def kinds_of(outcome: Outcome, step: Step, detail: str) -> set[str]:
    """Return the kinds of paths that are told of in this way: one, or they cannot be told apart."""
    return {name for name, told in KINDS.items() if told.fits(outcome, step, detail)}
