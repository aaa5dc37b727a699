import errno
import socket
from datetime import UTC, datetime
from typing import Any, cast

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import (
    ConnectBindError,
    ConnectError,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
    NoRouteError,
    TCPTimedOutError,
    UserError,
)
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from echod.client.dial import ATTEMPT_DELAY
from echod.client.outcomes import Outcome, PhaseTimes, ProbeResult, Step
from echod.common.addresses import HostPort
from echod.probe import Clocks, Family, Route, probe, target
from tests.support.clocks import StrictReactor
from tests.support.memory import ClientTransport, MemoryResolver
from tests.support.sockets import RECORD

V6 = IPv6Address("TCP", "2001:db8::1", 3005)
V4 = IPv4Address("TCP", "192.0.2.1", 3005)


class TargetTests(SynchronousTestCase):
    def test_the_default_port(self) -> None:
        self.assertEqual(target("[::1]"), HostPort("::1", 3005))

    def test_refused(self) -> None:
        for host, port in (("a b", 1), ("a", 0), ("a", 65536)):
            with self.assertRaises(ValueError):
                target(host, port)


class ProbeTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = cast("Any", StrictReactor())
        self.resolver = MemoryResolver()
        self.reactor.installNameResolver(self.resolver)
        self.clocks = Clocks(self.reactor.seconds, lambda: 1_800_000_000 + self.reactor.seconds())

    def probe(self, host: str = "2001:db8::1", timeout: float = 5.0) -> "Deferred[ProbeResult]":
        return probe(self.reactor, target(host), payload=RECORD, timeout=timeout, clocks=self.clocks)

    def attempt(self, number: int = -1) -> Any:
        return self.reactor.tcpClients[number][2]

    def accept(self, number: int = -1) -> ClientTransport:
        """Let a connection attempt succeed; return the client's transport."""
        host, port = self.reactor.tcpClients[number][:2]
        peer = IPv6Address("TCP", host, port) if ":" in host else IPv4Address("TCP", host, port)
        self.protocol = self.attempt(number).buildProtocol(peer)
        transport = ClientTransport(peerAddress=peer)
        self.protocol.makeConnection(transport)
        return transport

    def fail_attempt(self, problem: Exception, number: int = -1) -> None:
        self.attempt(number).clientConnectionFailed(self.reactor.connectors[number], Failure(problem))

    def lose(self, how: Exception) -> None:
        self.protocol.connectionLost(Failure(how))

    def ended(self, probing: "Deferred[ProbeResult]") -> ProbeResult:
        result = self.successResultOf(probing)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        return result


