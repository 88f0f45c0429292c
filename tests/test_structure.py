"""What holds for all code: layers that import only what is below them, few modules at the top, types and style."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

import recbole_ec4srec

PACKAGE = Path(recbole_ec4srec.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))


def run(*command):
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_part_imports_only_those_below_it():
    run("-c", "from importlinter.cli import lint_imports_command as check; check()", "--no-cache")
    assert "ignore_imports" not in (ROOT / ".importlinter").read_text()


def test_types_are_right(tmp_path):
    run("-m", "mypy", f"--cache-dir={tmp_path}")


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=" ".join)
def test_style_is_right(command):
    run("-m", "ruff", *command, "--no-cache", ".")


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.relative_to(PACKAGE)))
def test_no_import_of_the_package_is_hidden_in_a_function(module):
    functions = [node for node in ast.walk(ast.parse(module.read_text())) if isinstance(node, ast.FunctionDef)]
    inside = [node for function in functions for node in ast.walk(function) if isinstance(node, ast.ImportFrom)]
    assert [node.module for node in inside if (node.module or "").startswith("recbole_ec4srec")] == []


def test_at_most_six_modules_are_at_the_top():
    assert len(list(PACKAGE.glob("*.py"))) <= 6
