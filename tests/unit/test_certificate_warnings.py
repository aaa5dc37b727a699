"""Warnings about certificates that are not valid or end soon, and about keys that others may read."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography.x509 import load_pem_x509_certificate
from twisted.internet.task import Clock
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import LogLevel, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from echod.server.certificate_watch import DAY, CertificateWatch
from echod.server.tls import ServerTLS, TLSFiles
from echod.tls.warnings import EXPIRY_NOTICE, key_file_warning, validity_warning
from tests.support.certificates import Authority


class WarningTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.authority = Authority(self.directory, days=60)
        self.pair = self.authority.issue("echo.test", ends=timedelta(days=30))
        self.pair.key.chmod(0o640)
        certificate = load_pem_x509_certificate(self.pair.certificate.read_bytes())
        self.certificate = certificate
        self.begin, self.end = certificate.not_valid_before_utc, certificate.not_valid_after_utc


class ValidityTests(WarningTestCase):
    def warning(self, now: datetime) -> str:
        """Return the warning at `now`, without its beginning; empty: none."""
        found = validity_warning("tls-certificate", "x.pem", self.certificate, now)
        beginning = "tls-certificate: x.pem: the certificate of CN=echod test "
        if found is None:
            return ""
        self.assertTrue(found.startswith(beginning), found)
        return found.removeprefix(beginning)

    def test_before_its_beginning(self) -> None:
        self.assertEqual(
            self.warning(self.begin - timedelta(seconds=1)), f"is not valid before {self.begin:%Y-%m-%d %H:%M} UTC"
        )
        self.assertEqual(self.warning(self.begin), "")

    def test_after_its_end(self) -> None:
        self.assertEqual(self.warning(self.end + timedelta(seconds=1)), f"expired on {self.end:%Y-%m-%d %H:%M} UTC")

    def test_within_14_days_of_its_end(self) -> None:
        self.assertEqual(EXPIRY_NOTICE, timedelta(days=14))
        self.assertEqual(self.warning(self.end - timedelta(days=14, seconds=1)), "")
        for before, remaining in (
            (timedelta(days=14), "in 14 days"),
            (timedelta(days=2), "in 2 days"),
            (timedelta(days=2, seconds=-1), "in 1 day"),
            (timedelta(days=1, seconds=-1), "in less than a day"),
            (timedelta(0), "in less than a day"),
        ):
            self.assertEqual(self.warning(self.end - before), f"expires {remaining}, on {self.end:%Y-%m-%d %H:%M} UTC")


class KeyFileTests(WarningTestCase):
    def test_modes(self) -> None:
        read, replace = "every user of this host can read the key", "users other than its owner can replace the key"
        for mode, problem in (
            (0o400, ""),
            (0o600, ""),
            (0o640, ""),
            (0o644, read),
            (0o604, read),
            (0o666, read),
            (0o660, replace),
            (0o602, replace),
        ):
            self.pair.key.chmod(mode)
            path = str(self.pair.key)
            expected = f"tls-key: {path} has mode {mode:04o}: {problem} (chmod 640 or 600)" if problem else None
            self.assertEqual(key_file_warning("tls-key", path), expected)

    def test_a_file_that_is_gone(self) -> None:
        self.assertIsNone(key_file_warning("tls-key", "/nosuch"))


class ServerTLSTests(WarningTestCase):
    def test_the_options_are_named(self) -> None:
        both = self.directory / "both.pem"
        both.write_bytes(self.pair.certificate.read_bytes() + self.pair.key.read_bytes())
        both.chmod(0o644)
        expired = Authority(self.directory, "expired", days=0)
        authorities = self.directory / "authorities.pem"
        authorities.write_bytes(self.authority.certificate.read_bytes() + expired.certificate.read_bytes())
        tls = ServerTLS(TLSFiles(str(both), None, str(authorities)))
        now = datetime.now(UTC) + timedelta(days=20)
        warnings = [line.split(" has mode ")[0].split(" expire")[0] for line in tls.warnings(now.timestamp())]
        self.assertEqual(
            warnings,
            [
                f"tls-certificate: {both}: the certificate of CN=echod test",
                f"tls-client-ca: {authorities}: the certificate of CN=expired",
                f"tls-certificate: {both}",
            ],
        )

    def test_no_warning(self) -> None:
        files = TLSFiles(str(self.pair.certificate), str(self.pair.key), str(self.authority.certificate))
        self.assertEqual(ServerTLS(files).warnings(datetime.now(UTC).timestamp()), [])


class CertificateWatchTests(WarningTestCase):
    def test_once_a_day_until_the_stop(self) -> None:
        log = EventLoggingObserver()
        globalLogPublisher.addObserver(log)
        self.addCleanup(globalLogPublisher.removeObserver, log)

        def logged() -> list[tuple[object, str | None]]:
            return [(event["log_level"], formatEvent(event)) for event in log]

        clock = Clock()
        tls = ServerTLS(TLSFiles(str(self.pair.certificate), str(self.pair.key), None))
        start = (self.end - EXPIRY_NOTICE - timedelta(hours=36)).timestamp()
        watch = CertificateWatch(tls, clock, lambda: start + clock.seconds())
        watch.stop()
        watch.start()
        clock.advance(DAY)
        self.assertEqual(logged(), [])
        clock.advance(DAY)
        clock.advance(DAY)
        name = f"tls-certificate: {self.pair.certificate}: the certificate of CN=echod test"
        on = f"on {self.end:%Y-%m-%d %H:%M} UTC"
        self.assertEqual(
            logged(),
            [(LogLevel.warn, f"{name} expires in 13 days, {on}"), (LogLevel.warn, f"{name} expires in 12 days, {on}")],
        )
        watch.stop()
        self.assertEqual(clock.getDelayedCalls(), [])