class EchoTests(ProbeTestCase):
    def test_echoed(self) -> None:
        probing = self.probe()
        self.reactor.advance(0.25)
        transport = self.accept()
        self.assertEqual(transport.value(), RECORD)
        self.reactor.advance(0.5)
        self.protocol.dataReceived(RECORD)
        self.assertTrue(transport.disconnecting)
        self.assertNoResult(probing)
        self.lose(ConnectionDone())
        result = self.ended(probing)
        self.assertEqual((result.outcome, result.step, result.echoed), (Outcome.ECHOED, Step.ECHO, True))
        self.assertEqual(result.address, HostPort("2001:db8::1", 3005))
        self.assertEqual((result.size, result.received), (250, 250))
        self.assertEqual((result.times.connect, result.times.echo), (250_000, 500_000))

    def test_in_as_many_pieces_as_it_takes(self) -> None:
        probing = self.probe()
        transport = self.accept()
        for n in range(250):
            self.assertFalse(transport.disconnecting)
            self.protocol.dataReceived(RECORD[n : n + 1])
        self.assertTrue(transport.disconnecting)
        self.lose(ConnectionDone())
        self.assertTrue(self.ended(probing).echoed)

    def test_one_wrong_byte(self) -> None:
        probing = self.probe()
        transport = self.accept()
        self.protocol.dataReceived(RECORD[:100])
        self.protocol.dataReceived(RECORD[100:149] + b"\0" + RECORD[150:])
        self.protocol.dataReceived(b"whatever comes after")
        self.assertTrue(transport.disconnected)
        self.lose(ConnectionLost())
        result = self.ended(probing)
        self.assertEqual(result.outcome, Outcome.CORRUPT)
        self.assertIn("offset 149 ", result.detail)
        self.assertIsNone(result.times.echo)

    def test_more_than_was_sent(self) -> None:
        probing = self.probe()
        self.accept()
        self.protocol.dataReceived(RECORD + b"x")
        self.lose(ConnectionLost())
        self.assertIn("offset 250 ", self.ended(probing).detail)

    def test_bytes_after_the_end_of_the_probe_are_ignored(self) -> None:
        probing = self.probe()
        self.accept()
        self.protocol.dataReceived(RECORD)
        self.protocol.dataReceived(b"late")
        self.lose(ConnectionLost())
        self.assertTrue(self.ended(probing).echoed)

    def test_closed_early(self) -> None:
        probing = self.probe()
        self.accept()
        self.protocol.dataReceived(RECORD[:9])
        self.lose(ConnectionDone())
        result = self.ended(probing)
        self.assertEqual((result.outcome, result.received), (Outcome.CLOSED_EARLY, 9))
        self.assertIn("after 9 of 250 bytes", result.detail)

    def test_reset(self) -> None:
        probing = self.probe()
        self.accept()
        self.lose(ConnectionLost())
        result = self.ended(probing)
        self.assertEqual((result.outcome, result.step), (Outcome.RESET, Step.ECHO))

    def test_no_echo_in_time(self) -> None:
        probing = self.probe()
        self.reactor.advance(1)
        transport = self.accept()
        self.protocol.dataReceived(RECORD[:249])
        self.reactor.advance(3.9)
        self.assertFalse(transport.disconnected)
        self.reactor.advance(0.1)
        self.assertTrue(transport.disconnected)
        self.lose(ConnectionLost())
        result = self.ended(probing)
        self.assertEqual((result.outcome, result.step), (Outcome.TIMEOUT, Step.ECHO))
        self.assertIn("249 of 250 bytes", result.detail)


class ConnectTests(ProbeTestCase):
    def test_failures(self) -> None:
        for problem, outcome, words in (
            (ConnectionRefusedError(), Outcome.REFUSED, "refused"),
            (NoRouteError(errno.ENETUNREACH), Outcome.UNREACHABLE, "unreachable"),
            (ConnectError(errno.EHOSTUNREACH), Outcome.UNREACHABLE, "no route to host"),
            (ConnectError(errno.EACCES), Outcome.UNREACHABLE, "a firewall or a route of this host forbids it"),
            (ConnectError(errno.EINVAL), Outcome.UNREACHABLE, "a link-local address without its interface"),
            (ConnectError(errno.ECONNRESET), Outcome.RESET, "as soon as it was established"),
            (ConnectError(errno.EMFILE), Outcome.CONNECT_FAILED, "too many open files"),
            (socket.gaierror(-2, ""), Outcome.UNREACHABLE, "no such interface"),
            (TCPTimedOutError(), Outcome.CONNECT_TIMEOUT, "no answer"),
            (ConnectBindError(None, "cannot bind"), Outcome.CONNECT_FAILED, "cannot bind"),
            (ValueError(), Outcome.CONNECT_FAILED, "ValueError"),
        ):
            probing = self.probe()
            self.fail_attempt(problem)
            result = self.ended(probing)
            self.assertEqual((result.outcome, result.step), (outcome, Step.CONNECT))
            self.assertIn(words, result.detail)
            self.assertIsNone(result.times.connect)

    def test_no_answer_in_time(self) -> None:
        probing = self.probe(timeout=2.5)
        self.reactor.advance(2.5)
        self.fail_attempt(Exception("cancelled"))
        result = self.ended(probing)
        self.assertEqual((result.outcome, result.step), (Outcome.CONNECT_TIMEOUT, Step.CONNECT))
        self.assertIn("within 2.5 s", result.detail)

    def test_literals_are_not_resolved(self) -> None:
        for host in ("192.0.2.1", "2001:db8::1", "fe80::1%eth0"):
            self.probe(host).addErrback(lambda failure: failure.trap(CancelledError)).cancel()
            self.assertEqual(self.reactor.tcpClients[-1][:2], (host, 3005))
        self.assertEqual(self.resolver.waiting, [])


