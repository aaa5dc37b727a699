import errno
import os
import socket
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint, IStreamServerEndpointStringParser
from twisted.internet.task import Clock
from twisted.internet.testing import EventLoggingObserver, MemoryReactorClock
from twisted.logger import formatEvent, globalLogPublisher
from twisted.plugin import getPlugins
from twisted.python.failure import Failure
from twisted.python.systemd import ListenFDs
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from echod.common.errors import ConfigurationError, ListenError
from echod.server.admission import AccessList, Admission
from echod.server.assembly import make_service
from echod.server.config import LINGER, QUIET, ExchangeRules, ServerConfiguration
from echod.server.connections import Connections
from echod.server.factory import EchoFactory, ReplaceableFactory, ServerContext
from echod.server.listeners import DualStackEndpoint, endpoint_from_string
from echod.server.observer import IConnectionObserver, NullObserver
from echod.server.open_listener import Listener, listening_address
from echod.server.reload import Reload
from echod.server.service import EchoService
from echod.server.summary import CloseReason
from tests.support.memory import MemoryObserver, MemorySupervisor, MemoryTransport
from tests.support.sockets import RECORD

DRAIN_TIMEOUT = 5.0
KEEP_ALIVE = ExchangeRules(record_size=250, timeout=30.0, keep_alive=True, linger=LINGER, quiet=QUIET)


@implementer(IListeningPort)
class MemoryPort:
    """A listening port; `stopping` is the result of its `stopListening`."""

    def __init__(self, stopping: "Deferred[None] | None" = None) -> None:
        self.listening = True
        self._stopping = stopping

    def startListening(self) -> None:
        raise AssertionError("the port listens already")

    def stopListening(self) -> "Deferred[None] | None":
        self.listening = False
        return self._stopping

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "192.0.2.1", 3005)


@implementer(IStreamServerEndpoint)
class MemoryEndpoint:
    """An endpoint; `result` is the result of its `listen`."""

    def __init__(self, result: "Deferred[Any]") -> None:
        self.result = result

    def listen(self, protocolFactory: object) -> "Deferred[Any]":
        return self.result


def server_context(clock: Clock, connections: Connections, observer: IConnectionObserver) -> ServerContext:
    return ServerContext(
        rules=KEEP_ALIVE,
        clock=clock,
        connections=connections,
        admission=Admission(AccessList(()), None, None),
        observer=observer,
    )


class ServiceTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.observer = MemoryObserver()
        self.connections = Connections()
        self.supervisor = MemorySupervisor()
        self.loads = 0
        """How many times the file was loaded."""
        self.bad_file = False
        self.given_up = 0
        """How many times the service ended the process."""
        self.log = EventLoggingObserver()
        globalLogPublisher.addObserver(self.log)
        self.addCleanup(globalLogPublisher.removeObserver, self.log)

    def factory(self) -> EchoFactory:
        return EchoFactory(server_context(self.clock, self.connections, self.observer), "test")

    def service(self, *results: "Deferred[Any]", kind: str = "") -> EchoService:
        listeners = [
            Listener(f"test {n}", MemoryEndpoint(result), ReplaceableFactory(factory), [factory], kind=kind)
            for n, result in enumerate(results)
            for factory in [self.factory()]
        ]
        return EchoService(
            listeners,
            self.connections,
            self.clock,
            self.supervisor,
            DRAIN_TIMEOUT,
            last_reload=Reload(ServerConfiguration(), self, lambda: 0.0),
            give_up=self.give_up,
        )

    def give_up(self) -> None:
        self.given_up += 1

    def prepare(self, configuration: ServerConfiguration) -> Callable[[], None]:
        """Be the part of the daemon that a reload changes."""
        if self.bad_file:
            raise ConfigurationError("tls-key: is bad")
        return self.load

    def load(self) -> None:
        self.loads += 1

    def connect(self) -> MemoryTransport:
        transport = MemoryTransport()
        connection = self.factory().buildProtocol(None)
        assert connection is not None
        transport.connect(connection)
        return transport

    def logged(self) -> str:
        return "\n".join(str(event["log_format"]) for event in self.log)


