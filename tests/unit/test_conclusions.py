from twisted.trial.unittest import SynchronousTestCase

from echod.client.conclusions import difference_detail, peer_service, silence_detail
from echod.client.record import described, opaque


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
