"""Every script in docs/determinism.md prints what stands beneath it."""

import re
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from cloaca import registry

TEXT = (Path(__file__).parents[1] / "docs" / "determinism.md").read_text(encoding="utf-8")
SHOWN = re.findall(r"^```python\n(.*?)^```\n\n^```\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_workflows", {})


@pytest.mark.parametrize(("script", "printed"), SHOWN)
def test_a_script_prints_what_stands_beneath_it(script: str, printed: str) -> None:
    with redirect_stdout(StringIO()) as output:
        exec(compile(script, "example.py", "exec"), {"__name__": "__main__"})
    assert output.getvalue() == printed


def test_no_script_goes_without_its_output() -> None:
    assert len(SHOWN) == TEXT.count("```python") == 2
