from typing import Any, cast

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from echod.admin.service import AdminListeners, AdminService
from echod.common.errors import ListenError
from tests.support.admin import Client, Scene


@implementer(IStreamServerEndpoint, IListeningPort)
class MemoryPort:
    """An endpoint that is its own port."""

    def __init__(self, error: OSError | None = None) -> None:
        self.error = error
        self.is_open = False

    def listen(self, protocolFactory: IProtocolFactory) -> "Deferred[Any]":
        if self.error is not None:
            return fail(self.error)
        self.is_open = True
        return succeed(self)

    def startListening(self) -> None:
        """No-op: `listen` opens the port."""

    def stopListening(self) -> None:
        self.is_open = False

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", 9305)


class AdminServiceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.scene = Scene(drain_timeout=3.0)
        self.port = MemoryPort()
        self.admin = self.admin_service(self.port)

    def admin_service(self, *ports: MemoryPort) -> AdminService:
        endpoints = [cast("IStreamServerEndpoint", port) for port in ports]
        listeners = AdminListeners("9305", endpoints, self.scene.factory)
        return AdminService(listeners, self.scene.service, self.scene.reactor_lag, self.scene.live_page)

    def test_admin_server_outlives_the_drain(self) -> None:
        self.admin.privilegedStartService()
        self.assertTrue(self.port.is_open)
        self.admin.startService()
        client = Client(self.scene.factory)
        client.get("/events")
        self.scene.connect()
        stopped = self.admin.stopService()
        self.assertNoResult(stopped)
        self.assertTrue(self.port.is_open)
        self.assertIn(b'event: state\ndata: {"state":{"version":"1.2.3","state":"draining"', client.transport.value())
        self.scene.reactor.advance(3)
        self.successResultOf(stopped)
        self.assertFalse(self.port.is_open)
        self.assertTrue(client.over)
        self.assertEqual(self.scene.reactor.getDelayedCalls(), [])

    def test_start_without_privileged_start_listens_once(self) -> None:
        self.admin.startService()
        self.assertTrue(self.port.is_open)
        self.assertEqual(len(self.scene.reactor.tcpServers), 1)
        self.successResultOf(self.admin.stopService())

    def test_nothing_listens_if_the_daemon_cannot(self) -> None:
        def cannot_listen() -> None:
            raise ListenError("cannot listen on 3005: address already in use")

        for start in ("privilegedStartService", "startService"):
            scene_service = cast("Any", self.scene.service)
            self.patch(scene_service, "privilegedStartService", cannot_listen)
            self.assertRaises(ListenError, getattr(self.admin, start))
            self.assertFalse(self.port.is_open, start)
            self.assertEqual(self.scene.reactor.getDelayedCalls(), [])

    def test_one_loopback_family_is_enough(self) -> None:
        self.admin_service(MemoryPort(OSError(97, "EAFNOSUPPORT")), self.port).privilegedStartService()
        self.assertTrue(self.port.is_open)

    def test_nothing_listens_if_one_port_is_in_use(self) -> None:
        admin = self.admin_service(self.port, MemoryPort(OSError(98, "EADDRINUSE")))
        with self.assertRaises(ListenError) as raised:
            admin.privilegedStartService()
        self.assertEqual(
            str(raised.exception),
            "cannot listen on admin 9305: address already in use "
            "(several processes share the port only with admin-directory)",
        )
        self.assertFalse(self.port.is_open)

    def test_drain_goes_on_if_the_state_cannot_be_sent(self) -> None:
        def raises() -> None:
            raise ZeroDivisionError

        self.admin.startService()
        self.patch(self.scene.live_page, "send_state", raises)
        self.scene.connect()
        stopped = self.admin.stopService()
        self.assertNoResult(stopped)
        self.scene.reactor.advance(3)
        self.successResultOf(stopped)
        self.assertFalse(self.port.is_open)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_admin_server_stops_if_the_daemon_fails_to_stop(self) -> None:
        for failing in (lambda: 1 / 0, lambda: fail(ZeroDivisionError())):
            self.setUp()
            self.admin.startService()
            self.patch(self.scene.service, "stopService", failing)
            self.successResultOf(self.admin.stopService())
            self.assertFalse(self.port.is_open)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
