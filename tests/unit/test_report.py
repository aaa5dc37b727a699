from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from echod.cli.layout import failed_assertion_line
from echod.client.config import ClientTLS
from echod.client.outcomes import Outcome, PhaseTimes, Step, TLSSession
from echod.common.addresses import HostPort
from echod.common.assertions import parse_assertion
from echod.ping.statistics import PHASES, Statistics
from echod.ping.text import header_line, live_line, result_lines, status_lines, summary_lines
from tests.support.pages import PIPE, output
from tests.support.results import CERTIFICATE, FULL, UNTRUSTED, echoed, lost

TARGET = HostPort("::1", 3005)
WIDE = output(environment={"TERM": "dumb"})[0]
NARROW = output(environment={"TERM": "dumb"}, width=40)[0]
COLOURED = output()[0]


def run_of(*round_trips: int) -> Statistics:
    run = Statistics()
    for time in round_trips:
        run.add(echoed(time, times=PhaseTimes(echo=time)))
    return run


class HeaderTests(SynchronousTestCase):
    def test_target_and_record_size(self) -> None:
        self.assertEqual(
            header_line(HostPort("localhost", 7), range(250, 251)), "ECHO localhost port 7: 250 bytes a record"
        )
        self.assertEqual(
            header_line(TARGET, range(9, 10), ClientTLS()), "ECHO ::1 port 3005 over TLS: 9 bytes a record"
        )
        unverified = header_line(TARGET, range(9, 10), ClientTLS(insecure=True))
        swept = header_line(TARGET, range(100, 301, 100))
        self.assertEqual(swept, "ECHO ::1 port 3005: 100 to 300 bytes a record")
        self.assertEqual(unverified, "ECHO ::1 port 3005 over TLS, the server not verified: 9 bytes a record")


