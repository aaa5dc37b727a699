"""The probes of each tick of a run, and their addresses."""

from typing import Any, cast

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from echod.client.outcomes import Outcome, ProbeResult, Step
from echod.client.record import described_records, read_header
from echod.common.errors import ConfigurationError
from echod.ping.run import RunSummary
from echod.probe import Clocks, PingConfiguration, ProbeRun, prepare_run, target
from tests.support.clocks import StrictReactor
from tests.support.memory import MemoryResolver, MemoryTransport

V6 = IPv6Address("TCP", "2001:db8::1", 3005)
V4 = IPv4Address("TCP", "192.0.2.1", 3005)


class ProberTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = cast("Any", StrictReactor())
        self.resolver = MemoryResolver([V6, V4])
        self.reactor.installNameResolver(self.resolver)
        self.results: list[ProbeResult] = []
        self.addCleanup(lambda: self.assertEqual(self.reactor.getDelayedCalls(), []))

    def start(self, host: str = "2001:db8::1", **options: Any) -> "Deferred[RunSummary]":
        self.running: ProbeRun = prepare_run(
            self.reactor,
            target(host),
            PingConfiguration(**options),
            described_records(7),
            self.results.append,
            clocks=Clocks(self.reactor.seconds, lambda: 1_800_000_000.0),
        )
        return self.running.start()

    def accept(self, number: int = -1) -> MemoryTransport:
        host, port, factory = self.reactor.tcpClients[number][:3]
        peer = IPv6Address("TCP", host, port) if ":" in host else IPv4Address("TCP", host, port)
        transport = MemoryTransport()
        transport.peerAddr = peer
        transport.connect(factory.buildProtocol(peer))
        return transport

    def echo(self, transport: MemoryTransport) -> bytes:
        record: bytes = transport.value()
        transport.clear()
        transport.receive(record)
        return record

    def refuse(self, number: int) -> None:
        failure = Failure(ConnectionRefusedError())
        self.reactor.tcpClients[number][2].clientConnectionFailed(self.reactor.connectors[number], failure)

    def test_records_have_headers(self) -> None:
        done = self.start(count=2)
        for n in (1, 2):
            header = read_header(self.echo(self.accept()))
            assert header is not None
            self.assertEqual((header.run, header.sequence, header.size), (7, n, 250))
            self.assertEqual(header.made, 1_800_000_000_000_000)
            self.reactor.advance(1)
        self.assertEqual(self.successResultOf(done).echoed, 2)
        self.assertEqual([result.sequence for result in self.results], [1, 2])

    def test_a_sweep_takes_each_size_in_turn(self) -> None:
        done = self.start(sweep=range(100, 301, 100), count=2, interval=0.0)
        for _ in range(6):
            self.echo(self.accept())
            self.reactor.advance(0)
        self.assertEqual([result.size for result in self.results], [100, 200, 300] * 2)
        self.assertEqual(self.successResultOf(done).echoed, 6)

    def test_a_kept_connection_is_closed_at_the_end(self) -> None:
        done = self.start(keep_alive=True, count=2)
        transport = self.accept()
        self.echo(transport)
        self.reactor.advance(1)
        self.assertIsNone(transport.over)
        self.echo(transport)
        self.assertEqual(self.successResultOf(done).echoed, 2)
        self.assertIsNotNone(transport.over)
        self.assertEqual(len(self.reactor.tcpClients), 1)

    def test_an_interrupt_closes_the_kept_connection(self) -> None:
        done = self.start(keep_alive=True)
        transport = self.accept()
        self.echo(transport)
        self.running.interrupt()
        self.assertEqual(self.successResultOf(done).sent, 1)
        self.assertIsNotNone(transport.over)

    def test_each_address_by_itself(self) -> None:
        done = self.start("echo.example", each_address=True, count=2)
        for n in (0, 2):
            self.assertEqual([c[0] for c in self.reactor.tcpClients[n:]], ["2001:db8::1", "192.0.2.1"])
            self.refuse(n)
            self.echo(self.accept(n + 1))
            self.reactor.advance(1)
        summary = self.successResultOf(done)
        self.assertEqual((summary.sent, summary.echoed, summary.lost), (4, 2, 2))
        self.assertEqual(
            [(result.sequence, result.target.host, result.address, result.outcome) for result in self.results],
            [
                (n, "echo.example", target(host), outcome)
                for n in (1, 2)
                for host, outcome in (("2001:db8::1", Outcome.REFUSED), ("192.0.2.1", Outcome.ECHOED))
            ],
        )
        self.assertTrue(all(result.times.resolve == 0 for result in self.results))

    def test_each_address_keeps_its_own_connection(self) -> None:
        self.start("echo.example", each_address=True, keep_alive=True, interval=1.0)
        kept = [self.accept(0), self.accept(1)]
        for transport in kept:
            self.echo(transport)
        self.reactor.advance(1)
        for transport in kept:
            self.echo(transport)
        self.assertEqual(len(self.reactor.tcpClients), 2)
        self.assertEqual([result.sequence for result in self.results], [1, 1, 2, 2])
        self.running.interrupt()

    def test_each_address_of_one_family(self) -> None:
        self.start("echo.example", each_address=True, ipv4=True)
        self.assertEqual([c[0] for c in self.reactor.tcpClients], ["192.0.2.1"])
        self.running.interrupt()

    def test_each_address_of_a_literal(self) -> None:
        self.start("192.0.2.1", each_address=True, count=1)
        self.refuse(0)
        self.assertIsNone(self.results[0].times.resolve)

    def test_each_address_of_a_name_without_any(self) -> None:
        self.resolver.addresses = []
        done = self.start("nosuch.example", each_address=True, count=1)
        self.assertEqual(self.successResultOf(done).lost, 1)
        self.assertEqual((self.results[0].outcome, self.results[0].step), (Outcome.RESOLVE_FAILED, Step.RESOLVE))

    def test_each_address_of_an_impossible_name(self) -> None:
        self.start("ü_x.example", each_address=True, count=1)
        self.assertEqual(self.results[0].outcome, Outcome.RESOLVE_FAILED)

    def test_each_address_without_an_answer_of_the_resolver(self) -> None:
        self.resolver.at_once = False
        done = self.start("slow.example", each_address=True, count=1, timeout=3.0)
        self.reactor.advance(3)
        self.assertEqual(self.successResultOf(done).lost, 1)
        self.assertEqual((self.results[0].outcome, self.results[0].step), (Outcome.TIMEOUT, Step.RESOLVE))
        self.resolver.answer()  # too late, and without effect

    def test_each_address_within_one_timeout(self) -> None:
        self.resolver.at_once = False
        self.start("slow.example", each_address=True, count=1, timeout=3.0)
        self.reactor.advance(2)
        self.resolver.answer()
        self.reactor.advance(1)
        self.assertEqual([result.outcome for result in self.results], [Outcome.CONNECT_TIMEOUT] * 2)
        self.assertEqual([result.times.resolve for result in self.results], [2_000_000] * 2)

    def test_each_address_with_an_answer_read_after_the_timeout(self) -> None:
        self.resolver.at_once = False
        done = self.start("slow.example", each_address=True, count=1, timeout=3.0)
        self.reactor.block(4)
        self.resolver.answer()
        self.reactor.advance(0)
        self.assertEqual([result.outcome for result in self.results], [Outcome.CONNECT_TIMEOUT] * 2)
        self.assertEqual([result.times.resolve for result in self.results], [4_000_000] * 2)
        self.assertEqual(self.successResultOf(done).lost, 2)

    def test_interrupted_while_resolving(self) -> None:
        self.resolver.at_once = False
        done = self.start("slow.example", each_address=True)
        self.running.interrupt()
        self.assertEqual(self.successResultOf(done).unfinished, 1)
        self.assertEqual(self.results, [])

    def test_a_literal_of_the_other_family(self) -> None:
        with self.assertRaises(ConfigurationError):
            self.start(ipv4=True)
