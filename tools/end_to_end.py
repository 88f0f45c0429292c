"""Every model of RecBole's from the command to the test result, and what can be done with its best model then.

``python tools/end_to_end.py > docs/models.md`` writes down what became of each.
"""

import contextlib
import importlib.util
import inspect
import io
import json
import os
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import recbole
import torch
import yaml
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.quick_start import load_data_and_model
from recbole.utils import get_trainer

from recbole_ec4srec.commands import ec4srec
from recbole_ec4srec.commands.run_recbole import main as run_recbole_command
from recbole_ec4srec.console import command_line
from recbole_ec4srec.reporting.markdown import markdown_table

ROOT = Path(__file__).resolve().parent.parent
PAGE, BACKBONES_PAGE = ROOT / "docs" / "models.md", ROOT / "docs" / "backbones.md"
KINDS = ("general", "sequential", "context_aware", "knowledge_aware")
USERS, ITEMS, FACTORS = 50, 40, 16


def write_data(folder):
    """``small``: users and items with features, a knowledge graph of the items, and vectors of its entities."""
    rng = np.random.default_rng(7)
    rows = [
        f"u{user}\ti{item}\t{rng.integers(1, 6)}\t{step}"
        for user in range(USERS)
        for step, item in enumerate(rng.choice(np.arange(1, ITEMS + 1), rng.integers(5, 13), replace=False))
    ]
    items = range(1, ITEMS + 1)
    vectors = [" ".join(f"{value:.3f}" for value in rng.normal(size=FACTORS)) for _ in range(ITEMS + 8)]
    entities = [*(f"e{item}" for item in items), *(f"e{100 + kind}" for kind in range(7))]
    files = {
        "inter": ("user_id:token\titem_id:token\trating:float\ttimestamp:float", rows),
        "user": ("user_id:token\tage:token", [f"u{user}\ta{user % 3}" for user in range(USERS)]),
        "item": ("item_id:token\tclass:token_seq", [f"i{item}\tc{item % 3} c{3 + item % 5}" for item in items]),
        "link": ("item_id:token\tentity_id:token", [f"i{item}\te{item}" for item in items]),
        "kg": (
            "head_id:token\trelation_id:token\ttail_id:token",
            [f"e{item}\tr{item % 3}\te{100 + item % 7}" for item in items]
            + [f"e{item}\tr3\te{1 + item % ITEMS}" for item in items],
        ),
        "of_items": ("ent_id:token\tent_emb:float_seq", [f"i{item}\t{vectors[item]}" for item in items]),
        "of_entities": ("ent_id:token\tent_emb:float_seq", [f"{name}\t{of}" for name, of in zip(entities, vectors)]),
        "of_relations": ("rel_id:token\trel_emb:float_seq", [f"r{kind}\t{vectors[kind]}" for kind in range(4)]),
    }
    (folder / "dataset" / "small").mkdir(parents=True)
    for suffix, (header, lines) in files.items():
        (folder / "dataset" / "small" / f"small.{suffix}").write_text("\n".join([header, *lines]) + "\n")


