"""Records that say of themselves whose they are.

A record of `HEADER_SIZE` bytes or more begins with a header, in network byte order:

| offset | bytes | field                                                                       |
| ------ | ----- | --------------------------------------------------------------------------- |
| 0      | 4     | magic: `ECHD` in ASCII                                                      |
| 4      | 1     | version: 1                                                                  |
| 5      | 3     | zero                                                                        |
| 8      | 8     | run: a number that the run drew at its start                                |
| 16     | 8     | sequence number in the run, from 1 up                                       |
| 24     | 8     | when it was made: microseconds since 1970, UTC                              |
| 32     | 4     | size of the whole record, bytes                                             |
| 36     | 4     | CRC-32 of bytes 0 to 35 (the one of IEEE 802.3, as in RFC 1952 section 8)   |
| 40     | rest  | fill: SHAKE128 (FIPS 202) of bytes 0 to 39                                  |

A header counts only where its checksum is right. A CRC-32 of 36 bytes finds every error within 32 adjacent bits, so
that no byte that was flipped on the way makes another run's header of ours. The fill follows from the header, and is
compared byte by byte with what was sent; it needs no checksum of its own.

A smaller record has no room for a header: it is the beginning of the fill alone, and all that can be told of what
came back is whether it is the same.
"""

import hashlib
import struct
import zlib
from dataclasses import dataclass

__all__ = ["HEADER_SIZE", "Header", "Record", "described", "opaque", "read_header"]

_MAGIC = b"ECHD"
_VERSION = 1
_FIELDS = struct.Struct("!4sB3xQQQI")
_CHECKSUM = struct.Struct("!I")

HEADER_SIZE = _FIELDS.size + _CHECKSUM.size
"""Bytes: the least size of a record that describes itself."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a record says of itself."""

    run: int
    """0 to 2**64 - 1."""
    sequence: int
    made: int
    """Microseconds since 1970, UTC."""
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
        """The header's bytes, by which it is known among all others; None where it has none."""
        return self.data[:HEADER_SIZE] if self.described else None


def described(run: int, sequence: int, made: int, size: int) -> Record:
    """Return the record of `size` bytes that describes itself, or, below `HEADER_SIZE`, as much of its fill.

    `run` is from 0 to 2**64 - 1, `made` in microseconds since 1970.
    """
    fields = _FIELDS.pack(_MAGIC, _VERSION, run, sequence, made, size)
    header = fields + _CHECKSUM.pack(zlib.crc32(fields))
    fill = hashlib.shake_128(header)
    if size < HEADER_SIZE:
        return Record(sequence, fill.digest(size), described=False)
    return Record(sequence, header + fill.digest(size - HEADER_SIZE), described=True)


def opaque(sequence: int, data: bytes) -> Record:
    """Return the record that is `data`, whatever that is."""
    return Record(sequence, data, described=False)


def read_header(data: bytes) -> Header | None:
    """Return the header that `data` begins with; None where there is none that is whole, its checksum right."""
    if len(data) < HEADER_SIZE or data[: len(_MAGIC)] != _MAGIC or data[len(_MAGIC)] != _VERSION:
        return None
    fields, (checksum,) = data[: _FIELDS.size], _CHECKSUM.unpack_from(data, _FIELDS.size)
    if zlib.crc32(fields) != checksum:
        return None
    _, _, run, sequence, made, size = _FIELDS.unpack(fields)
    return Header(run, sequence, made, size)
