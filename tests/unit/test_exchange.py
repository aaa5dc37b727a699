"""The exchange: its table, the document of the table, and every order of events that a transport can deliver."""

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from echod.common.errors import UnexpectedEvent
from echod.server.config import CHECK_TIME, LINGER, QUIET, ExchangeRules, ServerConfiguration
from echod.server.exchange import DISCARD, ECHO_AND_WAIT, Exchange
from echod.server.exchange_states import TRANSITIONS, Action, Event, State, Transition
from echod.server.summary import WAIT_BOUNDS, CloseReason

SIZE = 4
ONE = ExchangeRules(record_size=SIZE, timeout=30.0, keep_alive=False, linger=LINGER, quiet=QUIET)
KEEP_ALIVE = replace(ONE, keep_alive=True)
STREAM = ServerConfiguration(stream=True).rules
MODES = {"one record": ONE, "keep-alive": KEEP_ALIVE, "stream": STREAM}

PAGE = Path(__file__).parents[2] / "docs" / "exchange.md"


class Connection:
    """A connection's transport, as far as an exchange can see it: it delivers events only when a real one could."""

    def __init__(self, rules: ExchangeRules, tls: bool = False) -> None:
        self.rules = rules
        self.tls = tls
        self.now = 0.0
        self.waits = [0] * (len(WAIT_BOUNDS) + 1)
        self.exchange = Exchange(rules, None if rules.stream else self.waits, self.now)
        self.history: list[tuple[State, Event]] = []
        self.armed = True
        self.received = b""
        self.echoed = b""
        self.fin = False
        self.half_closed = False
        self.flushed = False
        self.closing = False
        self.aborted = False
        self.draining = False
        self.over = False
        self.in_handshake = False
        self.handshake_complete = not tls

    def carry_out(self, actions: tuple[Action, ...], echo: bytes = b"") -> None:
        for action in actions:
            match action:
                case Action.WRITE | Action.WRITE_LAST:
                    assert echo
                    assert not self.ending, "nothing is written after a close"
                    self.echoed += echo
                case Action.HALF_CLOSE:
                    self.half_closed = True
                    if not self.tls:  # over TLS, close_notify waits until the client reads
                        self.exchange.paused = False
                case Action.CLOSE:
                    self.closing = True
                    self.exchange.paused = False
                case Action.ABORT:
                    self.aborted = True
                case Action.ARM_RECORD | Action.ARM_QUIET | Action.ARM_LINGER:
                    self.armed = True

    def _noting(self, report: Callable[[], tuple[tuple[Action, ...], bytes]], event: Event | None) -> None:
        before = self.exchange.state
        actions, echo = report()
        if event is not None:
            self.history.append((before, event))
            assert TRANSITIONS[before][event].actions == actions
        self.carry_out(actions, echo)

    # What can happen

    def bytes(self, length: int) -> None:
        data = bytes(len(self.received) + n & 0xFF for n in range(length))
        self.received += data
        self._noting(lambda: self.exchange.receive(data, self.now), self._event_of(length))

    def _event_of(self, length: int) -> Event | None:
        """Return the event that the table should see for these bytes, from the definition of the events."""
        if self.exchange.state in {State.FLUSHING, State.LINGERING, State.CLOSING, State.ABORTING}:
            return None
        size = self.rules.record_size
        pending = (len(self.received) - length) % size
        if pending + length < size:
            return Event.PART
        if not self.rules.keep_alive or (self.draining and not self.rules.stream):
            return Event.LAST_RECORD
        return Event.RECORDS_AND_PART if (pending + length) % size else Event.RECORDS

    def report(self, event: Event) -> None:
        self._noting(lambda: (self.exchange.take(event), b""), event)

    def deadline(self) -> None:
        self.armed = False
        if self.in_handshake and self.exchange.state is State.EMPTY:
            self.report(Event.NO_HANDSHAKE)
            return
        event = Event.STALL if self.exchange.paused else Event.DEADLINE
        self._noting(lambda: (self.exchange.on_deadline(), b""), event)

    @property
    def ends_as_check(self) -> bool:
        """Whether an end now is that of a health check, from the definition."""
        undecided = self.exchange.reason in {None, CloseReason.HEALTH_CHECK}
        return undecided and not self.received and self.now < self.rules.check_time

    def drain(self) -> None:
        self.draining = True
        event = Event.DRAIN_STREAM if self.rules.stream else Event.DRAIN
        self._noting(lambda: (self.exchange.on_drain(), b""), event)

    def end(self, event: Event) -> None:
        self.over = True
        self.armed = False
        seen = Event.CHECK_END if self.ends_as_check and event in {Event.END, Event.RESET} else event
        before = self.exchange.state
        self.history.append((before, seen))
        assert TRANSITIONS[before][seen].actions == ()
        self.exchange.on_end(event, self.now)

    def steps(self) -> dict[str, Callable[[], None]]:
        """Return what can happen now."""
        if self.over:
            return {}
        steps: dict[str, Callable[[], None]] = {"cut": lambda: self.report(Event.CUT)}
        steps |= {event.name: lambda event=event: self.end(event) for event in ENDS}  # type: ignore[misc]  # no type for a default
        if not self.fin and not self.exchange.paused:
            if self.handshake_complete:
                steps |= {f"{length} bytes": lambda length=length: self.bytes(length) for length in (1, 3, 4, 5, 9)}  # type: ignore[misc]  # likewise
            else:
                steps["handshake"] = self._handshake
            steps["FIN"] = self._fin
        if self.now < CHECK_TIME:
            steps["time"] = self._pass_time
        if self.half_closed and not (self.flushed or self.exchange.paused):
            steps["flushed"] = self._flush
        if self.armed:
            steps["deadline"] = self.deadline
        if not self.draining:
            steps["drain"] = self.drain
        if self.exchange.paused or ((self.rules.keep_alive or self.tls) and not self.ending):
            steps["resume" if self.exchange.paused else "pause"] = self._pause
        return steps

    @property
    def ending(self) -> bool:
        return self.half_closed or self.closing or self.aborted

    def _fin(self) -> None:
        self.fin = True
        if self.in_handshake and self.exchange.state in {State.EMPTY, State.QUIET_EMPTY}:
            self.report(Event.NO_HANDSHAKE)
            return
        event = Event.CHECK_FIN if self.ends_as_check else Event.FIN
        self._noting(lambda: (self.exchange.on_fin(self.now), b""), event)

    def _handshake(self) -> None:
        self.in_handshake, self.handshake_complete = not self.in_handshake, self.in_handshake

    def _pass_time(self) -> None:
        self.now += CHECK_TIME

    def _flush(self) -> None:
        self.flushed = True
        self.report(Event.FLUSHED)

    def _pause(self) -> None:
        self.exchange.paused = not self.exchange.paused

    def check(self) -> None:
        """Check what holds after every step."""
        exchange = self.exchange
        assert exchange.bytes_received == len(self.received)
        assert exchange.bytes_sent == len(self.echoed)
        assert self.received.startswith(self.echoed)
        assert len(self.echoed) % self.rules.record_size == 0, "a record is echoed whole or not at all"
        if not self.rules.keep_alive:
            assert len(self.echoed) <= SIZE
        if exchange.state is State.CLOSED:
            assert exchange.reason is not None
            assert self.over
        elif exchange.state is not State.ABORTING:
            assert self.armed, "no client holds a connection without a deadline"
        if self.closing:
            assert exchange.state in {State.CLOSING, State.ABORTING, State.CLOSED}
        if self.aborted:
            assert exchange.state in {State.ABORTING, State.CLOSED}

    def key(self) -> tuple[object, ...]:
        """Return what the steps that can follow depend on."""
        pending = len(self.received) % self.rules.record_size
        return (
            *(self.exchange.state, self.exchange.paused, self.armed, pending, bool(self.echoed), self.fin),
            *(self.half_closed, self.flushed, self.closing, self.aborted, self.draining, self.over),
            *(self.in_handshake, self.handshake_complete, self.now < CHECK_TIME, self.ends_as_check),
        )


