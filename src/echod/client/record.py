"""Records, and the sources that a run takes them from.

A record of `HEADER_SIZE` bytes or more can begin with a header that identifies it, in network byte order:

| offset | bytes | field                                                                       |
| ------ | ----- | --------------------------------------------------------------------------- |
| 0      | 4     | magic: `ECHD` in ASCII                                                      |
| 4      | 1     | version: 1                                                                  |
| 5      | 3     | zero                                                                        |
| 8      | 8     | run: a number drawn at the start of the run                                 |
| 16     | 8     | sequence number in the run, from 1 up                                       |
| 24     | 8     | creation time: microseconds since 1970, UTC                                 |
| 32     | 4     | size of the whole record, bytes                                             |
| 36     | 4     | CRC-32 of bytes 0 to 35 (IEEE 802.3, as in RFC 1952 section 8)              |
| 40     | rest  | fill: SHAKE128 (FIPS 202) of bytes 0 to 39                                  |

A header is valid only with the right checksum. A CRC-32 of 36 bytes detects every error within 32 adjacent bits, so
a byte flipped on the path cannot turn another run's header into one of this run. The fill is derived from the header
and compared byte by byte with the bytes sent; it needs no checksum.

A smaller record has no room for a header. It is the beginning of the fill alone, and its echo can only be compared,
not identified.
"""

import hashlib
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

__all__ = [
    "HEADER_SIZE",
    "Header",
    "Record",
    "RecordSource",
    "described",
    "described_records",
    "opaque",
    "random_records",
    "read_header",
    "repeated_records",
    "zero_records",
]

_MAGIC = b"ECHD"
_VERSION = 1
_FIELDS = struct.Struct("!4sB3xQQQI")
_CHECKSUM = struct.Struct("!I")

HEADER_SIZE = _FIELDS.size + _CHECKSUM.size
"""Bytes: the smallest size of a record with a header."""


@dataclass(frozen=True, slots=True)
class Header:
    """The fields of a record's header."""

    run: int
    """0 to 2**64 - 1."""
    sequence: int
    made: int
    """Creation time, microseconds since 1970, UTC."""
    size: int
    """Bytes of the whole record."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record to be sent."""

    sequence: int
    data: bytes
    described: bool
    """Whether it begins with a header."""

    @property
    def header(self) -> bytes | None:
        """The bytes of the header, which identify the record; None without a header."""
        return self.data[:HEADER_SIZE] if self.described else None


def described(run: int, sequence: int, made: int, size: int) -> Record:
    """Return the record of `size` bytes with a header and its fill; below `HEADER_SIZE`, the fill alone.

    `run` is from 0 to 2**64 - 1, `made` in microseconds since 1970.
    """
    fields = _FIELDS.pack(_MAGIC, _VERSION, run, sequence, made, size)
    header = fields + _CHECKSUM.pack(zlib.crc32(fields))
    fill = hashlib.shake_128(header)
    if size < HEADER_SIZE:
        return Record(sequence, fill.digest(size), described=False)
    return Record(sequence, header + fill.digest(size - HEADER_SIZE), described=True)


def opaque(sequence: int, data: bytes) -> Record:
    """Return the record of any bytes `data`, without a header."""
    return Record(sequence, data, described=False)


def read_header(data: bytes) -> Header | None:
    """Return the header at the beginning of `data`; None if it is not complete or its checksum is wrong."""
    if len(data) < HEADER_SIZE or data[: len(_MAGIC)] != _MAGIC or data[len(_MAGIC)] != _VERSION:
        return None
    fields, (checksum,) = data[: _FIELDS.size], _CHECKSUM.unpack_from(data, _FIELDS.size)
    if zlib.crc32(fields) != checksum:
        return None
    _, _, run, sequence, made, size = _FIELDS.unpack(fields)
    return Header(run, sequence, made, size)


RecordSource = Callable[[int, int, int], Record]
"""Makes the record of a sequence number, a size in bytes and a creation time in microseconds since 1970."""


def described_records(run: int) -> RecordSource:
    """Return the source of records with headers of `run`, 0 to 2**64 - 1."""
    return lambda sequence, size, made: described(run, sequence, made, size)


def random_records(random_bytes: Callable[[int], bytes]) -> RecordSource:
    """Return the source of records of random bytes; `random_bytes` returns as many as its argument says."""
    return lambda sequence, size, _: opaque(sequence, random_bytes(size))


def zero_records() -> RecordSource:
    """Return the source of records of null bytes."""
    return lambda sequence, size, _: opaque(sequence, bytes(size))


def repeated_records(data: bytes) -> RecordSource:
    """Return the source of records that are each the beginning of `data`, which is at least as long as any of them."""
    return lambda sequence, size, _: opaque(sequence, data[:size])
