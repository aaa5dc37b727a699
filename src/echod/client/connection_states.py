"""The states of a client's connection: `TRANSITIONS` is the table, `next_transition` looks an event up in it.

Two reasons to stop carrying records are kept apart. In DRAINING, something other than an echo was found: the stream may
be out of step or stuck, so no further record joins, and those that are out are waited for. In CLOSING, no record is
waited for: the connection was closed or aborted at this end.

| state     | event          | next state | actions                                    |
| --------- | -------------- | ---------- | ------------------------------------------ |
| DIALLING  | JOIN           | DIALLING   | QUEUE                                      |
| DIALLING  | READY          | OPEN       | SEND_QUEUED, REPORT_OPENED                 |
| DIALLING  | READY_TO_IDLE  | SILENT     | START_SILENCE                              |
| DIALLING  | DIAL_FAILED    | OVER       | FAIL_QUEUED, REPORT_CLOSED                 |
| DIALLING  | DIAL_EXPIRED   | CANCELLED  | CANCEL_DIAL                                |
| DIALLING  | QUEUED_EXPIRED | DIALLING   | FAIL_UNSENT                                |
| DIALLING  | GIVEN_UP       | DIALLING   | FORGET, CHECK_UNUSED                       |
| DIALLING  | UNUSED         | CANCELLED  | CANCEL_DIAL                                |
| DIALLING  | CLOSE          | CANCELLED  | FORGET_ALL, CANCEL_DIAL                    |
| DIALLING  | ABORT          | CANCELLED  | FORGET_ALL, CANCEL_DIAL                    |
| CANCELLED | DIAL_FAILED    | OVER       | FAIL_QUEUED, REPORT_CLOSED                 |
| CANCELLED | QUEUED_EXPIRED | CANCELLED  | FAIL_UNSENT                                |
| CANCELLED | GIVEN_UP       | CANCELLED  | FORGET                                     |
| CANCELLED | CLOSE          | CANCELLED  | FORGET_ALL                                 |
| CANCELLED | ABORT          | CANCELLED  | FORGET_ALL                                 |
| SILENT    | SILENCE_OVER   | OPEN       | END_SILENCE, SEND_QUEUED, REPORT_OPENED    |
| SILENT    | GIVEN_UP       | SILENT     | FORGET, CHECK_UNUSED                       |
| SILENT    | UNUSED         | CLOSING    | CANCEL_SILENCE, ABORT                      |
| SILENT    | CLOSE          | CLOSING    | CANCEL_SILENCE, FORGET_ALL, CLOSE          |
| SILENT    | ABORT          | CLOSING    | CANCEL_SILENCE, FORGET_ALL, ABORT          |
| SILENT    | LOST           | OVER       | CANCEL_SILENCE, FAIL_SILENT, REPORT_CLOSED |
| OPEN      | JOIN           | OPEN       | SEND                                       |
| OPEN      | ECHO           | OPEN       | REPORT_ECHO                                |
| OPEN      | LAST_ECHO      | CLOSING    | REPORT_ECHO, CLOSE                         |
| OPEN      | FAULT          | DRAINING   | REPORT_FAULT, CHECK_UNUSED                 |
| OPEN      | EXPIRED        | DRAINING   | FAIL_EXPIRED, CHECK_UNUSED                 |
| OPEN      | GIVEN_UP       | DRAINING   | FORGET, CHECK_UNUSED                       |
| OPEN      | CLOSE          | CLOSING    | FORGET_ALL, CLOSE                          |
| OPEN      | ABORT          | CLOSING    | FORGET_ALL, ABORT                          |
| OPEN      | LOST           | OVER       | RETURN_UNBEGUN, FAIL_SENT, REPORT_CLOSED   |
| DRAINING  | ECHO           | DRAINING   | REPORT_ECHO, CHECK_UNUSED                  |
| DRAINING  | FAULT          | DRAINING   | REPORT_FAULT, CHECK_UNUSED                 |
| DRAINING  | EXPIRED        | DRAINING   | FAIL_EXPIRED, CHECK_UNUSED                 |
| DRAINING  | GIVEN_UP       | DRAINING   | FORGET, CHECK_UNUSED                       |
| DRAINING  | UNUSED         | CLOSING    | ABORT                                      |
| DRAINING  | CLOSE          | CLOSING    | FORGET_ALL, CLOSE                          |
| DRAINING  | ABORT          | CLOSING    | FORGET_ALL, ABORT                          |
| DRAINING  | LOST           | OVER       | FAIL_SENT, REPORT_CLOSED                   |
| CLOSING   | UNUSED         | CLOSING    |                                            |
| CLOSING   | CLOSE          | CLOSING    |                                            |
| CLOSING   | ABORT          | CLOSING    | ABORT                                      |
| CLOSING   | LOST           | OVER       | REPORT_CLOSED                              |
| OVER      | UNUSED         | OVER       |                                            |
| OVER      | CLOSE          | OVER       |                                            |
| OVER      | ABORT          | OVER       |                                            |

`echod.client.connection` carries the actions out. It does not use automat: measured, its TypeMachineBuilder costs 1.7
to 2.6 us an event, against 0.05 us for a lookup in this table, and 0.3 us, 200 bytes and a reference cycle a machine,
while a record of `echod load` costs about 25 us in all.
"""

