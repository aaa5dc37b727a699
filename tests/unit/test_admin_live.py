import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from echod.admin.live_page import HISTORY, MOST_MISSED, quantile
from tests.support.admin import Client, Scene
from tests.support.sockets import RECORD


class QuantileTests(SynchronousTestCase):
    def test_as_promql_has_it(self) -> None:
        self.assertIsNone(quantile((1.0, 2.0), (0, 0, 0), 0.5))
        self.assertEqual(quantile((1.0, 2.0), (0, 4, 0), 0.5), 1.5)
        self.assertEqual(quantile((1.0, 2.0), (2, 2, 0), 0.5), 1.0)
        self.assertEqual(quantile((1.0, 2.0), (0, 0, 9), 0.5), 2.0)


class LiveTests(SynchronousTestCase):
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

    def test_beats(self) -> None:
        client = self.stream()
        transport = self.scene.connect()
        transport.receive(RECORD)
        transport.fin()
        self.scene.live.beat()
        (first, history), (second, beat) = self.events(client)
        self.assertEqual((first, history["points"], second), ("history", [], "beat"))
        self.assertEqual((beat["point"]["accepted"], beat["point"]["records"]), (1.0, 1.0))
        self.assertEqual((beat["state"]["state"], beat["state"]["closed"]), ("ready", {"echoed": 1}))
        self.scene.live.beat()
        self.assertEqual(self.events(client)[-1][1]["point"]["records"], 0.0)

    def test_who_comes_later_has_the_history(self) -> None:
        for _ in range(HISTORY + 10):
            self.scene.live.beat()
        ((_, history),) = self.events(self.stream())
        self.assertEqual(len(history["points"]), HISTORY)

    def test_who_does_not_read_misses_beats_and_then_goes(self) -> None:
        client = self.stream()
        assert client.transport.producer is not None
        client.transport.producer.pauseProducing()
        before = len(client.transport.value())
        for _ in range(MOST_MISSED):
            self.scene.live.beat()
        self.assertEqual((len(client.transport.value()), client.over), (before, False))
        self.scene.live.beat()
        self.assertTrue(client.over)

    def test_who_reads_again_goes_on(self) -> None:
        client = self.stream()
        assert client.transport.producer is not None
        client.transport.producer.pauseProducing()
        self.scene.live.beat()
        client.transport.producer.resumeProducing()
        self.scene.live.beat()
        self.assertEqual([kind for kind, _ in self.events(client)], ["history", "beat"])

    def test_draining_is_told(self) -> None:
        client = self.stream()
        self.scene.service.stopService()
        self.scene.live.beat()
        self.assertEqual(self.events(client)[-1][1]["state"]["state"], "draining")
