"""Promises of the README are in docs/guarantees.md, where tests verify every guarantee."""

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEADER = "| guarantee | held by |"
REFERENCE = re.compile(r"`(test_\w+\.py)?::(\w+)`")


def anchor(heading):
    """The name that a link to a Markdown heading uses."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def rows_by_anchor():
    """Cells (guarantee, tests) of the rows of every section that has a table of guarantees."""
    rows = {}
    for section in (ROOT / "docs" / "guarantees.md").read_text().split("\n## ")[1:]:
        heading, _, body = section.partition("\n")
        if HEADER in body:
            lines = body.split(HEADER)[1].strip().splitlines()[1:]
            cells = [line.strip("|").split(" | ") for line in lines if line.startswith("|")]
            rows[anchor(heading)] = [tuple(cell.strip() for cell in row) for row in cells]
    return rows


ROWS = rows_by_anchor()
each_row = pytest.mark.parametrize(
    "row", [row for rows in ROWS.values() for row in rows], ids=lambda row: row[0]
)


def promises():
    """The bullets of the README's section, each as one line."""
    text = (ROOT / "README.md").read_text()
    section = text.split("\n## What is guaranteed\n")[1].split("\n## ")[0]
    return [" ".join(bullet.split()) for bullet in section.split("\n- ")[1:]]


def references(cell, file=None):
    """(file, test) of each test that a cell names; without a file, that of the one before."""
    for name, test in REFERENCE.findall(cell):
        file = name or file
        yield file, test


@functools.cache
def names_in(file):
    """Names of a file's tests, each with whether it is marked slow."""
    (path,) = (ROOT / "tests").rglob(file)
    body = ast.parse(path.read_text()).body
    marks = [node.value for node in body if isinstance(node, ast.Assign) and is_pytestmark(node)]
    return {
        node.name: any("mark.slow" in ast.unparse(mark) for mark in [*marks, *node.decorator_list])
        for node in body
        if isinstance(node, ast.FunctionDef)
    }


def is_pytestmark(assignment):
    return ast.unparse(assignment.targets[0]) == "pytestmark"


@each_row
def test_every_guarantee_is_held_by_tests_that_exist(row):
    guarantee, cell = row
    named = list(references(cell))
    assert guarantee and named
    # There is nothing else that a reader would take for a test.
    assert not re.sub(r"[*, ]", "", REFERENCE.sub("", cell))
    for file, test in named:
        assert file, f"{test}: the first test of a row names its file"
        assert test in names_in(file), f"{file}::{test}"


@each_row
def test_slow_tests_are_in_bold(row):
    bold = {test for part in re.findall(r"\*\*(.*?)\*\*", row[1]) for _, test in references(part)}
    assert bold == {test for file, test in references(row[1]) if names_in(file)[test]}


@pytest.mark.parametrize("promise", promises())
def test_every_promise_of_the_readme_has_guarantees(promise):
    linked = re.findall(r"/docs/guarantees\.md#([\w-]+)\)", promise)
    assert linked
    for name in linked:
        assert ROWS.get(name)


def test_every_table_of_guarantees_is_promised():
    assert set(ROWS) == {
        name for text in promises() for name in re.findall(r"guarantees\.md#([\w-]+)\)", text)
    }
    assert all(ROWS.values())
