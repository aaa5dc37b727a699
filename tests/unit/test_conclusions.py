from datetime import UTC, datetime
from itertools import product

from twisted.trial.unittest import SynchronousTestCase

from echod.client.conclusions import (
    Conclusion,
    Failing,
    difference_detail,
    excess,
    failing_of,
    may_be_sent_again,
    peer_service,
    silence_detail,
    unfinished,
)
from echod.client.matcher import Finding, Matcher, Verdict
from echod.client.outcomes import Attempt, Outcome, PhaseTimes, ProbeResult, Step, TLSSession
from echod.client.record import described, opaque
from echod.common.addresses import HostPort

RECORD = opaque(3, bytes(250))


class PeerServiceTests(SynchronousTestCase):
    def test_known(self) -> None:
        for received, service in (
            (b"HTTP/1.0 400 Bad request\r\n", "an HTTP server"),
            (b"SSH-2.0-x\r\n", "an SSH server"),
            (b"220 mail.example\r\n", "an SMTP or FTP server"),
            (b"220-files.example\r\n220 \r\n", "an SMTP or FTP server"),
            (b"* OK ready\r\n", "an IMAP server"),
            (b"+OK ready\r\n", "a POP3 server"),
            (b"\x15\x03\x01\x00\x02\x02\x0a", "a TLS server"),
            (b"\x16\x03\x03", "a TLS server"),
            (b"\x14\x03\x03", "a TLS server"),
        ):
            self.assertEqual(peer_service(received), service)

    def test_unknown(self) -> None:
        unknown = (
            b"", b"HTTP", b"220", b"2200", b"\x16\x03", b"\x16\x03\x05", b"\x16\x02\x01", b"\x18\x03\x01",
            b"\x13\x03\x01",
            described(1, 1, 1, 250).data, opaque(1, bytes(250)).data,
        )  # fmt: skip
        for received in unknown:
            self.assertIsNone(peer_service(received), received)


class DetailTests(SynchronousTestCase):
    def test_a_difference(self) -> None:
        self.assertEqual(
            difference_detail(0, b"+OK "), "the byte at offset 0 is not what was sent: a POP3 server answers"
        )
        self.assertEqual(difference_detail(9, b"x"), "the byte at offset 9 is not what was sent")

    def test_silence(self) -> None:
        self.assertEqual(silence_detail(None), "")
        self.assertEqual(silence_detail(600_000_123), "; the connection had been silent for 600 s before")


class FailingTests(SynchronousTestCase):
    def failing(
        self, verdict: Verdict, *, sent: bool = True, offset: int | None = None, beginning: bytes = b""
    ) -> Failing:
        return failing_of(Finding(RECORD, verdict, 1.0, 9, offset, 7, beginning), sent=sent)

    def test_each_verdict(self) -> None:
        for verdict, outcome, detail in (
            (Verdict.STALE, Outcome.STALE, "record 7 of this run came back instead"),
            (Verdict.FOREIGN, Outcome.FOREIGN, "a record of another run came back"),
            (Verdict.REORDERED, Outcome.REORDERED, "it came back before record 7, which was sent earlier"),
            (Verdict.TRUNCATED, Outcome.CORRUPT, "the record ends after 9 of 250 bytes, and record 7 follows"),
            (Verdict.CORRUPT, Outcome.CORRUPT, "the byte at offset 9 is not what was sent"),
        ):
            self.assertEqual(self.failing(verdict, offset=9), Failing(outcome, detail))

    def test_bytes_before_the_record_was_sent(self) -> None:
        self.assertEqual(
            self.failing(Verdict.CORRUPT, sent=False, offset=0, beginning=b"SSH-2.0-x"),
            Failing(Outcome.CORRUPT, "something came back before the record was sent: an SSH server answers"),
        )
        # Another record is identified, whether or not this one was sent.
        self.assertEqual(self.failing(Verdict.STALE, sent=False).outcome, Outcome.STALE)

    def test_excess(self) -> None:
        detail = "more came back than was sent: the byte at offset 250 is one too many"
        self.assertEqual(excess(250), Failing(Outcome.CORRUPT, detail))


