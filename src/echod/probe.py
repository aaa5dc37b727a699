"""The public API: one probe (`probe`), record after record on one connection (`Session`), runs (`prepare_run`).

From another Twisted program:

    from echod.probe import probe, target
    result = await probe(reactor, target("echo.example.net", 3005), payload=os.urandom(250), timeout=5)

and over TLS with `tls=ClientTLSContext(ClientTLS())`, which is made once and serves any number of probes.
docs/library.md describes all names.
"""

from typing import TYPE_CHECKING, Any

from echod.client.attempts import IProbeReactor
from echod.client.config import ClientTLS
from echod.client.deadline import Clocks
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
from echod.client.probe import probe, target
from echod.client.record import (
    Record,
    RecordSource,
    described,
    described_records,
    random_records,
    repeated_records,
    zero_records,
)
from echod.client.route import Family, Route
from echod.client.session import Session
from echod.common.addresses import HostPort
from echod.common.errors import ConfigurationError
from echod.ping.config import PingConfiguration
from echod.ping.prober import prepare_run
from echod.ping.run import ProbeRun, RunSummary

if TYPE_CHECKING:
    from echod.client.tls import ClientTLSContext

__all__ = [
    "Attempt",
    "CertificateFacts",
    "ClientTLS",
    "ClientTLSContext",
    "Clocks",
    "ConfigurationError",
    "Family",
    "HostPort",
    "IProbeReactor",
    "KernelFacts",
    "Outcome",
    "PhaseTimes",
    "PingConfiguration",
    "ProbeResult",
    "ProbeRun",
    "Record",
    "RecordSource",
    "Route",
    "RunSummary",
    "Session",
    "Step",
    "TLSSession",
    "described",
    "described_records",
    "prepare_run",
    "probe",
    "random_records",
    "repeated_records",
    "target",
    "zero_records",
]


def __getattr__(name: str) -> Any:
    """Import `ClientTLSContext` on first use: plain probes do without the verification of certificates."""
    if name == "ClientTLSContext":
        from echod.client.tls import ClientTLSContext

        return ClientTLSContext
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
