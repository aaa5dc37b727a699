"""The states of one connection's exchange: `TRANSITIONS` is the whole machine, as data.

The state and the event determine the next state and the actions. docs/exchange.md shows the table, with the reasons for
the steps.

automat is not used: an event costs 1.7 to 2.6 µs with its TypeMachineBuilder and 0.05 µs with this table (measured with
four states and six inputs, CPython 3.11), and a keep-alive echo costs about 7 µs in all.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from echod.server.summary import CloseReason

__all__ = ["TRANSITIONS", "Action", "Event", "State", "Transition"]


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
    CHECK_FIN = "FIN (check)"
    """As FIN, within the check time and before the first byte."""
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
    CHECK_END = "end (check)"
    """The connection has ended, in order or by a reset, within the check time and before the first byte."""
    RESET = "reset"
    """The connection was reset, or the network failed."""
    NO_HANDSHAKE = "no handshake"
    """The deadline passed or the client closed after the TLS handshake began and before it was complete."""
    TLS_FAILURE = "TLS failure"
    """TLS failed, or the connection ended during the handshake."""
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
    before_the_first_byte = {
        event.CHECK_FIN: closing(reason.HEALTH_CHECK),
        event.FIN: closing(reason.NO_DATA),
        event.NO_HANDSHAKE: too_late(reason.TLS_FAILED),
        event.CHECK_END: Transition(state.CLOSED, (), reason.HEALTH_CHECK),
        **ends(reason.NO_DATA),
    }
    records = {
        event.PART: stay(state.PARTIAL),
        event.RECORDS: Transition(state.BETWEEN, (write, arm_record)),
        event.RECORDS_AND_PART: Transition(state.PARTIAL, (write, arm_record)),
    }
    return {
        state.EMPTY: {
            **records,
            event.LAST_RECORD: last_record,
            event.DEADLINE: too_late(reason.TIMEOUT),
            event.STALL: stalled,
            event.DRAIN: stay(state.EMPTY),
            event.DRAIN_STREAM: Transition(state.QUIET_EMPTY, (arm_quiet,)),
            **cut,
            **before_the_first_byte,
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
            event.DEADLINE: drained,
            event.STALL: drained,
            **cut,
            **before_the_first_byte,
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
            event.CHECK_END: Transition(state.CLOSED),
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
