"""The reload: which options it applies, which need a restart, and that it is all or nothing."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from twisted.internet.testing import EventLoggingObserver, MemoryReactorClock
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from echod.common.errors import ConfigurationError
from echod.server.assembly import make_service
from echod.server.config import ServerConfiguration
from echod.server.reload import Reload
from echod.server.summary import CloseReason
from tests.support.certificates import Authority
from tests.support.memory import MemoryObserver, MemoryTransport
from tests.support.sockets import RECORD


class Part:
    """A part of a daemon. A configuration with the timeout `bad` is bad for it."""

    def __init__(self, bad: float = 99.0) -> None:
        self.bad = bad
        self.applied: list[ServerConfiguration] = []

    def prepare(self, configuration: ServerConfiguration) -> Callable[[], None]:
        if configuration.timeout == self.bad:
            raise ConfigurationError("timeout: is bad", "timeout: is very bad")
        return lambda: self.applied.append(configuration)


class LogTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.log = EventLoggingObserver()
        globalLogPublisher.addObserver(self.log)
        self.addCleanup(globalLogPublisher.removeObserver, self.log)

    def logged(self) -> list[tuple[str, str]]:
        """Return level and text of the events so far, and forget them."""
        events = [(event["log_level"].name, formatEvent(event)) for event in self.log]
        self.log._events.clear()
        return events


class ReloadTests(LogTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.now = 100.0
        self.first, self.last = Part(), Part(bad=98.0)
        self.reload = Reload(ServerConfiguration(), self.first, lambda: self.now)
        self.reload.add(self.last)

    def run_with(self, **options: Any) -> ServerConfiguration:
        self.now += 1
        configuration = ServerConfiguration(**options)
        self.reload.run(lambda: configuration)
        return configuration

    def test_the_start_counts_as_a_success(self) -> None:
        self.assertEqual((self.reload.successful, self.reload.succeeded_at), (True, 100.0))

    def test_every_part_applies_the_new_configuration(self) -> None:
        new = self.run_with(timeout=3.0, allow=("::1",))
        self.assertEqual((self.first.applied, self.last.applied), ([new], [new]))
        self.assertEqual(self.logged(), [("info", "reload: applied timeout, allow")])
        self.assertEqual((self.reload.successful, self.reload.succeeded_at), (True, 101.0))

    def test_changes_are_those_since_the_last_reload(self) -> None:
        self.run_with(timeout=3.0)
        self.logged()
        self.run_with(timeout=3.0)
        self.run_with()
        self.assertEqual(
            self.logged(), [("info", "reload: no changed option to apply"), ("info", "reload: applied timeout")]
        )

    def test_what_needs_a_restart_is_named_until_the_restart(self) -> None:
        self.run_with(port=3006, timeout=3.0)
        self.run_with(port=3006, timeout=3.0)
        self.run_with(timeout=3.0)
        self.assertEqual(
            self.logged(),
            [
                ("warn", "reload: applied timeout; a restart is needed for: port"),
                ("warn", "reload: no changed option to apply; a restart is needed for: port"),
                ("info", "reload: no changed option to apply"),
            ],
        )

    def test_the_tls_files_of_a_daemon_without_tls_need_a_restart(self) -> None:
        self.run_with(tls_port=3006, tls_certificate="x.pem")
        self.assertEqual(
            self.logged(),
            [("warn", "reload: no changed option to apply; a restart is needed for: tls-port, tls-certificate")],
        )

    def test_nothing_changes_if_one_part_refuses(self) -> None:
        for timeout in (99.0, 98.0):
            self.run_with(timeout=timeout)
            self.assertEqual((self.first.applied, self.last.applied), ([], []))
            why = "timeout: is bad; timeout: is very bad"
            self.assertEqual(self.logged(), [("error", f"reload refused, nothing has changed: {why}")])
            self.assertEqual((self.reload.successful, self.reload.succeeded_at), (False, 100.0))
        self.run_with(timeout=3.0)
        self.assertEqual(self.logged(), [("info", "reload: applied timeout")])
        self.assertEqual((self.reload.successful, self.reload.succeeded_at), (True, 103.0))

    def test_a_bug_is_no_success(self) -> None:
        def fail() -> ServerConfiguration:
            raise ZeroDivisionError

        with self.assertRaises(ZeroDivisionError):
            self.reload.run(fail)
        self.assertFalse(self.reload.successful)


class ServerTests(LogTestCase):
    """A whole server in memory. Its listeners are plain TCP ports, the last two for TLS and behind a proxy."""

    def setUp(self) -> None:
        super().setUp()
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.authority = Authority(Path(directory.name))
        self.reactor = cast("Any", MemoryReactorClock())
        self.observer = MemoryObserver()
        self.service = make_service(
            self.configuration(), self.reactor, observer=self.observer, descriptors=164, wall_clock=lambda: 0.0
        )
        self.service.startService()
        self.reactor.advance(0)

    def configuration(self, **options: Any) -> ServerConfiguration:
        pair = self.authority.issue("echo.test", file="server")
        return ServerConfiguration(
            transport="stock",
            listen=("tcp:1", "haproxy:tcp:3"),
            tls_listen=("tcp:2",),
            tls_certificate=str(pair.certificate),
            tls_key=str(pair.key),
            **options,
        )

    def connect(self, listener: int = 0) -> MemoryTransport:
        transport = MemoryTransport()
        transport.connect(self.reactor.tcpServers[listener][1].buildProtocol(None))
        return transport

    def reload(self, **options: Any) -> None:
        configuration = self.configuration(**options)
        self.service.reload(lambda: configuration)

    def test_new_connections_have_the_new_rules_and_open_ones_keep_theirs(self) -> None:
        old = self.connect()
        self.reload(record_size=10, timeout=7.0, keep_alive=True, drain_timeout=2.0)
        new = self.connect()
        new.receive(RECORD[:10])
        new.receive(RECORD[:10])
        self.assertEqual(new.value(), RECORD[:10] * 2)
        self.reactor.advance(7.0)
        self.assertEqual(self.observer.reasons, [CloseReason.IDLE])
        old.receive(RECORD)
        old.fin()
        self.assertEqual(old.value(), RECORD)
        self.assertEqual(self.service.drain_timeout, 2.0)
        self.stop()

    def test_a_connection_behind_a_proxy_has_the_new_rules(self) -> None:
        self.reload(record_size=10)
        client = self.connect(1)
        client.receive(b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 3005\r\n" + RECORD[:10])
        self.assertEqual(client.value(), RECORD[:10])
        client.fin()
        self.stop()

    def test_connections_before_a_new_limit_count(self) -> None:
        clients = [self.connect(), self.connect(), self.connect(1)]
        self.reload(max_connections=3)
        self.assertEqual(self.service.connections.limit, 3)
        self.assertIsNone(self.reactor.tcpServers[0][1].buildProtocol(None))
        self.assertEqual(self.observer.reasons, [CloseReason.TOO_MANY])
        clients[0].fin()
        self.connect().fin()
        self.reload()
        self.assertEqual(self.service.connections.limit, 100)
        for client in clients[1:]:
            client.fin()
        self.stop()

    def test_the_certificate_is_loaded_again(self) -> None:
        tls = self.service.tls
        assert tls is not None
        before = tls.certificate
        self.logged()
        self.reload()
        self.assertNotEqual(tls.certificate, before)
        self.assertEqual(
            [text for level, text in self.logged() if level == "info"],
            ["reload: no changed option to apply; loaded the certificate again"],
        )
        self.stop()

    def stop(self) -> None:
        self.successResultOf(self.service.stopService())
        self.assertEqual(self.reactor.getDelayedCalls(), [])
