"""Twisted's own tests of TCP and TLS transports and of descriptor sets, against the fast transport.

They run under trial only: each test replaces the global reactor by its own.
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
"""The test builders that create listeners or connect to one. Not included are:

- test_tcp.AdoptStreamConnectionTestsBuilder, test_socket.AdoptStreamConnectionErrorsTestsBuilder: adopted connections
  without a listener are served by the reactor.
- test_tcp.TestBindAddressBuilder, test_socket.AdoptDatagramPortErrorsTestsBuilder: clients and datagrams, without a
  listener.
- The classes of test_tcp and test_tls that are not builders: they test Twisted's classes with fakes, without a reactor.
"""

LEFT_OUT = {
    "test_logPrefix": (
        "Twisted logs the messages of an application under the name of the connection that called it. The logging "
        "context for that takes time at each event. The fast transport has none; it logs errors under that name"
    ),
    "test_lostFileDescriptor": (
        "epoll(7) reports no event for a descriptor that is closed in all processes, so Twisted skips this test for "
        "its own epoll reactor too; tests/live/test_transport.py tests lost descriptors with events"
    ),
}
"""Tests that are skipped, with the reasons."""


def _left_out(reason: str) -> Callable[[Any], None]:
    def test(self: Any) -> None:
        """Skipped, with the reason."""

    test.skip = reason  # type: ignore[attr-defined]  # the attribute that trial reads
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