from collections.abc import Mapping
from enum import Enum, auto
from typing import NamedTuple

from echod.common.errors import UnexpectedEvent

__all__ = [
    "TRANSITIONS",
    "Action",
    "Event",
    "State",
    "Transition",
    "next_transition",
    "transition_table",
]


class State(Enum):
    """A state of the connection."""

    DIALLING = auto()
    """Name resolution, connection attempts and the TLS handshake."""
    CANCELLED = auto()
    """These were cancelled, and have not ended yet."""
    SILENT = auto()
    """Established, in the idle time before the first record."""
    OPEN = auto()
    """Records go out."""
    DRAINING = auto()
    """Something other than an echo was found: no record joins, those that are out are waited for."""
    CLOSING = auto()
    """Closed or aborted at this end; no record is out."""
    OVER = auto()
    """The connection has ended, or was never established."""

    __hash__ = object.__hash__  # Enum's is a function in Python, and each event looks a state up


class Event(Enum):
    """An event of the connection. Those about a record concern one that is queued or out."""

    JOIN = auto()
    """A record is to go out."""
    READY = auto()
    """Dialling succeeded: records may go out."""
    READY_TO_IDLE = auto()
    """Dialling succeeded, and there is an idle time before the first record."""
    DIAL_FAILED = auto()
    """Dialling failed or was cancelled."""
    DIAL_EXPIRED = auto()
    """The time limit of the first queued record has passed, which is that of dialling."""
    QUEUED_EXPIRED = auto()
    """The time limit of another queued record has passed."""
    SILENCE_OVER = auto()
    """The idle time has passed."""
    ECHO = auto()
    """A record's echo is complete."""
    LAST_ECHO = auto()
    """Likewise, on a connection that is not kept after an echo."""
    FAULT = auto()
    """Something other than the echo of a record was received."""
    EXPIRED = auto()
    """The time limit of a record that is out has passed."""
    GIVEN_UP = auto()
    """The result of a record is not needed any more."""
    UNUSED = auto()
    """No record is queued or out any more."""
    CLOSE = auto()
    """The user closes the connection in order."""
    ABORT = auto()
    """The user closes the connection at once."""
    LOST = auto()
    """The established connection has ended."""

    __hash__ = object.__hash__  # as for State


