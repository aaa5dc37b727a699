"""The example of docs/embedding.md, run as it stands."""

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import echod.server
from tests.support.sockets import PATIENCE, RECORD, free_port

PAGE = (Path(__file__).parents[2] / "docs" / "embedding.md").read_text(encoding="utf-8")


def exchange(port: int, *records: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
        for record in records:
            client.sendall(record)
        client.shutdown(socket.SHUT_WR)
        return client.recv(4096, socket.MSG_WAITALL)


def test_the_example(tmp_path: Path) -> None:
    (example,) = re.findall(r"^```python\n(.+?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "example.py").write_text(example, encoding="utf-8")
    port, other_port = free_port(), free_port()
    command = (sys.executable, "-W", "error", "example.py", str(port), str(other_port))
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={}
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "serving\n"
            assert exchange(port, RECORD) == RECORD
            assert process.stdout.readline() == f"[::]:{port} echoed 1\n"
            assert exchange(other_port, b"a" * 16, b"b" * 16) == b"a" * 16 + b"b" * 16
            assert process.stdout.readline() == "standalone echoed 2\n"
            process.send_signal(signal.SIGTERM)
            rest, errors = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert (rest, errors) == ("", "")


def test_the_page_names_every_public_name() -> None:
    table = PAGE.partition("## Names")[2]
    for name in set(echod.server.__all__) - {"EchoService"}:
        assert f"`{name}" in table, name
