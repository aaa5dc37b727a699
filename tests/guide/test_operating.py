"""docs/operating.md, executed."""

import pytest

from tests.guide.conftest import HERE
from tests.guide.document import Document
from tests.guide.terminal import Terminal
from tests.support.load import receive_to_end
from tests.support.sockets import RECORD
from tests.systemd.lab import Lab, needs_lab

PAGE = "docs/operating.md"
AFTER_THE_PROCEDURE = "## Without systemd"

FRONTEND = """\
defaults
    timeout connect 5s
    timeout client 5s
    timeout server 5s
frontend proxied
    mode tcp
    bind :::3010
    default_backend echo
"""
"""What HAProxy needs besides the backend that the document shows."""


def exchange(lab: Lab, port: int = 3005) -> bytes:
    with lab.connect(port) as client:
        client.sendall(RECORD)
        return receive_to_end(client)


@needs_lab
def test_the_procedure(new_machine: Lab) -> None:
    page = Document(PAGE, end=AFTER_THE_PROCEDURE)
    with Terminal(new_machine, HERE, **new_machine.variables) as terminal:
        # Install as a service
        for language in ("sh", "console"):
            terminal.run(page.take(language))
        assert exchange(new_machine) == RECORD
        # Configuration
        terminal.run(page.take("console"))
        # Reload
        page.leave("", reason="lines of the log, which tests/process/test_reload.py has")
        # TLS
        for language in ("sh", "ini", "toml", "sh", "console", "sh"):
            terminal.run(page.take(language))
        page.leave("", reason="a line of the log, which tests/unit/test_server_tls.py has")
        # The admin server
        for language in ("sh", "console"):
            terminal.run(page.take(language))
        # An access log in a file
        for language in ("ini", "toml", "sh", "console"):
            terminal.run(page.take(language))
        # Several processes
        for language in ("sh", "sh", "console"):
            terminal.run(page.take(language))
        assert exchange(new_machine) == RECORD
        # Upgrade
        for language in ("sh", "sh"):
            terminal.run(page.take(language))
        assert exchange(new_machine) == RECORD
        # When the daemon cannot start
        for language in ("sh", "sh"):
            terminal.run(page.take(language))
        assert exchange(new_machine) == RECORD
        # Uninstall
        terminal.run(page.take("sh"))
        page.finish()
    assert new_machine.run("find", "/etc", "/usr/local", "/var/log", "-name", "*echod*").stdout == ""
    assert not (new_machine.root / "opt/echod").exists()
    with pytest.raises(ConnectionRefusedError):
        new_machine.connect(3005)


@needs_lab
def test_the_other_sections(machine: Lab) -> None:
    page = Document(PAGE, begin=AFTER_THE_PROCEDURE)
    with Terminal(machine, HERE, **machine.variables) as daemon, Terminal(machine, HERE, **machine.variables) as other:
        # Without systemd
        daemon.start(page.take("sh").text, ready="listening on [::]:3006")
        status, output = other.call("echod ping -c 1 --tls --tls-ca ca.pem echo.example.net 3006")
        assert status == 0, output
        assert exchange(machine) == RECORD
        daemon.stop()
        # Behind HAProxy, which here is 192.0.2.10
        daemon.start(page.take("sh").text, ready="listening on [::]:3007")
        other.append(f"{HERE}/haproxy.cfg", FRONTEND + page.take("haproxy").text)
        status, output = other.call("ip address add 192.0.2.10/32 dev lo && haproxy -D -f haproxy.cfg")
        assert status == 0, output
        probe = "echod ping -c 1 ::1 3010"
        status, output = other.call(probe)
        assert status == 0, output
        daemon.stop()
        daemon.start(page.take("sh").text, ready="listening on [::]:3007")
        status, output = other.call(probe)
        assert status == 0, output
        daemon.stop()
        # The backlog
        daemon.start(page.take("sh").text, ready="listening on [::]:3005")
        assert other.call("ss -ltnH 'sport = :3005' | awk '{print $3}'") == (0, "511\n")
        daemon.stop()
        page.leave("", reason="a line of the log, which tests/process/test_listeners.py has")
        # Logs
        page.leave("", reason="a line of the access log, whose format tests/unit/test_logs.py has")
        page.leave("json", reason="the same")
        other.run(page.take("sh"))  # The journal
        page.finish()
