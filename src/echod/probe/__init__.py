"""Floor 1: the client. One probe (`probe`), and runs of many (`run`).

From another Twisted program:

    from echod.probe import probe, target
    result = await probe(reactor, target("echo.example.net", 3005), payload=os.urandom(250), timeout=5)
"""

from echod.core.outcomes import Outcome, ProbeResult, Step
from echod.probe.one import IProbeReactor, probe, target

__all__ = ["IProbeReactor", "Outcome", "ProbeResult", "Step", "probe", "target"]
