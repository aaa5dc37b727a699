"""The exchange as an asyncio Protocol, on asyncio's loop or on uvloop's.

    asyncio_server.py PORT keep-alive|one-record [--uvloop] [--tls CERTIFICATE KEY]

A record is 250 bytes. Its deadline is 30 s after accept, or after the record before. The linger after the last echo
is 2 s. While a client does not read its echo, the server reads nothing from it.
"""

import argparse
import asyncio
import ssl
from typing import cast

RECORD = 250
BACKLOG = 1024
TIMEOUT = 30.0
LINGER = 2.0


class Echo(asyncio.Protocol):
    """One connection."""

    __slots__ = ("_begun", "_deadline", "_keep_alive", "_lingering", "_loop", "_timer", "_transport")

    def __init__(self, loop: asyncio.AbstractEventLoop, *, keep_alive: bool) -> None:
        self._loop = loop
        self._keep_alive = keep_alive
        self._lingering = False
        self._begun = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the record's deadline."""
        self._transport = cast("asyncio.Transport", transport)
        self._arm(TIMEOUT)

    def data_received(self, data: bytes) -> None:
        """Echo each whole record."""
        if self._lingering:
            return
        if self._begun:
            data = self._begun + data
        size = len(data)
        if size != RECORD:
            whole = size - size % RECORD if self._keep_alive else min(size, RECORD)
            if whole < RECORD:
                self._begun = data
                return
            self._begun = data[whole:]
            data = data[:whole]
        elif self._begun:
            self._begun = b""
        self._transport.write(data)
        if self._keep_alive:
            self._deadline = self._loop.time() + TIMEOUT
        else:
            self._lingering = True
            self._transport.write_eof()
            self._timer.cancel()
            self._arm(LINGER)

    def pause_writing(self) -> None:
        """Read no more: the client does not read its echo."""
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Read again: the client reads."""
        self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Disarm the timer."""
        self._timer.cancel()

    def _arm(self, seconds: float) -> None:
        self._deadline = self._loop.time() + seconds
        self._timer = self._loop.call_later(seconds, self._expired)

    def _expired(self) -> None:
        """Close; or, if a record has moved the deadline, wait for it: this is cheaper than a new timer per record."""
        left = self._deadline - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._expired)
        else:
            self._transport.abort()


async def serve(port: int, context: ssl.SSLContext | None, *, keep_alive: bool) -> None:
    """Listen and serve, until the process ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Echo(loop, keep_alive=keep_alive), "127.0.0.1", port, backlog=BACKLOG, ssl=context
    )
    await server.serve_forever()


def main() -> None:
    """Parse the arguments and serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("mode", choices=("keep-alive", "one-record"))
    parser.add_argument("--uvloop", action="store_true")
    parser.add_argument("--tls", nargs=2, metavar=("CERTIFICATE", "KEY"))
    options = parser.parse_args()
    context = None
    if options.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(*options.tls)
    serving = serve(options.port, context, keep_alive=options.mode == "keep-alive")
    if options.uvloop:
        import uvloop

        uvloop.run(serving)
    else:
        asyncio.run(serving)


if __name__ == "__main__":
    main()