SMALL = {"epochs": 2, "train_batch_size": 64, "eval_batch_size": 64}
SIZES = {"embedding_size": FACTORS, "hidden_size": FACTORS, "inner_size": 32, "n_layers": 2, "n_heads": 2}
INTERACTIONS = ["user_id", "item_id", "rating", "timestamp"]
FEATURES = {"inter": INTERACTIONS, "user": ["user_id", "age"], "item": ["item_id", "class"]}
KNOWLEDGE = {
    "inter": INTERACTIONS,
    "kg": ["head_id", "relation_id", "tail_id"],
    "link": ["item_id", "entity_id"],
}
OF_KIND = {
    "general": {},
    "sequential": {"load_col": FEATURES, "MAX_ITEM_LIST_LENGTH": 8},
    "context_aware": {"load_col": FEATURES, "threshold": {"rating": 3}},
    "knowledge_aware": {"load_col": KNOWLEDGE},
}
PRETRAINED = "PRETRAINED"  # the file that the stage before has left
LAST_TWO = {"eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"}}
PRETRAIN = {"pretrain_epochs": 1, "save_step": 1}
#: Settings without which a model cannot be trained on these data; where there are several, one after the other.
OF_MODEL = {
    "ConvNCF": [{"embedding_size": 64}],
    "GRU4RecKG": [
        {
            **LAST_TWO,
            "load_col": {**KNOWLEDGE, "of_items": ["ent_id", "ent_emb"]},
            "additional_feat_suffix": ["of_items"],
            "alias_of_item_id": ["ent_id"],
            "preload_weight": {"ent_id": "ent_emb"},
        }
    ],
    "KD_DAGFM": [
        {"phase": "teacher_training"},
        {"phase": "distillation", "warm_up": PRETRAINED},
        {"phase": "finetuning", "warm_up": PRETRAINED},
    ],
    "KSR": [
        {
            **LAST_TWO,
            "load_col": {**KNOWLEDGE, "of_entities": ["ent_id", "ent_emb"], "of_relations": ["rel_id", "rel_emb"]},
            "additional_feat_suffix": ["of_entities", "of_relations"],
            "alias_of_entity_id": ["ent_id"],
            "alias_of_relation_id": ["rel_id"],
            "preload_weight": {"ent_id": "ent_emb", "rel_id": "rel_emb"},
            "kg_embedding_size": FACTORS,
        }
    ],
    "RaCT": [
        {"metrics_k": 10, "train_stage": "actor_pretrain", **PRETRAIN},
        {"metrics_k": 10, "train_stage": "critic_pretrain", "pre_model_path": PRETRAINED, **PRETRAIN},
        {"metrics_k": 10, "train_stage": "finetune", "pre_model_path": PRETRAINED},
    ],
    "S3Rec": [
        {"train_stage": "pretrain", **PRETRAIN},
        {"train_stage": "finetune", "pre_model_path": PRETRAINED},
    ],
}


def sizes(name):
    """The ``SIZES`` that a model of RecBole has."""
    file = Path(recbole.__file__).parent / "properties" / "model" / f"{name}.yaml"
    defaults = yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else None
    return {key: value for key, value in SIZES.items() if key in (defaults or {})}


def settings_of(kind, name):
    """The settings of each stage of a training."""
    return [{**SMALL, **OF_KIND[kind], **sizes(name), **stage} for stage in OF_MODEL.get(name, [{}])]


def models():
    """``(kind, name)`` of RecBole's models, but for those that need LightGBM or XGBoost."""
    return [
        (kind, name)
        for kind in KINDS
        for name, value in inspect.getmembers(importlib.import_module(f"recbole.model.{kind}_recommender"))
        if inspect.isclass(value) and value.__module__.startswith(f"recbole.model.{kind}_recommender.")
        if issubclass(value, AbstractRecommender)
    ]


#: Models of RecBole's that fail in RecBole without this package too: with which error, and why.
FAULTS = {
    "GRU4RecCPR": ("AssertionError", "its `predict`, which RecBole calls to count FLOPs, is `assert False`"),
    "KSR": ("RuntimeError", "it multiplies vectors of relations in double precision with others in single"),
    "SASRecCPR": ("AssertionError", "its `predict`, which RecBole calls to count FLOPs, is `assert False`"),
}
#: Models that need what RecBole's own installation leaves out.
LIBRARIES = {"KGAT": "dgl", "KGIN": "torch_scatter", "MCCLK": "torch_scatter", "NCL": "faiss"}
#: Models whose metrics are drawn, so that no two evaluations are equal.
DRAWN = {"ADMMSLIM", "DIEN", "DIN", "KTUP", "Random"}
#: Sequential models that score the items that they are given alone.
NO_RANKING = ("DIEN", "DIN")


class Failed(Exception):
    """A command has ended with another status than 0."""


