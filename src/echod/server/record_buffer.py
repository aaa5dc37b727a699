"""Records: how a stream of bytes is cut into them, whatever its fragmentation."""

__all__ = ["RecordBuffer"]


class RecordBuffer:
    """Accumulates a byte stream and gives it back in whole records.

    It holds less than one record between calls, so its memory is bounded by
    the record size plus what one call brings.
    """

    __slots__ = ("_held", "_size")

    def __init__(self, size: int) -> None:
        self._size = size
        self._held = bytearray()

    @property
    def pending(self) -> int:
        """How many bytes of an incomplete record are held, 0 to size - 1."""
        return len(self._held)

    def feed(self, data: bytes) -> bytes:
        """Take `data`; return every record that is complete now, as one run of bytes.

        The result's length is a multiple of the record size, and 0 while the
        first record is still incomplete.
        """
        if not self._held and len(data) % self._size == 0:
            return data  # whole records, which is what nearly every read brings: nothing to copy
        self._held += data
        whole = len(self._held) - len(self._held) % self._size
        records = bytes(self._held[:whole])
        del self._held[:whole]
        return records
