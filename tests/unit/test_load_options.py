from twisted.trial.unittest import SynchronousTestCase

from echod.common.errors import ConfigurationError
from echod.load.config import CONDITION, LoadConfiguration, shares


class LoadConfigurationTests(SynchronousTestCase):
    def test_a_time_without_a_phase_is_the_response_time(self) -> None:
        for text, phase in (("p99<5ms", "response"), ("service.max<1s", "service"), ("lost<1%", None)):
            self.assertEqual(CONDITION.from_text(text).phase, phase)

    def test_the_amount_of_load_is_required(self) -> None:
        for options in ({"rate": 5}, {"connections": 5}, {"find_max": "p99<5ms"}):
            LoadConfiguration(**options)
        with self.assertRaises(ConfigurationError):
            LoadConfiguration()

    def test_contradicting_options_are_refused(self) -> None:
        for options in (
            {"rate": 1, "ipv4": True, "ipv6": True},
            {"rate": 1, "tls_ca": "ca.pem"},
            {"connections": 3, "processes": 4},
            {"rate": 1, "arrival": "bursts"},
        ):
            with self.assertRaises(ConfigurationError):
                LoadConfiguration(**options)


class ShareTests(SynchronousTestCase):
    def test_the_shares_add_up(self) -> None:
        for connections in (1, 2, 7, 100):
            for processes in (1, 2, 3, 8):
                configuration = LoadConfiguration(connections=connections)
                found = shares(configuration, processes, 50)
                self.assertEqual(sum(share.connections for share in found), connections)
                self.assertEqual(len(found), min(connections, processes))
                self.assertTrue(all(share.connections and share.parts == len(found) for share in found))
                self.assertEqual([share.part for share in found], list(range(len(found))))
