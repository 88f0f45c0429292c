"""The package as it would be published: source archive and wheel, and the wheel alone in an empty folder.

``python tools/check_wheel.py`` builds both, has twine check them, installs the wheel in a new virtual environment, and
there trains, evaluates and searches, and asks every command for its help. It needs the extra ``dev``.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
#: MovieLens-100K, which comes with RecBole, in seconds.
SMALL = ["--dataset=ml-100k", "--user_inter_num_interval=[20,30]", "--hidden_size=16", "--epochs=2", "--num_updates=1"]
HELP = [
    ["run_recbole"],
    ["run_hyper"],
    *(["ec4srec", command] for command in ("explain", "export", "recommend", "report", "views")),
    *(["python", "-m", f"recbole_ec4srec.{module}"] for module in ("experiments", "data.prepare", "data.synthetic")),
]


def run(*command: str | Path, folder: Path) -> str:
    """What a command prints; if it fails, this ends with it."""
    done = subprocess.run([*map(str, command)], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}: status {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, empty = Path(name, "dist"), Path(name, "empty")
        empty.mkdir()
        run(sys.executable, "-m", "build", "--outdir", folder, CHECKOUT, folder=empty)
        files = sorted(folder.iterdir())
        print(run(sys.executable, "-m", "twine", "check", "--strict", *files, folder=empty).strip())
        (wheel,) = folder.glob("*.whl")
        run(sys.executable, "-m", "venv", Path(name, "venv"), folder=empty)
        programs = Path(name, "venv", "bin")
        run(programs / "pip", "install", "--quiet", wheel, folder=empty)
        print(f"installed: {wheel.name}")
        for command, *words in HELP:
            assert "usage: " in run(programs / command, *words, "--help", folder=empty)
        print(f"--help: {len(HELP)} commands")
        run(programs / "run_recbole", "--model=EC4SRec", *SMALL, folder=empty)
        (checkpoint,) = empty.glob("saved/EC4SRec-*.pth")
        for command in ("views", "explain"):
            assert run(programs / "ec4srec", command, f"--checkpoint={checkpoint}", "--user=241", folder=empty)
        print(f"trained, explained: {checkpoint.name}")
        (empty / "space.test").write_text("mu_e choice [0.3,0.5]\n", encoding="utf-8")
        search = ["--params_file=space.test", "--tool=Optuna", "--max_evals=2"]
        run(programs / "pip", "install", "--quiet", f"{wheel}[optuna]", folder=empty)
        print(run(programs / "run_hyper", "--model=EC4SRec", *SMALL, *search, folder=empty).strip())


if __name__ == "__main__":
    main()