class NameTests(ProbeTestCase):
    def test_ipv6_then_ipv4(self) -> None:
        self.resolver.addresses = [V6, V4]
        probing = self.probe("echo.example")
        self.fail_attempt(ConnectionRefusedError())
        self.reactor.advance(ATTEMPT_DELAY)
        self.assertEqual([c[0] for c in self.reactor.tcpClients], ["2001:db8::1", "192.0.2.1"])
        self.accept()
        self.protocol.dataReceived(RECORD)
        self.lose(ConnectionDone())
        result = self.ended(probing)
        self.assertEqual((result.target.host, result.address), ("echo.example", HostPort("192.0.2.1", 3005)))

    def test_no_address(self) -> None:
        result = self.ended(self.probe("nosuch.example"))
        self.assertEqual((result.outcome, result.step), (Outcome.RESOLVE_FAILED, Step.RESOLVE))

    def test_a_name_that_idna_refuses(self) -> None:
        result = self.ended(self.probe("xn--a.example"))
        self.assertEqual((result.outcome, result.step), (Outcome.RESOLVE_FAILED, Step.RESOLVE))

    def test_the_resolver_does_not_answer(self) -> None:
        self.resolver.at_once = False
        probing = self.probe("slow.example")
        self.reactor.advance(5)
        result = self.ended(probing)
        self.assertEqual((result.outcome, result.step), (Outcome.TIMEOUT, Step.RESOLVE))
        self.resolver.answer()  # too late, and without effect

    def test_the_attempts_do_not_answer(self) -> None:
        self.resolver.addresses = [V6, V4]
        probing = self.probe("echo.example")
        self.reactor.advance(ATTEMPT_DELAY)
        self.reactor.advance(5)
        result = self.ended(probing)
        self.assertEqual((result.outcome, result.step), (Outcome.CONNECT_TIMEOUT, Step.CONNECT))
        self.assertTrue(all(c.stoppedConnecting for c in self.reactor.connectors))


class PhaseTests(ProbeTestCase):
    def test_each_has_its_time(self) -> None:
        self.resolver.addresses, self.resolver.at_once = [V6], False
        probing = self.probe("echo.example")
        self.reactor.advance(0.5)
        self.resolver.answer()
        self.reactor.advance(0.25)
        self.accept()
        self.reactor.advance(0.125)
        self.protocol.dataReceived(RECORD[:1])
        self.reactor.advance(0.0625)
        self.protocol.dataReceived(RECORD[1:])
        self.reactor.advance(0.03125)
        self.lose(ConnectionDone())
        result = self.ended(probing)
        self.assertEqual(
            result.times,
            PhaseTimes(resolve=500_000, connect=250_000, first_byte=125_000, echo=187_500, close=31_250),
        )
        self.assertEqual(result.started, datetime.fromtimestamp(1_800_000_000, UTC))
        self.assertEqual(result.source, HostPort("10.0.0.1", 12345))
        self.assertIsNone(result.kernel)

    def test_what_does_not_apply_is_none(self) -> None:
        probing = self.probe()
        self.fail_attempt(ConnectionRefusedError())
        result = self.ended(probing)
        self.assertEqual(result.times, PhaseTimes())
        self.assertEqual((result.source, result.tls, result.kernel, result.offset), (None, None, None, None))
        unknown = self.ended(self.probe("nosuch.example"))
        self.assertEqual((unknown.times, unknown.address, unknown.attempts), (PhaseTimes(), None, ()))

    def test_part_of_an_echo_has_its_first_byte(self) -> None:
        probing = self.probe()
        self.accept()
        self.reactor.advance(0.5)
        self.protocol.dataReceived(RECORD[:9])
        self.reactor.advance(0.5)
        self.lose(ConnectionLost())
        result = self.ended(probing)
        self.assertEqual(result.times, PhaseTimes(connect=0, first_byte=500_000))
        self.assertEqual(result.detail, "connection reset after 9 of 250 bytes")


