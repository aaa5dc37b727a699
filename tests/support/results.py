"""Results of probes, as values."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from echod.client.outcomes import (
    Attempt,
    CertificateFacts,
    KernelFacts,
    Outcome,
    PhaseTimes,
    ProbeResult,
    Step,
    TLSSession,
)
from echod.common.addresses import HostPort

STARTED = datetime(2026, 11, 23, 7, 30, 1, 250, tzinfo=UTC)


def echoed(microseconds: int = 12_346, sequence: int = 1, **more: Any) -> ProbeResult:
    """Return the result of a probe whose record was back after `microseconds`."""
    return replace(
        ProbeResult(
            target=HostPort("localhost", 3005),
            outcome=Outcome.ECHOED,
            step=Step.ECHO,
            sequence=sequence,
            started=STARTED,
            times=PhaseTimes(connect=200, echo=microseconds),
            address=HostPort("::1", 3005),
            size=250,
            received=250,
        ),
        **more,
    )


def lost(outcome: Outcome = Outcome.REFUSED, step: Step = Step.CONNECT, sequence: int = 1, **more: Any) -> ProbeResult:
    """Return the result of a probe that failed."""
    changes: dict[str, Any] = {"times": PhaseTimes(), "received": 0, "detail": "connection refused"} | more
    return echoed(sequence=sequence, outcome=outcome, step=step, **changes)


CERTIFICATE = CertificateFacts(
    subject="CN=echo.example",
    names=("echo.example", "192.0.2.1"),
    issuer="CN=an authority",
    not_before=datetime(2026, 1, 1, tzinfo=UTC),
    not_after=datetime(2027, 1, 1, 12, 30, tzinfo=UTC),
    fingerprint="ab" * 32,
)

FULL = echoed(
    sequence=7,
    times=PhaseTimes(resolve=1_200, connect=250_300, tls=4_100, idle=1_000_000, first_byte=500, echo=539, close=90),
    source=HostPort("::1", 50_000),
    attempts=(
        Attempt(
            address=HostPort("192.0.2.1", 3005),
            outcome=Outcome.REFUSED,
            won=False,
            started=1_200,
            time=300,
            detail="connection refused",
        ),
        Attempt(address=HostPort("192.0.2.2", 3005), outcome=None, won=False, started=101_200, time=150_000),
        Attempt(address=HostPort("::1", 3005), outcome=None, won=True, started=201_200, time=50_000),
    ),
    reconnected=True,
    tls=TLSSession(version="TLSv1.3", cipher="TLS_AES_256_GCM_SHA384", certificate=CERTIFICATE),
    kernel=KernelFacts(rtt=45, rtt_variation=22, min_rtt=40, retransmits=1, mss=65_483, path_mtu=65_535),
)
"""An echo with all fields set."""

CORRUPT = lost(
    Outcome.CORRUPT,
    Step.ECHO,
    times=PhaseTimes(connect=200, first_byte=300),
    received=100,
    offset=17,
    detail="the byte at offset 17 is not what was sent",
)

UNTRUSTED = lost(
    Outcome.TLS_UNTRUSTED,
    Step.TLS,
    times=PhaseTimes(connect=200),
    tls=TLSSession(certificate=CERTIFICATE, failed_check="self-signed certificate"),
    kernel=KernelFacts(rtt=45, rtt_variation=22, min_rtt=None, retransmits=0, mss=1448, path_mtu=1500),
    detail="the certificate's issuer is not trusted: self-signed certificate",
)
