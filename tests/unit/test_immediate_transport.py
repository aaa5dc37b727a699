"""The transport that sends at once, over a real socket."""

import socket
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from echod.client.immediate_transport import ImmediateTransport
from tests.support.processes import abort


class Transport:
    """Keeps the bytes written to it."""

    def __init__(self, handle: socket.socket) -> None:
        self.written = b""
        self._handle = handle

    def getHandle(self) -> socket.socket:
        return self._handle

    def write(self, data: bytes) -> None:
        self.written += data


class ImmediateTransportTests(SynchronousTestCase):
    def setUp(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.client = socket.create_connection(server.getsockname())
            self.peer, _ = server.accept()
        self.addCleanup(self.client.close)
        self.addCleanup(self.peer.close)
        self.client.setblocking(False)
        self.transport = Transport(self.client)
        self.immediate: Any = ImmediateTransport(self.transport)

    def test_a_reset_is_noted_and_unsent_bytes_are_passed_on(self) -> None:
        abort(self.peer)  # over loopback, the reset has arrived when this returns
        self.immediate.write(b"record")
        self.assertEqual((self.immediate.broken, self.transport.written), (True, b"record"))

    def test_a_full_buffer_is_not_a_reset(self) -> None:
        data = bytes(1 << 24)
        self.immediate.write(data)
        self.immediate.write(b"more")
        self.assertFalse(self.immediate.broken)
        self.assertTrue(0 < len(self.transport.written) < len(data))
        self.assertTrue(self.transport.written.endswith(b"more"))
