import os
import stat
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import SynchronousTestCase

from echod.cli.client_command import refuse_unwritable, write_result
from echod.common.errors import ConfigurationError, EchodError


class ResultFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        home = TemporaryDirectory()
        self.addCleanup(home.cleanup)
        self.directory = Path(home.name)
        self.path = self.directory / "run.json"

    def names(self) -> list[str]:
        return sorted(path.name for path in self.directory.iterdir())

    def test_the_check_creates_no_file(self) -> None:
        refuse_unwritable("json", str(self.path))
        self.assertEqual(self.names(), [])

    def test_the_check_leaves_an_existing_file_as_it_is(self) -> None:
        self.path.write_bytes(b"old")
        refuse_unwritable("json", str(self.path))
        self.assertEqual((self.names(), self.path.read_bytes()), (["run.json"], b"old"))

    def test_unwritable_paths_are_refused(self) -> None:
        long = "x" * 300
        for path, reason in (
            (str(self.directory), "Is a directory"),
            (str(self.directory / "none" / "run.json"), "No such file or directory"),
            (str(self.directory / long), "File name too long"),
            ("a\0b", "embedded null byte"),
        ):
            with self.assertRaises(ConfigurationError) as caught:
                refuse_unwritable("json", path)
            self.assertEqual(str(caught.exception), f"--json: cannot write {path}: {reason}")

    def test_the_content_replaces_the_old_file(self) -> None:
        self.path.write_bytes(b"old")
        before = self.path.stat().st_ino
        write_result("json", str(self.path), b"new")
        self.assertEqual((self.names(), self.path.read_bytes()), (["run.json"], b"new"))
        self.assertNotEqual(self.path.stat().st_ino, before)

    def test_a_symbolic_link_stays(self) -> None:
        link = self.directory / "link"
        link.symlink_to("run.json")
        for _ in range(2):
            write_result("json", str(link), b"new")
            self.assertTrue(link.is_symlink())
            self.assertEqual(self.path.read_bytes(), b"new")

    def test_a_device_is_written_to_and_not_replaced(self) -> None:
        refuse_unwritable("json", os.devnull)
        write_result("json", os.devnull, b"new")
        self.assertTrue(stat.S_ISCHR(Path(os.devnull).stat().st_mode))

    def test_a_failed_write_is_one_line(self) -> None:
        with self.assertRaises(EchodError) as caught:
            write_result("html", str(self.directory / "none" / "x"), b"")
        self.assertNotIsInstance(caught.exception, ConfigurationError)
        self.assertIn("No such file or directory", str(caught.exception))
