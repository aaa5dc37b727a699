"""What the tests of the documents rest on: no block is left out unnoticed, and other output than shown is noticed."""

from pathlib import Path

import pytest

from tests.guide import document
from tests.guide.document import Document, Step
from tests.guide.expected import differs

PAGE = """\
Words. In `/etc/x.toml`:

```toml
port = 1
```

## Second

```console
$ f() {
>     true
> }
$ echo 1
1
```

```
a line
```
"""


@pytest.fixture
def name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(document, "ROOT", tmp_path)
    (tmp_path / "page.md").write_text(PAGE)
    return "page.md"


def test_blocks(name: str) -> None:
    page = Document(name)
    first, second = page.take("toml"), page.take("sh", "console")
    assert (first.place, first.file, first.text) == ("page.md:3", "/etc/x.toml", "port = 1\n")
    assert (second.place, second.file) == ("page.md:9", "")
    assert second.steps == [Step("f() {\n    true\n}\n", ""), Step("echo 1\n", "1\n")]
    with pytest.raises(AssertionError, match=r"neither run nor listed: \['page.md:17'\]"):
        page.finish()
    page.leave("", reason="a line")
    page.finish()


def test_another_language_or_one_block_more_fails(name: str) -> None:
    with pytest.raises(AssertionError, match=r"page\.md:3: a block of 'toml'"):
        Document(name).take("sh")
    page = Document(name, end="## Second")
    page.take("toml")
    page.finish()
    with pytest.raises(AssertionError, match="no more blocks"):
        page.take("toml")


def test_a_part_of_a_document(name: str) -> None:
    assert Document(name, begin="## Second").take("console").place == "page.md:9"
    with pytest.raises(ValueError, match="substring not found"):
        Document(name, begin="## Third")


@pytest.mark.parametrize(
    ("shown", "actual"),
    [
        ("seq=1 time=0.286 ms", "seq=1 time=12.3 ms"),
        ("1 lost (100%), time 2 ms", "1 lost (100%), time 2004 ms"),
        ("a  1.5   b ", "a 22.75 b"),
        (
            '{"a": 1, "at": "2026-11-23T08:09:58.545013Z", "x": true}',
            '{"a": 2, "at": "2027-01-01T00:00:00.5Z", "x": true}',
        ),
    ],
)
def test_times_may_differ(shown: str, actual: str) -> None:
    assert differs(shown, actual) == ""


@pytest.mark.parametrize(
    ("shown", "actual"),
    [
        ("250", "0"),
        ("3 sent, 3 echoed", "3 sent, 2 echoed"),
        ("one", "one\ntwo"),
        ("one", ""),
        ('{"a": 1}', '{"b": 1}'),
        ('{"a": "echoed"}', '{"a": "lost"}'),
    ],
)
def test_all_else_must_not(shown: str, actual: str) -> None:
    assert differs(shown, actual) == f"shown:\n{shown}\nactual:\n{actual}"


def test_rules() -> None:
    rules = [(r"from \d+ process(?:es)?", r"from \d+ process(es)?"), (r"p\d+", "p9+")]
    assert differs("1.5 from 1 process p9", "2.5 from 3 processes p99", rules) == ""
    assert differs("1.5 from 1 process p9", "2.5 from 3 processors p99", rules) != ""
