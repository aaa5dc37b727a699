"""The declarations of the options of `echod ping` and `echod load`."""

from twisted.trial.unittest import SynchronousTestCase

from echod.client.config import ClientConfiguration
from echod.common.assertions import AssertionType
from echod.common.errors import ConfigurationError
from echod.common.option_types import Choice, Flag, Integer, ListOf, Seconds, SizeRange, Text
from echod.common.options import options_of
from echod.load.config import LoadConfiguration, shares
from echod.ping.config import PingConfiguration

LOAD_ASSERTION = AssertionType(("response", "service"), bare="response")
PING_ASSERTION = AssertionType(("resolve", "connect", "tls", "idle", "first_byte", "echo", "close"))

LOAD = [
    ("rate", "r", None, Integer(low=1, high=10000000)),
    ("connections", "c", None, Integer(low=1, high=1000000)),
    ("duration", "d", 10.0, Seconds()),
    ("warmup", "", 0.0, Seconds(zero=True)),
    ("timeout", "W", 5.0, Seconds()),
    ("keep-alive", "", False, Flag()),
    ("size", "s", 250, Integer(low=1, high=1048576)),
    ("arrival", "", "uniform", Choice(words=("uniform", "poisson"))),
    ("seed", "", 1, Integer(0)),
    ("processes", "", None, Integer(low=1, high=1024)),
    ("find-max", "", None, LOAD_ASSERTION),
    ("assert", "", (), ListOf(each=LOAD_ASSERTION)),
    ("json", "", None, Text(metavar="FILE")),
    ("html", "", None, Text(metavar="FILE")),
]

PING = [
    ("count", "c", None, Integer(1)),
    ("interval", "i", 1.0, Seconds(zero=True)),
    ("timeout", "W", 5.0, Seconds()),
    ("deadline", "w", None, Seconds()),
    ("size", "s", None, Integer(low=1, high=1048576)),
    ("sweep", "", None, SizeRange(low=1, high=1048576)),
    ("payload", "", None, Text(metavar="random|zero|FILE")),
    ("each-address", "", False, Flag()),
    ("keep-alive", "", False, Flag()),
    ("idle", "", None, Seconds()),
    ("verbose", "v", False, Flag()),
    ("quiet", "q", False, Flag()),
    ("json", "", False, Flag()),
    ("summary", "", False, Flag()),
    ("metrics", "", None, Text(metavar="FILE")),
    ("assert", "", (), ListOf(each=PING_ASSERTION)),
    ("nagios", "", False, Flag()),
    ("warning", "", (), ListOf(each=PING_ASSERTION)),
    ("critical", "", (), ListOf(each=PING_ASSERTION)),
]


class ClientOptionTests(SynchronousTestCase):
    def test_the_declarations(self) -> None:
        shared = [(each.name, each.short, each.default, each.type) for each in options_of(ClientConfiguration)]
        for configuration, own in ((LoadConfiguration, LOAD), (PingConfiguration, PING)):
            declared = [(each.name, each.short, each.default, each.type) for each in options_of(configuration)]
            self.assertEqual(declared, [*own, *shared])

    def test_every_option_has_a_usage_text(self) -> None:
        for configuration in (LoadConfiguration, PingConfiguration):
            for each in options_of(configuration):
                self.assertTrue(each.help, each.name)


class LoadConfigurationTests(SynchronousTestCase):
    def test_a_load_is_required(self) -> None:
        with self.assertRaises(ConfigurationError) as refused:
            LoadConfiguration()
        self.assertEqual(str(refused.exception), "rate, connections or find-max is required")

    def test_a_process_has_a_connection(self) -> None:
        self.assertEqual(LoadConfiguration(connections=2, processes=2).processes, 2)
        with self.assertRaises(ConfigurationError) as refused:
            LoadConfiguration(connections=2, processes=3)
        self.assertEqual(str(refused.exception), "processes: 3 is more than the number of connections, 2")

    def test_the_first_rate_of_a_search(self) -> None:
        self.assertEqual(LoadConfiguration(connections=1).first_rate, 1000)
        self.assertEqual(LoadConfiguration(rate=7).first_rate, 7)

    def test_shares_have_the_rate_of_the_whole(self) -> None:
        parts = shares(LoadConfiguration(rate=9, connections=3), 2, 9)
        self.assertEqual([(each.rate, each.parts, each.connections) for each in parts], [(9, 2, 2), (9, 2, 1)])
