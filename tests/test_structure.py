"""Where code may be: layers that import only what is below them, and few modules at the top."""

import ast
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

import recbole_ec4srec

ROOT = Path(__file__).parent.parent
PACKAGE = Path(recbole_ec4srec.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))


def test_each_part_imports_only_those_below_it(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert lint_imports(config_filename=".importlinter", no_cache=True) == 0
    assert "ignore_imports" not in (ROOT / ".importlinter").read_text()


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.relative_to(PACKAGE)))
def test_no_import_of_the_package_is_hidden_in_a_function(module):
    functions = [node for node in ast.walk(ast.parse(module.read_text())) if isinstance(node, ast.FunctionDef)]
    inside = [node for function in functions for node in ast.walk(function) if isinstance(node, ast.ImportFrom)]
    assert [node.module for node in inside if (node.module or "").startswith("recbole_ec4srec")] == []


def test_at_most_six_modules_are_at_the_top():
    assert len(list(PACKAGE.glob("*.py"))) <= 6
