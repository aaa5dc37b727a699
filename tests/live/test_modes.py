"""The modes of a run of probes, over real sockets."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor as installed
from twisted.internet.threads import deferToThread

from echod.client.outcomes import Outcome, ProbeResult, Step
from echod.client.record import described, described_records
from echod.common.addresses import HostPort
from echod.ping.run import RunSummary
from echod.probe import (
    ClientTLS,
    ClientTLSContext,
    PingConfiguration,
    ProbeRun,
    Route,
    Session,
    prepare_run,
    probe,
    target,
)
from tests.support import peers
from tests.support.certificates import DAY, Authority
from tests.support.live import running
from tests.support.sockets import PATIENCE, RECORD, free_port
from tests.support.tls_server import server_context, tls_server

reactor: Any = installed

RUN = 7
OURS = [described(RUN, n, n, 250) for n in range(1, 9)]


class Run:
    """A run of probes to `port`, and its results."""

    def __init__(self, port: int, host: str = "::1", tls: ClientTLSContext | None = None, **options: Any) -> None:
        self.results: list[ProbeResult] = []
        configuration = PingConfiguration(**{"interval": 0.0, "timeout": PATIENCE, **options})
        records = described_records(RUN)
        self.run: ProbeRun = prepare_run(
            reactor, target(host, port), configuration, records, self.results.append, tls=tls
        )

    async def to_the_end(self) -> RunSummary:
        return await self.run.start()

    @property
    def outcomes(self) -> list[Outcome]:
        return [result.outcome for result in self.results]


@pytest_twisted.ensureDeferred
async def test_all_fields_of_a_result() -> None:
    async with running() as daemon:
        result = await probe(reactor, target("localhost", daemon.port), payload=OURS[0], timeout=PATIENCE)
        times = result.times
        for time_of in (times.resolve, times.connect, times.first_byte, times.echo, times.close):
            assert time_of is not None
            assert 0 < time_of < PATIENCE * 1e6
        assert (times.tls, times.idle, result.tls, result.offset) == (None, None, None, None)
        (won,) = [attempt for attempt in result.attempts if attempt.won]
        assert won.address == result.address
        assert result.source is not None
        assert result.source.port != daemon.port
        assert abs(result.started.timestamp() - time.time()) < PATIENCE


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's TCP_INFO")
@pytest.mark.parametrize(
    "behave", [peers.one_then_close, peers.flips(9), lambda c: c.recv(9), peers.receive, lambda _: time.sleep(0.3)]
)
@pytest_twisted.ensureDeferred
async def test_the_kernels_facts_at_every_outcome(behave: Callable[[Any], None]) -> None:
    with peers.peer(behave) as port:
        result = await probe(reactor, target("127.0.0.1", port), payload=OURS[0], timeout=0.2)
        facts = result.kernel
        if result.outcome is Outcome.RESET:  # with a reset, the kernel drops the connection
            assert facts is None
            return
        assert facts is not None
        assert 0 < facts.rtt < PATIENCE * 1e6
        assert 500 < facts.mss < facts.path_mtu <= 65536
        assert facts.retransmits == 0


@pytest_twisted.ensureDeferred
async def test_keep_alive_probes_use_one_connection() -> None:
    async with running(keep_alive=True) as daemon:
        run = Run(daemon.port, keep_alive=True, count=20)
        summary = await run.to_the_end()
        assert (summary.echoed, summary.lost) == (20, 0)
        assert [result.reconnected for result in run.results] == [False] * 20
        assert len({result.source for result in run.results}) == 1
        assert len(await daemon.ends(1)) == 1
        assert all(result.kernel is not None for result in run.results) == (sys.platform == "linux")


@pytest.mark.parametrize("interval", [0.0, 0.0005, 0.02])
@pytest_twisted.ensureDeferred
async def test_keep_alive_with_a_server_that_closes_after_each_record(interval: float) -> None:
    async with running() as daemon:
        run = Run(daemon.port, keep_alive=True, count=10, interval=interval)
        summary = await run.to_the_end()
        assert (summary.echoed, summary.lost) == (10, 0), [result.detail for result in run.results]
        assert [result.reconnected for result in run.results] == [False] + [True] * 9


@pytest_twisted.ensureDeferred
async def test_several_records_outstanding_on_one_connection() -> None:
    with peers.peer(peers.delays(0.05)) as port:
        run = Run(port, keep_alive=True, count=10, interval=0.005)
        summary = await run.to_the_end()
        assert (summary.echoed, summary.lost) == (10, 0)
        assert len({result.source for result in run.results}) == 1


@pytest.mark.parametrize(
    ("behave", "outcome", "detail", "offset"),
    [
        (peers.flips(10), Outcome.CORRUPT, "the byte at offset 10 is not what was sent", 10),
        (peers.flips(249), Outcome.CORRUPT, "the byte at offset 249 is not what was sent", 249),
        (peers.sends(RECORD), Outcome.CORRUPT, "the byte at offset 0 is not what was sent", 0),
        (peers.sends(described(RUN, 0, 0, 250).data), Outcome.STALE, "record 0 of this run came back instead", None),
        (peers.sends(described(8, 1, 1, 250).data), Outcome.FOREIGN, "a record of another run came back", None),
        (peers.sends(OURS[0].data[:99]), Outcome.TIMEOUT, "99 of 250 bytes were back after 0.3 s", None),
        (lambda _: None, Outcome.CLOSED_EARLY, "closed by the peer after 0 of 250 bytes", None),
    ],
)
@pytest_twisted.ensureDeferred
async def test_other_bytes_than_the_echo(
    behave: Callable[[Any], None], outcome: Outcome, detail: str, offset: int | None
) -> None:
    with peers.peer(behave) as port:
        result = await probe(reactor, target("::1", port), payload=OURS[0], timeout=0.3)
        if outcome is Outcome.CLOSED_EARLY and result.outcome is Outcome.RESET:
            return  # a close with unread input is a reset (RFC 1122 section 4.2.2.13), which may overtake the FIN
        assert (result.outcome, result.step, result.detail, result.offset) == (outcome, Step.ECHO, detail, offset)


@pytest_twisted.ensureDeferred
async def test_the_records_of_a_peer_that_is_one_behind_are_stale() -> None:
    with peers.peer(peers.one_behind()) as port:
        run = Run(port, count=3)
        await run.to_the_end()
        assert run.outcomes == [Outcome.ECHOED, Outcome.STALE, Outcome.STALE]


@pytest_twisted.ensureDeferred
async def test_swapped_records_are_reordered() -> None:
    with peers.peer(peers.swaps) as port:
        session = Session(reactor, target("::1", port))
        first = session.probe(OURS[0], timeout=PATIENCE)
        second = session.probe(OURS[1], timeout=PATIENCE)
        assert (await second).outcome is Outcome.REORDERED
        assert (await first).outcome is Outcome.ECHOED
        await session.close()


@pytest_twisted.ensureDeferred
async def test_a_connection_that_the_peer_forgets_while_it_is_idle() -> None:
    with peers.peer(peers.forgets(0.2)) as port:
        quick = Run(port, idle=0.05, timeout=1.0, count=1)
        await quick.to_the_end()
        assert quick.outcomes == [Outcome.ECHOED]
        assert (quick.results[0].times.idle or 0) >= 50_000
        slow = Run(port, idle=2.0, timeout=1.0, count=1)
        await slow.to_the_end()
        (result,) = slow.results
        assert (result.outcome, result.step) == (Outcome.RESET, Step.IDLE)
        assert result.detail.endswith(" s of silence")


@pytest_twisted.ensureDeferred
async def test_a_peer_that_closes_an_idle_connection() -> None:
    with peers.peer(lambda _: time.sleep(0.1)) as port:
        run = Run(port, idle=2.0, timeout=1.0, count=1)
        await run.to_the_end()
        (result,) = run.results
        assert (result.outcome, result.step) == (Outcome.CLOSED_EARLY, Step.IDLE)
        assert (result.kernel is not None) == (sys.platform == "linux")


@pytest_twisted.ensureDeferred
async def test_an_idle_time_above_the_timeout() -> None:
    with peers.peer(peers.stream) as port:
        run = Run(port, idle=0.4, timeout=0.2, count=1)
        assert (await run.to_the_end()).echoed == 1


@pytest_twisted.ensureDeferred
async def test_a_sweep_finds_the_size_from_which_records_are_lost() -> None:
    with peers.peer(peers.swallows_from(1400)) as port:
        run = Run(port, sweep=range(1, 1802, 300), timeout=0.2)
        await run.to_the_end()
        assert [result.size for result in run.results if not result.echoed] == [1501, 1801]
        assert [result.size for result in run.results if result.echoed] == [1, 301, 601, 901, 1201]


@pytest_twisted.ensureDeferred
async def test_a_run_ends_at_its_deadline() -> None:
    with peers.peer(peers.stream) as port:
        run = Run(port, deadline=0.3, interval=0.05)
        started = time.monotonic()
        summary = await run.to_the_end()
        assert 0.25 < time.monotonic() - started < PATIENCE / 2
        assert 2 <= summary.echoed <= 7


@pytest_twisted.ensureDeferred
async def test_the_source_address_and_the_address_family() -> None:
    async with running() as daemon:
        for host, address in (("127.0.0.1", "127.0.0.2"), ("::1", "::1")):
            route = Route(target=target(host, daemon.port), source=address)
            result = await probe(reactor, route, payload=OURS[0], timeout=PATIENCE)
            assert result.echoed
            assert result.source is not None
            assert result.source.host == address
        run = Run(daemon.port, "localhost", ipv4=True, count=1)
        await run.to_the_end()
        assert run.results[0].address == HostPort("127.0.0.1", daemon.port)


@pytest_twisted.ensureDeferred
async def test_each_address_of_a_name_is_probed() -> None:
    async with running() as daemon:
        run = Run(daemon.port, "localhost", each_address=True, count=2)
        summary = await run.to_the_end()
        assert summary.echoed == len(run.results) >= 2
        assert {result.target.host for result in run.results} == {"localhost"}
        assert {result.sequence for result in run.results} == {1, 2}


@pytest_twisted.ensureDeferred
async def test_the_largest_records_on_one_connection() -> None:
    with peers.peer(peers.stream) as port:
        run = Run(port, keep_alive=True, size=1 << 20, count=3)
        assert (await run.to_the_end()).echoed == 3
        assert [result.received for result in run.results] == [1 << 20] * 3


@pytest_twisted.ensureDeferred
async def test_a_run_over_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("localhost", "::1")
    tls = ClientTLSContext(ClientTLS(ca=str(authority.certificate)))
    port = free_port()
    options = {"tls_port": port, "tls_certificate": str(pair.certificate), "tls_key": str(pair.key)}
    for keep_alive in (True, False):
        async with running(keep_alive=keep_alive, **options):
            run = Run(port, tls=tls, keep_alive=True, count=5)
            summary = await run.to_the_end()
            assert summary.echoed == 5, [result.detail for result in run.results]
            assert [result.reconnected for result in run.results] == [False] + [not keep_alive] * 4
            for result in run.results:
                assert result.tls is not None
                assert result.tls.version == "TLSv1.3"
                assert result.tls.certificate is not None
                assert result.tls.certificate.names == ("localhost", "::1")
                assert (result.kernel is not None) == (sys.platform == "linux")
            first = run.results[0].times
            assert None not in (first.connect, first.tls, first.first_byte, first.echo)
            assert (run.results[1].times.tls is None) == keep_alive


@pytest_twisted.ensureDeferred
async def test_a_refused_certificate_is_in_the_result(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    intermediate = Authority(tmp_path, "intermediate authority", issuer=authority)
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other", "other authority")
    chained = intermediate.issue("localhost")
    with chained.certificate.open("ab") as file:
        file.write(intermediate.certificate.read_bytes())
    tls = ClientTLSContext(ClientTLS(ca=str(authority.certificate)))
    tls_of_other = ClientTLSContext(ClientTLS(ca=str(other.certificate)))
    for pair, context, outcome, check, names, issuer in (
        (authority.issue("a.example"), tls, Outcome.TLS_WRONG_NAME, "reference identifier", ("a.example",), "test"),
        (authority.issue(), tls, Outcome.TLS_NO_SAN, "presented identifiers", (), "test"),
        (
            authority.issue("localhost", begins=-3 * DAY, ends=-2 * DAY),
            tls, Outcome.TLS_EXPIRED, "cert has expired", ("localhost",), "test",
        ),
        # The check fails at the intermediate's certificate; the facts are those of the server's.
        (
            chained, tls_of_other, Outcome.TLS_UNTRUSTED, "unable to get issuer cert locally", ("localhost",),
            "intermediate",
        ),
    ):  # fmt: skip
        with tls_server(context=server_context(pair)) as server:
            result = await probe(
                reactor, target("localhost", server.port), payload=OURS[0], timeout=PATIENCE, tls=context
            )
            await deferToThread(server.join)
            assert (result.outcome, result.step) == (outcome, Step.TLS)
            assert result.tls is not None
            assert result.tls.failed_check == check
            facts = result.tls.certificate
            assert facts is not None
            assert (facts.names, facts.subject) == (names, "CN=echod test")
            assert facts.issuer == f"CN={issuer} authority"
            assert facts.not_before < facts.not_after
            assert len(facts.fingerprint) == 64
            assert server.received == b""
