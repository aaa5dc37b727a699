import os
import select
import socket
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import SynchronousTestCase

from echod.cli.process import is_journal, open_standard_descriptors
from echod.serve.destinations import ROTATE_SIZE, InheritedStream, NamedFile, RotatedFile, _ends_in_newline


class DirectoryTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = Path(directory.name, "log")

    def named(self) -> NamedFile:
        file = NamedFile(str(self.path))
        self.addCleanup(file.close)
        return file

    def rotated(self) -> RotatedFile:
        file = RotatedFile(str(self.path))
        self.addCleanup(file.close)
        return file

    def content(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in self.path.parent.iterdir()}


class NamedFileTests(DirectoryTestCase):
    def test_file_is_made_and_appended_to(self) -> None:
        file = self.named()
        self.assertEqual(file.write(b"a\n"), 2)
        self.path.write_text("")  # as copytruncate of logrotate does
        self.assertEqual(file.write(b"b\n"), 2)
        self.assertEqual(self.path.read_text(), "b\n")
        self.assertGreater(file.largest, select.PIPE_BUF)

    def test_line_that_a_full_disk_cut_is_ended(self) -> None:
        self.path.write_text("whole\ncut")
        file = self.named()
        file.write(b"a\n")
        file.write(b"b\n")
        self.assertEqual(self.path.read_text(), "whole\ncut\na\nb\n")

    def test_file_that_ends_in_a_newline(self) -> None:
        self.path.write_text("whole\n")
        self.named().write(b"a\n")
        self.assertEqual(self.path.read_text(), "whole\na\n")

    def test_file_that_cannot_be_read(self) -> None:
        self.assertTrue(_ends_in_newline(str(self.path)))

    def test_directory(self) -> None:
        self.path.mkdir()
        self.assertRaises(IsADirectoryError, NamedFile, str(self.path))

    def test_fifo_without_a_reader_is_opened_when_there_is_one(self) -> None:
        os.mkfifo(self.path)
        file = self.named()
        self.assertRaises(BlockingIOError, file.write, b"a\n")
        reader = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        self.assertEqual(file.write(b"a\n"), 2)
        self.assertEqual(os.read(reader, 10), b"a\n")
        self.assertEqual(file.largest, select.PIPE_BUF)

    def test_fifo_whose_reader_is_stalled(self) -> None:
        os.mkfifo(self.path)
        reader = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        file = self.named()
        with self.assertRaises(BlockingIOError):
            while True:
                file.write(b"a" * select.PIPE_BUF)

    def test_fifo_that_is_gone_when_it_is_opened(self) -> None:
        os.mkfifo(self.path)
        file = self.named()
        self.path.unlink()
        self.path.mkdir()
        self.assertRaises(IsADirectoryError, file.write, b"a\n")

    def test_unix_socket_is_no_fifo(self) -> None:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(self.path))
            self.assertRaises(OSError, NamedFile, str(self.path))

    def test_close_before_it_is_open(self) -> None:
        os.mkfifo(self.path)
        file = self.named()
        file.close()
        file.close()


class RotatedFileTests(DirectoryTestCase):
    def test_rotation_by_size(self) -> None:
        large = "x" * (ROTATE_SIZE - 1) + "\n"
        self.path.write_text(large)
        file = self.rotated()
        file.write(b"a\n")
        file.write(b"b\n")
        self.assertEqual(self.content(), {"log": "a\nb\n", "log.1": large})

    def test_no_rotation_within_a_line(self) -> None:
        large = "x" * ROTATE_SIZE + "\n"
        file = self.rotated()
        file.write(large[:-1].encode())
        file.write(b"\n")
        file.write(b"a\n")
        self.assertEqual(self.content(), {"log": "a\n", "log.1": large})

    def test_rotation_on_request(self) -> None:
        self.path.write_text("a\n")
        self.path.with_name("log.1").write_text("older\n")
        file = self.rotated()
        file.rotation_requested = True
        file.write(b"b\n")
        file.write(b"c\n")
        self.assertEqual(self.content(), {"log": "b\nc\n", "log.1": "a\n", "log.2": "older\n"})

    def test_file_that_another_program_has_moved_is_only_opened_again(self) -> None:
        self.path.write_text("a\n")
        file = self.rotated()
        self.path.rename(self.path.with_name("moved"))
        file.rotation_requested = True
        file.write(b"b\n")
        self.assertEqual(self.content(), {"log": "b\n", "moved": "a\n"})

    def test_old_file_stays_open_if_rotation_fails(self) -> None:
        file = self.rotated()
        moved = self.path.rename(self.path.with_name("moved"))
        self.path.mkdir()
        file.rotation_requested = True
        file.write(b"a\n")
        self.assertEqual(moved.read_text(), "a\n")

    def test_fifo_is_not_rotated(self) -> None:
        os.mkfifo(self.path)
        file = self.rotated()
        file.rotation_requested = True
        self.assertRaises(BlockingIOError, file.write, b"a\n")


class InheritedStreamTests(SynchronousTestCase):
    def test_pipe(self) -> None:
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        stream = InheritedStream(writer, "standard output")
        self.assertEqual(stream.write(b"a\n"), 2)
        self.assertEqual(os.read(reader, 10), b"a\n")
        self.assertEqual(stream.largest, select.PIPE_BUF)
        stream.close()
        os.close(writer)  # which `close` did not

    def test_closed_stream(self) -> None:
        stream = InheritedStream(None, "standard output")
        with self.assertRaises(OSError) as failed:
            stream.write(b"a\n")
        self.assertEqual(failed.exception.strerror, "standard output is closed")


class JournalTests(SynchronousTestCase):
    def test_stream_that_is_the_journal(self) -> None:
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        self.addCleanup(os.close, writer)
        status = os.fstat(writer)
        named = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        self.assertTrue(is_journal(writer, named))
        self.assertFalse(is_journal(None, named))
        self.assertFalse(is_journal(writer, {}))
        self.assertFalse(is_journal(writer, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino + 1}"}))


class StandardDescriptorTests(SynchronousTestCase):
    def test_open_ones_stay(self) -> None:
        before = [os.fstat(n).st_ino for n in range(3)]
        open_standard_descriptors()
        self.assertEqual([os.fstat(n).st_ino for n in range(3)], before)
