"""The form of the code, by numbers and by what may stand where."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
BENCHMARKS = sorted((ROOT / "bench").rglob("*.py"))
MODULES = SOURCES + BENCHMARKS
FOLDERS = sorted({path.parent for path in MODULES})
MODULE_LINES_MAX = 420
FUNCTION_LINES_MAX = 70
FOLDER_MODULES_MAX = 14
VAGUE_NAMES = {"utils", "helpers", "common", "core", "manager", "misc"}


def address(path: Path) -> str:
    return str(path.relative_to(ROOT))


def code_lines(function: ast.AsyncFunctionDef | ast.FunctionDef) -> int:
    """Lines of a function without its signature and docstring."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0  # type: ignore[operator]


@pytest.mark.parametrize("path", MODULES, ids=address)
def test_a_module_is_one_room(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MODULE_LINES_MAX
    assert path.stem not in VAGUE_NAMES


@pytest.mark.parametrize("folder", FOLDERS, ids=address)
def test_a_folder_is_one_list(folder: Path) -> None:
    assert len(list(folder.glob("*.py"))) <= FOLDER_MODULES_MAX


@pytest.mark.parametrize("path", MODULES, ids=address)
def test_a_function_fits_a_screen(path: Path) -> None:
    functions = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef)
    ]
    long = [each.name for each in functions if code_lines(each) > FUNCTION_LINES_MAX]
    assert long == []


@pytest.mark.parametrize("path", MODULES, ids=address)
def test_every_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_no_vague_words_in_docstrings() -> None:
    vague = re.compile(r"\b(simply|efficient\w*|robust\w*)\b", re.IGNORECASE)
    found = [path.name for path in SOURCES if vague.search(path.read_text())]
    assert found == []


def test_no_sql_is_put_together_from_text_and_values() -> None:
    """Statements come from Core; the only texts are pragmas and savepoints."""
    statement = re.compile(r"\b(SELECT|INSERT INTO|UPDATE|DELETE FROM)\b.*[{%]")
    found = [
        f"{path.name}:{number}"
        for path in SOURCES
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if statement.search(line) and not line.lstrip().startswith(('"""', "#"))
    ]
    assert found == []