class Action(Enum):
    """An action of a transition."""

    QUEUE = auto()
    """Queue the record until dialling has succeeded."""
    SEND = auto()
    """Send the record."""
    SEND_QUEUED = auto()
    """Send the queued records."""
    START_SILENCE = auto()
    """Stop the time limits, and start the idle time."""
    END_SILENCE = auto()
    """Note the idle time on the records, and resume their time limits."""
    CANCEL_SILENCE = auto()
    """Cancel the timer of the idle time."""
    CANCEL_DIAL = auto()
    """Cancel dialling."""
    FORGET = auto()
    """Drop the record without a report."""
    FORGET_ALL = auto()
    """Drop all records without a report."""
    CHECK_UNUSED = auto()
    """Raise the event UNUSED if no record is queued or out."""
    CLOSE = auto()
    """Close the connection in order."""
    ABORT = auto()
    """Close the connection at once, with a reset."""
    REPORT_OPENED = auto()
    """Report that records may go out."""
    REPORT_ECHO = auto()
    """Report the record as echoed."""
    REPORT_FAULT = auto()
    """Report the record as failed, for what was received instead of its echo."""
    FAIL_EXPIRED = auto()
    """Report the record as failed, for its incomplete echo."""
    FAIL_UNSENT = auto()
    """Report the queued record as failed, for its time limit."""
    FAIL_QUEUED = auto()
    """Report all queued records as failed, for the end of dialling."""
    FAIL_SILENT = auto()
    """Report all queued records as failed, for the end of the connection in its idle time."""
    FAIL_SENT = auto()
    """Report all records that are out as failed, for the end of the connection."""
    RETURN_UNBEGUN = auto()
    """Return the records that may be sent again over another connection."""
    REPORT_CLOSED = auto()
    """Report the end of the connection."""

    __hash__ = object.__hash__  # as for State


class Transition(NamedTuple):
    """The result of an event in a state."""

    state: State
    """The next state, entered before the actions are carried out."""
    actions: tuple[Action, ...]
    """In their order. An action can raise an event, whose transition is then complete before the next action."""


def _to(state: State, *actions: Action) -> Transition:
    return Transition(state, actions)


