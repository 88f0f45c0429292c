"""Where code may be: layers that import only what is below them, and few modules at the top."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

import recbole_ec4srec

PACKAGE = Path(recbole_ec4srec.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))


def test_each_part_imports_only_those_below_it():
    check = "from importlinter.cli import lint_imports_command as check; check()"
    done = subprocess.run([sys.executable, "-c", check, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "ignore_imports" not in (ROOT / ".importlinter").read_text()


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.relative_to(PACKAGE)))
def test_no_import_of_the_package_is_hidden_in_a_function(module):
    functions = [node for node in ast.walk(ast.parse(module.read_text())) if isinstance(node, ast.FunctionDef)]
    inside = [node for function in functions for node in ast.walk(function) if isinstance(node, ast.ImportFrom)]
    assert [node.module for node in inside if (node.module or "").startswith("recbole_ec4srec")] == []


def test_at_most_six_modules_are_at_the_top():
    assert len(list(PACKAGE.glob("*.py"))) <= 6
