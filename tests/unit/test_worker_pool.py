import json
from collections import Counter
from typing import Any, cast

from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from echod.client.outcomes import Outcome
from echod.common.addresses import HostPort
from echod.common.errors import GeneratorError
from echod.load.config import LoadConfiguration, Share, shares
from echod.load.result import LoadResult
from echod.load.runner import LoadRunner, RunObserver
from echod.load.statistics import Slice
from echod.load.worker import Plan
from echod.load.worker_pool import (
    HEAD_START,
    OVER,
    PATIENCE,
    TRANSITIONS,
    IProcessReactor,
    WorkerEvent,
    WorkerPool,
    WorkerState,
)

TARGET = HostPort("::1", 3005)
CONFIGURATION = LoadConfiguration(rate=10, connections=2)


def plan_of(share: Share) -> Plan:
    return Plan(target=TARGET, given=(("rate", "10"),), share=share, run=7)


class Process:
    """The transport of a worker process in memory."""

    def __init__(self, protocol: Any) -> None:
        self.protocol = protocol
        self.received: list[Any] = []
        self.signals: list[str] = []
        protocol.makeConnection(self)

    def write(self, data: bytes) -> None:
        self.received += [json.loads(line) for line in data.splitlines()]

    def signalProcess(self, name: str) -> None:
        self.signals.append(name)

    def send(self, **message: Any) -> None:
        data = json.dumps(message).encode() + b"\n"
        self.protocol.outReceived(data[:5])
        self.protocol.outReceived(data[5:])

    def send_slice(self, index: int, echoed: int) -> None:
        outcomes, times = Counter({Outcome.ECHOED: echoed}), {9: echoed}
        part = Slice(index, (index + 1) * 0.5, outcomes=outcomes, response=times, service=times)
        self.send(slice=part.to_object())

    def end(self, *, status: int = 0, signal: int | None = None) -> None:
        failed = status or signal
        self.protocol.processEnded(Failure(ProcessTerminated(status, signal) if failed else ProcessDone(0)))


class ProcessReactor(Clock):
    """A clock that starts processes in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[Process] = []

    def spawnProcess(self, protocol: Any, executable: str, command: Any, **options: Any) -> None:
        self.processes.append(Process(protocol))


class RunTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = ProcessReactor()
        self.runner = LoadRunner(
            cast("IProcessReactor", self.reactor),
            ("worker",),
            CONFIGURATION,
            plan_of,
            processes=2,
            now=lambda: 100.0,
            observer=RunObserver(),
        )
        self.result = self.runner.start()
        self.first, self.second = self.reactor.processes

    def tearDown(self) -> None:
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def start_run(self) -> None:
        self.first.send(ready=True)
        self.assertEqual(self.first.received[1:], [])
        self.second.send(ready=True)

    def found(self) -> LoadResult:
        return self.successResultOf(self.result)

    def error(self) -> str:
        return str(self.failureResultOf(self.result, GeneratorError).value)

    def test_all_workers_start_at_the_same_time(self) -> None:
        self.start_run()
        for process, share in zip((self.first, self.second), shares(CONFIGURATION, 2, 10), strict=True):
            self.assertEqual(process.received[0]["share"]["part"], share.part)
            self.assertEqual(process.received[1:], [{"go": 100.0 + HEAD_START}])
        for process, elapsed, unfinished in ((self.first, 0.6, 2), (self.second, 0.7, 3)):
            process.send_slice(0, 4)
            process.send(done={"elapsed": elapsed, "unfinished": unfinished})
            self.assertNoResult(self.result)
            process.end()
        statistics = self.found().statistics
        self.assertEqual((statistics.echoed, statistics.unfinished, statistics.elapsed), (8, 5, 0.7))
        self.assertFalse(statistics.interrupted)

    def test_a_killed_worker_leaves_its_slices_in_the_result_of_a_stopped_run(self) -> None:
        self.start_run()
        self.first.send_slice(0, 4)
        self.second.send_slice(0, 5)
        self.second.send_slice(1, 6)
        self.runner.stop()
        self.assertEqual(self.second.received[-1], {"stop": True})
        self.first.send(done={"elapsed": 0.7, "unfinished": 1})
        self.first.end()
        self.reactor.advance(PATIENCE - 0.1)
        self.assertEqual(self.second.signals, [])
        self.reactor.advance(0.1)
        self.assertEqual((self.first.signals, self.second.signals), ([], ["KILL"]))
        self.second.end(signal=9)
        statistics = self.found().statistics
        self.assertEqual((statistics.echoed, statistics.unfinished, statistics.interrupted), (15, 1, True))
        self.assertEqual([each.echoed for each in statistics.intervals], [9, 6])
        self.assertEqual(statistics.elapsed, 1.0)

    def test_a_worker_that_dies_by_itself_is_an_error(self) -> None:
        self.start_run()
        self.first.send_slice(0, 4)
        self.first.end(signal=11)
        self.assertEqual(self.second.received[-1], {"stop": True})
        self.reactor.advance(PATIENCE)
        self.second.end(signal=9)
        self.assertEqual(self.error(), "generator process 1 was killed by SIGSEGV; there is no result")

    def test_a_worker_that_dies_by_itself_while_it_stops_is_an_error(self) -> None:
        self.start_run()
        self.runner.stop()
        self.first.end(status=1)
        self.second.send(done={"elapsed": 0.1, "unfinished": 0})
        self.second.end()
        self.assertEqual(self.error(), "generator process 1 exited with status 1; there is no result")

    def test_a_worker_that_exits_without_its_result_is_an_error(self) -> None:
        self.start_run()
        self.first.end()
        self.second.end()
        self.assertEqual(self.error(), "generator process 1 ended without its result; there is no result")

    def test_a_stop_before_all_are_ready(self) -> None:
        self.first.send(ready=True)
        self.runner.stop()
        self.first.end()
        self.second.send(ready=True)
        self.assertEqual(self.second.received[1:], [{"stop": True}])
        self.second.end()
        statistics = self.found().statistics
        self.assertEqual((statistics.sent, statistics.interrupted, statistics.elapsed), (0, True, 0))


class TransitionTests(SynchronousTestCase):
    def test_a_process_that_runs_can_always_end(self) -> None:
        self.assertEqual(set(TRANSITIONS), set(WorkerState))
        for state in set(WorkerState) - OVER:
            for event in (WorkerEvent.EXIT, WorkerEvent.CRASH):
                self.assertIn(TRANSITIONS[state][event], OVER)

    def test_a_pool_can_always_be_stopped(self) -> None:
        for state in WorkerState:
            self.assertIn(WorkerEvent.STOP, TRANSITIONS[state])
        for state in set(WorkerState) - OVER:
            stopped = TRANSITIONS[state][WorkerEvent.STOP]
            killed = WorkerState.KILLED
            self.assertTrue(stopped is killed or TRANSITIONS[stopped][WorkerEvent.KILL] is killed)

    def test_a_message_out_of_order_is_an_error(self) -> None:
        reactor: Any = ProcessReactor()
        WorkerPool(reactor, ("worker",), [plan_of(shares(CONFIGURATION, 1, 10)[0])], lambda: 0.0, lambda _: None).run()
        with self.assertRaises(KeyError):
            reactor.processes[0].send(done={"elapsed": 0.0, "unfinished": 0})
