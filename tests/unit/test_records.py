from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from echod.client.matcher import first_difference
from echod.server.exchange import RecordBuffer


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    """Return `data` in pieces, split at the offsets `cuts`."""
    edges = [0, *sorted(min(c, len(data)) for c in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


class RecordBufferTests(SynchronousTestCase):
    @given(size=st.integers(1, 40), data=st.binary(max_size=200), cuts=st.lists(st.integers(0, 200), max_size=20))
    def test_any_fragmentation_gives_the_same_records(self, size: int, data: bytes, cuts: list[int]) -> None:
        buffer = RecordBuffer(size)
        records = b""
        received = 0
        for piece in split(data, cuts):
            whole = buffer.feed(piece)
            received += len(piece)
            records += whole
            self.assertEqual(len(whole) % size, 0)
            self.assertEqual(buffer.pending, received % size)
        self.assertEqual(records, data[: len(data) - len(data) % size])

    def test_a_record_is_complete_at_its_last_byte(self) -> None:
        buffer = RecordBuffer(3)
        self.assertEqual([buffer.feed(bytes([b])) for b in b"abcde"], [b"", b"", b"abc", b"", b""])
        self.assertEqual(buffer.pending, 2)

    def test_whole_records_are_not_copied(self) -> None:
        data = b"abcdef"
        self.assertIs(RecordBuffer(3).feed(data), data)

    def test_no_bytes_give_no_records(self) -> None:
        self.assertEqual(RecordBuffer(3).feed(b""), b"")


class FirstDifferenceTests(SynchronousTestCase):
    def test_equal(self) -> None:
        self.assertIsNone(first_difference(b"abc", b"abc"))

    def test_offset(self) -> None:
        self.assertEqual(first_difference(b"abcd", b"abXd"), 2)

    def test_one_is_the_beginning_of_the_other(self) -> None:
        self.assertEqual(first_difference(b"abc", b"ab"), 2)
        self.assertEqual(first_difference(b"ab", b"abc"), 2)

    @given(st.binary(max_size=50), st.binary(max_size=50))
    def test_everything_before_it_is_equal(self, one: bytes, other: bytes) -> None:
        offset = first_difference(one, other)
        if offset is None:
            self.assertEqual(one, other)
        else:
            self.assertEqual(one[:offset], other[:offset])
            self.assertNotEqual(one[offset : offset + 1], other[offset : offset + 1])
