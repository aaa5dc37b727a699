"""A generator over memory transports."""

from typing import Any, cast

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionRefusedError
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from echod.client.deadline import Clocks
from echod.client.outcomes import Outcome
from echod.client.record import Record, described
from echod.client.route import Route
from echod.common.addresses import HostPort
from echod.load.config import LoadConfiguration, shares
from echod.load.generator import SWEEP_INTERVAL, Generator
from echod.load.statistics import Slice
from tests.support.clocks import StrictReactor
from tests.support.memory import MemoryTransport

PEER = IPv4Address("TCP", "192.0.2.1", 3005)


class GeneratorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = cast("Any", StrictReactor())
        self.slices: list[Slice] = []
        self.source_error: Exception | None = None
        self.addCleanup(lambda: self.assertEqual(self.reactor.getDelayedCalls(), []))

    def source(self, sequence: int, size: int, made: int) -> Record:
        error, self.source_error = self.source_error, None
        if error is not None:
            raise error
        return described(7, sequence, made, size)

    def generate(self, **options: Any) -> Generator:
        configuration = LoadConfiguration(**{"duration": 10.0, "connections": 1, **options})
        (share,) = shares(configuration, 1, configuration.rate)
        return Generator(
            self.reactor,
            Route(target=HostPort("192.0.2.1", 3005)),
            configuration,
            share,
            self.source,
            lambda: 0.5,
            self.slices.append,
            clocks=Clocks(self.reactor.seconds, self.reactor.seconds),
        )

    def accept(self, number: int = -1) -> MemoryTransport:
        transport = MemoryTransport()
        transport.connect(self.reactor.tcpClients[number][2].buildProtocol(PEER))
        return transport

    def echo(self, transport: MemoryTransport) -> None:
        record = transport.value()
        transport.clear()
        transport.receive(record)

    def outcomes(self) -> dict[Outcome, int]:
        return {outcome: count for part in self.slices for outcome, count in part.outcomes.items()}

    def details(self) -> dict[Outcome, str]:
        return {outcome: detail for part in self.slices for outcome, detail in part.details.items()}

    def test_a_closed_loop_keeps_its_connection(self) -> None:
        generator = self.generate(keep_alive=True)
        done = generator.start(0.0)
        self.reactor.advance(0)
        transport = self.accept()
        for _ in range(3):
            self.reactor.advance(0.01)
            self.echo(transport)
        self.reactor.advance(0.001)
        generator.stop()
        self.assertEqual(self.successResultOf(done), 1)
        self.assertEqual(self.outcomes(), {Outcome.ECHOED: 3})
        self.assertEqual(self.slices[0].service, {10_000: 3})
        self.assertEqual(len(self.reactor.tcpClients), 1)

    def test_one_record_a_connection(self) -> None:
        generator = self.generate()
        done = generator.start(0.0)
        self.reactor.advance(0)
        for n in range(3):
            self.assertEqual(len(self.reactor.tcpClients), n + 1)
            transport = self.accept()
            self.echo(transport)
            self.assertIsNotNone(transport.over)
        self.reactor.advance(0.001)
        generator.stop()
        self.reactor.tcpClients[-1][2].clientConnectionFailed(self.reactor.connectors[-1], Failure(Exception()))
        self.assertEqual(self.successResultOf(done), 1)

    def test_a_record_that_was_on_its_way_while_the_peer_closed(self) -> None:
        generator = self.generate(keep_alive=True)
        done = generator.start(0.0)
        self.reactor.advance(0)
        first = self.accept()
        self.echo(first)
        self.reactor.advance(0.01)
        first.fin()
        second = self.accept()
        self.reactor.advance(0.01)
        self.echo(second)
        self.reactor.advance(0.001)
        generator.stop()
        self.assertEqual(self.successResultOf(done), 1)
        self.assertEqual(self.slices[0].response, {0: 1, 20_000: 1})
        self.assertEqual(self.slices[0].service, {0: 1, 10_000: 1})

    def test_an_overdue_record_and_its_connection_are_given_up(self) -> None:
        generator = self.generate(keep_alive=True, timeout=1.0)
        done = generator.start(0.0)
        self.reactor.advance(0)
        transport = self.accept()
        self.reactor.pump([SWEEP_INTERVAL] * 21)
        self.assertTrue(transport.aborted)
        self.assertEqual(len(self.reactor.tcpClients), 2)
        self.reactor.advance(0.001)
        generator.stop()
        self.reactor.tcpClients[-1][2].clientConnectionFailed(self.reactor.connectors[-1], Failure(Exception()))
        self.assertEqual(self.successResultOf(done), 1)
        self.assertEqual(self.outcomes(), {Outcome.TIMEOUT: 1})
        self.assertEqual(self.details(), {Outcome.TIMEOUT: "0 of 250 bytes were back after 1 s"})

    def test_bytes_after_the_echo_on_a_connection_that_is_not_kept(self) -> None:
        generator = self.generate()
        done = generator.start(0.0)
        self.reactor.advance(0)
        transport = self.accept()
        transport.receive(transport.value() + b"x")
        self.reactor.advance(0.001)
        generator.stop()
        self.reactor.tcpClients[-1][2].clientConnectionFailed(self.reactor.connectors[-1], Failure(Exception()))
        self.assertEqual(self.successResultOf(done), 1)
        detail = "more came back than was sent: the byte at offset 250 is one too many"
        self.assertEqual(self.details(), {Outcome.CORRUPT: detail})

    def test_a_refused_connection_frees_the_slot(self) -> None:
        generator = self.generate()
        generator.start(0.0)
        self.reactor.advance(0)
        self.reactor.tcpClients[0][2].clientConnectionFailed(
            self.reactor.connectors[0], Failure(ConnectionRefusedError())
        )
        self.assertEqual(len(self.reactor.tcpClients), 2)
        self.reactor.advance(0.001)
        generator.stop()
        self.assertEqual(self.outcomes(), {Outcome.REFUSED: 1})

    def test_an_error_of_the_source_does_not_stop_the_generator(self) -> None:
        generator = self.generate(keep_alive=True)
        generator.start(0.0)
        self.source_error = ZeroDivisionError()
        with self.assertRaises(ZeroDivisionError):
            self.reactor.advance(0)
        generator.free(generator._free.popleft())
        self.assertEqual(len(self.reactor.tcpClients), 1)
        self.reactor.advance(0.001)
        generator.stop()
