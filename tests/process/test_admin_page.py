"""The live page in a real browser."""

from pathlib import Path

import pytest

from tests.support.browser import CHROMIUM, browser
from tests.support.certificates import Authority
from tests.support.load import Load, plain
from tests.support.processes import TWISTD, daemon
from tests.support.sockets import RECORD, connected, exchange, free_port

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (Debian: chromium)")

ENTER = ("Enter", 13)
TAB = ("Tab", 9)


def number(text: str) -> float:
    return float(text.split(maxsplit=1)[0].replace(",", ""))


def test_live_page(tmp_path: Path) -> None:
    port, admin = free_port(), free_port()
    pair = Authority(tmp_path).issue("localhost")
    tls = ("--tls-port", str(free_port()), "--tls-certificate", str(pair.certificate), "--tls-key", str(pair.key))
    command = (*TWISTD, "--port", str(port), "--keep-alive", "--admin", str(admin), "--drain-timeout", "10", *tls)
    with daemon(*command, cwd=tmp_path) as echod, browser(tmp_path) as page:
        page.resize(width=1200)
        page.go(f"http://127.0.0.1:{admin}/")
        page.wait_until("document.getElementById('state')?.textContent === 'ready'")
        assert page.text("#total-records") == "0"
        assert f"[::]:{port}" in page.text("#listeners")
        assert page.text("#certificate") == "24 hours"
        assert page.text("#processes") == "1"
        with Load(plain(port), clients=4, keep_alive=True, pause=0.01) as load:
            load.wait_for_more(100)
            page.wait_until("parseFloat(document.getElementById('records').textContent.replace(',', '')) > 10")
            page.wait_until("document.getElementById('p99').textContent.endsWith('s')")
            assert number(page.text("#active")) == 4
            first = number(page.text("#total-records"))
            load.wait_for_more(100)
            page.wait_until(
                f"parseFloat(document.getElementById('total-records').textContent.replace(/,/g, '')) > {first}"
            )
            graph = page.value("document.querySelectorAll('svg')[1].getAttribute('aria-label')")
            assert "now records" in graph
            for width, dark in ((1200, False), (1200, True), (360, False)):
                page.resize(width=width)
                page.be("dark" if dark else "light")
                assert page.value("document.documentElement.scrollWidth") <= width
                page.picture(tmp_path / f"page-{width}-{'dark' if dark else 'light'}.png")
            # By keyboard only: the first tab stop is the button, then the tables of the graphs.
            page.press(*TAB)
            assert page.value("document.activeElement.id") == "pause"
            page.press(*ENTER)
            assert page.value("document.activeElement.getAttribute('aria-pressed')") == "true"
            page.press(*ENTER)
            page.press(*TAB)
            page.press(*ENTER)
            page.wait_until("document.querySelectorAll('figure:first-child tbody tr').length > 1")
            assert page.complaints == []
            with connected(port) as slow:
                slow.sendall(RECORD[:10])
                page.wait_until("document.getElementById('active').textContent.startsWith('5 ')")
                echod.process.terminate()
                page.wait_until("document.getElementById('state').textContent === 'draining'")
        page.wait_until("document.getElementById('state').textContent.startsWith('not reachable since')")
        echod.end()
        with daemon(*command, cwd=tmp_path):
            page.wait_until("document.getElementById('state').textContent === 'ready'")
        own = f"http://127.0.0.1:{admin}/"
        assert [url for url in page.requests if not url.startswith((own, "about:"))] == []
        assert "Traceback" not in echod.output


def test_live_page_of_several_processes(tmp_path: Path) -> None:
    port, admin = free_port(), free_port()
    shared = ("--reuse-port", "--admin", str(admin), "--admin-directory", str(tmp_path / "echod"))
    command = (*TWISTD, "--port", str(port), "--drain-timeout", "10", *shared)
    with daemon(*command, cwd=tmp_path) as first, daemon(*command, cwd=tmp_path), browser(tmp_path) as page:
        page.resize(width=1200)
        page.go(f"http://127.0.0.1:{admin}/")
        page.wait_until("document.getElementById('processes')?.textContent === '2'")
        for _ in range(20):
            assert exchange(port, RECORD) == RECORD
        page.wait_until("document.getElementById('total-records').textContent === '20'")
        assert page.text("#listeners") == f"[::]:{port}"
        first.stop()
        # It may have been the process to which the page was connected.
        page.wait_until("document.getElementById('processes').textContent === '1'")
        page.wait_until("document.getElementById('state').textContent === 'ready'")
        assert page.text("#total-records") == "20"
