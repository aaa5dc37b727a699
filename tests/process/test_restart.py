"""Restarts and reloads under load, without effect on clients."""

import signal
import ssl
import time
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.certificates import Authority, Pair
from tests.support.load import Load, LoadElsewhere, Tally, access_lines, over_tls, plain, receive_record
from tests.support.namespaces import in_new_namespace, inside, needs_namespaces
from tests.support.processes import TWISTD, Daemon, daemon, until
from tests.support.sockets import RECORD, connected, exchange, free_port

ROUNDS = 5
CLIENTS = 8
SHARING = (*TWISTD, "--port", "3005", "--reuse-port", "--backlog", "511")


def test_two_processes_share_a_port(tmp_path: Path) -> None:
    port = free_port()
    command = (*TWISTD, "--port", str(port), "--reuse-port", "--access-log")
    logs = tmp_path / "one", tmp_path / "other"
    with daemon(*command, str(logs[0]), cwd=tmp_path) as one, daemon(*command, str(logs[1]), cwd=tmp_path) as other:
        for n in range(100):
            assert exchange(port, RECORD, ("::1", "127.0.0.1")[n % 2]) == RECORD
        until(lambda: sum(len(access_lines(log)) for log in logs) == 100)
        one.stop()
        assert exchange(port, RECORD) == RECORD
        other.stop()
    assert all(len(access_lines(log)) > 10 for log in logs)
    quiet(one, other)


@needs_namespaces
@pytest.mark.parametrize("migrating", [True, False])
def test_no_client_fails_during_a_restart(tmp_path: Path, migrating: bool) -> None:
    tally = rolling_restart(tmp_path, migrating=migrating)
    assert not tally.failures, tally
    assert tally.echoed > 1000
    # A client that connects at the moment of the change sends its SYN again after a second.
    assert tally.slowest < 4


@needs_namespaces
@pytest.mark.parametrize("migrating", [True, False])
def test_restart_loses_at_most_one_record_of_a_keep_alive_client(tmp_path: Path, migrating: bool) -> None:
    tally = rolling_restart(tmp_path, "--keep-alive", migrating=migrating)
    # A record may be in flight while the server closes between two records.
    assert set(tally.failures) <= {"nothing came back"}, tally
    assert tally.failures.total() <= CLIENTS * ROUNDS
    assert tally.echoed > 1000


