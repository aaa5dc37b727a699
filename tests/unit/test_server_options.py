"""The declarations of the daemon's options, and the rules that follow from them."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from echod.common.errors import ConfigurationError
from echod.common.options import options_of
from echod.server.config import ExchangeRules, ServerConfiguration


class ServerOptionTests(SynchronousTestCase):
    def refusal(self, **values: Any) -> str:
        with self.assertRaises(ConfigurationError, msg=repr(values)) as refused:
            ServerConfiguration(**values)
        return str(refused.exception)

    def value(self, name: str, value: Any) -> object:
        """Return the option's value in a configuration that is made with it."""
        values: dict[str, Any] = {name: value}
        return getattr(ServerConfiguration(**values), name)

    def test_words_and_defaults(self) -> None:
        self.assertEqual(
            [(each.name, each.short, each.type.metavar, each.default) for each in options_of(ServerConfiguration)],
            [
                ("port", "p", "N", 3005),
                ("interface", "", "ADDR", "::"),
                ("backlog", "", "N", 10),
                ("record-size", "", "N", 250),
                ("timeout", "", "S", 30.0),
                ("keep-alive", "", "", False),
                ("stream", "", "", False),
                ("listen", "", "ENDPOINT", ()),
                ("tls-port", "", "N", None),
                ("tls-listen", "", "ENDPOINT", ()),
                ("tls-certificate", "", "FILE", None),
                ("tls-key", "", "FILE", None),
                ("tls-client-ca", "", "FILE", None),
                ("max-connections", "", "N", None),
                ("max-connections-per-host", "", "N", None),
                ("ipv6-prefix", "", "N", 64),
                ("allow", "", "CIDR", ()),
                ("trusted-proxy", "", "CIDR", ()),
                ("drain-timeout", "", "S", 5.0),
                ("reuse-port", "", "", False),
                ("transport", "", "fast|stock", "fast"),
                ("access-log", "", "FILE", None),
                ("log-health-checks", "", "", False),
                ("log-format", "", "text|json", "text"),
                ("admin", "", "PORT|ENDPOINT", None),
                ("admin-directory", "", "DIR", None),
            ],
        )

    def test_exclusions(self) -> None:
        self.assertEqual(
            {each.name: each.excludes for each in options_of(ServerConfiguration) if each.excludes},
            {"stream": ("record-size", "keep-alive"), "listen": ("port", "interface", "reuse-port")},
        )

    def test_options_that_a_reload_applies(self) -> None:
        self.assertEqual(
            [each.name for each in options_of(ServerConfiguration) if not each.reloadable],
            [
                "port",
                "interface",
                "backlog",
                "listen",
                "tls-port",
                "tls-listen",
                "reuse-port",
                "transport",
                "admin",
                "admin-directory",
            ],
        )

    def test_the_guide_lists_what_a_reload_applies(self) -> None:
        guide = (Path(__file__).parents[2] / "docs" / "operating.md").read_text(encoding="utf-8")
        table = guide.partition("| a reload applies | a restart is needed for |\n| --- | --- |\n")[2].partition("\n")[0]
        applied, restart = (re.findall(r"`([a-z0-9-]+)`", cell) for cell in table.strip("| ").split(" | "))
        options = options_of(ServerConfiguration)
        self.assertEqual(applied, [each.name for each in options if each.reloadable])
        self.assertEqual(restart, [each.name for each in options if not each.reloadable])

    def test_ranges(self) -> None:
        for values, below, above in (
            (("port", 1, 65535), "from 1 to 65535, not 0", "from 1 to 65535, not 65536"),
            (("backlog", 1, 65535), "from 1 to 65535, not 0", "from 1 to 65535, not 65536"),
            (("record_size", 1, 1048576), "from 1 to 1048576, not 0", "from 1 to 1048576, not 1048577"),
            (("ipv6_prefix", 1, 128), "from 1 to 128, not 0", "from 1 to 128, not 129"),
        ):
            name, least, most = values
            for value in (least, most):
                self.assertEqual(self.value(name, value), value)
            self.assertEqual(self.refusal(**{name: least - 1}), f"{name}: must be a whole number {below}")
            self.assertEqual(self.refusal(**{name: most + 1}), f"{name}: must be a whole number {above}")
        for name in ("max_connections", "max_connections_per_host"):
            self.assertEqual(self.value(name, 1), 1)
            self.assertEqual(self.refusal(**{name: 0}), f"{name}: must be a whole number of 1 or more, not 0")
        self.assertEqual(ServerConfiguration(drain_timeout=0).drain_timeout, 0.0)
        self.assertEqual(self.refusal(timeout=0), "timeout: must be a finite number of seconds, more than 0, not 0")

    def test_members_of_lists_are_checked(self) -> None:
        self.assertEqual(self.refusal(listen=("",)), 'listen: item 1: must be text that is not empty, not ""')
        self.assertEqual(self.refusal(tls_listen=("",)), 'tls_listen: item 1: must be text that is not empty, not ""')
        self.assertTrue(self.refusal(allow=("x",)).startswith("allow: item 1: must be a network: "))

    def test_choices(self) -> None:
        self.assertEqual(self.refusal(transport="x"), "transport: must be fast or stock, not x")
        self.assertEqual(self.refusal(log_format="x"), "log_format: must be text or json, not x")

    def test_tls_listeners_and_certificate_belong_together(self) -> None:
        required = "tls-port and tls-listen require tls-certificate"
        self.assertEqual(self.refusal(tls_port=3006), required)
        self.assertEqual(self.refusal(tls_listen=("tcp:3006",)), required)
        unused = "tls-key and tls-client-ca require tls-certificate"
        for name in ("tls_key", "tls_client_ca"):
            self.assertEqual(self.refusal(**{name: "x.pem"}), unused)
        self.assertFalse(ServerConfiguration().has_tls)
        self.assertFalse(ServerConfiguration(tls_certificate="x.pem").has_tls)
        self.assertTrue(ServerConfiguration(tls_port=3006, tls_certificate="x.pem").has_tls)
        self.assertTrue(ServerConfiguration(tls_listen=("tcp:3006",), tls_certificate="x.pem").has_tls)

    def test_a_trusted_proxy_requires_a_listener_for_it(self) -> None:
        required = "trusted-proxy requires a haproxy: endpoint in listen or tls-listen"
        self.assertEqual(self.refusal(trusted_proxy=("192.0.2.1",)), required)
        self.assertEqual(self.refusal(trusted_proxy=("192.0.2.1",), listen=("tcp:3005",)), required)
        self.assertTrue(self.refusal(trusted_proxy=("x",)).startswith("trusted_proxy: item 1: must be a network: "))
        ServerConfiguration(trusted_proxy=("192.0.2.1",), listen=("tcp:1", "haproxy:tcp:3005"))
        ServerConfiguration(trusted_proxy=("192.0.2.1",), tls_listen=("haproxy:tcp:3006",), tls_certificate="x.pem")

    def test_rules_of_an_exchange(self) -> None:
        one = ExchangeRules(record_size=250, timeout=30.0, keep_alive=False, linger=2.0, quiet=0.5, check_time=3.0)
        self.assertFalse(one.stream)
        self.assertEqual(ServerConfiguration().rules, one)
        self.assertEqual(ServerConfiguration(keep_alive=True).rules, replace(one, keep_alive=True))
        stream = replace(one, record_size=1, keep_alive=True, stream=True)
        self.assertEqual(ServerConfiguration(stream=True).rules, stream)
