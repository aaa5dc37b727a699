import os
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import SynchronousTestCase

from echod.common.files import write_atomically


class WriteAtomicallyTests(SynchronousTestCase):
    def setUp(self) -> None:
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.path = self.directory / "file"

    def test_the_file_is_replaced_not_rewritten(self) -> None:
        self.path.write_bytes(b"old")
        with self.path.open("rb") as reader:
            write_atomically(self.path, b"new")
            self.assertEqual(reader.read(), b"old")
        self.assertEqual(self.path.read_bytes(), b"new")
        self.assertEqual(list(self.directory.iterdir()), [self.path])

    def test_its_permissions_follow_the_umask(self) -> None:
        before = os.umask(0o022)
        self.addCleanup(os.umask, before)
        write_atomically(self.path, b"")
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o644)

    def test_no_temporary_file_remains_after_an_error(self) -> None:
        self.path.mkdir()
        with self.assertRaises(OSError):
            write_atomically(self.path, b"new")
        self.assertEqual(list(self.directory.iterdir()), [self.path])