ENDS = (Event.END, Event.RESET, Event.TLS_FAILURE, Event.FAULT)


def replay(rules: ExchangeRules, tls: bool, names: tuple[str, ...]) -> Connection:
    connection = Connection(rules, tls)
    for name in names:
        connection.steps()[name]()
        connection.check()
    return connection


class TableTests(SynchronousTestCase):
    def test_every_transition_can_happen_and_no_other(self) -> None:
        """All orders of events, in all three modes, over TCP and TLS: they use exactly the transitions of the table."""
        seen: set[tuple[State, Event]] = set()
        for rules, tls in product(MODES.values(), (False, True)):
            known = {Connection(rules, tls).key()}
            waiting: deque[tuple[str, ...]] = deque([()])
            while waiting:
                names = waiting.popleft()
                for name in replay(rules, tls, names).steps():
                    after = replay(rules, tls, (*names, name))  # which raises UnexpectedEvent for a gap in the table
                    seen.update(after.history)
                    if after.key() not in known:
                        known.add(after.key())
                        waiting.append((*names, name))
        table = {(state, event) for state, row in TRANSITIONS.items() for event in row}
        self.assertEqual(table, seen)

    def test_an_event_without_a_transition_raises(self) -> None:
        for state in State:
            for event in set(Event) - set(TRANSITIONS[state]):
                exchange = Exchange(KEEP_ALIVE, None, 0.0)
                exchange.state = state
                with self.assertRaises(UnexpectedEvent) as raised:
                    exchange.take(event)
                self.assertEqual((raised.exception.state, raised.exception.event), (state, event))
                self.assertEqual(str(raised.exception), f"no transition for {event.name} in {state.name}")
                self.assertIs(exchange.state, state)

    def test_each_state_has_a_row_and_the_end_has_none(self) -> None:
        self.assertEqual(set(TRANSITIONS), set(State))
        self.assertEqual(dict(TRANSITIONS[State.CLOSED]), {})

    def test_the_deadline_is_armed_before_a_step_that_may_end_the_connection(self) -> None:
        arming = {Action.ARM_RECORD, Action.ARM_QUIET, Action.ARM_LINGER}
        for row in TRANSITIONS.values():
            for transition in row.values():
                ending = [n for n, a in enumerate(transition.actions) if a in {Action.CLOSE, Action.HALF_CLOSE}]
                armed = [n for n, a in enumerate(transition.actions) if a in arming]
                self.assertTrue(not ending or not armed or max(armed) < min(ending), transition)

    def test_the_short_way_of_whole_records_is_the_tables(self) -> None:
        self.assertEqual(TRANSITIONS[State.BETWEEN][Event.RECORDS], Transition(State.BETWEEN, ECHO_AND_WAIT))
        self.assertEqual(ECHO_AND_WAIT, (Action.WRITE, Action.ARM_RECORD))
        self.assertEqual(DISCARD, ())

    def test_the_document_is_the_table(self) -> None:
        self.assertIn(document(), PAGE.read_text(encoding="utf-8"))


