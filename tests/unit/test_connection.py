"""The connection machine: its table, and every order of events that its adapters can deliver."""

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.address import IPv6Address
from twisted.internet.error import ConnectionRefusedError, UserError
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from echod.client import connection as connection_module
from echod.client import connection_states
from echod.client.conclusions import Conclusion
from echod.client.connection import Connection, Transfer
from echod.client.connection_states import (
    TRANSITIONS,
    Action,
    Event,
    State,
    Transition,
    next_transition,
    transition_table,
)
from echod.client.deadline import Clocks
from echod.client.protocol import ProbeFactory, ProbeProtocol
from echod.client.record import described
from echod.client.route import Route
from echod.common.errors import UnexpectedEvent
from echod.probe import target
from tests.support.memory import MemoryTransport

PEER = IPv6Address("TCP", "2001:db8::1", 3005)
TIMEOUT = 5.0
IDLE = 60.0


class TableTests(SynchronousTestCase):
    def test_the_docstring_shows_the_table(self) -> None:
        self.assertIn(f"\n\n{transition_table()}\n\n", connection_states.__doc__ or "")

    def test_every_state_event_and_action_is_used(self) -> None:
        transitions = [each for row in TRANSITIONS.values() for each in row.values()]
        self.assertEqual(set(TRANSITIONS), set(State))
        self.assertEqual({event for row in TRANSITIONS.values() for event in row}, set(Event))
        self.assertEqual({action for each in transitions for action in each.actions}, set(Action))

    def test_the_class_carries_out_every_action(self) -> None:
        self.assertEqual(set(Connection._actions), set(Action))

    def test_nothing_follows_the_end(self) -> None:
        for transition in TRANSITIONS[State.OVER].values():
            self.assertEqual((transition.state, transition.actions), (State.OVER, ()))

    def test_records_join_only_where_they_are_queued_or_sent(self) -> None:
        for state, row in TRANSITIONS.items():
            self.assertEqual(Event.JOIN in row, state in {State.DIALLING, State.OPEN}, state)

    def test_an_invalid_event(self) -> None:
        with self.assertRaises(UnexpectedEvent) as raised:
            next_transition(State.OVER, Event.ECHO)
        self.assertEqual((raised.exception.state, raised.exception.event), (State.OVER, Event.ECHO))
        self.assertEqual(str(raised.exception), "no transition for ECHO in OVER")


class MemorySink:
    """Remembers the reports. Does what the test says on each."""

    def __init__(self) -> None:
        self.reports: list[tuple[str, Transfer | None]] = []
        self.on_report: Any = lambda: None

    def report(self, kind: str, transfer: Transfer | None = None) -> None:
        self.reports.append((kind, transfer))
        self.on_report()

    def opened(self, connection: Connection[Any]) -> None:
        self.report("opened")

    def echoed(self, connection: Connection[Any], transfer: Transfer, first_byte_at: float, complete_at: float) -> None:
        self.report("echoed", transfer)

    def failed(self, connection: Connection[Any], transfer: Transfer, conclusion: Conclusion) -> None:
        self.report("failed", transfer)

    def returned(self, connection: Connection[Any], transfer: Transfer) -> None:
        self.report("returned", transfer)

    def closed(self, connection: Connection[Any]) -> None:
        self.report("closed")


class LateTransport(MemoryTransport):
    """A transport that reports its end only when the test says so, as a real one does in the reactor's next turn."""

    pending: Any = None

    def _end(self, how: Any) -> None:
        if self.over is None and self.pending is None:
            self.pending = how

    def report_end(self) -> None:
        if self.pending is not None:
            super()._end(self.pending)


class HandshakingProtocol(ProbeProtocol):
    """A protocol whose handshake ends when the test says so, as one over TLS."""

    def _tcp_connected(self) -> None:
        pass

    def secure(self) -> None:
        if not self.ready.called:
            self.ready.callback(None)


class MemoryTLS:
    """Stands in for a TLS context."""

    def factory(self, host: str, now: Callable[[], float], clock: object) -> ProbeFactory:
        return ProbeFactory(lambda: HandshakingProtocol(now))


