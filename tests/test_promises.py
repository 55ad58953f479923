"""The README's table of promises names tests that there are."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_test_that_the_readme_names_exists():
    text = (ROOT / "README.md").read_text()
    section = text[text.index("## What is promised") :].split("\n## ")[0]
    file, n = None, 0
    for name, test in re.findall(r"`(test_\w+\.py)?::(\w+)`", section):
        file = name or file
        assert f"def {test}(" in (ROOT / "tests" / file).read_text(), f"{file}::{test}"
        n += 1
    assert n > 20
