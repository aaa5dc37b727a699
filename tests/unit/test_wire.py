"""What sends at once: what it finds out by that, and nobody else would."""

import socket
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from echod.client.immediate_transport import ImmediateTransport
from tests.support.processes import abort


class Transport:
    """Twisted's, which keeps what it is given."""

    def __init__(self, handle: socket.socket) -> None:
        self.written = b""
        self._handle = handle

    def getHandle(self) -> socket.socket:
        return self._handle

    def write(self, data: bytes) -> None:
        self.written += data


class WireTests(SynchronousTestCase):
    def setUp(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.client = socket.create_connection(server.getsockname())
            self.peer, _ = server.accept()
        self.addCleanup(self.client.close)
        self.addCleanup(self.peer.close)
        self.client.setblocking(False)
        self.transport = Transport(self.client)
        self.wire: Any = ImmediateTransport(self.transport)

    def test_a_reset_is_noted_and_what_was_not_sent_goes_on(self) -> None:
        abort(self.peer)  # over loopback it has arrived when this returns
        self.wire.write(b"record")
        self.assertEqual((self.wire.broken, self.transport.written), (True, b"record"))

    def test_a_full_buffer_is_no_reset(self) -> None:
        data = bytes(1 << 24)
        self.wire.write(data)
        self.wire.write(b"more")
        self.assertFalse(self.wire.broken)
        self.assertTrue(0 < len(self.transport.written) < len(data))
        self.assertTrue(self.transport.written.endswith(b"more"))