class ResultTests(SynchronousTestCase):
    def test_an_echo(self) -> None:
        for page in (PIPE, WIDE):
            self.assertEqual(
                result_lines(echoed(sequence=3), page), ["250 bytes from ::1 port 3005: seq=3 time=12.346 ms"]
            )

    def test_a_reconnection_is_shown(self) -> None:
        self.assertTrue(result_lines(echoed(reconnected=True), PIPE)[0].endswith(" ms (reconnected)"))

    def test_failures_name_their_step(self) -> None:
        for step, words in (
            (Step.RESOLVE, "name resolution"), (Step.CONNECT, "connect"), (Step.TLS, "TLS handshake"),
            (Step.IDLE, "silence"), (Step.ECHO, "echo"),
        ):  # fmt: skip
            failed = lost(Outcome.TIMEOUT, step, detail="why", address=None)
            line = f"no echo from localhost port 3005: seq=1 {words} failed: why"
            self.assertEqual(result_lines(failed, PIPE), [line])

    def test_without_a_detail_the_outcome_is_shown(self) -> None:
        self.assertTrue(result_lines(lost(detail=""), PIPE)[0].endswith("connect failed: refused"))

    def test_a_wrong_echo_with_a_time(self) -> None:
        """A whole record that was not the one sent has a time too."""
        result = lost(Outcome.STALE, Step.ECHO, times=PhaseTimes(echo=500), received=250, detail="record 3 came back")
        self.assertIn("echo failed: record 3 came back", result_lines(result, PIPE)[0])

    def test_a_narrow_terminal(self) -> None:
        self.assertEqual(result_lines(echoed(sequence=3), NARROW), ["seq=3 12.346 ms ::1"])
        self.assertEqual(result_lines(lost(), NARROW), ["seq=1 connect failed: connection", "    refused, ::1"])

    def test_only_failures_are_coloured(self) -> None:
        self.assertNotIn("\x1b", result_lines(echoed(), COLOURED)[0])
        self.assertTrue(result_lines(lost(), COLOURED)[0].startswith("\x1b[31mno echo"))

    def test_verbose(self) -> None:
        self.assertEqual(result_lines(FULL, PIPE, verbose=True)[1:], [
            "    phases: resolve 1.200, connect 250.300, tls 4.100, idle 1000.000, first byte 0.500, "
            "round trip 0.539, close 0.090 ms",
            "    from: ::1 port 50000",
            "    attempt: 192.0.2.1 port 3005: connection refused, after 0.300 ms",
            "    attempt: 192.0.2.2 port 3005: cancelled after 150.000 ms",
            "    attempt: ::1 port 3005: connected after 50.000 ms",
            "    tls: TLSv1.3, TLS_AES_256_GCM_SHA384",
            "    certificate: CN=echo.example, for echo.example, 192.0.2.1",
            "    issuer: CN=an authority",
            "    valid: 2026-01-01 00:00:00 to 2027-01-01 12:30:00 UTC",
            f"    sha-256: {'ab' * 32}",
            "    kernel: rtt 0.045 +/- 0.022, min 0.040 ms, 1 retransmitted, mss 65483, path mtu 65535",
        ])  # fmt: skip

    def test_verbose_of_a_failure(self) -> None:
        lines = result_lines(UNTRUSTED, PIPE, verbose=True)
        self.assertIn("    check failed: self-signed certificate", lines)
        self.assertNotIn("tls:", "".join(lines))
        self.assertIn("    kernel: rtt 0.045 +/- 0.022 ms, 0 retransmitted, mss 1448, path mtu 1500", lines)
        self.assertEqual(len(result_lines(lost(), PIPE, verbose=True)), 1)

    def test_no_line_of_a_terminal_is_too_wide(self) -> None:
        for width in (20, 40, 79, 100):
            page = output(environment={"TERM": "dumb"}, width=width)[0]
            for result in (
                FULL,
                UNTRUSTED,
                lost(detail="a-rather-long-" * 9),
                echoed(address=HostPort("f" * 39, 3005)),
            ):
                for line in result_lines(result, page, verbose=True):
                    self.assertLessEqual(len(line), width, line)

    def test_control_characters_of_a_peer_are_replaced(self) -> None:
        evil = "\x1b[2J\r\n\u202e"
        certificate = replace(CERTIFICATE, subject=evil, issuer=evil, names=(evil,))
        tls = TLSSession(certificate=certificate, failed_check=evil)
        for line in result_lines(lost(detail=evil, tls=tls), PIPE, verbose=True):
            self.assertTrue(line.isprintable(), line)


class LiveLineTests(SynchronousTestCase):
    def test_all_of_it(self) -> None:
        run = run_of(100, 200, 300)
        run.add(lost())
        line = live_line(run, [100, 200, 300, None], WIDE)
        self.assertEqual(line, "3 echoed, 1 lost (25%)  p50 0.200  p99 0.300 ms  ▁▅█×")  # noqa: RUF001  # the mark of a loss

    def test_a_narrow_terminal(self) -> None:
        line = live_line(run_of(100, 200, 300), [100, 200, 300] * 30, NARROW)
        self.assertEqual(line, "0/3 lost p50/p99 0.200/0.300 ms  ▁▅█▁▅█"[:39])

    def test_before_the_first_result(self) -> None:
        self.assertEqual(live_line(Statistics(), [], WIDE), "0 echoed, 0 lost (0%)")

    def test_it_never_reaches_the_last_column(self) -> None:
        run = run_of(*range(100, 60_000_000, 999_983))
        run.add(lost())
        for width in range(1, 130):
            page = output(environment={"TERM": "dumb"}, width=width)[0]
            self.assertLess(len(live_line(run, [1, None] * 60, page)), max(width, 1), width)

    def test_losses_are_red(self) -> None:
        self.assertTrue(live_line(run_of(1), [1], COLOURED).startswith("\x1b[32m"))
        run = run_of(1)
        run.add(lost())
        self.assertTrue(live_line(run, [1, None], COLOURED).startswith("\x1b[31m"))


