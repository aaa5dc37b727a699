"""`echod files`."""

import io
import os
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import SynchronousTestCase

from echod.files.command import FILES
from echod.main import main

ROOT = Path(__file__).parents[2]


def names_in(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


class FilesTests(SynchronousTestCase):
    def setUp(self) -> None:
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)

    def call(self, *words: str) -> tuple[int, bytes, str]:
        out, err = io.TextIOWrapper(io.BytesIO()), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            status = main(["files", *words])
        out.flush()
        return status, out.buffer.getvalue(), err.getvalue()

    def test_every_file_of_etc_is_listed(self) -> None:
        self.assertEqual({name for name, (folder, _) in FILES.items() if folder == "etc"}, names_in(ROOT / "etc"))
        status, out, err = self.call()
        self.assertEqual((status, err), (0, ""))
        self.assertEqual([line.split()[0] for line in out.decode().splitlines()], list(FILES))

    def test_a_file_is_printed_as_it_is(self) -> None:
        for name, (folder, _) in FILES.items():
            content = (ROOT / ("etc" if folder == "etc" else f"src/echod/{folder}") / name).read_bytes()
            self.assertEqual(self.call(name), (0, content, ""))

    def test_files_are_copied_readable_for_everyone(self) -> None:
        target = self.directory / "new" / "etc"
        umask = os.umask(0o077)
        try:
            self.assertEqual(self.call("--install", str(target), "echod.tac", "echod.toml"), (0, b"", ""))
        finally:
            os.umask(umask)
        self.assertEqual(names_in(target), {"echod.tac", "echod.toml"})
        for name in ("echod.tac", "echod.toml"):
            self.assertEqual((target / name).read_bytes(), (ROOT / "etc" / name).read_bytes())
            self.assertEqual((target / name).stat().st_mode & 0o777, 0o644)

    def test_a_changed_file_is_replaced_with_force_only(self) -> None:
        words = ("--install", str(self.directory), "echod.tac", "echod.toml")
        changed = self.directory / "echod.toml"
        changed.write_text("port = 3007\n")
        refusal = f"echod files: {changed} exists and has other content; --force replaces it\n"
        self.assertEqual(self.call(*words), (1, b"", refusal))
        self.assertEqual(names_in(self.directory), {"echod.toml"})
        self.assertEqual(changed.read_text(), "port = 3007\n")
        self.assertEqual(self.call(*words, "--force"), (0, b"", ""))
        self.assertEqual(changed.read_bytes(), (ROOT / "etc" / "echod.toml").read_bytes())
        self.assertEqual(self.call(*words), (0, b"", ""))  # the same content: nothing to refuse

    def test_usage_errors(self) -> None:
        for words, line in (
            (("nosuch",), "no file 'nosuch'; `echod files` lists them"),
            (("--install", "x"), "--install requires the name of a file"),
            (("--force", "echod.tac"), "--force requires --install"),
            (("echod.tac", "echod.toml"), "more than one file: use --install"),
        ):
            self.assertEqual(self.call(*words), (2, b"", f"echod files: {line}\n"))

    def test_a_directory_that_cannot_be_written(self) -> None:
        file = self.directory / "file"
        file.touch()
        expected = f"echod files: --install: cannot write to {file}: File exists\n"
        self.assertEqual(self.call("--install", str(file), "echod.tac"), (1, b"", expected))
        status, _, err = self.call("--install", "\0", "echod.tac")
        self.assertEqual((status, err.count("\n")), (1, 1))