def call(command, *arguments, **settings):
    """What a command, in this process, writes to stdout.

    Raises:
        Failed: with what it writes to stderr.
    """
    given = [*arguments, *(f"--{key}={value}" for key, value in settings.items())]
    out, err = io.StringIO(), io.StringIO()
    try:
        with command_line(given), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            command()
    except SystemExit as end:
        if end.code:
            raise Failed(err.getvalue()) from None
    return out.getvalue()


def newest(pattern):
    return max(Path("saved").glob(pattern), key=os.path.getmtime)


def train(**settings):
    """The test result that ``run_recbole`` prints."""
    return json.loads(call(run_recbole_command, "--dataset=small", "-q", **settings).splitlines()[-1])


def train_in_stages(kind, name):
    """The test result of a model of RecBole's, and the file of its best model."""
    for stage in settings_of(kind, name):
        result = train(model=name, **{k: newest(f"{name}-*.pth") if v is PRETRAINED else v for k, v in stage.items()})
    return result, newest(f"{name}-*.pth")


def read_again(file):
    """The test result of a checkpoint, of which nothing but data is read."""
    assert set(torch.load(file, weights_only=True)) >= {"config", "state_dict", "other_parameter"}
    config, model, *_, test_data = load_data_and_model(str(file))
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    return trainer.evaluate(test_data, model_file=str(file))


def recommend(file):
    """What ``ec4srec recommend`` writes for two users whom the model does not know."""
    Path("histories.csv").write_text("user,items\na,i1 i2 i3\nb,i4 i5\n")
    call(ec4srec.main, "recommend", f"--checkpoint={file}", "--input=histories.csv", "--output=best.csv")
    return pd.read_csv("best.csv")


def row(kind, name):
    """What becomes of a model of RecBole's: a row of docs/models.md."""
    if name in FAULTS or name in LIBRARIES:
        why = (
            f"fails in RecBole itself: {FAULTS[name][1]}" if name in FAULTS else f"needs `{LIBRARIES[name]}`, not tried"
        )
        return [name, "no", "", "", why]
    result, file = train_in_stages(kind, name)
    again = read_again(file)
    assert list(again) == list(result)
    assert name in DRAWN or again == result
    ranks, notes = "", []
    if len(settings_of(kind, name)) > 1:
        notes.append(f"in {len(settings_of(kind, name))} stages, each from the file that the one before left")
    if kind == "sequential" and name in NO_RANKING:
        ranks, notes = "no", [*notes, "it scores pairs of a user and an item, and no list of all items"]
    elif kind == "sequential":
        assert len(recommend(file)) == 20
        ranks = "yes"
    return [name, "yes", "yes", ranks, "; ".join(notes)]


HEAD = """# RecBole's models with these commands

Written by `python tools/end_to_end.py`. Every model of RecBole except LightGBM and XGBoost is trained by
`run_recbole` to the test result, on small data with features of users and items and a knowledge graph. "is read again":
its checkpoint is loaded, as tensors and plain values only, and gives the same test result, unless metrics are random.
"`recommend`": `ec4srec recommend` ranks items for new users, which only sequential models can do.
"""
TITLES = ("General", "Sequential", "Context-aware", "Knowledge-aware")


def page():
    """docs/models.md."""
    lines = [HEAD.rstrip()]
    for kind, title in zip(KINDS, TITLES):
        columns = ["model", "trains and tests", "is read again", "`recommend`", ""]
        rows = [row(kind, name) for of, name in models() if of == kind]
        lines += ["", f"## {title}", "", *markdown_table(columns, rows)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    import psutil

    psutil.cpu_percent = lambda interval: 0.0  # RecBole measures for a second after each run
    with tempfile.TemporaryDirectory() as folder:
        write_data(Path(folder))
        here = Path.cwd()
        os.chdir(folder)
        with command_line(), contextlib.redirect_stdout(io.StringIO()):  # FEARec prints as it is built
            text = page()
        os.chdir(here)
    print(text, end="")
