"""Floor 2: the client. One probe (`probe`), and runs of many (`run`).

From another Twisted program:

    from echod.probe import probe, target
    result = await probe(reactor, target("echo.example.net", 3005), payload=os.urandom(250), timeout=5)

and over TLS with `tls=ClientTLSContext(ClientTLS())`, which is made once and serves any number of probes.
"""

from echod.core.configuration import ClientTLS
from echod.core.outcomes import Outcome, ProbeResult, Step
from echod.probe.one import IProbeReactor, probe, target
from echod.probe.tls import ClientTLSContext

__all__ = ["ClientTLS", "ClientTLSContext", "IProbeReactor", "Outcome", "ProbeResult", "Step", "probe", "target"]
