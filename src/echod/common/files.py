"""Atomic replacement of files."""

import os
import tempfile
from pathlib import Path

__all__ = ["write_atomically"]


def write_atomically(path: Path, data: bytes) -> None:
    """Replace the content of a file by `data`: a reader sees the old content or the new. Raises OSError.

    The data is on disk before the name changes, so that a crash leaves one of the two. The permissions follow the
    umask, as those of any new file. If writing fails, the temporary file, in the same directory, is removed.
    """
    umask = os.umask(0)
    os.umask(umask)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - Path.open takes no descriptor
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        os.chmod(name, 0o666 & ~umask)  # noqa: PTH101 - mkstemp returns a str
        os.replace(name, path)  # noqa: PTH105 - the same
    except BaseException:
        os.unlink(name)  # noqa: PTH108 - the same
        raise
