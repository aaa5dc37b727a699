from twisted.trial.unittest import SynchronousTestCase

from echod.client.record import described, opaque
from echod.client.sentences import differs, silence_before
from echod.client.speakers import speaker


class SpeakerTests(SynchronousTestCase):
    def test_known(self) -> None:
        for came, who in (
            (b"HTTP/1.0 400 Bad request\r\n", "an HTTP server"),
            (b"SSH-2.0-x\r\n", "an SSH server"),
            (b"220 mail.example\r\n", "an SMTP or FTP server"),
            (b"220-files.example\r\n220 \r\n", "an SMTP or FTP server"),
            (b"* OK ready\r\n", "an IMAP server"),
            (b"+OK ready\r\n", "a POP3 server"),
            (b"\x15\x03\x01\x00\x02\x02\x0a", "a TLS server"),
            (b"\x16\x03\x03", "a TLS server"),
        ):
            self.assertEqual(speaker(came), who)

    def test_unknown(self) -> None:
        unknown = (
            b"", b"HTTP", b"220", b"2200", b"\x16\x03", b"\x16\x03\x05", b"\x16\x02\x01", b"\x18\x03\x01",
            b"\x13\x03\x01",
            described(1, 1, 1, 250).data, opaque(1, bytes(250)).data,
        )  # fmt: skip
        for came in unknown:
            self.assertIsNone(speaker(came), came)


class SentenceTests(SynchronousTestCase):
    def test_who_answers(self) -> None:
        self.assertEqual(differs(0, b"+OK "), "the byte at offset 0 is not what was sent: a POP3 server answers")
        self.assertEqual(differs(9, b"x"), "the byte at offset 9 is not what was sent")

    def test_silence(self) -> None:
        self.assertEqual(silence_before(None), "")
        self.assertEqual(silence_before(600_000_123), "; the connection had been silent for 600 s before")
