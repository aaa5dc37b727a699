"""docs/library.md and docs/embedding.md: their programs are run by tests of their own."""

import pytest

from tests.guide.document import ROOT, Document


@pytest.mark.parametrize("name", ["library", "embedding"])
def test_the_program_is_the_only_block(name: str) -> None:
    page = Document(f"docs/{name}.md")
    page.leave("python", reason=f"tests/process/test_{name}.py runs it")
    page.finish()
    test = (ROOT / "tests" / "process" / f"test_{name}.py").read_text(encoding="utf-8")
    assert 're.findall(r"^```python' in test