class ListeningTests(ServiceTestCase):
    def test_the_privileged_start_listens_and_the_start_does_not_listen_again(self) -> None:
        waiting: Deferred[Any] = Deferred()
        service = self.service(waiting)
        service.privilegedStartService()
        self.assertEqual(self.logged(), "")
        waiting.callback(MemoryPort())
        service.startService()
        self.assertEqual(self.logged().count("listening on {address}"), 1)

    def test_a_start_without_a_privileged_start_listens(self) -> None:
        port = MemoryPort()
        service = self.service(succeed(port))
        service.startService()
        self.successResultOf(service.stopService())
        self.assertFalse(port.listening)

    def test_nothing_listens_if_one_listener_fails(self) -> None:
        port = MemoryPort()
        taken = CannotListenError("", 3005, OSError(errno.EADDRINUSE, "text that Twisted puts around it"))
        service = self.service(succeed(port), fail(taken))
        with self.assertRaises(ListenError) as refused:
            service.privilegedStartService()
        self.assertEqual(str(refused.exception), f"cannot listen on test 1: {os.strerror(errno.EADDRINUSE).lower()}")
        self.assertFalse(port.listening)

    def test_the_log_says_what_the_connections_of_a_listener_begin_with(self) -> None:
        service = self.service(succeed(MemoryPort()), kind="TLS")
        service.startService()
        self.assertEqual([formatEvent(event) for event in self.log], ["listening on 192.0.2.1:3005 (TLS)"])
        self.successResultOf(service.stopService())

    def test_the_error_of_a_failure_without_an_error_number(self) -> None:
        with self.assertRaises(ListenError) as refused:
            self.service(fail(ValueError("no such thing"))).privilegedStartService()
        self.assertEqual(str(refused.exception), "cannot listen on test 0: no such thing")

    def test_a_listener_that_fails_later_ends_the_daemon(self) -> None:
        waiting: Deferred[Any] = Deferred()
        self.service(waiting).privilegedStartService()
        waiting.errback(OSError(errno.EACCES, ""))
        self.assertEqual(self.given_up, 1)
        self.assertIn("{problem}", self.logged())


class StoppingTests(ServiceTestCase):
    def test_a_stop_waits_for_records_in_progress(self) -> None:
        service = self.service(succeed(MemoryPort()))
        service.startService()
        transport = self.connect()
        transport.receive(RECORD[:100])
        stopped = service.stopService()
        self.assertNoResult(stopped)
        transport.receive(RECORD[100:])
        transport.fin()
        self.assertEqual(transport.value(), RECORD)
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_idle_keep_alive_connections_end_after_the_quiet_time(self) -> None:
        service = self.service(succeed(MemoryPort()))
        service.startService()
        transport = self.connect()
        transport.receive(RECORD)
        stopped = service.stopService()
        self.clock.advance(QUIET)
        transport.fin()
        self.successResultOf(stopped)
        self.assertEqual(self.observer.reasons, [CloseReason.DRAINED])

    def test_connections_are_cut_at_the_drain_timeout(self) -> None:
        service = self.service(succeed(MemoryPort()))
        service.startService()
        self.connect()
        stopped = service.stopService()
        self.clock.advance(DRAIN_TIMEOUT - 0.1)
        self.assertNoResult(stopped)
        self.clock.advance(0.1)
        self.successResultOf(stopped)
        self.assertEqual(self.observer.reasons, [CloseReason.CUT])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_stop_before_the_start(self) -> None:
        service = self.service(succeed(MemoryPort()))
        self.successResultOf(service.stopService())
        self.assertEqual(self.supervisor.notifications, [])

    def test_a_stop_between_listening_and_the_start(self) -> None:
        port = MemoryPort()
        service = self.service(succeed(port))
        service.privilegedStartService()
        self.successResultOf(service.stopService())
        self.assertFalse(port.listening)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_cut_ends_the_drain_at_once(self) -> None:
        service = self.service(succeed(MemoryPort()))
        service.startService()
        self.connect()
        stopped = service.stopService()
        service.cut()
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        service.cut()  # without a connection it logs nothing
        self.assertEqual(self.logged().count("cutting"), 1)

    def test_a_stop_waits_for_the_listeners_to_close(self) -> None:
        closing: Deferred[None] = Deferred()
        service = self.service(succeed(MemoryPort(closing)))
        service.startService()
        stopped = service.stopService()
        self.assertNoResult(stopped)
        closing.callback(None)
        self.successResultOf(stopped)

    def test_a_connection_accepted_during_the_drain_gets_one_echo(self) -> None:
        service = self.service(succeed(MemoryPort()))
        service.startService()
        self.connect()
        stopped = service.stopService()
        late = self.connect()
        late.receive(RECORD * 3)
        late.fin()
        self.assertEqual(late.value(), RECORD)
        service.cut()
        self.successResultOf(stopped)