def test_the_drain_timeout(tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "access"
    words = ("--drain-timeout", "0.5", "--access-log", str(log))
    with daemon(*TWISTD, "--port", str(port), *words, cwd=tmp_path) as echod, connected(port) as client:
        client.sendall(RECORD[:100])
        exchange(port, RECORD)
        started = time.monotonic()
        assert echod.stop() == -signal.SIGTERM
        assert 0.45 < time.monotonic() - started < 3
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        assert "cutting 1 connection(s)" in echod.output
    assert [reason for _, reason in access_lines(log)] == ["echoed", "cut"]
    quiet(echod)


@pytest.mark.parametrize("drain_timeout", ["5", "0.2"])
def test_idle_connection_is_closed_in_order(tmp_path: Path, drain_timeout: str) -> None:
    port, log = free_port(), tmp_path / "access"
    words = ("--keep-alive", "--drain-timeout", drain_timeout, "--access-log", str(log))
    with daemon(*TWISTD, "--port", str(port), *words, cwd=tmp_path) as echod, connected(port) as client:
        client.sendall(RECORD)
        assert receive_record(client) == RECORD
        echod.process.send_signal(signal.SIGTERM)
        assert client.recv(1) == b""
        client.close()
        assert echod.end() == -signal.SIGTERM
    assert [reason for _, reason in access_lines(log)] == ["drained"]
    quiet(echod)


def test_certificate_reload_under_load(tmp_path: Path) -> None:
    port, file = free_port(), tmp_path / "both.pem"
    authority = Authority(tmp_path)
    pairs = [authority.issue("echo.test", ends=timedelta(days=90), file=f"pair-{n}") for n in range(ROUNDS)]
    context = ssl.create_default_context(cafile=str(authority.certificate))
    connect = over_tls(port, context, "echo.test")

    def served() -> bytes | None:
        with connect() as client:
            assert isinstance(client, ssl.SSLSocket)
            return client.getpeercert(binary_form=True)

    file.write_bytes(together(pairs[0]))
    file.chmod(0o600)
    places = ("--port", str(free_port()), "--tls-port", str(port), "--backlog", "511")
    with daemon(*TWISTD, *places, "--tls-certificate", str(file), cwd=tmp_path, ready=f":{port}") as echod:
        until(lambda: f"listening on [::]:{port}" in echod.output)
        with Load(connect, clients=4) as load:
            for number, pair in enumerate(pairs):
                load.wait_for_more()
                file.write_bytes(together(pair))
                echod.process.send_signal(signal.SIGHUP)
                wait_for(echod, "loaded the certificate again", number + 1)
                assert served() == der(pair)
            for number, bad in enumerate(
                (b"", b"nonsense", pairs[0].certificate.read_bytes() + pairs[1].key.read_bytes())
            ):
                file.write_bytes(bad)
                echod.process.send_signal(signal.SIGHUP)
                wait_for(echod, "reload refused, nothing has changed: tls-", number + 1)
                assert served() == der(pairs[-1])
                load.wait_for_more()
        assert not load.tally.failures, load.tally
        echod.stop()
    quiet(echod)


def test_access_log_rotation_under_load(tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "access"
    old = [tmp_path / f"access.{n}" for n in range(4)]
    words = ("--port", str(port), "--backlog", "511", "--access-log", str(log))
    with daemon(*TWISTD, *words, cwd=tmp_path) as echod, Load(plain(port), clients=4) as load:
        for place, number in zip(old, (signal.SIGUSR1, signal.SIGHUP) * 2, strict=True):
            load.wait_for_more()
            log.rename(place)
            echod.process.send_signal(number)
            until(lambda: len(access_lines(log)) > 10)
        load.finish()
        echod.stop()
    assert not load.tally.failures, load.tally
    lines = [line for place in (*old, log) for line in access_lines(place)]
    assert [reason for _, reason in lines] == ["echoed"] * load.tally.echoed
    quiet(echod)


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGHUP])
def test_old_access_log_stays_open_if_reopening_fails(tmp_path: Path, number: signal.Signals) -> None:
    port, place = free_port(), tmp_path / "logs"
    place.mkdir()
    with daemon(*TWISTD, "--port", str(port), "--access-log", str(place / "access"), cwd=tmp_path) as echod:
        assert exchange(port, RECORD) == RECORD  # so that it does not only listen, but runs
        gone = place.rename(tmp_path / "gone")
        echod.process.send_signal(number)
        echod.wait_for("the access log stays as it was: ")
        assert exchange(port, RECORD) == RECORD
        until(lambda: len(access_lines(gone / "access")) == 2)
        echod.stop()
    quiet(echod)


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGHUP])
def test_access_log_on_a_full_disk(tmp_path: Path, number: signal.Signals) -> None:
    port = free_port()
    with daemon(*TWISTD, "--port", str(port), "--access-log", "/dev/full", cwd=tmp_path) as echod:
        for _ in range(2):
            for _ in range(50):
                assert exchange(port, RECORD) == RECORD
            echod.process.send_signal(number)
        assert exchange(port, RECORD) == RECORD
        echod.stop()
    assert 1 <= echod.output.count("the access log cannot be written: ") <= 3
    quiet(echod)


def test_sigusr1_without_an_access_log(tmp_path: Path) -> None:
    port = free_port()
    with daemon(*TWISTD, "--port", str(port), cwd=tmp_path) as echod:
        assert exchange(port, RECORD) == RECORD  # so that it does not only listen, but runs
        echod.process.send_signal(signal.SIGUSR1)
        assert exchange(port, RECORD) == RECORD
        assert echod.process.poll() is None
        echod.stop()
    quiet(echod)


def rolling_restart(directory: Path, *words: str, migrating: bool) -> Tally:
    """Replace a daemon repeatedly while clients use it; return their results.

    `migrating`: whether the kernel hands what waits at a socket that closes to another one (net.ipv4.tcp_migrate_req).
    """
    setting = f"echo {int(migrating)} > /proc/sys/net/ipv4/tcp_migrate_req"
    command = (*SHARING, *words)
    with ExitStack() as stack:
        daemons = [stack.enter_context(daemon(*in_new_namespace(command, setting), cwd=directory))]
        within = inside(daemons[0])
        load = LoadElsewhere(3005, "::1", clients=CLIENTS, keep_alive="--keep-alive" in words, within=within)
        stack.enter_context(load)
        for _ in range(ROUNDS):
            daemons.append(stack.enter_context(daemon(*inside(daemons[-1], *command), cwd=directory)))
            assert daemons[-2].stop() == -signal.SIGTERM
        tally = load.finish()
        daemons[-1].stop()
    quiet(*daemons)
    return tally


def wait_for(echod: Daemon, words: str, times: int) -> None:
    until(lambda: echod.output.count(words) == times)


def together(pair: Pair) -> bytes:
    return pair.certificate.read_bytes() + pair.key.read_bytes()


def der(pair: Pair) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pair.certificate.read_text())


def quiet(*daemons: Daemon) -> None:
    for each in daemons:
        assert "Traceback" not in each.output, each.output
        assert "Unhandled" not in each.output, each.output
        assert len(each.output) < 6000, each.output
