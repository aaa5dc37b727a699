"""The reading of a listening socket's accept queue, of real sockets."""

import socket
import struct

from twisted.trial.unittest import SynchronousTestCase

from echod.transport.accept_queue import AcceptQueue, accept_queue


class AcceptQueueTests(SynchronousTestCase):
    def listening(self, backlog: int) -> socket.socket:
        listening = socket.create_server(("127.0.0.1", 0), backlog=backlog)
        self.addCleanup(listening.close)
        return listening

    def dial(self, listening: socket.socket) -> None:
        """Connect without waiting: a handshake that the kernel drops is repeated after a second."""
        client = socket.socket()
        self.addCleanup(client.close)
        client.setblocking(False)
        client.connect_ex(listening.getsockname())

    def test_an_empty_queue(self) -> None:
        self.assertEqual(accept_queue(self.listening(3)), AcceptQueue(waiting=0, limit=3, dropped=0))

    def test_a_queue_is_full_with_one_more_than_its_limit(self) -> None:
        listening = self.listening(3)
        seen = []
        for _ in range(6):
            self.dial(listening)
            queue = accept_queue(listening)
            assert queue is not None
            seen.append((queue.waiting, queue.full, queue.dropped))
        self.assertEqual(seen, [(1, False, 0), (2, False, 0), (3, False, 0), (4, True, 0), (4, True, 1), (4, True, 2)])

    def test_sockets_without_an_accept_queue(self) -> None:
        unix, other = socket.socketpair()
        for each in (socket.socket(), unix, other, socket.socket(type=socket.SOCK_DGRAM)):
            self.addCleanup(each.close)
            self.assertIs(accept_queue(each), None)

    def test_a_short_answer_of_another_system(self) -> None:
        class Socket:
            def getsockopt(self, level: int, option: int, size: int) -> bytes:
                return struct.pack("=B", 10)

        self.assertIs(accept_queue(Socket()), None)  # type: ignore[arg-type]  # the one method that is called
