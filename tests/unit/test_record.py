import struct
import zlib

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from echod.client.record import (
    HEADER_SIZE,
    Header,
    described,
    described_records,
    opaque,
    random_records,
    read_header,
    repeated_records,
    zero_records,
)

MADE = 1_800_000_000_000_000

numbers = st.integers(0, 2**64 - 1)


class LayoutTests(SynchronousTestCase):
    def test_as_documented(self) -> None:
        record = described(0x0102030405060708, 3, MADE, 250).data
        self.assertEqual(len(record), 250)
        self.assertEqual(record[:8], b"ECHD\x01\0\0\0")
        self.assertEqual(record[8:16], bytes(range(1, 9)))
        self.assertEqual(struct.unpack("!QQI", record[16:36]), (3, MADE, 250))
        self.assertEqual(record[36:40], zlib.crc32(record[:36]).to_bytes(4))
        self.assertEqual(HEADER_SIZE, 40)

    def test_the_fill_differs_from_record_to_record(self) -> None:
        fills = {
            described(run, sequence, made, 90).data[40:] for run, sequence, made in ((1, 1, 1), (1, 2, 1), (2, 1, 1))
        }
        self.assertEqual(len(fills), 3)

    @given(numbers, numbers, numbers, st.integers(HEADER_SIZE, 2000))
    def test_what_is_written_is_read(self, run: int, sequence: int, made: int, size: int) -> None:
        record = described(run, sequence, made, size)
        self.assertTrue(record.described)
        self.assertEqual(len(record.data), size)
        self.assertEqual(read_header(record.data), Header(run, sequence, made, size))
        self.assertEqual(record.header, record.data[:HEADER_SIZE])

    @given(st.integers(1, HEADER_SIZE - 1))
    def test_a_small_one_has_no_header(self, size: int) -> None:
        record = described(1, 1, MADE, size)
        self.assertEqual((len(record.data), record.described, record.header), (size, False, None))
        self.assertIsNone(read_header(record.data))

    @given(st.integers(0, HEADER_SIZE - 1), st.integers(1, 255))
    def test_no_changed_byte_leaves_a_header(self, offset: int, change: int) -> None:
        data = bytearray(described(2**63, 2**40, MADE, 250).data)
        data[offset] ^= change
        self.assertIsNone(read_header(bytes(data)))

    def test_no_header(self) -> None:
        for data in (b"", bytes(250), described(1, 1, 1, 40).data[:39], b"\xff" * 250):
            self.assertIsNone(read_header(data))


class SourceTests(SynchronousTestCase):
    def test_sources(self) -> None:
        self.assertEqual(described_records(7)(3, 250, MADE), described(7, 3, MADE, 250))
        self.assertEqual(zero_records()(3, 9, MADE), opaque(3, bytes(9)))
        self.assertEqual(random_records(lambda size: b"r" * size)(3, 9, MADE), opaque(3, b"r" * 9))
        self.assertEqual(repeated_records(b"abcdef")(3, 4, MADE), opaque(3, b"abcd"))
