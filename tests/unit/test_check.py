"""The check of a configuration, and the sources that it is read from."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from echod.common.errors import ConfigurationError
from echod.serve.check import Check, configuration_warnings, read_checked
from echod.serve.sources import ConfigurationSources
from echod.server.config import ServerConfiguration
from echod.server.listeners import check_endpoint
from tests.support.certificates import Authority


class CheckTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.file = self.directory / "echod.toml"

    def sources(self, *given: tuple[str, str], environment: Mapping[str, str] | None = None) -> ConfigurationSources:
        return ConfigurationSources(given, None, environment or {})

    def problems(
        self, *given: tuple[str, str], check: Check = Check.START, environment: Mapping[str, str] | None = None
    ) -> tuple[str, ...]:
        """Return the problems of a command line; none if it is valid."""
        environment = environment or {}
        try:
            read_checked(self.sources(*given, environment=environment), MemoryReactorClock(), environment, check)
        except ConfigurationError as error:
            return error.problems
        return ()


class CheckTests(CheckTestCase):
    def test_defaults(self) -> None:
        self.assertEqual(self.problems(), ())

    def test_access_log(self) -> None:
        existing = self.directory / "access.log"
        existing.write_text("a line\n")
        for path, reason in (
            ("-", ""),
            (str(existing), ""),
            (str(self.directory / "new.log"), ""),
            (str(self.directory), "Is a directory"),
            ("/nosuch/access.log", "No such file or directory"),
            (f"{existing}/access.log", "Not a directory"),
        ):
            expected = (f"access-log: cannot open {path}: {reason}",) if reason else ()
            self.assertEqual(self.problems(("access-log", path)), expected)
        self.assertEqual(existing.read_text(), "a line\n")
        self.assertEqual(list(self.directory.iterdir()), [existing])

    def test_an_access_log_without_permission(self) -> None:
        self.patch(os, "access", lambda *_: False)
        path = self.directory / "new.log"
        self.assertEqual(self.problems(("access-log", str(path)), check=Check.SIGNAL), ())
        self.assertEqual(
            self.problems(("access-log", str(path))), (f"access-log: cannot open {path}: Permission denied",)
        )

    def test_ports(self) -> None:
        pair = Authority(self.directory).issue("echo.test")
        tls = ("tls-certificate", str(pair.certificate)), ("tls-key", str(pair.key))
        self.assertEqual(self.problems(("tls-port", "3005"), *tls), ("tls-port: port is 3005 already",))
        self.assertEqual(
            self.problems(("tls-port", "3006"), ("admin", "3006"), *tls), ("admin: tls-port is 3006 already",)
        )
        self.assertEqual(self.problems(("listen", "tcp:1"), ("tls-port", "3005"), ("admin", "1"), *tls), ())
        self.assertEqual(self.problems(("interface", "::1"), ("admin", "3005")), ("admin: port is 3005 already",))
        # On another address than :: a port of the loopback addresses may be free.
        self.assertEqual(self.problems(("interface", "192.0.2.1"), ("admin", "3005")), ())

    def test_admin(self) -> None:
        self.assertEqual(self.problems(("admin", "9305")), ())
        self.assertEqual(self.problems(("admin", "unix:/run/echod/admin")), ())
        self.assertEqual(self.problems(("admin", "systemd:domain=INET:name=admin")), ())
        self.assertEqual(
            self.problems(("admin", "x")), ("admin: 'x' is not a server endpoint: Unknown endpoint type: 'x'",)
        )

    def test_credentials_are_refused_at_a_reload_only(self) -> None:
        pair = Authority(self.directory).issue("echo.test")
        given = (
            ("tls-port", "3006"),
            ("tls-certificate", str(pair.certificate)),
            ("tls-key", str(pair.key)),
            ("tls-client-ca", str(self.directory / "test-authority.pem")),
        )
        inside = {"CREDENTIALS_DIRECTORY": str(self.directory)}
        advice = (
            "is a systemd credential, copied when the service started: a reload cannot renew it; restart the service"
        )
        self.assertEqual(
            self.problems(*given, check=Check.RELOAD, environment=inside),
            tuple(f"{name}: {path} {advice}" for name, path in given[1:]),
        )
        self.assertEqual(self.problems(*given, environment=inside), ())
        self.assertEqual(self.problems(*given, check=Check.RELOAD), ())
        elsewhere = {"CREDENTIALS_DIRECTORY": str(self.directory / "other")}
        self.assertEqual(self.problems(*given, check=Check.RELOAD, environment=elsewhere), ())

    def test_warnings(self) -> None:
        pair = Authority(self.directory).issue("echo.test")
        pair.key.chmod(0o600)
        configuration = ServerConfiguration(tls_port=1, tls_certificate=str(pair.certificate), tls_key=str(pair.key))
        (warning,) = configuration_warnings(configuration, 0.0)
        self.assertIn(" is not valid before ", warning)
        self.assertEqual(configuration_warnings(ServerConfiguration(), 0.0), [])


class EndpointTests(SynchronousTestCase):
    def test_endpoints_of_systemd_are_checked_without_the_sockets(self) -> None:
        for valid in (
            "systemd:domain=INET6:name=echo",
            "haproxy:systemd:domain=INET:index=0",
            "systemd:domain=UNIX:name=echo",
            "haproxy:tcp6:3007",
        ):
            check_endpoint(MemoryReactorClock(), valid)
        needs = "it needs domain=INET, INET6 or UNIX, and either name= or index="
        for invalid in (
            "systemd:",
            "systemd:domain=INET6",
            "systemd:name=echo",
            "systemd:domain=INET7:name=echo",
            "haproxy:systemd:domain=INET6:name=echo:index=0",
        ):
            with self.assertRaises(ConfigurationError) as refused:
                check_endpoint(MemoryReactorClock(), invalid)
            self.assertEqual(str(refused.exception), f"{invalid!r} is not a server endpoint: {needs}")


class SourcesTests(CheckTestCase):
    def test_the_problems_of_all_sources(self) -> None:
        self.file.write_text("port = 0\n")
        environment = {"ECHOD_CONFIG": str(self.file), "ECHOD_TIMEOUT": "0"}
        with self.assertRaises(ConfigurationError) as refused:
            self.sources(("backlog", "0"), environment=environment).read()
        self.assertEqual(
            [each.partition(": must be")[0] for each in refused.exception.problems],
            [f"{self.file}: port", "ECHOD_TIMEOUT", "--backlog"],
        )

    def test_the_file_of_the_command_line_wins_over_that_of_the_environment(self) -> None:
        self.file.write_text("port = 3\n")
        sources = ConfigurationSources([], str(self.file), {"ECHOD_CONFIG": "/nosuch"})
        self.assertEqual((sources.read().port, sources.file), (3, str(self.file)))
        self.assertEqual(sources.display_name(), f"the configuration file {self.file}")

    def test_an_empty_name_is_no_file(self) -> None:
        sources = self.sources(environment={"ECHOD_CONFIG": ""})
        self.assertEqual((sources.read(), sources.file), (ServerConfiguration(), None))
        self.assertEqual(sources.display_name(), "the configuration")

    def test_a_relative_file_is_found_after_a_change_of_the_directory(self) -> None:
        self.file.write_text("port = 3\n")
        here = Path.cwd()
        self.addCleanup(os.chdir, here)
        os.chdir(self.directory)
        sources = ConfigurationSources([], "echod.toml", {})
        os.chdir(here)
        self.assertEqual(sources.read_again().port, 3)

    def test_a_reload_reads_regular_files_only(self) -> None:
        sources = ConfigurationSources([], str(self.file), {})
        os.mkfifo(self.file)
        self.assertTrue(stat.S_ISFIFO(self.file.stat().st_mode))
        with self.assertRaises(ConfigurationError) as refused:
            sources.read_again()
        self.assertEqual(str(refused.exception), f"{self.file}: is not a regular file, and cannot be read again")
        self.file.unlink()
        with self.assertRaises(ConfigurationError) as refused:
            sources.read_again()
        self.assertEqual(str(refused.exception), f"--config: cannot read {self.file}: No such file or directory")

    def test_the_environment_of_the_start_counts(self) -> None:
        environment = {"ECHOD_PORT": "3"}
        sources = self.sources(environment=environment)
        environment["ECHOD_PORT"] = "4"
        self.assertEqual(sources.read_again().port, 3)

    def test_warnings(self) -> None:
        environment = {"ECHOD_CONFIG": "x", "ECHOD_PRT": "3"}
        self.assertEqual(
            self.sources(environment=environment).warnings(), ["ECHOD_PRT: ignored, there is no such option"]
        )
