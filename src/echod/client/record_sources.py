"""Where the records of a run come from: one function of sequence number, size and time for each payload."""

from collections.abc import Callable

from echod.client.record import Record, described, opaque

__all__ = ["RecordSource", "describing", "random", "repeating", "zeros"]

RecordSource = Callable[[int, int, int], Record]
"""Makes the record with this sequence number, of this many bytes, at this time: microseconds since 1970."""


def describing(run: int) -> RecordSource:
    """Return the source of the records that describe themselves as those of `run`, 0 to 2**64 - 1."""
    return lambda sequence, size, made: described(run, sequence, made, size)


def random(random_bytes: Callable[[int], bytes]) -> RecordSource:
    """Return the source of records of random bytes, each another; `random_bytes` makes so many of them."""
    return lambda sequence, size, _: opaque(sequence, random_bytes(size))


def zeros() -> RecordSource:
    """Return the source of records of null bytes."""
    return lambda sequence, size, _: opaque(sequence, bytes(size))


def repeating(data: bytes) -> RecordSource:
    """Return the source of records that are each the beginning of `data`, which has as many bytes as any of them."""
    return lambda sequence, size, _: opaque(sequence, data[:size])
