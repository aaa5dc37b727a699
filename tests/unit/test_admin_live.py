import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from echod.admin.live_page import HISTORY, MAX_MISSED_EVENTS, quantile
from echod.admin.metric_family import BucketCounts
from tests.support.admin import Client, Scene
from tests.support.sockets import RECORD


class QuantileTests(SynchronousTestCase):
    def test_same_as_in_promql(self) -> None:
        self.assertIsNone(quantile(BucketCounts((1.0, 2.0), (0, 0, 0), 0.0), 0.5))
        self.assertEqual(quantile(BucketCounts((1.0, 2.0), (0, 4, 0), 0.0), 0.5), 1.5)
        self.assertEqual(quantile(BucketCounts((1.0, 2.0), (2, 2, 0), 0.0), 0.5), 1.0)
        self.assertEqual(quantile(BucketCounts((1.0, 2.0), (0, 0, 9), 0.0), 0.5), 2.0)


class LivePageTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.scene = Scene()
        self.scene.service.startService()

    def stream(self) -> Client:
        client = Client(self.scene.factory)
        client.get("/events")
        self.addCleanup(client.leave)
        return client

    def events(self, client: Client) -> list[tuple[str, Any]]:
        text = client.transport.value().decode().partition("\r\n\r\n")[2]
        lines = [line for line in text.splitlines() if line.startswith(("event: ", "data: "))]
        return [(kind[7:], json.loads(data[6:])) for kind, data in zip(lines[::2], lines[1::2], strict=True)]

    def test_each_tick_sends_a_point(self) -> None:
        client = self.stream()
        transport = self.scene.connect()
        transport.receive(RECORD)
        transport.fin()
        self.scene.live_page.tick()
        (first, history), (second, tick) = self.events(client)
        self.assertEqual((first, history["points"], second), ("history", [], "tick"))
        self.assertEqual((tick["point"]["accepted"], tick["point"]["records"]), (1.0, 1.0))
        self.assertEqual((tick["state"]["state"], tick["state"]["closed"]), ("ready", {"echoed": 1}))
        self.scene.live_page.tick()
        self.assertEqual(self.events(client)[-1][1]["point"]["records"], 0.0)

    def test_first_event_is_the_history(self) -> None:
        for _ in range(HISTORY + 10):
            self.scene.live_page.tick()
        ((_, history),) = self.events(self.stream())
        self.assertEqual(len(history["points"]), HISTORY)

    def test_page_that_does_not_read_misses_events_and_is_then_aborted(self) -> None:
        client = self.stream()
        client.transport.fill()
        before = len(client.transport.value())
        for _ in range(MAX_MISSED_EVENTS):
            self.scene.live_page.tick()
        self.assertEqual((len(client.transport.value()), client.over), (before, False))
        self.scene.live_page.tick()
        self.assertTrue(client.over)

    def test_page_that_reads_again_gets_events_again(self) -> None:
        client = self.stream()
        client.transport.fill()
        self.scene.live_page.tick()
        client.transport.flush()
        self.scene.live_page.tick()
        self.assertEqual([kind for kind, _ in self.events(client)], ["history", "tick"])

    def test_tick_while_draining(self) -> None:
        client = self.stream()
        self.scene.service.stopService()
        self.scene.live_page.tick()
        self.assertEqual(self.events(client)[-1][1]["state"]["state"], "draining")

    def test_page_whose_connection_raises_is_aborted_and_others_go_on(self) -> None:
        broken, working = self.stream(), self.stream()

        def write(_: object) -> None:
            raise ZeroDivisionError

        self.patch(broken.transport, "write", write)
        self.scene.live_page.tick()
        self.assertTrue(broken.over)
        self.assertEqual([kind for kind, _ in self.events(working)], ["history", "tick"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.scene.live_page.tick()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 0)