def document() -> str:
    """Return the table as docs/exchange.md has it."""
    rows = ["| state | event | actions | next state | close reason |", "| --- | --- | --- | --- | --- |"]
    for state, row in TRANSITIONS.items():
        for event, transition in row.items():
            actions = ", ".join(action.value for action in transition.actions) or "-"
            reason = "-" if transition.reason is None else transition.reason.value
            rows.append(f"| {state.value} | {event.value} | {actions} | {transition.state.value} | {reason} |")
    return "\n".join(rows) + "\n"


class AnyOrderTests(SynchronousTestCase):
    @given(st.sampled_from(sorted(MODES)), st.booleans(), st.lists(st.integers(0, 1 << 16), max_size=40))
    def test_what_holds_in_every_order_of_events(self, mode: str, tls: bool, choices: list[int]) -> None:
        connection = Connection(MODES[mode], tls)
        for choice in choices:
            steps = list(connection.steps().values())
            if not steps:
                break
            connection.now += choice / 1024
            steps[choice % len(steps)]()
            connection.check()
        records = connection.exchange.records
        self.assertEqual(records, 0 if mode == "stream" else len(connection.echoed) // SIZE)
        self.assertLessEqual(connection.exchange.waited, connection.now)
        self.assertLessEqual(sum(connection.waits), records)
        self.assertEqual(bool(sum(connection.waits)), records > 0)


class WaitTests(SynchronousTestCase):
    def counted(self, rules: ExchangeRules, *arrivals: tuple[float, int]) -> tuple[float, list[int]]:
        waits = [0] * (len(WAIT_BOUNDS) + 1)
        exchange = Exchange(rules, waits, 100.0)
        for at, length in arrivals:
            exchange.receive(bytes(length), 100.0 + at)
        return exchange.waited, [number for number, count in enumerate(waits) for _ in range(count)]

    def test_each_record_waits_from_the_one_before(self) -> None:
        waited, buckets = self.counted(KEEP_ALIVE, (0.25, SIZE), (1.25, SIZE), (1.25, SIZE))
        self.assertEqual(waited, 1.25)
        self.assertEqual(buckets, [0, WAIT_BOUNDS.index(0.25), WAIT_BOUNDS.index(1.0)])

    def test_records_that_arrive_together_are_one_wait(self) -> None:
        waited, buckets = self.counted(KEEP_ALIVE, (2.5, SIZE * 3))
        self.assertEqual((waited, buckets), (2.5, [WAIT_BOUNDS.index(2.5)]))

    def test_the_wait_of_a_record_in_pieces_ends_with_its_last_byte(self) -> None:
        waited, buckets = self.counted(ONE, (1.0, 1), (31.0, SIZE))
        self.assertEqual((waited, buckets), (31.0, [len(WAIT_BOUNDS)]))

    def test_input_that_is_discarded_is_no_wait(self) -> None:
        waited, buckets = self.counted(ONE, (1.0, SIZE), (9.0, SIZE))
        self.assertEqual((waited, buckets), (1.0, [WAIT_BOUNDS.index(1.0)]))

    def test_each_wait_adds_to_its_bucket(self) -> None:
        _, buckets = self.counted(KEEP_ALIVE, (1.0, SIZE), (2.0, SIZE), (3.0, SIZE))
        self.assertEqual(buckets, [WAIT_BOUNDS.index(1.0)] * 3)
        _, buckets = self.counted(KEEP_ALIVE, (0.5, 1), (1.0, SIZE), (2.0, SIZE), (3.0, SIZE))
        self.assertEqual(buckets, [WAIT_BOUNDS.index(1.0)] * 3)

    def test_waits_are_not_counted_without_a_list(self) -> None:
        exchange = Exchange(KEEP_ALIVE, None, 0.0)
        exchange.receive(bytes(SIZE), 1.0)
        exchange.receive(bytes(SIZE), 2.0)
        self.assertEqual(exchange.waited, 0.0)


class NewExchangeTests(SynchronousTestCase):
    def test_nothing_is_decided_and_the_client_reads(self) -> None:
        exchange = Exchange(ONE, None, 7.0)
        self.assertIs(exchange.state, State.EMPTY)
        self.assertIsNone(exchange.reason)
        self.assertIs(exchange.paused, False)
        self.assertEqual((exchange.opened_at, exchange.record_at), (7.0, 7.0))
        self.assertEqual((exchange.bytes_received, exchange.bytes_sent, exchange.records), (0, 0, 0))
        exchange.on_deadline()
        self.assertIs(exchange.reason, CloseReason.TIMEOUT)

    def test_records_are_counted_in_whole_numbers_and_not_in_a_stream(self) -> None:
        for rules, length, records in ((KEEP_ALIVE, 3 * SIZE, "3"), (STREAM, 9, "0")):
            exchange = Exchange(rules, None, 0.0)
            exchange.receive(bytes(length), 0.0)
            self.assertEqual((exchange.bytes_sent, str(exchange.records)), (length, records))

    def test_there_is_no_echo_of_a_part(self) -> None:
        exchange = Exchange(ONE, None, 0.0)
        self.assertEqual(exchange.receive(b"x", 0.0), ((), b""))


class HealthCheckTests(SynchronousTestCase):
    """A connection that ends before its first byte."""

    def ended(self, *ends: Event, after: float = 0.0, rules: ExchangeRules = ONE) -> CloseReason | None:
        """Return the close reason if these events happen `after` seconds: a FIN, or an end."""
        exchange = Exchange(rules, None, 100.0)
        for event in ends:
            if event is Event.FIN:
                exchange.on_fin(100.0 + after)
            else:
                exchange.on_end(event, 100.0 + after)
        return exchange.reason

    def test_any_end_within_the_check_time_is_a_check(self) -> None:
        for ends in ((Event.FIN, Event.END), (Event.END,), (Event.RESET,), (Event.FIN, Event.RESET)):
            for rules in MODES.values():
                for after in (0.0, CHECK_TIME - 0.001):
                    self.assertIs(self.ended(*ends, after=after, rules=rules), CloseReason.HEALTH_CHECK)

    def test_after_the_check_time_it_is_none(self) -> None:
        self.assertIs(self.ended(Event.FIN, Event.END, after=CHECK_TIME), CloseReason.NO_DATA)
        self.assertIs(self.ended(Event.END, after=CHECK_TIME), CloseReason.NO_DATA)
        self.assertIs(self.ended(Event.RESET, after=CHECK_TIME), CloseReason.RESET)

    def test_a_client_that_a_proxy_names_is_none(self) -> None:
        rules = replace(ONE, check_time=0.0)
        self.assertIs(self.ended(Event.FIN, Event.END, rules=rules), CloseReason.NO_DATA)
        self.assertIs(self.ended(Event.RESET, rules=rules), CloseReason.RESET)

    def test_failures_are_none(self) -> None:
        self.assertIs(self.ended(Event.TLS_FAILURE), CloseReason.TLS_FAILED)
        self.assertIs(self.ended(Event.FAULT), CloseReason.ERROR)

    def test_after_the_first_byte_it_is_none(self) -> None:
        exchange = Exchange(ONE, None, 0.0)
        exchange.receive(b"x", 0.0)
        exchange.on_fin(0.0)
        exchange.on_end(Event.END, 0.0)
        self.assertIs(exchange.reason, CloseReason.INCOMPLETE)

    def test_what_was_decided_before_remains(self) -> None:
        exchange = Exchange(ONE, None, 0.0)
        exchange.take(Event.CUT)
        exchange.on_end(Event.END, 0.0)
        self.assertIs(exchange.reason, CloseReason.CUT)


class ReasonTests(SynchronousTestCase):
    def test_a_reset_is_the_reason_whatever_was_decided_before(self) -> None:
        exchange = Exchange(ONE, None, 0.0)
        exchange.receive(bytes(SIZE), 0.0)
        self.assertIs(exchange.reason, CloseReason.ECHOED)
        exchange.take(Event.RESET)
        self.assertIs(exchange.reason, CloseReason.RESET)

    def test_excess_input_is_received_and_not_echoed(self) -> None:
        exchange = Exchange(ONE, None, 0.0)
        actions, echo = exchange.receive(bytes(SIZE + 3), 0.0)
        self.assertEqual((actions, echo), ((Action.WRITE_LAST, Action.HALF_CLOSE), bytes(SIZE)))
        self.assertEqual(exchange.receive(bytes(9), 0.0), (DISCARD, b""))
        self.assertEqual((exchange.bytes_received, exchange.bytes_sent, exchange.records), (SIZE + 12, SIZE, 1))