class SupervisorTests(ServiceTestCase):
    def test_ready_in_the_reactors_first_turn_then_stopping_then_stopped(self) -> None:
        service = self.service(succeed(MemoryPort()))
        service.startService()
        self.assertEqual(self.supervisor.notifications, [])
        self.clock.advance(0)
        transport = self.connect()
        self.assertEqual(service.status(), "listening on 192.0.2.1:3005; 1 connection(s) open")
        stopped = service.stopService()
        self.assertEqual(self.supervisor.notifications[1:], ["stopping"])
        transport.reset()
        self.successResultOf(stopped)
        self.assertEqual(
            self.supervisor.notifications,
            ["ready: listening on 192.0.2.1:3005; 0 connection(s) open", "stopping", "stopped"],
        )

    def test_a_stop_before_the_first_turn_sends_no_ready(self) -> None:
        service = self.service(succeed(MemoryPort()))
        service.startService()
        self.successResultOf(service.stopService())
        self.clock.advance(0)
        self.assertEqual(self.supervisor.notifications, ["stopping", "stopped"])

    def test_a_reload_applies_the_configuration_and_notifies_the_supervisor(self) -> None:
        service = self.service(succeed(MemoryPort()))
        service.reload(ServerConfiguration)
        self.assertEqual((self.loads, self.supervisor.notifications), (0, []))
        service.startService()
        self.clock.advance(0)
        self.supervisor.notifications.clear()
        service.reload(ServerConfiguration, lambda: self.supervisor.notifications.append("reopened"))
        self.assertEqual(self.loads, 1)
        ready = "ready: listening on 192.0.2.1:3005; 0 connection(s) open"
        self.assertEqual(self.supervisor.notifications, ["reloading", "reopened", ready])

    def test_a_refused_reload_is_in_the_status(self) -> None:
        service = self.service(succeed(MemoryPort()))
        service.startService()
        self.bad_file = True
        service.reload(ServerConfiguration, lambda: self.supervisor.notifications.append("reopened"))
        self.assertEqual(self.loads, 0)
        refused = "listening on 192.0.2.1:3005; 0 connection(s) open; the last reload was refused"
        self.assertEqual(self.supervisor.notifications, ["reloading", "reopened", f"ready: {refused}"])
        self.bad_file = False
        service.reload(ServerConfiguration)
        self.assertEqual(service.status(), "listening on 192.0.2.1:3005; 0 connection(s) open")

    def test_a_reload_that_fails_by_a_bug_is_over_for_the_supervisor(self) -> None:
        service = self.service(succeed(MemoryPort()))
        service.startService()

        def fail() -> ServerConfiguration:
            raise ZeroDivisionError

        with self.assertRaises(ZeroDivisionError):
            service.reload(fail)
        refused = "listening on 192.0.2.1:3005; 0 connection(s) open; the last reload was refused"
        self.assertEqual(self.supervisor.notifications, ["reloading", f"ready: {refused}"])


