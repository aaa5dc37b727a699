"""The report page in a real browser without a network."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.browser import CHROMIUM, Browser, browser
from tests.support.processes import ECHOD, TWISTD, daemon, run
from tests.support.sockets import free_port

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")

DRAWN = """
[...document.querySelectorAll("canvas")].map((canvas) => {
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  const colours = new Set();
  for (let at = 0; at < data.length; at += 4)
    if (data[at + 3] === 255) colours.add(`${data[at]},${data[at + 1]},${data[at + 2]}`);
  return colours.size;
})
"""
"""The number of opaque colours of each chart."""

PAPER = "getComputedStyle(document.body).backgroundColor"
FITS = "document.documentElement.scrollWidth <= innerWidth"
CHARTS = "[...document.querySelectorAll('.chart')].map((chart) => chart.id)"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pages of a run, of one whose records all failed, and of both side by side; one label looks like markup."""
    home = tmp_path_factory.mktemp("pages")
    number = str(free_port())
    with daemon(*TWISTD, "--port", number, "--keep-alive", "--backlog", "511", cwd=home):
        words = ("::1", number, "--rate", "200", "-d", "1.6", "--keep-alive", "--assert", "lost<1%")
        made = run(*ECHOD, "load", *words, "--html", "good.html", "--json", "good.json", cwd=home)
        assert made.returncode == 0, made.stderr
    refused = ("127.0.0.1", str(free_port()), "--rate", "100", "-d", "1.2", "--html", "bad.html", "--json", "<b>&.json")
    assert run(*ECHOD, "load", *refused, cwd=home).returncode == 1
    compared = run(*ECHOD, "report", "good.json", "<b>&.json", "--html", "both.html", cwd=home)
    assert (compared.returncode, compared.stdout, compared.stderr) == (0, "", "")
    return home


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("browser")) as running:
        yield running


@pytest.mark.parametrize(("scheme", "width"), [("light", 1100), ("dark", 1100), ("light", 360), ("dark", 360)])
def test_charts_are_drawn_without_network_requests(pages: Path, at: Browser, scheme: str, width: int) -> None:
    for name, charts in (("good", 3), ("both", 3), ("bad", 1)):
        page = pages / f"{name}.html"
        at.show(page, width=width, scheme=scheme)
        assert at.complaints == []
        assert at.requests == [page.as_uri()]
        assert at.value(CHARTS) == ["percentiles", "latency", "throughput"]
        drawn = at.value(DRAWN)
        assert len(drawn) == charts
        assert min(drawn) > 1
        assert at.value(FITS)
        assert at.picture(pages / f"{name}-{scheme}-{width}.png").stat().st_size > 10_000


def test_the_dark_scheme(pages: Path, at: Browser) -> None:
    papers = [at.show(pages / "good.html", scheme=scheme).value(PAPER) for scheme in ("light", "dark")]
    assert papers == ["rgb(252, 252, 251)", "rgb(22, 23, 24)"]


def test_the_policy_forbids_network_requests(pages: Path, at: Browser) -> None:
    at.show(pages / "good.html")
    at.value("void (document.body.append(Object.assign(new Image(), {src: 'http://192.0.2.1/x.png'})))")
    at.value("void fetch('http://192.0.2.1/').catch(() => {})")
    at.value("new Promise((done) => setTimeout(done, 100))")
    assert any("Content Security Policy" in each for each in at.complaints)
    assert not any(address.startswith("http://192.0.2.1") for address in at.answered)


def test_the_text_of_a_page(pages: Path, at: Browser) -> None:
    report: dict[str, Any] = json.loads((pages / "good.json").read_text(encoding="utf-8"))
    text = at.show(pages / "good.html").value("document.body.innerText")
    for words in ("320", f"{report['response_time_us']['p99'] / 1000:,.3f} ms", "lost<1%", report["host"]["system"]):
        assert words in text
    assert "Failures by kind\nNone." in text.replace("\n\n", "\n")
    text = at.show(pages / "both.html").value("document.body.innerText")
    for words in ("<b>&", "refused", "connection refused", "<b>&: Nothing was echoed."):
        assert words in text
    assert at.value("document.querySelectorAll('b').length") == 0


def test_charts_are_resized_with_the_window(pages: Path, at: Browser) -> None:
    at.show(pages / "good.html", width=1100)
    wide = at.value("document.querySelector('canvas').width")
    at.resize(width=500)
    at.value("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")
    assert at.value("document.querySelector('canvas').width") < wide
    assert at.value(FITS)


def test_the_page_has_the_licence_of_the_charts(pages: Path) -> None:
    page = (pages / "good.html").read_text(encoding="utf-8")
    assert "The MIT License (MIT)" in page
    assert "Leon Sorokin" in page


def test_standard_output_gets_the_same_page(pages: Path) -> None:
    written = run(*ECHOD, "report", "good.json", "<b>&.json", cwd=pages)
    assert written.stdout == (pages / "both.html").read_text(encoding="utf-8")