TRANSITIONS: Mapping[State, Mapping[Event, Transition]] = {
    State.DIALLING: {
        Event.JOIN: _to(State.DIALLING, Action.QUEUE),
        Event.READY: _to(State.OPEN, Action.SEND_QUEUED, Action.REPORT_OPENED),
        Event.READY_TO_IDLE: _to(State.SILENT, Action.START_SILENCE),
        Event.DIAL_FAILED: _to(State.OVER, Action.FAIL_QUEUED, Action.REPORT_CLOSED),
        Event.DIAL_EXPIRED: _to(State.CANCELLED, Action.CANCEL_DIAL),
        Event.QUEUED_EXPIRED: _to(State.DIALLING, Action.FAIL_UNSENT),
        Event.GIVEN_UP: _to(State.DIALLING, Action.FORGET, Action.CHECK_UNUSED),
        Event.UNUSED: _to(State.CANCELLED, Action.CANCEL_DIAL),
        Event.CLOSE: _to(State.CANCELLED, Action.FORGET_ALL, Action.CANCEL_DIAL),
        Event.ABORT: _to(State.CANCELLED, Action.FORGET_ALL, Action.CANCEL_DIAL),
    },
    State.CANCELLED: {
        Event.DIAL_FAILED: _to(State.OVER, Action.FAIL_QUEUED, Action.REPORT_CLOSED),
        Event.QUEUED_EXPIRED: _to(State.CANCELLED, Action.FAIL_UNSENT),
        Event.GIVEN_UP: _to(State.CANCELLED, Action.FORGET),
        Event.CLOSE: _to(State.CANCELLED, Action.FORGET_ALL),
        Event.ABORT: _to(State.CANCELLED, Action.FORGET_ALL),
    },
    State.SILENT: {
        Event.SILENCE_OVER: _to(State.OPEN, Action.END_SILENCE, Action.SEND_QUEUED, Action.REPORT_OPENED),
        Event.GIVEN_UP: _to(State.SILENT, Action.FORGET, Action.CHECK_UNUSED),
        Event.UNUSED: _to(State.CLOSING, Action.CANCEL_SILENCE, Action.ABORT),
        Event.CLOSE: _to(State.CLOSING, Action.CANCEL_SILENCE, Action.FORGET_ALL, Action.CLOSE),
        Event.ABORT: _to(State.CLOSING, Action.CANCEL_SILENCE, Action.FORGET_ALL, Action.ABORT),
        Event.LOST: _to(State.OVER, Action.CANCEL_SILENCE, Action.FAIL_SILENT, Action.REPORT_CLOSED),
    },
    State.OPEN: {
        Event.JOIN: _to(State.OPEN, Action.SEND),
        Event.ECHO: _to(State.OPEN, Action.REPORT_ECHO),
        Event.LAST_ECHO: _to(State.CLOSING, Action.REPORT_ECHO, Action.CLOSE),
        Event.FAULT: _to(State.DRAINING, Action.REPORT_FAULT, Action.CHECK_UNUSED),
        Event.EXPIRED: _to(State.DRAINING, Action.FAIL_EXPIRED, Action.CHECK_UNUSED),
        Event.GIVEN_UP: _to(State.DRAINING, Action.FORGET, Action.CHECK_UNUSED),
        Event.CLOSE: _to(State.CLOSING, Action.FORGET_ALL, Action.CLOSE),
        Event.ABORT: _to(State.CLOSING, Action.FORGET_ALL, Action.ABORT),
        Event.LOST: _to(State.OVER, Action.RETURN_UNBEGUN, Action.FAIL_SENT, Action.REPORT_CLOSED),
    },
    State.DRAINING: {
        Event.ECHO: _to(State.DRAINING, Action.REPORT_ECHO, Action.CHECK_UNUSED),
        Event.FAULT: _to(State.DRAINING, Action.REPORT_FAULT, Action.CHECK_UNUSED),
        Event.EXPIRED: _to(State.DRAINING, Action.FAIL_EXPIRED, Action.CHECK_UNUSED),
        Event.GIVEN_UP: _to(State.DRAINING, Action.FORGET, Action.CHECK_UNUSED),
        Event.UNUSED: _to(State.CLOSING, Action.ABORT),
        Event.CLOSE: _to(State.CLOSING, Action.FORGET_ALL, Action.CLOSE),
        Event.ABORT: _to(State.CLOSING, Action.FORGET_ALL, Action.ABORT),
        Event.LOST: _to(State.OVER, Action.FAIL_SENT, Action.REPORT_CLOSED),
    },
    State.CLOSING: {
        Event.UNUSED: _to(State.CLOSING),
        Event.CLOSE: _to(State.CLOSING),
        Event.ABORT: _to(State.CLOSING, Action.ABORT),
        Event.LOST: _to(State.OVER, Action.REPORT_CLOSED),
    },
    State.OVER: {
        Event.UNUSED: _to(State.OVER),
        Event.CLOSE: _to(State.OVER),
        Event.ABORT: _to(State.OVER),
    },
}
"""For each state, the possible events and their transitions."""


def next_transition(state: State, event: Event) -> Transition:
    """Return the transition of `event` in `state`. Raises UnexpectedEvent if the table has none."""
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise UnexpectedEvent(state, event) from None


def transition_table() -> str:
    """Return `TRANSITIONS` as the table of this module's docstring."""
    rows = [("state", "event", "next state", "actions")]
    for state, transitions in TRANSITIONS.items():
        for event, transition in transitions.items():
            actions = ", ".join(action.name for action in transition.actions)
            rows.append((state.name, event.name, transition.state.name, actions))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    lines.insert(1, "| " + " | ".join("-" * width for width in widths) + " |")
    return "\n".join(lines)
