"""Supported versions: the fast tests on the lowest and the newest versions that ``setup.cfg`` allows.

Prints the table of docs/versions.md, each row when its tests end; ``python tools/versions.py lowest`` prints one row.
Each row has a new virtual environment (gigabytes) in the folder for temporary files, removed when its tests end. A
row whose interpreter (``python3.9`` …) is not installed is left out, with a message. The tests of types and style are
left out: other versions of mypy and ruff ask for other things.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
SETUP = (CHECKOUT / "setup.cfg").read_text(encoding="utf-8")
LOWEST = re.findall(r"^ +([\w-]+)>=([\d.]+)", SETUP, re.MULTILINE)
#: Each row: its Python, and the constraints beside those of ``setup.cfg``.
ROWS = {
    "lowest": ("python3.9", [f"{package}=={version}" for package, version in LOWEST]),
    "RecBole 1.2.0": ("python3.10", ["recbole==1.2.0"]),
    "newest on 3.10": ("python3.10", []),
    "newest on 3.11": ("python3.11", []),
    "newest on 3.12": ("python3.12", []),
    "newest on 3.13": ("python3.13", []),
}
PACKAGES = ["recbole", "torch", "numpy", "pandas", "scipy", "captum"]
PRINT_VERSIONS = (
    "import platform; from importlib.metadata import version; "
    f"print(platform.python_version(), *map(version, {PACKAGES}))"
)


def install(folder: Path, interpreter: str, constraints: list[str]) -> Path:
    """The interpreter of a new environment in ``folder`` that has the package and what its tests need."""
    subprocess.run([interpreter, "-m", "venv", folder / "venv"], check=True)
    (folder / "constraints.txt").write_text("\n".join(constraints), encoding="utf-8")
    python = folder / "venv/bin/python"
    options = ["--quiet", "--constraint", folder / "constraints.txt", "--editable", f"{CHECKOUT}[test]"]
    subprocess.run([python, "-m", "pip", "install", *options], check=True)
    return python


def test(python: Path) -> list:
    """Tests passed, failed, skipped, and the seconds; what failed goes to the error stream."""
    command = [python, "-m", "pytest", "-m", "not slow", "-n", "2", "-k", "not types_are_right and not style_is_right"]
    output = subprocess.run(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True).stdout
    last = output.rstrip().rpartition("\n")[2]
    counts = {outcome: int(count) for count, outcome in re.findall(r"(\d+) (passed|failed|skipped|error)", last)}
    failed = counts.get("failed", 0) + counts.get("error", 0)
    if failed or "passed" not in counts:
        print(output, file=sys.stderr)
    return [counts.get("passed", 0), failed, counts.get("skipped", 0), *re.findall(r" in (\d+)", last)]


def main(names: list[str]) -> int:
    columns = ["", "Python", *PACKAGES, "passed", "failed", "skipped", "seconds"]
    print(f"| {' | '.join(columns)} |", "| --- " * len(columns) + "|", sep="\n", flush=True)
    held = True
    for name in names or ROWS:
        interpreter, constraints = ROWS[name]
        if subprocess.getstatusoutput(f"{interpreter} --version")[0]:
            print(f"{name}: there is no {interpreter} here", file=sys.stderr)
            continue
        with tempfile.TemporaryDirectory() as folder:
            python = install(Path(folder), interpreter, constraints)
            versions = subprocess.run([python, "-c", PRINT_VERSIONS], check=True, stdout=subprocess.PIPE, text=True)
            passed, failed, *rest = test(python)
        row = [name, *versions.stdout.split(), passed, failed, *rest]
        print(f"| {' | '.join(map(str, row))} |", flush=True)
        held = held and passed > 0 and failed == 0
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
