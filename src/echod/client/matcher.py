"""Matches the bytes that come back against the records that were sent, as a stream.

The records that are out on a connection are expected in the order in which they were sent, because TCP keeps it. Each
byte is compared once, when it is read. From the first that differs on, the bytes are held until they can be identified:

| bytes in a record's place                             | verdict on that record | then                                |
| ----------------------------------------------------- | ---------------------- | ----------------------------------- |
| its beginning, then the header of another that is out | TRUNCATED              | the other one is expected           |
| another record that is out                            | none yet               | the other is REORDERED when whole   |
| any other record of this run                          | STALE                  | it is skipped, this one may follow  |
| a record of another run                               | FOREIGN                | likewise                            |
| anything else                                         | CORRUPT                | the size of the record is skipped   |

A header is valid only with its checksum. Bytes that are read while no record is out cannot be an echo: they are held,
and the next record is judged by them.
"""

from collections import deque
from enum import Enum, auto
from typing import NamedTuple

from echod.client.record import HEADER_SIZE, Record, read_header
from echod.common.defaults import LARGEST_RECORD

__all__ = ["Finding", "Matcher", "Verdict", "first_difference"]


class Verdict(Enum):
    """The result of matching one record."""

    ECHOED = auto()
    CORRUPT = auto()
    TRUNCATED = auto()
    STALE = auto()
    FOREIGN = auto()
    REORDERED = auto()


_ECHOED = Verdict.ECHOED  # a member of an Enum costs 0.1 µs to look up, and this one each record


class Finding(NamedTuple):
    """The verdict on one record."""

    record: Record
    verdict: Verdict
    began: float
    """Time of the first byte in its place, as passed to `Matcher.feed`."""
    received: int
    """Bytes in its place until the verdict."""
    offset: int | None = None
    """Of CORRUPT: offset of the first byte that differs. Of TRUNCATED: number of bytes before the next record."""
    other: int | None = None
    """The sequence number of the record of this run that came back instead, or was overtaken."""
    beginning: bytes = b""
    """Of CORRUPT: the beginning of the bytes in its place."""


class _Expected:
    """A record that is out."""

    __slots__ = ("judged", "overtook", "record")

    def __init__(self, record: Record) -> None:
        self.record = record
        self.judged = False
        """Whether it has its verdict, or needs none any more. Its echo may still come."""
        self.overtook: int | None = None
        """The sequence number of a record sent earlier that it came back before."""