class UnfinishedTests(SynchronousTestCase):
    END = Failing(Outcome.RESET, "connection reset after 9 of 250 bytes")

    def unfinished(
        self, received: bytes, end: Failing | None = None, idle: int | None = None
    ) -> tuple[Failing, int | None]:
        matcher = Matcher()
        record = described(1, 1, 0, 250)
        matcher.expect(record)
        if received:
            matcher.feed(received, 1.0)
        return unfinished(record, matcher, end=end, timeout=0.5, idle=idle)

    def test_the_time_limit(self) -> None:
        record = described(1, 1, 0, 250)
        self.assertEqual(
            self.unfinished(record.data[:9]), (Failing(Outcome.TIMEOUT, "9 of 250 bytes were back after 0.5 s"), None)
        )

    def test_the_end_of_the_connection(self) -> None:
        record = described(1, 1, 0, 250)
        self.assertEqual(self.unfinished(record.data[:9], self.END), (self.END, None))

    def test_a_difference_comes_first(self) -> None:
        record = described(1, 1, 0, 250)
        for end in (None, self.END):
            failing, offset = self.unfinished(record.data[:9] + b"?", end, idle=2_000_000)
            self.assertEqual(failing, Failing(Outcome.CORRUPT, "the byte at offset 9 is not what was sent"))
            self.assertEqual(offset, 9)

    def test_the_service_that_answers_is_named(self) -> None:
        detail = "the byte at offset 0 is not what was sent: an HTTP server answers"
        self.assertEqual(self.unfinished(b"HTTP/1.1 400"), (Failing(Outcome.CORRUPT, detail), 0))

    def test_silence_is_named_if_no_byte_came_back(self) -> None:
        record = described(1, 1, 0, 250)
        self.assertEqual(
            self.unfinished(b"", idle=2_000_000)[0],
            Failing(
                Outcome.TIMEOUT, "0 of 250 bytes were back after 0.5 s; the connection had been silent for 2 s before"
            ),
        )
        self.assertEqual(self.unfinished(b"", self.END)[0], self.END)
        self.assertEqual(self.unfinished(record.data[:1], self.END, idle=2_000_000)[0], self.END)


class SendAgainTests(SynchronousTestCase):
    def test_all_conditions_are_needed(self) -> None:
        for kept, echoed_others, begun, closed_in_order in product((False, True), repeat=4):
            self.assertIs(
                may_be_sent_again(kept=kept, echoed_others=echoed_others, begun=begun, closed_in_order=closed_in_order),
                (kept, echoed_others, begun, closed_in_order) == (True, True, False, True),
            )


class ConclusionTests(SynchronousTestCase):
    def test_the_defaults(self) -> None:
        end = Conclusion(outcome=Outcome.TIMEOUT, step=Step.ECHO)
        self.assertEqual((end.detail, end.offset, end.received, end.first_byte_at), ("", None, 0, None))
        self.assertIs(type(end.received), int)
        with self.assertRaises(AttributeError):
            end.detail = "x"  # type: ignore[misc]  # it is frozen


class ResultDefaultsTests(SynchronousTestCase):
    def test_what_does_not_apply_is_none(self) -> None:
        target = HostPort("echo.example", 3005)
        started = datetime(2026, 11, 24, tzinfo=UTC)
        result = ProbeResult(
            target=target, outcome=Outcome.TIMEOUT, step=Step.ECHO, started=started, times=PhaseTimes(), size=250
        )
        self.assertEqual((result.sequence, result.received, result.detail, result.attempts), (1, 0, "", ()))
        self.assertEqual((result.address, result.source, result.offset, result.tls, result.kernel), (None,) * 5)
        session = TLSSession()
        self.assertEqual((session.version, session.cipher, session.certificate, session.failed_check), (None,) * 4)
        attempt = Attempt(address=target, outcome=None, won=True, started=0, time=1)
        self.assertEqual(attempt.detail, "")
