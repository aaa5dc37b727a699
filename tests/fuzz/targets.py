"""The targets: each takes any bytes, and raises if a property does not hold.

Common properties: only documented exceptions, and what is shown to a user is one printable line. libFuzzer holds the
time of a run: `__main__.SLOWEST`.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogLevel

from echod.admin.http_request import HTTPRequest, Refusal, RequestReader
from echod.client.matcher import Finding, Matcher, Verdict
from echod.client.outcomes import Attempt, CertificateFacts, Outcome, Step, TLSSession
from echod.client.record import Record, described, opaque
from echod.common.addresses import HostPort
from echod.common.errors import ConfigurationError
from echod.load.report_page import page_of
from echod.load.result_reader import StoredResult
from echod.ping.json_objects import probe_object
from echod.ping.text import result_lines
from echod.serve.log_lines import event_line, json_access_line, text_access_line
from echod.serve.sources import ConfigurationSources
from echod.server.assembly import make_service
from echod.server.config import ServerConfiguration
from echod.server.proxy_header import V2_LONGEST, MalformedHeader, ProxyHeaderReader, ProxyInfo
from echod.server.summary import CloseReason, ConnectionSummary, TLSFacts
from tests.support.admin import Client, Scene
from tests.support.memory import MemoryObserver, MemoryTransport
from tests.support.pages import PIPE
from tests.support.results import lost

__all__ = ["CORPUS", "STEPPED", "TARGETS", "Target"]

Target = Callable[[bytes], None]

CORPUS = Path(__file__).parent / "corpus"

LONGEST_LINE = 4096
"""Characters of an error."""


def check_line(line: str, *, is_ascii: bool = False) -> None:
    """Fail unless `line` is one line without control characters."""
    assert line.isprintable(), ascii(line)
    assert line.isascii() or not is_ascii, ascii(line)


def pieces(data: bytes) -> Iterator[bytes]:
    """Cut data as its first byte says: whole (0), else into pieces of that many bytes."""
    size, rest = data[0] if data else 0, data[1:]
    for start in range(0, len(rest), size or max(1, len(rest))):
        yield rest[start : start + (size or len(rest))]


def proxy_header(data: bytes) -> None:
    """The result does not depend on the fragmentation; the address is canonical, so no byte of the peer is shown."""
    outcomes = {_proxy_outcome([data]), _proxy_outcome([bytes([each]) for each in data])}
    assert len(outcomes) == 1, outcomes


def _proxy_outcome(parts: Sequence[bytes]) -> tuple[HostPort | None, bytes] | str:
    """Return client and remaining bytes; or "malformed" or "incomplete"."""
    reader = ProxyHeaderReader()
    sent = b"".join(parts)
    used = 0
    for part in parts:
        try:
            info = reader.feed(part)
        except MalformedHeader:
            return "malformed"
        used += len(part)
        assert used <= V2_LONGEST or info is not None, "a header has no end"
        if info is not None:
            return _checked(info, sent, used)
    return "incomplete"


def _checked(info: ProxyInfo, sent: bytes, used: int) -> tuple[HostPort | None, bytes]:
    assert sent[:used].endswith(info.rest)
    if info.client is not None:
        assert str(ip_address(info.client.host)) == info.client.host
        assert "%" not in info.client.host
        assert 0 <= info.client.port <= 65535
        check_line(str(info.client), is_ascii=True)
    return info.client, info.rest + sent[used:]


RESPONSE = re.compile(rb"HTTP/1\.1 (200|400|404|405|414|421|431|503|505) [A-Za-z -]+\r\n")


def admin_request(data: bytes) -> None:
    """The result does not depend on the fragmentation; each response is whole, and nothing is logged."""
    whole = RequestReader().feed(data)
    reader, result = RequestReader(), None
    for each in data:
        result = reader.feed(bytes([each]))
        if result is not None:
            break
    if isinstance(whole, Refusal):
        check_line(whole.reason, is_ascii=True)
    if isinstance(result, HTTPRequest):
        assert isinstance(whole, HTTPRequest)
        assert (result.method, result.path, result.host) == (whole.method, whole.path, whole.host)
    else:
        assert result == whole
    scene = _admin_scene()
    client = Client(scene.factory)
    for piece in pieces(data):
        client.send(piece)
    if client.transport.over is None:
        client.leave()
    assert not scene.reactor.getDelayedCalls()
    received = bytes(client.transport.value())
    assert not received or RESPONSE.match(received), received[:80]


@cache
def _admin_scene() -> Scene:
    return Scene()


SIZE = 5
"""Record size of the server's target, in bytes."""
TIMEOUT = 30.0


