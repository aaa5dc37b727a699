"""One of the connections of a load: established when a record needs it, and one record at a time on it."""

from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred

from echod.client.conclusions import Conclusion
from echod.client.connection import Connection, Sink, Transfer
from echod.client.outcomes import Outcome
from echod.client.protocol import ProbeProtocol
from echod.client.record import Record

__all__ = ["ConnectionSlot", "LoadTransfer", "SlotOwner"]


class LoadTransfer(Transfer):
    """The transfer of one record of a load. It has no timer: the generator looks for overdue records."""

    __slots__ = ("due",)

    def __init__(self, record: Record, timeout: float, due: float) -> None:
        """`timeout` is in seconds from `due`, the time of `Clocks.now` when the record should be sent."""
        super().__init__(record, timeout)
        self.due = due


class SlotOwner(Protocol):
    """Receives the results of slots. Times are those of `Clocks.now`."""

    def echoed(self, due: float, sent_at: float, complete_at: float) -> None:
        """A record was echoed."""

    def failed(self, due: float, outcome: Outcome, detail: str) -> None:
        """A record was not echoed."""

    def free(self, slot: "ConnectionSlot") -> None:
        """The slot can carry another record."""


class ConnectionSlot:
    """The sink of one connection at a time. It counts nothing and builds no results: its owner does.

    It is free if it has no record, and its connection is open, or has ended, or was never established.
    """

    def __init__(
        self,
        owner: SlotOwner,
        new_connection: "Callable[[Sink[LoadTransfer]], Connection[LoadTransfer]]",
        *,
        timeout: float,
    ) -> None:
        """`timeout` is in seconds, of a record and of dialling."""
        self._owner = owner
        self._new_connection = new_connection
        self._timeout = timeout
        self._connection: Connection[LoadTransfer] | None = None
        self._transfer: LoadTransfer | None = None
        self._dialled: Deferred[None] | None = None
        self._busy = False
        """Whether it carries a record, or its connection has not ended since the last one."""

    @property
    def connected(self) -> bool:
        """Whether TCP is connected and, with TLS, the server verified."""
        return self._connection is not None and self._connection.established

    @property
    def transfer(self) -> LoadTransfer | None:
        """The record under way; None if there is none."""
        return self._transfer

    @property
    def protocol(self) -> ProbeProtocol | None:
        """The protocol of its connection; None without one."""
        return None if self._connection is None else self._connection.protocol

    def dial(self) -> "Deferred[None]":
        """Establish the connection before there is a record. The Deferred fires when this has succeeded or failed."""
        dialled = self._dialled = Deferred()
        connection = self._connection = self._new_connection(self)
        connection.dial(self._timeout)
        return dialled

    def carry(self, record: Record, due: float) -> None:
        """Send `record`, which was due at `due`. The slot must be free."""
        self._carry(LoadTransfer(record, self._timeout, due))

    def expire(self, now: float) -> None:
        """End the record under way if it is overdue at the time `now`."""
        transfer = self._transfer
        if transfer is not None and now >= transfer.due + self._timeout and self._connection is not None:
            self._connection.expire(transfer)

    def close(self) -> None:
        """Drop the record under way without a report, and close the connection: at once if there was one."""
        transfer, self._transfer = self._transfer, None
        if self._connection is not None:
            self._connection.close(at_once=transfer is not None)

    def opened(self, connection: Connection[LoadTransfer]) -> None:
        """Fire the Deferred of `dial`."""
        self._fire_dialled()

    def echoed(
        self, connection: Connection[LoadTransfer], transfer: LoadTransfer, first_byte_at: float, complete_at: float
    ) -> None:
        """Report the echo; a kept connection is free again."""
        self._transfer = None
        sent_at = transfer.sent_at
        assert sent_at is not None
        self._owner.echoed(transfer.due, sent_at, complete_at)
        if connection.open:
            self._report_free()

    def failed(self, connection: Connection[LoadTransfer], transfer: LoadTransfer, conclusion: Conclusion) -> None:
        """Report the failure. The slot is free when the connection has ended."""
        self._transfer = None
        self._owner.failed(transfer.due, conclusion.outcome, conclusion.detail)

    def returned(self, connection: Connection[LoadTransfer], transfer: LoadTransfer) -> None:
        """Send it over a new connection."""
        self._carry(transfer)

    def closed(self, connection: Connection[LoadTransfer]) -> None:
        """Report the slot as free, unless the record has moved to a new connection."""
        self._fire_dialled()
        if connection is self._connection:
            self._connection = None
            if self._busy:
                self._report_free()

    def _carry(self, transfer: LoadTransfer) -> None:
        self._busy = True
        self._transfer = transfer
        if self._connection is not None and self._connection.takes_records:
            self._connection.join(transfer)
            return
        connection = self._connection = self._new_connection(self)
        connection.join(transfer)
        connection.dial(self._timeout)

    def _report_free(self) -> None:
        self._busy = False
        self._owner.free(self)

    def _fire_dialled(self) -> None:
        dialled, self._dialled = self._dialled, None
        if dialled is not None:
            dialled.callback(None)
