"""One connection at a time, and on it one record at a time.

| state   | a record comes         | the record's time is over | the connection fails or ends                    |
| ------- | ---------------------- | ------------------------- | ----------------------------------------------- |
| NONE    | it dials               | -                         | -                                               |
| DIALS   | -                      | the attempt is given up   | the record has failed; NONE                     |
| OPEN    | the record goes out    | -                         | NONE: the next record dials                     |
| CARRIES | -                      | it has failed; CLOSES     | the record has failed, or goes out once more    |
| CLOSES  | -                      | -                         | NONE                                            |

It is free for another record in NONE and OPEN. A record goes out once more where the peer closed in order before it
began to echo it, having echoed others on the connection: it was on its way while the peer was closing.
"""

from collections.abc import Callable
from enum import Enum, auto
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from echod.client.dial import Dial
from echod.client.matcher import Finding, Verdict
from echod.client.outcomes import Outcome
from echod.client.protocol import ProbeProtocol
from echod.client.record import Record
from echod.client.sentences import differs, sentence

__all__ = ["Lane", "Owner", "State"]


class State(Enum):
    """Where a lane is; the module's table says what that means."""

    NONE = auto()
    DIALS = auto()
    OPEN = auto()
    CARRIES = auto()
    CLOSES = auto()


class Owner(Protocol):
    """Hears of what lanes carry. What is a time, is one of `Clocks.now`."""

    def echoed(self, due: float, sent_at: float, at: float) -> None:
        """The record that was due then was sent then, and all of it is back since then."""

    def failed(self, due: float, outcome: Outcome, detail: str) -> None:
        """The record that was due then came to nothing."""

    def free(self, lane: "Lane") -> None:
        """The lane takes another record."""


class Lane:
    """One connection at a time."""

    def __init__(
        self,
        owner: Owner,
        dial: Callable[[], Dial],
        *,
        kept: bool,
        timeout: float,
    ) -> None:
        """With `kept` a connection goes on after an echo. `timeout` is in seconds, from when a record is due."""
        self._owner = owner
        self._new_dial = dial
        self._kept = kept
        self._timeout = timeout
        self._state = State.NONE
        self._dial: Dial | None = None
        self._protocol: ProbeProtocol | None = None
        self._record: Record | None = None
        self.due = 0.0
        """When its record was due, where it has one."""
        self._sent_at = 0.0
        self._echoed = False
        """Whether anything was echoed on this connection."""
        self._timed_out = False

    @property
    def connected(self) -> bool:
        """Whether it has a connection."""
        return self._protocol is not None

    @property
    def carries(self) -> bool:
        """Whether it has a record."""
        return self._record is not None

    @property
    def protocol(self) -> ProbeProtocol | None:
        """The connection's; None where there is none."""
        return self._protocol

    def open(self) -> "Deferred[None]":
        """Dial before there is a record. It fires when that is done, well or not."""
        return self._connect()

    def carry(self, record: Record, due: float) -> None:
        """Bring `record` to the peer and back; it was due at `due`. The lane must be free."""
        self._record, self.due, self._timed_out = record, due, False
        if self._protocol is None:
            self._connect()
        else:
            self._send(self._protocol)

    def expire(self, now: float) -> None:
        """Give the record up whose time is over."""
        if self._record is None or now < self.due + self._timeout:
            return
        self._timed_out = True
        if self._dial is not None:
            self._dial.cancel()  # which fails it
        elif self._protocol is not None:
            self._fail(*self._unfinished(self._protocol, None))
            self._abort(self._protocol)

    def end(self) -> bool:
        """Give up whatever there is, in silence. Return whether that was a record."""
        had, self._record = self._record is not None, None
        if self._dial is not None:
            self._dial.cancel()
        elif self._protocol is not None:
            self._state = State.CLOSES
            if had:
                self._protocol.abort()
            else:
                self._protocol.close()
        return had

    def _connect(self) -> "Deferred[None]":
        self._state = State.DIALS
        self._dial = self._new_dial()
        return self._dial.start(self._timeout).addCallbacks(self._connected, self._not_connected)

    def _connected(self, protocol: ProbeProtocol) -> None:
        self._dial = None
        self._protocol = protocol
        self._echoed = False
        protocol.listener = self
        self._state = State.OPEN
        if self._record is not None:
            self._send(protocol)

    def _not_connected(self, failure: Failure) -> None:
        dial, self._dial = self._dial, None
        assert dial is not None
        self._state = State.NONE
        if self._record is not None:
            conclusion = dial.conclusion(failure, self._timeout if self._timed_out else None)
            self._fail(conclusion.outcome, conclusion.detail)
            self._owner.free(self)

    def _send(self, protocol: ProbeProtocol) -> None:
        self._state = State.CARRIES
        assert self._record is not None
        sent_at = protocol.send(self._record)
        if sent_at is not None:
            self._sent_at = sent_at

    # What the connection tells

    def found(self, finding: Finding, at: float) -> None:
        """Take the verdict on the record."""
        protocol = self._protocol
        if finding.record is not self._record or protocol is None:
            return
        if finding.verdict is Verdict.ECHOED and (self._kept or not protocol.matcher.unasked):
            self._record = None
            self._echoed = True
            self._owner.echoed(self.due, self._sent_at, at)
            if self._kept:
                self._state = State.OPEN
                self._owner.free(self)
            else:
                self._state = State.CLOSES
                protocol.close()
            return
        if finding.verdict is Verdict.ECHOED:
            self._fail(Outcome.CORRUPT, "more came back than was sent")
        else:
            self._fail(*sentence(finding, sent=True))
        self._abort(protocol)

    def lost(self, reason: Failure) -> None:
        """The connection is over."""
        protocol, self._protocol = self._protocol, None
        assert protocol is not None
        was, self._state = self._state, State.NONE
        if self._record is None:
            if was is State.CLOSES:
                self._owner.free(self)
        elif self._goes_out_once_more(protocol, self._record, reason):
            self._connect()
        else:
            self._fail(*self._unfinished(protocol, reason))
            self._owner.free(self)

    def _goes_out_once_more(self, protocol: ProbeProtocol, record: Record, reason: Failure) -> bool:
        return self._echoed and not protocol.matcher.received(record) and protocol.closed_in_order(reason)

    def _unfinished(self, protocol: ProbeProtocol, reason: Failure | None) -> tuple[Outcome, str]:
        """Return how an echo ended that was not complete: with the connection, or without a `reason` by the time."""
        record, matcher = self._record, protocol.matcher
        assert record is not None
        received, size = matcher.received(record), len(record.data)
        offset = matcher.difference(record)
        if offset is not None:
            return Outcome.CORRUPT, differs(offset, matcher.came(record))
        if reason is None:
            return Outcome.TIMEOUT, f"{received} of {size} bytes were back after {self._timeout:g} s"
        end = protocol.ended_by(reason, f"after {received} of {size} bytes", received)
        return end.outcome, end.detail

    def _fail(self, outcome: Outcome, detail: str) -> None:
        self._record = None
        self._owner.failed(self.due, outcome, detail)

    def _abort(self, protocol: ProbeProtocol) -> None:
        """Take no further record over a connection whose stream may be out of step."""
        self._state = State.CLOSES
        protocol.abort()
