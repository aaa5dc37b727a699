"""One connection of a client, from its first attempt to its end, and the records that it carries.

It is the machine of `echod.client.connection_states`: the adapters turn calls from the user, the timer, the dial and
the protocol into events, and the actions carry out what the table says. A single probe, a session and the load
generator differ only in their sink, and in whether the connection is kept after an echo.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from echod.client.attempts import IProbeReactor
from echod.client.conclusions import Conclusion, Failing, excess, failing_of, may_be_sent_again, unfinished
from echod.client.connection_states import Action, Event, State, next_transition
from echod.client.deadline import Clocks, microseconds
from echod.client.dial import Dial
from echod.client.matcher import Finding, Verdict
from echod.client.outcomes import Outcome, Step
from echod.client.protocol import ProbeProtocol
from echod.client.record import Record
from echod.client.route import Route

if TYPE_CHECKING:
    from echod.client.tls import ClientTLSContext

__all__ = ["Connection", "Sink", "Transfer"]

# A member of an Enum costs 0.1 µs to look up (measured, CPython 3.11), and these stand in the path of every record.
_OPEN, _DIALLING = State.OPEN, State.DIALLING
_JOIN, _READY, _ECHO, _LAST_ECHO, _LOST = Event.JOIN, Event.READY, Event.ECHO, Event.LAST_ECHO, Event.LOST
_ECHOED = Verdict.ECHOED


class Transfer:
    """One record on its way to the peer and back."""

    __slots__ = ("idle", "record", "sent_at", "timeout")

    def __init__(self, record: Record, timeout: float) -> None:
        """`timeout` is the time limit in seconds. The owner watches it, and calls `Connection.expire`."""
        self.record = record
        self.timeout = timeout
        self.sent_at: float | None = None
        """Time of sending, by `Clocks.now`. None if it is not sent, or bytes had come back before it was."""
        self.idle: int | None = None
        """Microseconds of deliberate silence before it was sent."""

    def hold(self) -> None:
        """Stop the time limit, if there is a timer for it: a deliberate silence begins."""

    def resume(self) -> None:
        """Go on with the time limit."""


TransferT = TypeVar("TransferT", bound=Transfer)
TransferT_contra = TypeVar("TransferT_contra", bound=Transfer, contravariant=True)


class Sink(Protocol[TransferT_contra]):
    """Receives the reports of connections.

    Each transfer that is not given up is reported once: as echoed, failed or returned.
    """

    def opened(self, connection: "Connection[Any]") -> None:
        """Records may go out; those that were queued have."""

    def echoed(
        self, connection: "Connection[Any]", transfer: TransferT_contra, first_byte_at: float, complete_at: float
    ) -> None:
        """All of the record is back. The times are those of `Clocks.now`."""

    def failed(self, connection: "Connection[Any]", transfer: TransferT_contra, conclusion: Conclusion) -> None:
        """The record was not echoed."""

    def returned(self, connection: "Connection[Any]", transfer: TransferT_contra) -> None:
        """The peer closed in order before it began to echo the record: it may go out over another connection."""

    def closed(self, connection: "Connection[Any]") -> None:
        """The connection has ended, or was not established. No report follows."""


class Connection(Generic[TransferT]):
    """One connection. After construction, `dial` is called once."""

    def __init__(
        self,
        reactor: IProbeReactor,
        route: Route,
        tls: "ClientTLSContext | None",
        clocks: Clocks,
        sink: Sink[TransferT],
        *,
        kept: bool,
        idle: float | None = None,
    ) -> None:
        """With `kept`, it stays open after an echo; otherwise it carries one record.

        `idle` is the time in seconds for which it is held silent before the first record.
        """
        self.kept = kept
        self.attempt = Dial(reactor, route, tls, clocks)
        self._reactor = reactor
        self._now = clocks.now
        self._sink = sink
        self._idle = idle
        self._state = _DIALLING
        self._queued: list[TransferT] = []
        self._sent: list[TransferT] = []
        self._echoed_any = False
        self._expired_timeout: float | None = None
        """The time limit in seconds that ended dialling."""
        self._silence: IDelayedCall | None = None
        self._silent_from = 0.0

    @property
    def dialling(self) -> bool:
        """Whether a record that joins is queued until the connection is established."""
        return self._state is _DIALLING

    @property
    def open(self) -> bool:
        """Whether records go out at once."""
        return self._state is _OPEN

    @property
    def takes_records(self) -> bool:
        """Whether another record may join."""
        return self.kept and (self._state is _OPEN or self._state is _DIALLING)

    @property
    def established(self) -> bool:
        """Whether dialling has succeeded and the connection has not ended."""
        return self._state not in (State.DIALLING, State.CANCELLED, State.OVER)

    @property
    def protocol(self) -> ProbeProtocol | None:
        """The protocol, once TCP has connected; it stays after the end."""
        return self.attempt.protocol

    # The adapters: each turns a call into an event.

    def dial(self, timeout: float) -> None:
        """Start to establish the connection; each attempt to connect ends after `timeout` seconds."""
        self.attempt.start(timeout).addCallbacks(self._dialled, self._not_dialled)

    def join(self, transfer: TransferT) -> None:
        """Send the record of `transfer` as soon as the connection is established."""
        self._fire(_JOIN, transfer)

    def expire(self, transfer: TransferT) -> None:
        """End a transfer whose time limit has passed. No-op for one that this connection does not carry any more."""
        if transfer in self._sent:
            self._fire(Event.EXPIRED, transfer)
        elif transfer in self._queued:
            first = self._state is State.DIALLING and transfer is self._queued[0]
            self._fire(Event.DIAL_EXPIRED if first else Event.QUEUED_EXPIRED, transfer)

    def give_up(self, transfer: TransferT) -> None:
        """Drop a transfer without a report. No-op for one that this connection does not carry any more."""
        if transfer in self._sent or transfer in self._queued:
            self._fire(Event.GIVEN_UP, transfer)

    def close(self, *, at_once: bool = False) -> None:
        """Drop all transfers without a report, and close in order, or with a reset if `at_once`."""
        self._fire(Event.ABORT if at_once else Event.CLOSE)

    def _dialled(self, protocol: ProbeProtocol) -> None:
        self._protocol = protocol
        protocol.listener = self
        self._fire(_READY if self._idle is None else Event.READY_TO_IDLE)

    def _not_dialled(self, failure: Failure) -> None:
        self._fire(Event.DIAL_FAILED, failure)

    def found(self, finding: Finding, at: float) -> None:
        """Receive the verdict on a record, reached at the time `at`."""
        for transfer in self._sent:
            if transfer.record is finding.record:
                break
        else:  # given up in a callback for another verdict on the same bytes
            return
        if finding.verdict is not _ECHOED:
            self._fire(Event.FAULT, transfer, finding, failing_of(finding, sent=transfer.sent_at is not None))
        elif self.kept:
            self._fire(_ECHO, transfer, finding, at)
        elif self._protocol.matcher.has_excess:
            size = len(finding.record.data)
            self._fire(Event.FAULT, transfer, finding._replace(offset=size), excess(size))
        else:
            self._fire(_LAST_ECHO, transfer, finding, at)

    def lost(self, reason: Failure) -> None:
        """Receive the end of the established connection."""
        self._fire(_LOST, reason)

    # The machine

    def _fire(self, event: Event, *facts: Any) -> None:
        """Take the transition of `event`; its `facts` are passed to each of the actions."""
        transition = next_transition(self._state, event)
        self._state = transition.state
        actions = self._actions
        for action in transition.actions:
            actions[action](self, *facts)

    # The actions: which of them follow an event, the table says.

    def _queue(self, transfer: TransferT) -> None:
        self._queued.append(transfer)

    def _send(self, transfer: TransferT) -> None:
        self._sent.append(transfer)
        transfer.sent_at = None
        transfer.sent_at = self._protocol.send(transfer.record)

    def _send_queued(self, *_: Any) -> None:
        while self._queued:  # a callback may drop those that are left
            self._send(self._queued.pop(0))

    def _start_silence(self, *_: Any) -> None:
        assert self._idle is not None
        self._protocol.step = Step.IDLE
        self._silent_from = self._now()
        for transfer in self._queued:
            transfer.hold()
        self._silence = self._reactor.callLater(self._idle, self._fire, Event.SILENCE_OVER)

    def _end_silence(self, *_: Any) -> None:
        self._protocol.step = Step.ECHO
        for transfer in self._queued:
            transfer.idle = microseconds(self._silent_from, self._now())
            transfer.resume()

    def _cancel_silence(self, *_: Any) -> None:
        if self._silence is not None and self._silence.active():
            self._silence.cancel()

    def _cancel_dial(self, transfer: TransferT | None = None) -> None:
        """Cancel dialling: for the time limit of `transfer`, or at the user's request without one."""
        self._expired_timeout = None if transfer is None else transfer.timeout
        self.attempt.cancel()

    def _forget(self, transfer: TransferT) -> None:
        if transfer in self._sent:
            self._sent.remove(transfer)
            self._protocol.matcher.abandon(transfer.record)
        else:
            self._queued.remove(transfer)

    def _forget_all(self, *_: Any) -> None:
        for transfer in (*self._queued, *self._sent):
            self._forget(transfer)

    def _check_unused(self, *_: Any) -> None:
        if not self._queued and not self._sent:
            self._fire(Event.UNUSED)

    def _close(self, *_: Any) -> None:
        self._protocol.close()

    def _abort(self, *_: Any) -> None:
        self._protocol.abort()

    def _report_opened(self, *_: Any) -> None:
        self._sink.opened(self)

    def _report_echo(self, transfer: TransferT, finding: Finding, at: float) -> None:
        self._sent.remove(transfer)
        self._echoed_any = True
        self._sink.echoed(self, transfer, finding.began, at)

    def _report_fault(self, transfer: TransferT, finding: Finding, failing: Failing) -> None:
        self._sent.remove(transfer)
        conclusion = Conclusion(
            outcome=failing.outcome,
            step=Step.ECHO,
            detail=failing.detail,
            offset=finding.offset,
            received=finding.received,
            first_byte_at=finding.began,
        )
        self._sink.failed(self, transfer, conclusion)

    def _fail_expired(self, transfer: TransferT) -> None:
        conclusion = self._unfinished(transfer, end=None)
        self._forget(transfer)
        self._sink.failed(self, transfer, conclusion)

    def _fail_unsent(self, transfer: TransferT) -> None:
        self._queued.remove(transfer)
        detail = f"no connection within {transfer.timeout:g} s"
        self._sink.failed(self, transfer, Conclusion(outcome=Outcome.TIMEOUT, step=self.attempt.step, detail=detail))

    def _fail_queued(self, failure: Failure) -> None:
        self._fail_all_queued(self.attempt.conclusion(failure, self._expired_timeout))

    def _fail_silent(self, reason: Failure) -> None:
        silent = self._now() - self._silent_from
        end = self._protocol.ended_by(reason, f"after {silent:.3g} s of silence", 0)
        for transfer in self._queued:
            transfer.idle = microseconds(self._silent_from, self._now())
        self._fail_all_queued(Conclusion(outcome=end.outcome, step=self._protocol.step, detail=end.detail))

    def _fail_all_queued(self, conclusion: Conclusion) -> None:
        queued, self._queued = self._queued, []
        for transfer in queued:
            self._sink.failed(self, transfer, conclusion)

    def _fail_sent(self, reason: Failure) -> None:
        sent, self._sent = self._sent, []
        matcher = self._protocol.matcher
        for transfer in sent:
            received, size = matcher.received(transfer.record), len(transfer.record.data)
            end = self._protocol.ended_by(reason, f"after {received} of {size} bytes", received)
            self._sink.failed(self, transfer, self._unfinished(transfer, end=end))

    def _return_unbegun(self, reason: Failure) -> None:
        closed_in_order, matcher = self._protocol.closed_in_order(reason), self._protocol.matcher
        unbegun = [
            transfer
            for transfer in self._sent
            if may_be_sent_again(
                kept=self.kept,
                echoed_others=self._echoed_any,
                begun=matcher.received(transfer.record) > 0,
                closed_in_order=closed_in_order,
            )
        ]
        self._sent = [transfer for transfer in self._sent if transfer not in unbegun]
        for transfer in unbegun:
            self._sink.returned(self, transfer)

    def _report_closed(self, *_: Any) -> None:
        self._sink.closed(self)

    def _unfinished(self, transfer: TransferT, *, end: Failing | None) -> Conclusion:
        matcher, record = self._protocol.matcher, transfer.record
        failing, offset = unfinished(record, matcher, end=end, timeout=transfer.timeout, idle=transfer.idle)
        return Conclusion(
            outcome=failing.outcome,
            step=self._protocol.step,
            detail=failing.detail,
            offset=offset,
            received=matcher.received(record),
            first_byte_at=matcher.began(record),
        )

    _actions: ClassVar[Mapping[Action, Callable[..., None]]] = {
        Action.QUEUE: _queue,
        Action.SEND: _send,
        Action.SEND_QUEUED: _send_queued,
        Action.START_SILENCE: _start_silence,
        Action.END_SILENCE: _end_silence,
        Action.CANCEL_SILENCE: _cancel_silence,
        Action.CANCEL_DIAL: _cancel_dial,
        Action.FORGET: _forget,
        Action.FORGET_ALL: _forget_all,
        Action.CHECK_UNUSED: _check_unused,
        Action.CLOSE: _close,
        Action.ABORT: _abort,
        Action.REPORT_OPENED: _report_opened,
        Action.REPORT_ECHO: _report_echo,
        Action.REPORT_FAULT: _report_fault,
        Action.FAIL_EXPIRED: _fail_expired,
        Action.FAIL_UNSENT: _fail_unsent,
        Action.FAIL_QUEUED: _fail_queued,
        Action.FAIL_SILENT: _fail_silent,
        Action.FAIL_SENT: _fail_sent,
        Action.RETURN_UNBEGUN: _return_unbegun,
        Action.REPORT_CLOSED: _report_closed,
    }
