"""Twisted's own tests of TCP and TLS transports and of descriptor sets, against the fast transport.

Run under trial alone: each test puts a reactor of its own in the place of the global one.
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.test import test_fdset, test_socket, test_tcp, test_tls

__all__: list[str] = []

LISTENING = {
    test_tcp: (
        "TCP4ClientTestsBuilder",
        "TCP6ClientTestsBuilder",
        "TCPPortTestsBuilder",
        "TCPFDPortTestsBuilder",
        "TCPConnectionTestsBuilder",
        "TCP4ConnectorTestsBuilder",
        "TCP6ConnectorTestsBuilder",
        "TCPTransportTestsBuilder",
        "AbortConnectionTests",
    ),
    test_tls: (
        "SSLClientTestsMixin",
        "StartTLSClientTestsMixin",
        "TLSPortTestsBuilder",
        "AbortSSLConnectionTests",
    ),
    test_socket: ("IReactorSocketVerificationTestsBuilder", "AdoptStreamPortErrorsTestsBuilder"),
}
"""Those that make listeners or connect to one. All that Twisted has, but for these:

- test_tcp.AdoptStreamConnectionTestsBuilder, test_socket.AdoptStreamConnectionErrorsTestsBuilder: a connection that
  is adopted, and no listener, is the reactor's own.
- test_tcp.TestBindAddressBuilder, test_socket.AdoptDatagramPortErrorsTestsBuilder: of clients and datagrams, with no
  listener of ours in them.
- What test_tcp and test_tls have that is no builder: tests of Twisted's classes over fakes, without a reactor.
"""

CONTEXT = (
    "what an application logs while it is called carries the name of its connection in Twisted; the context which that "
    "takes, for each event, is what the fast transport does without (errors are logged under the name)"
)
OWN = "ours know by themselves when they are closed, so nobody looks before each event whether they still are theirs"
LEFT_OUT = {
    "test_logPrefix": CONTEXT,
    "test_lostFileDescriptor": OWN,
    "test_negativeOneFileDescriptor": OWN,
}


def _left_out(reason: str) -> Callable[[Any], None]:
    def test(self: Any) -> None:
        """Be skipped, with the reason."""

    test.skip = reason  # type: ignore[attr-defined]  # how trial is told
    return test


def _against(reactor: str, builder: type[Any]) -> dict[str, Any]:
    left_out = {name: _left_out(reason) for name, reason in LEFT_OUT.items() if hasattr(builder, name)}
    members = {"_reactors": [f"tests.conformance.reactors.{reactor}"], "__module__": __name__, **left_out}
    ours: Any = type(builder.__name__, (builder,), members)
    made: dict[str, Any] = ours.makeTestCaseClasses()
    return made


for _module, _names in LISTENING.items():
    for _name in _names:
        globals().update(_against("FastReactor", getattr(_module, _name)))
globals().update(_against("PollingReactor", test_fdset.ReactorFDSetTestsBuilder))