def server_connection(data: bytes) -> None:
    """What a client receives is a prefix of what it sent, of whole records; each connection ends by its deadlines.

    The first byte chooses the options; each further one is an event, or a number of bytes that the client sends.
    """
    connection = _ServerConnection(data[0] if data else 0)
    for event in data[1:]:
        if connection.transport.over is None:
            connection.step(event)
    connection.end()


class _ServerConnection:
    """One connection of a daemon in memory."""

    def __init__(self, options: int) -> None:
        self._keep_alive, self._stream, flushing = bool(options & 1), bool(options & 2), bool(options & 4)
        kept: dict[str, Any] = {"record_size": SIZE, "keep_alive": self._keep_alive}
        self._reactor = cast("Any", MemoryReactorClock())
        self._observer = MemoryObserver()
        configuration = ServerConfiguration(
            listen=("tcp:1",), transport="stock", timeout=TIMEOUT, **({"stream": True} if self._stream else kept)
        )
        self._service = make_service(configuration, self._reactor, observer=self._observer)
        self._service.startService()
        self._sent = bytearray()
        self._fin = False
        self.transport = MemoryTransport(flushing)
        self.transport.connect(self._reactor.tcpServers[0][1].buildProtocol(None))

    def step(self, event: int) -> None:
        """Let the client send, half-close, read, not read or reset; let the daemon stop; or let time pass."""
        transport = self.transport
        is_read = transport.producerState == "producing" and not self._fin
        if event < 200 and is_read:
            part = bytes((len(self._sent) + each) % 256 for each in range(event + 1))
            self._sent += part
            transport.receive(part)
        elif event < 210 and is_read:
            self._fin = True
            transport.fin()
        elif event < 220:
            transport.flush()
        elif event < 225 and transport.producer is not None:
            transport.fill()
        elif event == 225:
            transport.reset()
        elif event == 226:
            self._service.stopService()
        elif event > 226:
            self._reactor.advance(event - 226)

    def end(self) -> None:
        """Let the client read, and all deadlines pass; check the properties."""
        if self.transport.over is None:
            self.transport.flush()
        for _ in range(4):
            self._reactor.advance(TIMEOUT)
        assert self.transport.over is not None, "the connection has no end"
        received = bytes(self.transport.value())
        assert bytes(self._sent).startswith(received)
        assert self._stream or len(received) % SIZE == 0
        assert self._stream or self._keep_alive or len(received) <= SIZE
        (summary,) = self._observer.summaries
        assert summary.reason is not CloseReason.ERROR
        assert summary.bytes_sent == len(received)
        self._service.stopService()


RUN, OTHER_RUN = 1, 2
RECORDS = 3
RECORD_SIZE = 44


def matcher(data: bytes) -> None:
    """The verdicts do not depend on the fragmentation; ECHOED only if the bytes came back.

    The first byte says whether the records have headers; the rest is the stream: a byte from 250 on stands for a record
    of this run, or of another, any other byte for itself.
    """
    has_header, coded = bool(data and data[0] & 1), data[1:]
    out = [_record(number, RUN, has_header=has_header) for number in range(RECORDS)]
    known = [*out, _record(7, RUN, has_header=True), _record(0, OTHER_RUN, has_header=True), out[0]]
    stream = b"".join(known[each - 250].data if each >= 250 else bytes([each]) for each in coded)
    whole = _findings(out, [stream] if stream else [])
    assert whole == _findings(out, [bytes([each]) for each in stream])
    assert whole == _findings(out, [stream[start : start + 7] for start in range(0, len(stream), 7)])
    for sequence, verdict, _, _ in whole:
        if verdict in (Verdict.ECHOED, Verdict.REORDERED):
            assert out[sequence].data in stream
    assert len({sequence for sequence, *_ in whole}) == len(whole), "two verdicts on a record"


