from twisted.trial.unittest import SynchronousTestCase

from echod.common.addresses import HostPort
from echod.server.summary import REFUSALS, WAIT_BOUNDS, CloseReason, ConnectionSummary, TLSFailure


class FixedValueTests(SynchronousTestCase):
    """The values that logs and metrics contain."""

    def test_close_reasons(self) -> None:
        self.assertEqual(
            [reason.value for reason in CloseReason],
            [
                *("echoed", "health-check", "no-data", "incomplete", "timeout", "idle", "stalled", "tls-failed"),
                *(
                    "bad-proxy-header",
                    "not-allowed",
                    "too-many",
                    "too-many-from-host",
                    "reset",
                    "drained",
                    "cut",
                    "error",
                ),
            ],
        )

    def test_refusals(self) -> None:
        self.assertEqual({reason.value for reason in REFUSALS}, {"not-allowed", "too-many", "too-many-from-host"})

    def test_tls_failures(self) -> None:
        self.assertEqual(
            [failure.value for failure in TLSFailure],
            ["not-tls", "version", "cipher", "client-certificate", "client-refused", "incomplete", "timeout", "other"],
        )

    def test_buckets_of_record_wait_times(self) -> None:
        self.assertEqual(
            WAIT_BOUNDS,
            (
                *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
                *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
            ),
        )


class ConnectionSummaryTests(SynchronousTestCase):
    def test_a_connection_without_tls_of_which_no_waits_are_counted(self) -> None:
        summary = ConnectionSummary(HostPort("192.0.2.1", 40000), "tcp", CloseReason.NO_DATA, 0, 0, 0, 0.5)
        self.assertEqual((summary.tls, summary.tls_failure, summary.waited), (None, None, 0.0))