class World:
    """A connection, its peer, and the steps that both can take."""

    def __init__(self, *, kept: bool, idle: bool = False, late: bool = False, tls: bool = False) -> None:
        self.reactor = cast("Any", MemoryReactorClock())
        self.sink = MemorySink()
        clocks = Clocks(self.reactor.seconds, self.reactor.seconds)
        self.connection: Connection[Transfer] = Connection(
            self.reactor,
            Route(target=target("2001:db8::1")),
            cast("Any", MemoryTLS()) if tls else None,
            clocks,
            self.sink,
            kept=kept,
            idle=IDLE if idle else None,
        )
        self.late = late
        self.transfers: list[Transfer] = []
        self.given_up: set[Transfer] = set()
        self.transport: MemoryTransport | None = None
        self.dial_ended = False
        self.join()
        self.connection.dial(TIMEOUT)

    def join(self) -> None:
        if not self.transfers or self.connection.takes_records:
            self.transfers.append(Transfer(described(1, len(self.transfers) + 1, 0, 250), TIMEOUT))
            self.connection.join(self.transfers[-1])

    @property
    def out(self) -> list[Transfer]:
        reported = {transfer for _, transfer in self.sink.reports}
        return [each for each in self.transfers if each not in reported | self.given_up]

    def expire(self, number: int) -> None:
        silent = self.connection.established and any(each.sent_at is None for each in self.out)
        if self.out and not silent:  # in silence the time limits are held
            self.connection.expire(self.out[number % len(self.out)])

    def give_up(self, number: int) -> None:
        if self.out:
            transfer = self.out[number % len(self.out)]
            self.given_up.add(transfer)
            self.connection.give_up(transfer)

    def close(self, *, at_once: bool) -> None:
        self.given_up |= set(self.out)
        self.connection.close(at_once=at_once)

    def accept(self) -> None:
        connector = self.reactor.connectors[0]
        if self.dial_ended or connector.stoppedConnecting:
            return
        self.dial_ended = True
        self.transport = LateTransport() if self.late else MemoryTransport()
        self.transport.connect(self.reactor.tcpClients[0][2].buildProtocol(PEER))

    def secure(self) -> None:
        if self.readable is not None and isinstance(self.connection.protocol, HandshakingProtocol):
            self.connection.protocol.secure()

    def refuse(self) -> None:
        if not self.dial_ended:
            self.dial_ended = True
            stopped = self.reactor.connectors[0].stoppedConnecting
            failure = Failure(UserError() if stopped else ConnectionRefusedError())
            self.reactor.tcpClients[0][2].clientConnectionFailed(self.reactor.connectors[0], failure)

    @property
    def readable(self) -> MemoryTransport | None:
        transport = self.transport
        if transport is None or transport.over is not None or getattr(transport, "pending", None) is not None:
            return None
        return transport

    def answer(self, size: int | None = None, extra: bytes = b"", *, corrupt: bool = False) -> None:
        """Echo what was sent since the last answer, or `size` bytes of it, then `extra`; `corrupt`: changed."""
        transport = self.readable
        if transport is not None:
            data = transport.value()[:size]
            transport.clear()
            if corrupt:
                data = bytes(byte ^ (n % 250 == 0) for n, byte in enumerate(data))
            transport.receive(data + extra)

    def fin(self) -> None:
        if self.readable is not None:
            self.readable.fin()

    def reset(self) -> None:
        if self.readable is not None:
            self.readable.reset()

    def turn(self) -> None:
        if isinstance(self.transport, LateTransport):
            self.transport.report_end()

    def finish(self) -> None:
        """End everything that is under way, in the manner of a reactor and an owner that goes away."""
        self.close(at_once=True)
        self.refuse()
        self.turn()


STEPS = {
    "join": World.join,
    "accept": World.accept,
    "secure": World.secure,
    "refuse": World.refuse,
    "answer": World.answer,
    "half": lambda world: world.answer(125),
    "one and a half": lambda world: world.answer(375),
    "excess": lambda world: world.answer(extra=b"x"),
    "corrupt": lambda world: world.answer(corrupt=True),
    "fin": World.fin,
    "reset": World.reset,
    "turn": World.turn,
    "silence over": lambda world: world.reactor.advance(IDLE),
    "expire first": lambda world: world.expire(0),
    "expire last": lambda world: world.expire(-1),
    "give up first": lambda world: world.give_up(0),
    "give up last": lambda world: world.give_up(-1),
    "close": lambda world: world.close(at_once=False),
    "abort": lambda world: world.close(at_once=True),
}

