"""Broken paths that take a kernel, or files of /etc, of the test's own; the table is in tests/support/broken.py."""

import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from echod.client.outcomes import Outcome, Step
from tests.support.broken import KINDS, kinds_of
from tests.support.namespaces import in_new_namespace, needs_namespaces
from tests.support.netem import FAR, Link, link, needs_links
from tests.support.probe_process import results
from tests.support.processes import TWISTD, daemon, run
from tests.support.sockets import free_port

pytestmark = needs_namespaces


def kinds(result: Any) -> set[str]:
    assert result.times.echo is None
    return kinds_of(Outcome(result.outcome), Step(result.step), result.detail)


@pytest.mark.parametrize(
    ("steps", "host", "asked", "kind"),
    [
        ("", "192.0.2.1", {}, "no route"),
        ("", "2001:db8::1", {}, "no route"),
        ("ip route add unreachable 192.0.2.0/24", "192.0.2.1", {}, "no such host"),
        ("ip route add prohibit 192.0.2.0/24", "192.0.2.1", {}, "forbidden"),
        ("ip route add blackhole 192.0.2.0/24", "192.0.2.1", {}, "blackhole route"),
        ("", "fe80::1", {}, "blackhole route"),
        ("", "fe80::1%nosuch", {}, "no such interface"),
        ("", "127.0.0.1", {"source": "192.0.2.1"}, "foreign source address"),
        ("", "127.0.0.1", {}, "refused"),
    ],
)
def test_where_this_host_knows_no_way(tmp_path: Path, steps: str, host: str, asked: dict[str, Any], kind: str) -> None:
    (result,) = results(
        tmp_path, lambda *command: in_new_namespace(command, *([steps] if steps else [])), host, count=1, **asked
    )
    assert kinds(result) == {kind}, result


def from_near(path: Link, cwd: Path, host: str, **asked: Any) -> Any:
    (result,) = results(cwd, lambda *command: path.at("near", *command), host, count=1, **asked)
    return result


@needs_links
def test_where_the_path_swallows_everything(tmp_path: Path) -> None:
    with link(tmp_path, largest=0) as path:
        result = from_near(path, tmp_path, FAR, timeout=0.2)
        assert kinds(result) == {"black hole"}, result


@needs_links
@pytest.mark.parametrize("route", ["unreachable", "prohibit"])
def test_where_a_router_says_no(tmp_path: Path, route: str) -> None:
    steps = f"echo 1 >/proc/sys/net/ipv4/ip_forward; ip route add {route} 198.51.100.1"
    with link(tmp_path) as path:
        for command in (
            path.at("far", "sh", "-ec", steps),
            path.at("near", "ip", "route", "add", "198.51.100.0/24", "via", FAR),
        ):
            assert run(*command, cwd=tmp_path).returncode == 0
        result = from_near(path, tmp_path, "198.51.100.1")
        assert kinds(result) == {"no such host"}, result


def test_where_the_resolver_is_silent(tmp_path: Path) -> None:
    # One attempt of one second: the process ends no sooner than the C library's.
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    (tmp_path / "nsswitch.conf").write_text("hosts: files dns\n")
    deaf = (
        "import os, socket, sys; dns = socket.socket(type=socket.SOCK_DGRAM); dns.bind(('127.0.0.1', 53));"
        "dns.set_inheritable(True); os.execvp(sys.argv[1], sys.argv[1:])"
    )

    def wrap(*command: str) -> tuple[str, ...]:
        return with_files(tmp_path, in_new_namespace((sys.executable, "-c", deaf, *command)))

    (result,) = results(tmp_path, wrap, "echo.example", count=1, timeout=0.2)
    assert kinds(result) == {"silent resolver"}, result


def with_files(directory: Path, command: tuple[str, ...]) -> tuple[str, ...]:
    """Return `command` as one to which the files in `directory` are those of /etc by their names."""
    steps = [f"mount --bind {shlex.quote(str(each))} /etc/{each.name}" for each in directory.glob("*.conf")]
    steps += [f"mount --bind {shlex.quote(str(each))} /etc/hosts" for each in directory.glob("hosts")]
    return ("unshare", "--mount", "sh", "-ec", "; ".join([*steps, 'exec "$@"']), "sh", *command)


class TestANameOfTwoAddresses:
    """IPv6 refuses, IPv4 accepts."""

    def probe(self, cwd: Path, **asked: Any) -> list[Any]:
        (cwd / "hosts").write_text("::1 echo.example\n127.0.0.1 echo.example\n")
        (cwd / "nsswitch.conf").write_text("hosts: files\n")
        port = free_port()
        with daemon(*TWISTD, "--port", str(port), "--interface", "127.0.0.1", cwd=cwd):
            return results(cwd, lambda *command: with_files(cwd, command), "echo.example", port, interval=0, **asked)

    def test_each_by_itself(self, tmp_path: Path) -> None:
        found = self.probe(tmp_path, count=3, each_address=True)
        assert len(found) == 6
        for each in found:
            assert each.times.resolve is not None
            if each.address.host == "::1":
                assert kinds(each) == {"refused"}
                assert each.times.connect is None
            else:
                assert (each.address.host, each.outcome) == ("127.0.0.1", "echoed")
                assert each.times.connect < 100_000

    def test_the_race_costs_a_tenth_of_a_second(self, tmp_path: Path) -> None:
        found = self.probe(tmp_path, count=5)
        assert [each.outcome for each in found] == ["echoed"] * 5
        for each in found:
            first, second = each.attempts
            assert (first.address.host, first.outcome, first.won) == ("::1", "refused", False)
            assert (second.address.host, second.outcome, second.won) == ("127.0.0.1", None, True)
            assert each.times.connect >= second.started - each.times.resolve
        assert 90_000 < min(each.times.connect for each in found) < 150_000


def test_every_kind_of_broken_path_is_met_here_or_over_sockets() -> None:
    """No kind is in the table for nothing."""
    from tests.live.test_broken_paths import EITHER, PATHS

    met = {name.partition(", ")[0] for name in PATHS}.union(*EITHER.values())
    here = {"no route", "no such host", "forbidden", "blackhole route", "foreign source address"}
    assert met | here == set(KINDS)
