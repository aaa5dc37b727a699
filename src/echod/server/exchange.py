"""One connection's exchange: events in, actions out. It knows no transport and no clock.

What follows an event is looked up in the table of `echod.server.exchange_states`. The protocol of a connection
(`echod.server.protocol`, `echod.server.tls`) reports events and carries out the actions; over TLS they are carried out
in another way, and the states are the same.
"""

from bisect import bisect_left
from dataclasses import replace
from typing import Final

from echod.common.errors import UnexpectedEvent
from echod.server.config import ExchangeRules
from echod.server.exchange_states import TRANSITIONS, Action, Event, State
from echod.server.summary import WAIT_BOUNDS, CloseReason

__all__ = ["DISCARD", "ECHO_AND_WAIT", "Exchange", "RecordBuffer"]

# A member of an Enum costs 0.1 µs to look up (measured, CPython 3.11), and these stand in the path of every record.
_EMPTY, _BETWEEN = State.EMPTY, State.BETWEEN
_PART, _LAST_RECORD = Event.PART, Event.LAST_RECORD
_RECORDS, _RECORDS_AND_PART = Event.RECORDS, Event.RECORDS_AND_PART
_RECEIVING = frozenset({State.EMPTY, State.PARTIAL, State.BETWEEN, State.QUIET, State.QUIET_EMPTY})

ECHO_AND_WAIT: Final = TRANSITIONS[State.BETWEEN][Event.RECORDS].actions
"""The actions for a record that is neither the first nor the last of its connection."""
assert TRANSITIONS[State.BETWEEN][Event.RECORDS].state is State.BETWEEN, "Exchange.receive leaves the state as it is"

DISCARD: Final[tuple[Action, ...]] = ()
"""No actions: the input is discarded."""


class RecordBuffer:
    """Cuts a stream of bytes into records, at every fragmentation.

    Between calls it holds less than one record, so its memory is bounded by the record size and the bytes of one call.
    """

    __slots__ = ("_held", "_size")

    def __init__(self, size: int) -> None:
        """`size` is the record size in bytes."""
        self._size = size
        self._held = bytearray()

    @property
    def pending(self) -> int:
        """The number of bytes held of an incomplete record, 0 to size - 1."""
        return len(self._held)

    def feed(self, data: bytes) -> bytes:
        """Take `data`; return the records that it completes, as one run of bytes: no bytes if it completes none."""
        if not self._held and not len(data) % self._size:
            return data  # whole records, as in nearly every read: no copy
        self._held += data
        whole = len(self._held) - len(self._held) % self._size
        records = bytes(self._held[:whole])
        del self._held[:whole]
        return records


class Exchange:
    """The exchange of one connection. Times are seconds on the clock of the caller.

    Methods that report an event return the actions to carry out, in their order. They raise UnexpectedEvent for an
    event that has no transition in the present state.
    """

    __slots__ = (
        "_buffer",
        "_rules",
        "_waits",
        "bytes_received",
        "bytes_sent",
        "opened_at",
        "paused",
        "reason",
        "record_at",
        "state",
    )

    def __init__(self, rules: ExchangeRules, waits: list[int] | None, now: float) -> None:
        """Begin at the time `now`.

        In `waits` the record wait times are counted by `WAIT_BOUNDS`; None: they are not counted.
        """
        self._rules = rules
        self._waits = waits
        self._buffer: RecordBuffer | None = None
        """Made when a record arrives in pieces: most connections need none."""
        self.state = _EMPTY
        self.reason: CloseReason | None = None
        """Why the connection is being closed or has ended; None until that is decided."""
        self.paused = False
        """Whether the transport is paused because the client does not read."""
        self.opened_at = now
        self.record_at = now
        """When the last record was complete. Before the first, and if wait times are not counted: `opened_at`."""
        self.bytes_received = 0
        self.bytes_sent = 0
        """Bytes of the echoes that were handed to the transport."""

    @property
    def records(self) -> int:
        """Records echoed; 0 in a stream, which has none."""
        return 0 if self._rules.stream else self.bytes_sent // self._rules.record_size

    @property
    def waited(self) -> float:
        """Sum of the wait times of the records that are complete, in seconds, if they are counted; else 0.

        The wait for a record begins when the one before it is complete, so the sum is the time to the last of them.
        """
        return self.record_at - self.opened_at

    def receive(self, data: bytes, now: float) -> tuple[tuple[Action, ...], bytes]:
        """Take bytes received at the time `now`; return the actions and the echo to write."""
        length = len(data)
        self.bytes_received += length
        if self.state is _BETWEEN and not length % self._rules.record_size:
            # Nearly every read of a keep-alive connection: whole records, after which the state is the same.
            self.bytes_sent += length
            waits = self._waits
            if waits is not None:  # as in _count_wait
                waits[bisect_left(WAIT_BOUNDS, now - self.record_at)] += 1
                self.record_at = now
            return ECHO_AND_WAIT, data
        if self.state not in _RECEIVING:
            return DISCARD, b""
        if self._buffer is not None or length % self._rules.record_size:
            if self._buffer is None:
                self._buffer = RecordBuffer(self._rules.record_size)
            data = self._buffer.feed(data)
            if not data:
                return self.take(_PART), b""
        if self._waits is not None:
            self._count_wait(self._waits, now)
        if not self._rules.keep_alive:
            data = data[: self._rules.record_size]
            event = _LAST_RECORD
        else:
            event = _RECORDS_AND_PART if self._buffer is not None and self._buffer.pending else _RECORDS
        self.bytes_sent += len(data)
        return self.take(event), data

    def on_drain(self) -> tuple[Action, ...]:
        """Report that the server stops.

        No record is taken after the present one. A stream ends when no bytes are received for the quiet time.
        """
        if self._rules.stream:
            return self.take(Event.DRAIN_STREAM)
        self._rules = replace(self._rules, keep_alive=False)
        return self.take(Event.DRAIN)

    def on_deadline(self) -> tuple[Action, ...]:
        """Report that the deadline has passed."""
        return self.take(Event.STALL if self.paused else Event.DEADLINE)

    def on_fin(self, now: float) -> tuple[Action, ...]:
        """Report the client's FIN, received at the time `now`."""
        return self.take(Event.CHECK_FIN if self._may_be_check(now) else Event.FIN)

    def on_end(self, event: Event, now: float) -> None:
        """Report the end of the connection at the time `now`; `event` is END, RESET, TLS_FAILURE or FAULT."""
        if self._may_be_check(now) and event in (Event.END, Event.RESET):
            event = Event.CHECK_END
        self.take(event)  # the end has no actions

    def take(self, event: Event) -> tuple[Action, ...]:
        """Take an event; return the actions."""
        transition = TRANSITIONS[self.state].get(event)
        if transition is None:
            raise UnexpectedEvent(self.state, event)
        self.state = transition.state
        if transition.reason is not None:
            self.reason = transition.reason
        return transition.actions

    def _may_be_check(self, now: float) -> bool:
        """Return whether an end at the time `now` is that of a health check. A check may reset after its FIN."""
        return (
            not self.bytes_received
            and self.reason in (None, CloseReason.HEALTH_CHECK)
            and now - self.opened_at < self._rules.check_time
        )

    def _count_wait(self, waits: list[int], now: float) -> None:
        """Count the wait for a record. Of records that arrive together, only the wait for the first is counted."""
        waits[bisect_left(WAIT_BOUNDS, now - self.record_at)] += 1
        self.record_at = now