USER_STEPS = ["join", "give up first", "give up last", "close", "abort"]
"""What the owner of a sink can do inside a report. The network and timers act between the reactor's calls only."""


SELDOM: dict[tuple[str, ...], tuple[str, ...]] = {
    ("accept", "secure", "answer"): (),
    ("join", "expire last"): (),
    ("join", "accept", "expire first", "expire last"): (),
    ("join", "accept", "give up first", "give up last"): (),
    ("join", "accept", "secure", "corrupt", "reset"): (),
    ("join", "accept", "secure", "corrupt", "close"): (),
    ("join", "join", "accept", "secure", "expire first", "corrupt", "answer"): (),
    ("accept", "secure", "close", "turn"): (),
    ("accept", "expire first", "close", "give up first"): (),
    ("join", "accept", "expire first", "close"): (),
    ("join", "accept", "expire first", "give up first"): (),
    ("accept", "secure", "corrupt"): ("close", "join"),
    ("join", "accept", "secure", "corrupt"): (),
    ("join", "accept", "secure", "expire first", "abort"): (),
    ("accept", "secure", "silence over", "answer"): (),
    ("accept", "secure", "reset"): (),
}
"""Orders that reach the transitions that a random order seldom takes, and the steps inside their reports."""


class EveryOrderTests(SynchronousTestCase):
    def test_the_table_knows_every_order_of_events(self) -> None:
        taken: set[tuple[State, Event]] = set()

        def recording(state: State, event: Event) -> Transition:
            taken.add((state, event))
            return next_transition(state, event)

        self.patch(connection_module, "next_transition", recording)
        for (order, inside), (kept, idle, late, tls) in product(SELDOM.items(), product((False, True), repeat=4)):
            self.walk(order, list(inside), {"kept": kept, "idle": idle, "late": late, "tls": tls})
        self.any_order()
        self.assertEqual({(state, event) for state, row in TRANSITIONS.items() for event in row} - taken, set())

    @settings(max_examples=1_000, deadline=None, derandomize=True)
    @given(
        st.builds(
            lambda before, after: [*before, *after],
            st.sampled_from([(), ("accept", "secure"), ("join", "join", "accept", "secure")]),
            st.lists(st.sampled_from(sorted(STEPS)), max_size=12),
        ),
        st.lists(st.sampled_from(USER_STEPS), max_size=6),
        st.fixed_dictionaries(dict.fromkeys(("kept", "idle", "late", "tls"), st.booleans())),
    )
    def any_order(self, order: list[str], inside: list[str], options: dict[str, bool]) -> None:
        self.walk(order, inside, options)

    def walk(self, order: Sequence[str], inside: list[str], options: dict[str, bool]) -> None:
        world = World(**options)

        def act_inside_a_report() -> None:
            if inside:
                STEPS[inside.pop()](world)

        world.sink.on_report = act_inside_a_report
        for step in order:
            STEPS[step](world)
        inside.clear()
        world.finish()
        self.assertEqual(world.reactor.getDelayedCalls(), [])
        self.assertEqual([kind for kind, _ in world.sink.reports].count("closed"), 1)
        self.assertEqual(world.out, [])
        for transfer in world.transfers:
            reports = [each for _, each in world.sink.reports].count(transfer)
            self.assertIn(reports, {0, 1} if transfer in world.given_up else {1})


class ReentranceTests(SynchronousTestCase):
    def test_two_echoes_in_one_read_and_a_close_after_the_first(self) -> None:
        world = World(kept=True)
        world.join()
        world.accept()
        world.sink.on_report = lambda: world.close(at_once=True)
        world.answer()
        self.assertEqual([kind for kind, _ in world.sink.reports], ["opened", "echoed", "closed"])
