from twisted.trial.unittest import SynchronousTestCase

from tests.fuzz.targets import CORPUS, TARGETS


class CorpusTests(SynchronousTestCase):
    def test_every_target_has_a_folder_and_every_folder_a_target(self) -> None:
        self.assertEqual({each.name for each in CORPUS.iterdir()}, set(TARGETS))

    def test_every_input_keeps_the_properties(self) -> None:
        for name, target in TARGETS.items():
            inputs = sorted((CORPUS / name).iterdir())
            self.assertNotEqual(inputs, [], name)
            for each in inputs:
                with self.subTest(target=name, input=each.name):
                    target(each.read_bytes())
                    self.assertEqual(self.flushLoggedErrors(), [])
