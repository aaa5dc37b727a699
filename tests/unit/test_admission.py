from twisted.trial.unittest import SynchronousTestCase

from echod.server.admission import AccessList, Admission
from echod.server.config import ServerConfiguration
from echod.server.summary import CloseReason


class AccessListTests(SynchronousTestCase):
    def test_the_name_of_an_interface_is_no_part_of_the_address(self) -> None:
        for host in ("fe80::1%eth0", "fe80::1%a%b"):  # Linux refuses only "/", ":" and space in such a name
            self.assertTrue(AccessList(("fe80::/10",)).allows(host), host)
            self.assertFalse(AccessList(("2001:db8::/32",)).allows(host), host)


class CountTests(SynchronousTestCase):
    def test_connections_of_a_host_are_counted_one_by_one(self) -> None:
        admission = Admission(AccessList(()), None, 3)
        for _ in range(3):
            self.assertIsNone(admission.refusal("192.0.2.1"))
            admission.enter("192.0.2.1")
        self.assertIs(admission.refusal("192.0.2.1"), CloseReason.TOO_MANY_FROM_HOST)
        self.assertIsNone(admission.refusal("192.0.2.2"))
        admission.leave("192.0.2.1")
        self.assertIsNone(admission.refusal("192.0.2.1"))
        admission.enter("192.0.2.1")
        self.assertIs(admission.refusal("192.0.2.1"), CloseReason.TOO_MANY_FROM_HOST)

    def test_all_connections_are_counted_one_by_one(self) -> None:
        admission = Admission(AccessList(()), 3, None)
        for host in ("192.0.2.1", "192.0.2.2", ""):
            self.assertIsNone(admission.full())
            admission.enter(host)
        self.assertIs(admission.full(), CloseReason.TOO_MANY)
        self.assertIs(admission.refusal("192.0.2.3"), CloseReason.TOO_MANY)
        admission.leave("192.0.2.2")
        self.assertIsNone(admission.full())
        admission.enter("192.0.2.2")
        self.assertIs(admission.full(), CloseReason.TOO_MANY)

    def test_the_limits_of_a_configuration(self) -> None:
        configuration = ServerConfiguration(allow=("192.0.2.0/24",), max_connections_per_host=1)
        admission = Admission.from_configuration(configuration, 2)
        self.assertIs(admission.refusal("198.51.100.1"), CloseReason.NOT_ALLOWED)
        admission.enter("192.0.2.1")
        self.assertIs(admission.refusal("192.0.2.1"), CloseReason.TOO_MANY_FROM_HOST)
        self.assertIsNone(admission.refusal("192.0.2.2"))
        admission.enter("192.0.2.2")
        self.assertIs(admission.refusal("192.0.2.3"), CloseReason.TOO_MANY)
