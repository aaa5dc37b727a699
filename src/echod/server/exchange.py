"""One connection's exchange as a state machine: events in, actions out. It knows no transport and no clock.

`TRANSITIONS` is the whole machine: the state and the event determine the next state and the actions. docs/exchange.md
shows it as a table, with the reasons for the steps. The protocol of a connection (`echod.server.protocol`,
`echod.server.tls`) reports events and carries out the actions; over TLS they are carried out in another way, and the
states are the same.

automat is not used: an event costs 1.7 to 2.6 µs with its TypeMachineBuilder and 0.05 µs with this table (measured with
four states and six inputs, CPython 3.11), and a keep-alive echo costs about 7 µs in all.
"""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from echod.server.config import ExchangeRules
from echod.server.summary import WAIT_BOUNDS, CloseReason

__all__ = [
    "DISCARD",
    "ECHO_AND_WAIT",
    "TRANSITIONS",
    "Action",
    "Event",
    "Exchange",
    "RecordBuffer",
    "State",
    "Transition",
    "UnexpectedEvent",
]


class State(Enum):
    """The state of an exchange."""

    EMPTY = "empty"
    """No byte has been received."""
    PARTIAL = "partial"
    """Part of a record has been received."""
    BETWEEN = "between"
    """Keep-alive: a record has been echoed, and no byte of the next has been received."""
    QUIET = "quiet"
    """The server stops, and the connection is between records: it closes after the quiet time."""
    QUIET_EMPTY = "quiet-empty"
    """As QUIET, in a stream of which no byte has been received."""
    FLUSHING = "flushing"
    """The last echo and the FIN after it are not all sent yet. Input is discarded."""
    LINGERING = "lingering"
    """The last echo and the FIN are sent. Input is discarded until the client closes or the linger ends."""
    CLOSING = "closing"
    """The connection is being closed in order. Input is discarded."""
    ABORTING = "aborting"
    """The connection is being reset."""
    CLOSED = "closed"
    """The connection is over."""

    # Enum's own hash is Python code: 0.1 µs a look-up (measured, CPython 3.11).
    __hash__ = object.__hash__


class Event(Enum):
    """What happens to an exchange."""

    PART = "part"
    """Bytes have been received, and no record is complete."""
    RECORDS = "records"
    """One or more records are complete, and no byte is left over. Further records may follow."""
    RECORDS_AND_PART = "records+part"
    """As RECORDS, and the last bytes begin another record."""
    LAST_RECORD = "last record"
    """The last record of the connection is complete: the only one, or the first one after a drain began."""
    FIN = "FIN"
    """The client has closed its sending side."""
    FLUSHED = "flushed"
    """The kernel has the last echo and the FIN."""
    DEADLINE = "deadline"
    """The deadline has passed."""
    STALL = "stall"
    """The deadline has passed while the client does not read its echo, so that the transport is paused."""
    DRAIN = "drain"
    """The server stops. Reported once."""
    DRAIN_STREAM = "drain (stream)"
    """The server stops, and the bytes are a stream: there are no records to finish. Reported once."""
    CUT = "cut"
    """The drain timeout has passed, or a second stop signal was received."""
    END = "end"
    """The connection has ended in order: the client or the server closed it."""
    RESET = "reset"
    """The connection was reset, or the network failed."""
    TLS_FAILURE = "TLS failure"
    """TLS failed."""
    FAULT = "fault"
    """An error of the server ended the connection."""

    __hash__ = object.__hash__


class Action(Enum):
    """A step that the protocol carries out for the exchange. The values are the words of docs/exchange.md."""

    WRITE = "write"
    """Write the echo."""
    WRITE_LAST = "write last"
    """Write the last echo, so that the FIN is sent in the same segment if the system can do that."""
    HALF_CLOSE = "half-close"
    """Close the sending side after the written bytes."""
    CLOSE = "close"
    """Close the connection after the written bytes. This may end the connection at once."""
    ABORT = "abort"
    """Reset the connection."""
    ARM_RECORD = "arm record"
    """Set the deadline to the record's timeout from now."""
    ARM_QUIET = "arm quiet"
    """Set the deadline to the quiet time from now."""
    ARM_LINGER = "arm linger"
    """Set the deadline to the linger from now."""

    __hash__ = object.__hash__


@dataclass(frozen=True, slots=True)
class Transition:
    """The next state, the actions in their order, and the close reason if the event decides it."""

    state: State
    actions: tuple[Action, ...] = ()
    reason: CloseReason | None = None


class UnexpectedEvent(Exception):
    """The machine has no transition for an event in its state: an error of the server, which no client can cause."""

    def __init__(self, state: State, event: Event) -> None:
        super().__init__(f"no transition for {event.name} in {state.name}")
        self.state = state
        self.event = event


