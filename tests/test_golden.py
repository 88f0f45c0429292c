"""What stays as it is while the code moves: trainings, names of weights and records, help, and logs.

``python tests/test_golden.py`` writes ``tests/golden/``. It is for the time of a move, and goes when that is done.
"""

import io
import json
import logging
import os
import re
import subprocess
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from conftest import OUR_MODELS
from recbole.quick_start import quick_start

import recbole_ec4srec
from recbole_ec4srec.experiments.plans import PLANS

GOLDEN = Path(__file__).parent / "golden"
SETTINGS = {
    "user_inter_num_interval": "[40,60)",
    "item_inter_num_interval": "[0,inf)",
    "MAX_ITEM_LIST_LENGTH": 10,
    "hidden_size": 16,
    "inner_size": 32,
    "train_batch_size": 128,
    "learning_rate": 0.005,
    "epochs": 3,
    "seed": 7,
    "show_progress": False,
}
COMMANDS = {
    "run_recbole": ["-c", "from recbole_ec4srec.commands.run_recbole import main; main()"],
    "run_hyper": ["-c", "from recbole_ec4srec.commands.run_hyper import main; main()"],
    "ec4srec": ["-c", "from recbole_ec4srec.commands.ec4srec import main; main()"],
    **{
        f"ec4srec {name}": ["-c", "from recbole_ec4srec.commands.ec4srec import main; main()", name]
        for name in ("explain", "recommend", "views", "report")
    },
    "experiments": ["-m", "recbole_ec4srec.experiments"],
    "prepare": ["-m", "recbole_ec4srec.data.prepare"],
    "synthetic": ["-m", "recbole_ec4srec.data.synthetic"],
}


def training(model, folder):
    """What can be seen of a training: losses, metrics, weights, and the lines of its log."""
    updates = {"update_epochs": [2]} if model.startswith("EC4SRec") else {}
    logged = io.StringIO()
    handler = logging.StreamHandler(logged)
    kept = []
    get_trainer = quick_start.get_trainer

    def keeping(*args):
        made = get_trainer(*args)
        return lambda config, found: kept.append(made(config, found)) or kept[0]

    quick_start.get_trainer = keeping
    root, here = logging.getLogger(), os.getcwd()
    os.chdir(folder)
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        result = recbole_ec4srec.run(model, "ml-100k", config_dict={**SETTINGS, **updates})
    finally:
        quick_start.get_trainer = get_trainer
        root.removeHandler(handler)
        os.chdir(here)
    (trainer,) = kept
    epochs = [{key: epoch[key] for key in ("epoch", "loss", "losses", "valid", "update") if key in epoch}
              for epoch in trainer.history]  # fmt: skip
    weights = {
        name: [list(values.shape), values.float().mean().item(), values.float().std().item()]
        for name, values in trainer.model.state_dict().items()
    }
    lines = map(_without_times, logged.getvalue().splitlines())
    told = [line for line in lines if line.startswith(("epoch", "Best"))]
    return {"epochs": epochs, "test": dict(result["test_result"]), "weights": weights, "log": told}


def _without_times(line):
    line = re.sub(r"\x1b\[[0-9;]*m", "", line)
    return re.sub(r"\d+\.\d+", "#", line)


def texts():
    """The help of all commands."""
    environment = {**os.environ, "COLUMNS": "100"}
    found = {}
    for name, command in COMMANDS.items():
        script = command[:2] if command[0] == "-c" else command
        told = subprocess.run(
            [sys.executable, *script, *command[len(script) :], "--help"],
            capture_output=True,
            text=True,
            env=environment,
        )
        found[name] = told.stdout.splitlines()
    return found


def names_of_records():
    """The records that each plan has for two seeds of each of its data sets."""
    return {
        f"{name}, {dataset}": {
            label: [run.name for run in runs] for label, runs in plan.runs(dataset, (1, 2), {}).items()
        }
        for name, plan in PLANS.items()
        for dataset in plan.datasets
    }


def read(name):
    return json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))


def close(found, expected, slack=2e-4):
    """Equal, but for what a processor rounds; of metrics, but for a few users whose item changes its rank by that."""
    if isinstance(expected, float):
        return found == pytest.approx(expected, rel=2e-3, abs=slack)
    if isinstance(expected, dict):
        slacks = {"valid": 0.02, "test": 0.02}
        same = (close(found[key], expected[key], slacks.get(key, slack)) for key in expected if key in found)
        return list(found) == list(expected) and all(same)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(close(*pair, slack) for pair in zip(found, expected))
    return found == expected


@pytest.mark.parametrize("model", OUR_MODELS)
def test_a_training_is_as_it_was(model, tmp_path):
    assert close(json.loads(json.dumps(training(model, tmp_path))), read(model))


def test_every_command_has_the_help_that_it_had():
    assert texts() == read("help")


def test_no_record_has_lost_its_name():
    assert names_of_records() == read("records")


def main():
    GOLDEN.mkdir(exist_ok=True)
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        found = {"help": texts(), "records": names_of_records()}
        for model in OUR_MODELS:
            with tempfile.TemporaryDirectory() as folder:
                found[model] = training(model, folder)
    for name, content in found.items():
        text = json.dumps(content, indent=1, ensure_ascii=False)
        (GOLDEN / f"{name}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.argv = sys.argv[:1]
    main()