class Matcher:
    """Matches the records of one run that are sent on one connection."""

    def __init__(self) -> None:
        self._out: deque[_Expected] = deque()
        self._began = 0.0
        """Time of the first byte in the place of the first record that is out. It has no meaning before that byte."""
        self._received = 0
        """Bytes in the place of the first record that is out, all as sent."""
        self._difference: int | None = None
        """The offset of a byte in its place that differs."""
        self._held = bytearray()
        """All bytes in its place, once one differs; or the bytes read while no record was out."""
        self._skip = 0
        """Bytes to be skipped."""
        self._pending: list[memoryview] = []
        """Bytes not matched yet, the next of them last."""

    def received(self, record: Record) -> int:
        """Return the number of bytes in the place of `record` so far."""
        if not self._out or self._out[0].record is not record:
            return 0
        return self._received if self._difference is None else len(self._held)

    def began(self, record: Record) -> float | None:
        """Return the time of the first of them; None if there is none."""
        return self._began if self.received(record) else None

    def difference(self, record: Record) -> int | None:
        """Return the offset of a byte that differs, if what came instead is not identified yet; else None."""
        return self._difference if self.received(record) else None

    def beginning(self, record: Record) -> bytes:
        """Return the beginning of the bytes in the place of `record` if one differs; else no bytes."""
        return bytes(self._held[:HEADER_SIZE]) if self.difference(record) is not None else b""

    @property
    def waiting(self) -> bool:
        """Whether any record is out."""
        return bool(self._out)

    @property
    def has_excess(self) -> bool:
        """Whether bytes are held that were read while no record was out."""
        return not self._out and bool(self._held)

    def expect(self, record: Record) -> list[Finding]:
        """Expect the echo of `record`, which is about to be sent. Bytes held from before can be the verdict already."""
        self._out.append(_Expected(record))
        if len(self._out) == 1 and self._held:
            self._difference = 0
            return self._work(self._began)
        return []

    def abandon(self, record: Record) -> None:
        """Reach no verdict on `record`. Its echo may still come, before that of the next."""
        for each in self._out:
            if each.record is record:
                each.judged = True

    def feed(self, data: bytes, at: float) -> list[Finding]:
        """Match `data`, read at the time `at`; return the verdicts reached, in the order of the stream."""
        in_step = self._out and self._difference is None and not self._received and not self._skip
        if in_step and data == self._out[0].record.data:  # a whole echo in one read, as nearly all are
            self._began = at
            self._received = len(data)
            return self._complete()
        self._pending.append(memoryview(data))
        return self._work(at)

    def _work(self, at: float) -> list[Finding]:
        findings: list[Finding] = []
        while True:
            if self._difference is not None and len(self._held) >= self._wanted:
                findings += self._judge()
            elif self._pending:
                findings += self._take(self._pending.pop(), at)
            else:
                return findings

    def _put_back(self, data: bytes | memoryview) -> None:
        """Match `data` next."""
        if data:
            self._pending.append(memoryview(data))

    def _take(self, data: memoryview, at: float) -> list[Finding]:
        if self._skip:
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            self._put_back(data[skipped:])
        elif not self._out or self._difference is not None:
            self._hold(data, at)
        else:
            return self._compare(data, at)
        return []

    def _hold(self, data: memoryview, at: float) -> None:
        if not self._held:
            self._began = at
        if self._out:
            missing = self._wanted - len(self._held)
            self._put_back(data[missing:])
            data = data[:missing]
        # While no record is out, as many bytes as the largest record has are enough to identify them.
        self._held += data[: LARGEST_RECORD - len(self._held)] if not self._out else data

    def _compare(self, data: memoryview, at: float) -> list[Finding]:
        first = self._out[0]
        sent = memoryview(first.record.data)[self._received :]
        piece = data[: len(sent)]
        if not self._received:
            self._began = at
        if not first.record.data.startswith(piece, self._received):
            offset = first_difference(bytes(sent[: len(piece)]), bytes(piece))
            assert offset is not None
            self._difference = self._received + offset
            self._held = bytearray(first.record.data[: self._received])
            self._put_back(data)
            return []
        self._received += len(piece)
        self._put_back(data[len(piece) :])
        if self._received < len(first.record.data):
            return []
        return self._complete()

    def _complete(self) -> list[Finding]:
        """All bytes of the first record that is out are back."""
        first = self._out.popleft()
        verdict = _ECHOED if first.overtook is None else Verdict.REORDERED
        found = self._found(first, verdict, self._received, other=first.overtook)
        self._received = 0
        return found

    @property
    def _wanted(self) -> int:
        """The number of bytes in a record's place that identify them."""
        assert self._difference is not None
        if any(each.record.described for each in list(self._out)[1:]):
            return self._difference + HEADER_SIZE
        return HEADER_SIZE if self._difference < HEADER_SIZE and self._out[0].record.described else self._difference + 1

    def _judge(self) -> list[Finding]:
        first = self._out[0]
        held, difference = bytes(self._held), self._difference
        self._begin_record()
        ours, header = read_header(first.record.header or b""), read_header(held)
        if ours is not None and header is not None and header != ours:
            ahead = self._out_with(held[:HEADER_SIZE])
            self._put_back(held)
            if ahead is not None:
                self._promote(ahead)
                return []
            self._skip = header.size
            if header.run == ours.run:
                return self._found(first, Verdict.STALE, len(held), other=header.sequence)
            return self._found(first, Verdict.FOREIGN, len(held))
        self._out.popleft()
        for each in self._out:
            known = each.record.header
            begins = held.find(known, 1) if known is not None else -1
            if begins > 0:
                self._put_back(held[begins:])
                return self._found(first, Verdict.TRUNCATED, begins, offset=begins, other=each.record.sequence)
        self._put_back(held)
        self._skip = len(first.record.data)
        beginning = held[:HEADER_SIZE]
        return self._found(first, Verdict.CORRUPT, len(held), offset=difference, beginning=beginning)

    def _out_with(self, header: bytes) -> _Expected | None:
        return next((each for each in self._out if each.record.header == header), None)

    def _promote(self, ahead: _Expected) -> None:
        """Expect `ahead` next. Records before it that are judged are not expected any more."""
        before = list(self._out)[: self._out.index(ahead)]
        waiting = [each for each in before if not each.judged]
        if waiting:
            ahead.overtook = waiting[0].record.sequence
        after = list(self._out)[len(before) + 1 :]
        self._out = deque([ahead, *waiting, *after])

    def _found(
        self,
        expected: _Expected,
        verdict: Verdict,
        received: int,
        *,
        offset: int | None = None,
        other: int | None = None,
        beginning: bytes = b"",
    ) -> list[Finding]:
        if expected.judged:
            return []
        expected.judged = True
        return [Finding(expected.record, verdict, self._began, received, offset, other, beginning)]

    def _begin_record(self) -> None:
        """Begin with the next record."""
        self._received = 0
        self._difference = None
        self._held = bytearray()


def first_difference(sent: bytes, received: bytes) -> int | None:
    """Return the offset of the first byte that differs, or None if all are equal.

    If one is the beginning of the other, the offset is the length of the shorter one.
    """
    if sent == received:
        return None
    for offset, (ours, theirs) in enumerate(zip(sent, received, strict=False)):
        if ours != theirs:
            return offset
    return min(len(sent), len(received))