@cache
def _record(sequence: int, run: int, *, has_header: bool) -> Record:
    if has_header:
        return described(run, sequence, 1_800_000_000_000_000, RECORD_SIZE)
    return opaque(sequence, bytes((sequence + each) % 256 for each in range(RECORD_SIZE)))


def _findings(out: Sequence[Record], parts: Sequence[bytes]) -> list[tuple[int, Verdict, int | None, int | None]]:
    reader = Matcher()
    findings: list[Finding] = [finding for each in out for finding in reader.expect(each)]
    for part in parts:
        findings += reader.feed(part, 1.0)
    return [(each.record.sequence, each.verdict, each.offset, each.other) for each in findings]


def toml_configuration(data: bytes) -> None:
    """A file is a configuration, or is refused with a line that is fit for a terminal."""
    path = _configuration_file()
    path.write_bytes(data)
    line = ""
    try:
        ConfigurationSources((), str(path), {}).read()
    except ConfigurationError as problem:
        line = str(problem)
    check_line(line)
    assert len(line) < LONGEST_LINE + len(data)


@cache
def _directory() -> "TemporaryDirectory[str]":
    return TemporaryDirectory(prefix="echod-fuzz-")


def _configuration_file() -> Path:
    return Path(_directory().name, "echod.toml")


def result_file(data: bytes) -> None:
    """A file is a result, whose page is whole, or is refused with a short line."""
    try:
        result = StoredResult.from_json("run", data)
    except ValueError as problem:
        line = str(problem)
        check_line(line)
        if len(line) > LONGEST_LINE:
            raise AssertionError(line) from None
        return
    page = page_of([result])
    page.decode("utf-8")
    assert page.count(b"<script") == page_of([result, result]).count(b"<script")
    assert page.endswith(b"</html>")


def log_line(data: bytes) -> None:
    """A line of a log is one line of printable ASCII, whatever a peer has put into a certificate or a message."""
    text = data.decode("utf-8", "surrogateescape")
    tls = TLSFacts(version="TLSv1.3", cipher="TLS_AES_256_GCM_SHA384", client_subject=text)
    summary = ConnectionSummary(HostPort("::1", 1), text, CloseReason.ECHOED, 1, 250, 250, 0.1, tls)
    for line in (text_access_line(1.8e9, summary), json_access_line(1.8e9, summary)):
        check_line(line, is_ascii=True)
    assert json.loads(json_access_line(1.8e9, summary))["subject"] == text
    event = {"log_time": 1.8e9, "log_level": LogLevel.info, "log_format": "{text}", "text": text, "log_namespace": text}
    check_line(event_line(event), is_ascii=True)


def terminal_line(data: bytes) -> None:
    """A line of ping's output is one printable line, whatever the server has put into its certificate."""
    text = data.decode("utf-8", "surrogateescape")
    facts = CertificateFacts(
        subject=text,
        names=(text, text),
        issuer=text,
        not_before=datetime(2026, 1, 1, tzinfo=UTC),
        not_after=datetime(2027, 1, 1, tzinfo=UTC),
        fingerprint="ab" * 32,
    )
    address = HostPort("::1", 3005)
    attempt = Attempt(address=address, outcome=Outcome.REFUSED, won=False, started=1, time=1, detail=text)
    result = lost(
        Outcome.TLS_UNTRUSTED,
        Step.TLS,
        detail=text,
        attempts=(attempt,),
        tls=TLSSession(certificate=facts, failed_check=text),
    )
    for line in result_lines(result, PIPE, verbose=True):
        check_line(line)
    check_line(probe_object(result), is_ascii=True)


TARGETS: dict[str, Target] = {
    target.__name__: target
    for target in (
        *(proxy_header, admin_request, server_connection, matcher),
        *(toml_configuration, result_file, log_line, terminal_line),
    )
}

STEPPED = ("server_connection", "matcher")
"""The targets whose input is a sequence of events."""