class DualStackEndpointTests(SynchronousTestCase):
    def listen(self, interface: str, **options: Any) -> MemoryReactorClock:
        reactor = MemoryReactorClock()
        endpoint = DualStackEndpoint(reactor, interface, 0, 10, **options)
        self.successResultOf(endpoint.listen(self.factory()))
        return reactor

    def factory(self) -> EchoFactory:
        return EchoFactory(server_context(Clock(), Connections(), NullObserver()), "test")

    def test_the_adopted_socket_listens_for_ipv6_and_ipv4_with_the_backlog(self) -> None:
        created: list[tuple[int, int, bool]] = []

        def create_server(*args: Any, **options: Any) -> socket.socket:
            server = socket.create_server(*args, **options)
            v6only = server.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
            listens = server.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
            created.append((v6only, options["backlog"], listens))
            return server

        reactor = self.listen("::", create_server=create_server)
        self.assertEqual(created, [(0, 10, True)])
        self.assertEqual([family for _, family, _ in _adopted(reactor)], [socket.AF_INET6])

    def test_the_family_of_the_socket_is_that_of_its_address(self) -> None:
        for interface, family in (("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)):
            reactor = self.listen(interface)
            self.assertEqual([f for _, f, _ in _adopted(reactor)], [family])

    def test_a_host_without_ipv6_listens_for_ipv4_and_logs_it(self) -> None:
        def create_server(address: tuple[str, int], *, dualstack_ipv6: bool, **options: Any) -> socket.socket:
            if dualstack_ipv6:
                return self.without_dual_stack()
            return socket.create_server(("127.0.0.1", 0), family=options["family"], backlog=options["backlog"])

        def try_ipv6() -> None:
            raise OSError(errno.EAFNOSUPPORT, "no IPv6")

        log = EventLoggingObserver()
        globalLogPublisher.addObserver(log)
        self.addCleanup(globalLogPublisher.removeObserver, log)
        reactor = self.listen("::", create_server=create_server, try_ipv6=try_ipv6)
        self.assertEqual([family for _, family, _ in _adopted(reactor)], [socket.AF_INET])
        self.assertEqual(
            [formatEvent(event) for event in log], ["this host has no IPv6: listening on 0.0.0.0:0, for IPv4 only"]
        )

    def without_dual_stack(self) -> socket.socket:
        """Raise what `socket.create_server` raises whenever `socket.has_dualstack_ipv6()` is false."""
        with mock.patch.object(socket, "has_dualstack_ipv6", return_value=False):
            return socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)

    def refusal(self, problem: OSError | None) -> Failure:
        """Return the failure to listen on `::`, if the system refuses a dual-stack socket with `problem`."""

        def try_ipv6() -> None:
            if problem is not None:
                raise problem

        endpoint = DualStackEndpoint(
            MemoryReactorClock(),
            "::",
            1,
            10,
            create_server=lambda *_, **__: self.without_dual_stack(),
            try_ipv6=try_ipv6,
        )
        failure: Failure = self.failureResultOf(endpoint.listen(self.factory()))
        return failure

    def test_a_dual_stack_socket_is_refused_for_its_true_reason(self) -> None:
        problem = OSError(errno.EMFILE, "too many")
        self.assertIs(self.refusal(problem).value, problem)
        self.assertEqual(str(self.refusal(None).value), "dualstack_ipv6 not supported on this platform")

    def test_another_address_than_the_default_fails_if_its_family_is_missing(self) -> None:
        def create_server(*_: Any, **__: Any) -> socket.socket:
            raise OSError(errno.EAFNOSUPPORT, "no IPv6")

        for interface in ("::1", "0.0.0.0"):
            endpoint = DualStackEndpoint(MemoryReactorClock(), interface, 1, 10, create_server=create_server)
            self.failureResultOf(endpoint.listen(self.factory()), OSError)

    def test_the_text_of_an_endpoint(self) -> None:
        self.assertEqual(str(DualStackEndpoint(MemoryReactorClock(), "::", 3005, 10)), "[::]:3005")


class ListeningAddressTests(SynchronousTestCase):
    def test_the_forms_of_an_address(self) -> None:
        for bound, shown in (
            (IPv6Address("TCP", "::", 3005), "[::]:3005"),
            (IPv4Address("TCP", "0.0.0.0", 3005), "0.0.0.0:3005"),
            (IPv6Address("TCP", "::ffff:192.0.2.1", 3005), "192.0.2.1:3005"),
            (UNIXAddress(b"/run/echod/echo.sock"), "/run/echod/echo.sock"),
            (UNIXAddress(b"\0echo"), "@echo"),
            (UNIXAddress(None), "unix:as configured"),
        ):
            port: Any = SimpleNamespace(getHost=lambda bound=bound: bound)
            self.assertEqual(listening_address(port, "unix:as configured"), shown)


class EndpointStringTests(SynchronousTestCase):
    def test_the_error_of_a_bad_string_is_one_line(self) -> None:
        for text in ("tcp", "tcp:x", "nosuch:1", "tcp:3005:interface=::", "tcp:1:2:3:4:5", "ssl:1"):
            with self.assertRaises(ConfigurationError, msg=text) as refused:
                endpoint_from_string(MemoryReactorClock(), text)
            self.assertIn(repr(text), str(refused.exception))
            self.assertNotIn("\n", str(refused.exception))
        self.assertIn(r"written \:", self._hint("tcp:3005:interface=::"))

    def _hint(self, text: str) -> str:
        with self.assertRaises(ConfigurationError) as refused:
            endpoint_from_string(MemoryReactorClock(), text)
        return str(refused.exception)


class AssemblyTests(SynchronousTestCase):
    def test_endpoint_strings_replace_the_port(self) -> None:
        reactor: Any = MemoryReactorClock()
        configuration = ServerConfiguration(transport="stock", listen=("tcp:1:backlog=7", r"tcp6:2:interface=\:\:1"))
        service = make_service(configuration, reactor)
        service.startService()
        self.assertEqual([(s[0], s[2], s[3]) for s in reactor.tcpServers], [(1, 7, ""), (2, 10, "::1")])
        self.successResultOf(service.stopService())

    def backlogs(self, *listen: str, backlog: int = 10) -> list[int]:
        """Return the backlogs with which these endpoints listen."""
        reactor: Any = MemoryReactorClock()
        service = make_service(ServerConfiguration(transport="stock", listen=listen, backlog=backlog), reactor)
        service.startService()
        self.successResultOf(service.stopService())
        return [*(each[2] for each in reactor.tcpServers), *(each[2] for each in reactor.unixServers)]

    def test_the_backlog_applies_to_endpoints_that_have_none(self) -> None:
        self.assertEqual(self.backlogs("tcp6:3005"), [10])
        self.assertEqual(
            self.backlogs("tcp:1", "tcp6:2", "haproxy:tcp6:3", "unix:/run/echo.sock", backlog=20), [20] * 4
        )

    def test_an_endpoints_own_backlog_counts(self) -> None:
        keywords = ("tcp:1:backlog=7", "tcp6:2:backlog=8", "haproxy:tcp:3:backlog=9", "unix:/run/echo.sock:backlog=6")
        self.assertEqual(self.backlogs(*keywords, backlog=20), [7, 8, 9, 6])
        self.assertEqual(self.backlogs("tcp:1:127.0.0.1:7", "tcp6:2:8", backlog=20), [7, 8])

    def warnings_of(self, **options: Any) -> list[str]:
        """Return the log lines of a daemon with the inherited socket `echo`, which is made and does not listen."""
        log = EventLoggingObserver()
        globalLogPublisher.addObserver(log)
        self.addCleanup(globalLogPublisher.removeObserver, log)
        parser = next(each for each in getPlugins(IStreamServerEndpointStringParser) if each.prefix == "systemd")
        self.patch(parser, "_sddaemon", ListenFDs([5], ("echo",)))
        make_service(ServerConfiguration(transport="stock", **options), cast("Any", MemoryReactorClock()))
        return [formatEvent(event) for event in log]

    def test_a_backlog_without_effect_is_logged(self) -> None:
        inherited = "systemd:domain=INET6:name=echo"
        self.assertEqual(
            self.warnings_of(listen=(inherited, f"haproxy:{inherited}"), backlog=20),
            ["backlog: 20 has no effect: inherited sockets have the backlog of their socket unit (Backlog=)"],
        )
        self.assertEqual(self.warnings_of(listen=(inherited,)), [])
        self.assertEqual(self.warnings_of(listen=(inherited, "tcp6:1"), backlog=20), [])

    def test_the_default_is_one_dual_stack_socket(self) -> None:
        reactor: Any = MemoryReactorClock()
        with socket.create_server(("::1", 0), family=socket.AF_INET6) as other:
            taken = make_service(ServerConfiguration(interface="::1", port=other.getsockname()[1]), reactor)
            with self.assertRaises(ListenError):
                taken.privilegedStartService()

    def test_the_observer_receives_the_summary_with_the_listeners_name(self) -> None:
        reactor: Any = MemoryReactorClock()
        observer = MemoryObserver()
        service = make_service(ServerConfiguration(transport="stock", listen=("tcp:1",)), reactor, observer=observer)
        service.startService()
        transport = MemoryTransport()
        transport.connect(reactor.tcpServers[0][1].buildProtocol(None))
        transport.fin()
        self.assertEqual(observer.reasons, [CloseReason.HEALTH_CHECK])
        self.assertEqual(observer.summaries[0].listener, "0.0.0.0:1")


def _adopted(reactor: MemoryReactorClock) -> list[tuple[int, int, object]]:
    adopted: list[tuple[int, int, object]] = reactor.adoptedPorts
    return adopted