class AttemptTests(ProbeTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.resolver.addresses = [V6, V4]

    def told(self, result: ProbeResult) -> list[tuple[str, Outcome | None, bool, int, int]]:
        return [(a.address.host, a.outcome, a.won, a.started, a.time) for a in result.attempts]

    def test_one_fails_the_next_wins(self) -> None:
        probing = self.probe("echo.example")
        self.reactor.advance(0.05)
        self.fail_attempt(ConnectionRefusedError())
        self.reactor.advance(0.05)
        self.reactor.advance(0.25)
        self.accept()
        self.protocol.dataReceived(RECORD)
        self.lose(ConnectionDone())
        result = self.ended(probing)
        self.assertEqual(
            self.told(result),
            [("2001:db8::1", Outcome.REFUSED, False, 0, 50_000), ("192.0.2.1", None, True, 100_000, 250_000)],
        )
        self.assertEqual(result.attempts[0].detail, "connection refused")
        self.assertEqual(result.times.connect, 350_000)

    def test_one_is_given_up_when_another_has_won(self) -> None:
        probing = self.probe("echo.example")
        self.reactor.advance(ATTEMPT_DELAY)
        self.reactor.advance(0.1)
        self.accept(1)
        self.assertTrue(self.reactor.connectors[0].stoppedConnecting)
        self.fail_attempt(UserError(), 0)  # as a real connector does
        self.protocol.dataReceived(RECORD)
        self.lose(ConnectionDone())
        lost, won = self.ended(probing).attempts
        self.assertEqual((lost.outcome, lost.won, lost.time, won.won), (None, False, 200_000, True))
        self.assertEqual(lost.detail, "given up: another was faster")

    def test_all_fail(self) -> None:
        probing = self.probe("echo.example")
        self.fail_attempt(NoRouteError(errno.ENETUNREACH), 0)
        self.reactor.advance(ATTEMPT_DELAY)
        self.fail_attempt(ConnectionRefusedError(), 1)
        self.reactor.advance(ATTEMPT_DELAY)
        result = self.ended(probing)
        self.assertEqual([a.outcome for a in result.attempts], [Outcome.UNREACHABLE, Outcome.REFUSED])
        self.assertIsNone(result.address)

    def test_none_answers(self) -> None:
        probing = self.probe("echo.example", timeout=1)
        self.reactor.advance(ATTEMPT_DELAY)
        self.reactor.advance(0.9)
        result = self.ended(probing)
        self.assertEqual([a.outcome for a in result.attempts], [Outcome.CONNECT_TIMEOUT] * 2)
        self.assertEqual([a.time for a in result.attempts], [1_000_000, 900_000])

    def test_of_a_literal_there_is_one(self) -> None:
        probing = self.probe()
        self.reactor.advance(0.5)
        self.fail_attempt(ConnectionRefusedError())
        self.assertEqual(self.told(self.ended(probing)), [("2001:db8::1", Outcome.REFUSED, False, 0, 500_000)])


class RouteTests(ProbeTestCase):
    def over(self, **asked: Any) -> "Deferred[ProbeResult]":
        route = Route(target=target("echo.example"), **asked)
        return probe(self.reactor, route, payload=RECORD, timeout=5, clocks=self.clocks)

    def test_one_family(self) -> None:
        self.resolver.addresses = [V6, V4]
        for family, host in ((Family.IPV4, "192.0.2.1"), (Family.IPV6, "2001:db8::1")):
            probing = self.over(family=family)
            self.reactor.advance(ATTEMPT_DELAY)
            self.assertEqual(self.reactor.tcpClients.pop()[0], host)
            self.assertEqual(self.reactor.tcpClients, [])
            probing.addErrback(lambda failure: failure.trap(CancelledError)).cancel()
        self.reactor.advance(1)

    def test_no_address_of_that_family(self) -> None:
        self.resolver.addresses = [V6]
        result = self.ended(self.over(family=Family.IPV4))
        self.assertEqual((result.outcome, result.step), (Outcome.RESOLVE_FAILED, Step.RESOLVE))

    def test_the_source_is_bound_to_and_names_the_family(self) -> None:
        self.resolver.addresses = [V6, V4]
        probing = self.over(source="192.0.2.9")
        host, port, _, _, bound = self.reactor.tcpClients[0]
        self.assertEqual((host, port, bound), ("192.0.2.1", 3005, ("192.0.2.9", 0)))
        self.fail_attempt(ConnectBindError(errno.EADDRNOTAVAIL, ""))
        self.reactor.advance(ATTEMPT_DELAY)
        result = self.ended(probing)
        self.assertEqual(result.outcome, Outcome.CONNECT_FAILED)
        self.assertEqual(result.detail, "the source address is not this host's")

    def test_one_address_of_a_name(self) -> None:
        probing = self.over(address=HostPort("192.0.2.7", 3005))
        self.assertEqual(self.reactor.tcpClients[0][0], "192.0.2.7")
        self.fail_attempt(ConnectionRefusedError())
        result = self.ended(probing)
        self.assertEqual((result.target.host, result.address), ("echo.example", HostPort("192.0.2.7", 3005)))


class IdleTests(ProbeTestCase):
    def idle(self) -> "Deferred[ProbeResult]":
        return probe(self.reactor, target("2001:db8::1"), payload=RECORD, timeout=5, idle=60, clocks=self.clocks)

    def test_the_timeout_does_not_count_it(self) -> None:
        probing = self.idle()
        self.reactor.advance(4)
        transport = self.accept()
        self.reactor.advance(59.5)
        self.assertEqual(transport.value(), b"")
        self.reactor.advance(0.5)
        self.assertEqual(transport.value(), RECORD)
        self.reactor.advance(0.5)
        self.protocol.dataReceived(RECORD)
        self.lose(ConnectionDone())
        result = self.ended(probing)
        self.assertTrue(result.echoed)
        self.assertEqual((result.times.idle, result.times.echo), (60_000_000, 500_000))

    def test_but_all_the_rest(self) -> None:
        probing = self.idle()
        self.reactor.advance(4)
        transport = self.accept()
        self.reactor.advance(60)
        self.reactor.advance(1)
        self.assertTrue(transport.disconnected)
        self.lose(ConnectionLost())
        result = self.ended(probing)
        self.assertEqual((result.outcome, result.step), (Outcome.TIMEOUT, Step.ECHO))

    def test_a_connection_that_dies_in_silence(self) -> None:
        for how, outcome, words in (
            (ConnectionDone(), Outcome.CLOSED_EARLY, "closed by the peer after 12.5 s of silence"),
            (ConnectionLost(), Outcome.RESET, "connection reset after 12.5 s of silence"),
        ):
            probing = self.idle()
            self.accept()
            self.reactor.advance(12.5)
            self.lose(how)
            result = self.ended(probing)
            self.assertEqual((result.outcome, result.step, result.detail), (outcome, Step.IDLE, words))
            self.assertEqual((result.times.idle, result.times.echo), (12_500_000, None))

    def test_what_comes_before_the_record_is_no_echo(self) -> None:
        probing = self.idle()
        transport = self.accept()
        self.protocol.dataReceived(RECORD)
        self.reactor.advance(60)
        self.assertEqual((transport.value(), transport.disconnected), (b"", True))
        self.lose(ConnectionLost())
        result = self.ended(probing)
        self.assertEqual(
            (result.outcome, result.detail), (Outcome.CORRUPT, "something came back before the record was sent")
        )

    def test_a_timeout_that_is_overdue_when_the_silence_begins(self) -> None:
        probing = self.idle()
        self.reactor.block(6)  # longer than the timeout, whose timer is not called before the connection is there
        transport = self.accept()
        self.reactor.advance(60)
        self.assertEqual(transport.value(), RECORD)
        self.reactor.advance(0)
        self.assertTrue(transport.disconnected)
        self.lose(ConnectionLost())
        result = self.ended(probing)
        self.assertEqual((result.outcome, result.step), (Outcome.TIMEOUT, Step.ECHO))

    def test_cancelled_in_silence(self) -> None:
        probing = self.idle()
        transport = self.accept()
        probing.cancel()
        self.failureResultOf(probing, CancelledError)
        self.assertTrue(transport.disconnected)
        self.lose(ConnectionLost())
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class CancelTests(ProbeTestCase):
    def test_while_connecting(self) -> None:
        probing = self.probe()
        probing.cancel()
        self.failureResultOf(probing, CancelledError)
        self.assertTrue(self.reactor.connectors[0].stoppedConnecting)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_while_waiting_for_the_echo(self) -> None:
        probing = self.probe()
        transport = self.accept()
        probing.cancel()
        self.failureResultOf(probing, CancelledError)
        self.assertTrue(transport.disconnected)
        self.lose(ConnectionLost())
        self.assertEqual(self.reactor.getDelayedCalls(), [])
