"""Floor 2: the client. One probe (`probe`), record after record on one connection (`Session`), runs of many (`run`).

From another Twisted program:

    from echod.probe import probe, target
    result = await probe(reactor, target("echo.example.net", 3005), payload=os.urandom(250), timeout=5)

and over TLS with `tls=ClientTLSContext(ClientTLS())`, which is made once and serves any number of probes.
docs/library.md has more of it.
"""

from typing import TYPE_CHECKING, Any

from echod.client.attempts import IProbeReactor
from echod.client.config import ClientTLS
from echod.client.deadline import Clocks
from echod.client.outcomes import Outcome, PhaseTimes, ProbeResult, Step
from echod.client.probe import probe, target
from echod.client.record import Record, described
from echod.client.route import Family, Route
from echod.client.session import Session
from echod.ping.config import PingConfiguration
from echod.ping.prober import prepare_run
from echod.ping.run import ProbeRun

if TYPE_CHECKING:
    from echod.client.tls import ClientTLSContext

__all__ = [
    "ClientTLS",
    "ClientTLSContext",
    "Clocks",
    "Family",
    "IProbeReactor",
    "Outcome",
    "PhaseTimes",
    "PingConfiguration",
    "ProbeResult",
    "ProbeRun",
    "Record",
    "Route",
    "Session",
    "Step",
    "described",
    "prepare_run",
    "probe",
    "target",
]


def __getattr__(name: str) -> Any:
    """Import our side of TLS when it is asked for. OpenSSL is there by then: Twisted's endpoints bring it along."""
    if name == "ClientTLSContext":
        from echod.client.tls import ClientTLSContext

        return ClientTLSContext
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