def _transitions() -> dict[State, dict[Event, Transition]]:
    state, event, reason = State, Event, CloseReason
    write, write_last, half_close = Action.WRITE, Action.WRITE_LAST, Action.HALF_CLOSE
    close, abort = Action.CLOSE, Action.ABORT
    arm_record, arm_quiet, arm_linger = Action.ARM_RECORD, Action.ARM_QUIET, Action.ARM_LINGER
    # A deadline is armed before a step that may end the connection: the end of the connection disarms it.
    last_record = Transition(state.FLUSHING, (write_last, half_close), reason.ECHOED)
    stalled = Transition(state.ABORTING, (abort,), reason.STALLED)
    drained = Transition(state.FLUSHING, (arm_record, half_close), reason.DRAINED)
    close_after_linger = Transition(state.CLOSING, (arm_linger, close))
    close_now = Transition(state.CLOSING, (close,))

    def closing(close_reason: CloseReason) -> Transition:
        return Transition(state.CLOSING, (close,), close_reason)

    def too_late(close_reason: CloseReason) -> Transition:
        return Transition(state.CLOSING, (arm_linger, close), close_reason)

    def stay(present: State) -> Transition:
        return Transition(present)

    def ends(in_order: CloseReason | None) -> dict[Event, Transition]:
        """Return the transitions for the end of the connection; `in_order` is the close reason of an orderly one."""
        return {
            event.END: Transition(state.CLOSED, (), in_order),
            event.RESET: Transition(state.CLOSED, (), reason.RESET),
            event.TLS_FAILURE: Transition(state.CLOSED, (), reason.TLS_FAILED),
            event.FAULT: Transition(state.CLOSED, (), reason.ERROR),
        }

    cut = {event.CUT: Transition(state.ABORTING, (abort,), reason.CUT)}
    records = {
        event.PART: stay(state.PARTIAL),
        event.RECORDS: Transition(state.BETWEEN, (write, arm_record)),
        event.RECORDS_AND_PART: Transition(state.PARTIAL, (write, arm_record)),
    }
    return {
        state.EMPTY: {
            **records,
            event.LAST_RECORD: last_record,
            event.FIN: closing(reason.NO_DATA),
            event.DEADLINE: too_late(reason.TIMEOUT),
            event.STALL: stalled,
            event.DRAIN: stay(state.EMPTY),
            event.DRAIN_STREAM: Transition(state.QUIET_EMPTY, (arm_quiet,)),
            **cut,
            **ends(reason.NO_DATA),
        },
        state.PARTIAL: {
            **records,
            event.LAST_RECORD: last_record,
            event.FIN: closing(reason.INCOMPLETE),
            event.DEADLINE: too_late(reason.TIMEOUT),
            event.STALL: stalled,
            event.DRAIN: stay(state.PARTIAL),
            **cut,
            **ends(reason.INCOMPLETE),
        },
        state.BETWEEN: {
            **records,
            event.FIN: closing(reason.ECHOED),
            event.DEADLINE: too_late(reason.IDLE),
            event.STALL: stalled,
            event.DRAIN: Transition(state.QUIET, (arm_quiet,)),
            event.DRAIN_STREAM: Transition(state.QUIET, (arm_quiet,)),
            **cut,
            **ends(reason.ECHOED),
        },
        state.QUIET: {
            event.PART: Transition(state.PARTIAL, (arm_record,)),
            event.RECORDS: Transition(state.QUIET, (write, arm_quiet)),
            event.LAST_RECORD: last_record,
            event.FIN: closing(reason.ECHOED),
            event.DEADLINE: drained,
            event.STALL: drained,
            **cut,
            **ends(reason.ECHOED),
        },
        state.QUIET_EMPTY: {
            event.RECORDS: Transition(state.QUIET, (write, arm_quiet)),
            event.FIN: closing(reason.NO_DATA),
            event.DEADLINE: drained,
            event.STALL: drained,
            **cut,
            **ends(reason.NO_DATA),
        },
        state.FLUSHING: {
            event.FIN: close_now,
            event.FLUSHED: Transition(state.LINGERING, (arm_linger,)),
            event.DEADLINE: stalled,
            event.STALL: stalled,
            event.DRAIN: stay(state.FLUSHING),
            **cut,
            **ends(None),
        },
        state.LINGERING: {
            event.FIN: close_now,
            event.DEADLINE: close_after_linger,
            event.DRAIN: stay(state.LINGERING),
            **cut,
            **ends(None),
        },
        state.CLOSING: {
            event.FIN: close_now,
            event.FLUSHED: stay(state.CLOSING),
            event.DEADLINE: stalled,
            event.DRAIN: stay(state.CLOSING),
            event.DRAIN_STREAM: stay(state.CLOSING),
            **cut,
            **ends(None),
        },
        state.ABORTING: {
            event.FIN: stay(state.ABORTING),
            event.FLUSHED: stay(state.ABORTING),
            event.DEADLINE: stay(state.ABORTING),
            event.STALL: stay(state.ABORTING),
            event.DRAIN: stay(state.ABORTING),
            event.DRAIN_STREAM: stay(state.ABORTING),
            event.CUT: stay(state.ABORTING),
            **ends(None),
        },
        state.CLOSED: {},
    }


TRANSITIONS: Final[Mapping[State, Mapping[Event, Transition]]] = _transitions()
"""The transition of each state at each event that can happen in it."""

# A member of an Enum costs 0.1 µs to look up (measured, CPython 3.11), and these stand in the path of every record.
_EMPTY, _BETWEEN = State.EMPTY, State.BETWEEN
_PART, _RECORDS, _RECORDS_AND_PART, _LAST_RECORD = (
    *(Event.PART, Event.RECORDS),
    *(Event.RECORDS_AND_PART, Event.LAST_RECORD),
)
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

    def take(self, event: Event) -> tuple[Action, ...]:
        """Take an event; return the actions."""
        transition = TRANSITIONS[self.state].get(event)
        if transition is None:
            raise UnexpectedEvent(self.state, event)
        self.state = transition.state
        if transition.reason is not None:
            self.reason = transition.reason
        return transition.actions

    def _count_wait(self, waits: list[int], now: float) -> None:
        """Count the wait for a record. Of records that arrive together, only the wait for the first is counted."""
        waits[bisect_left(WAIT_BOUNDS, now - self.record_at)] += 1
        self.record_at = now