class SummaryTests(SynchronousTestCase):
    def test_counts_and_times(self) -> None:
        run = run_of(1_000, 40_000)
        run.add(lost())
        run.finish(sent=4, elapsed=3.5)
        self.assertEqual(
            summary_lines(TARGET, run, PIPE),
            [
                "",
                "--- ::1 port 3005 echo statistics ---",
                "4 sent, 2 echoed, 1 lost (33.3%), 1 unfinished, time 3500 ms",
                "lost: 1 refused",
                "round trip min/median/p99/max = 1.000/1.000/40.000/40.000 ms",
            ],
        )

    def test_losses_by_outcome(self) -> None:
        run = Statistics()
        for outcome in (Outcome.TIMEOUT, Outcome.REFUSED, Outcome.TIMEOUT):
            run.add(lost(outcome))
        self.assertIn("lost: 1 refused, 2 timeout", summary_lines(TARGET, run, PIPE))

    def test_without_an_echo(self) -> None:
        run = Statistics()
        run.add(lost())
        self.assertEqual(
            summary_lines(TARGET, run, PIPE)[2:], ["1 sent, 0 echoed, 1 lost (100%), time 0 ms", "lost: 1 refused"]
        )

    def test_phases(self) -> None:
        run = Statistics()
        run.add(FULL)
        self.assertEqual(summary_lines(TARGET, run, NARROW)[-7:], [
            "ms            min median    p99    max",
            "resolve     1.200  1.200  1.200  1.200",
            "connect    250.30 250.30 250.30 250.30",
            "tls         4.100  4.100  4.100  4.100",
            "idle       1000.0 1000.0 1000.0 1000.0",
            "first byte  0.500  0.500  0.500  0.500",
            "close       0.090  0.090  0.090  0.090",
        ])  # fmt: skip

    def test_a_histogram_of_ten_and_more(self) -> None:
        self.assertEqual(len(summary_lines(TARGET, run_of(*range(100, 1000, 100)), PIPE)), 4)
        lines = summary_lines(TARGET, run_of(*[100] * 3, *[25_600] * 7), NARROW)
        self.assertEqual(lines[-9:], [
            "",
            " 0.100 -  0.200 ms 3 ████████▏",
            " 0.200 -  0.400 ms 0",
            " 0.400 -  0.800 ms 0",
            " 0.800 -  1.600 ms 0",
            " 1.600 -  3.200 ms 0",
            " 3.200 -  6.400 ms 0",
            " 6.400 - 12.800 ms 0",
            "12.800 - 25.600 ms 7 ███████████████████",
        ])  # fmt: skip

    def test_in_ascii(self) -> None:
        page, _ = output(terminal=False, encoding="ascii")
        self.assertTrue(all(line.isascii() for line in summary_lines(TARGET, run_of(*range(100, 2000, 100)), page)))

    def test_no_line_of_a_terminal_is_too_wide(self) -> None:
        run = run_of(*range(100, 60_000_000, 999_983))
        run.add(FULL)
        run.finish(sent=1_000_000, elapsed=100_000)
        for width in (40, 60, 100, 200):
            page = output(environment={"TERM": "dumb"}, width=width)[0]
            for line in summary_lines(HostPort("echo.example.net", 3005), run, page):
                self.assertLessEqual(len(line), width, line)


class OtherLineTests(SynchronousTestCase):
    def test_the_status_of_an_unfinished_run(self) -> None:
        run = run_of(100, 300)
        run.add(lost())
        shape = "min/median/p99/max = 0.100/0.100/0.300/0.300 ms"
        self.assertEqual(status_lines(run, PIPE), [f"3 sent, 2 echoed, 1 lost (33.3%), {shape}"])
        self.assertEqual(status_lines(Statistics(), PIPE), ["0 sent, 0 echoed, 0 lost (0%)"])

    def test_an_assertion_that_does_not_hold(self) -> None:
        for text, line in (
            ("p99<0.1ms", "assertion failed: p99<0.1ms: it is 0.300 ms"),
            ("lost>1%", "assertion failed: lost>1%: it is 0%"),
            ("tls.p50<1s", "assertion failed: tls.p50<1s: no samples"),
        ):
            self.assertEqual(failed_assertion_line(parse_assertion(text, PHASES).evaluate(run_of(100, 300))), line)
