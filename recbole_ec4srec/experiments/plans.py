"""What the paper's tables and figures consist of: models, their settings, data sets and metrics."""

from __future__ import annotations

import itertools
import random
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from recbole_ec4srec.config.keys import PREFIXES, SEQUENCES
from recbole_ec4srec.config.objective import GUIDED
from recbole_ec4srec.config.properties import properties_dir
from recbole_ec4srec.config.space import read_space
from recbole_ec4srec.experiments.paper import METRICS, PRINTED
from recbole_ec4srec.experiments.records import Run, properties, read_runs, settings_of, tuned_settings
from recbole_ec4srec.model.objective import BUILT_IN


@dataclass(frozen=True)
class Row:
    """A model with the settings that are its own in a table.

    Attributes:
        line, x: in a figure of lines, the line that it is a point of, and where on it.
        tuned: whose settings, chosen on validation (``properties/tuned/<data set>/<tuned>.yaml``), it has too; such a
            row is left out for a data set without them.
        train_on: ``prefixes`` or ``sequences``, where it is always the same; otherwise as it is given.
    """

    label: str
    model: str
    settings: dict = field(default_factory=dict)
    line: str = ""
    x: float | str | None = None
    tuned: str = ""
    train_on: str | None = None

    def run(self, dataset: str, seed: int, given: dict) -> Run:
        """The run of this row on a data set; ``given`` settings have precedence."""
        own = {**(tuned_settings(self.tuned, dataset) if self.tuned else {}), **self.settings}
        train_on = self.train_on or given.get("train_on", PREFIXES)
        given = {key: value for key, value in given.items() if key != "train_on"}
        if train_on != PREFIXES:  # the default: a run is shared by all that ask for it
            own["train_on"] = train_on
        return Run(self.label, self.model, dataset, seed, settings_of(self.model, dataset, own, given))


@dataclass(frozen=True)
class Plan:
    """A table or a figure.

    Attributes:
        control: the label of the row that all others are tested against.
        pairs: what is tested besides, a label against another.
        figure: None for a table; ``points``, one for each row and seed; ``lines``, over the rows' ``x``; ``epochs``,
            the validation metric by epoch; or ``differences``, of all that is tested, with their intervals.
        split: ``test``, or ``valid`` for a choice of settings.
        timed: whether the table has the validation set, too, and how long each run took to its best epoch.
    """

    name: str
    title: str
    rows: tuple[Row, ...]
    datasets: tuple[str, ...]
    metrics: tuple[str, ...] = METRICS
    control: str | None = None
    pairs: tuple[tuple[str, str], ...] = ()
    figure: str | None = None
    split: str = "test"
    timed: bool = False

    @property
    def paper(self) -> dict:
        """The paper's values, ``{data set: {(label, metric): value}}``; empty if it prints none."""
        return PRINTED.get(self.name, {})

    def runs(
        self, dataset: str, seeds: Iterable[int], given: dict, labels: Collection[str] | None = None
    ) -> dict[str, list[Run]]:
        """By label a run for each of ``seeds``.

        Args:
            given: settings that have precedence over those of the rows.
            labels: of the rows that are wanted; by default all.
        """
        rows = [row for row in self.rows if not labels or row.label in labels]
        return {
            row.label: [row.run(dataset, seed, given) for seed in seeds]
            for row in rows
            if not row.tuned or tuned_settings(row.tuned, dataset)
        }

    def read(
        self,
        folder: Path,
        dataset: str,
        seeds: Collection[int],
        given: dict,
        labels: Collection[str] | None = None,
    ) -> dict[str, dict[str, list[dict]]]:
        """The records in a folder of results, by the mode of training (``train_on``) and the label.

        The mode is the one that is ``given``; otherwise all of which there is a record, or the first.
        """
        modes = [given["train_on"]] if "train_on" in given else MODES
        found = {
            mode: read_runs(folder, self.runs(dataset, seeds, {**given, "train_on": mode}, labels)) for mode in modes
        }
        of_any_mode = [row.label for row in self.rows if row.train_on is None]
        there = {mode: of for mode, of in found.items() if any(of.get(label) for label in of_any_mode)}
        return there or {modes[0]: found[modes[0]]}


#: Ways of training; each has tables of its own.
MODES = (PREFIXES, SEQUENCES)

# Our encoder with the recommendation loss alone: the paper's SASRec row is of a weaker, sampled loss.
CONTROL = Row("control", "CL4SRec", {"lambda": 0})
CL4SREC, DUOREC = Row("CL4SRec", "CL4SRec"), Row("DuoRec", "DuoRec")
SSL, SL = Row("EC4SRec(SSL)", "EC4SRecSSL"), Row("EC4SRec(SL)", "EC4SRecSL")
EC4SREC = Row("EC4SRec", "EC4SRec")
CONTRASTIVE = (CL4SREC, SSL, DUOREC, SL, EC4SREC)  # in the order of the paper's tables
OF_ONE_ENCODER = (CONTROL, *CONTRASTIVE)
GUIDED_ROWS = (SSL, SL, EC4SREC)
TUNED = (
    replace(CONTROL, label="control, tuned", tuned="control"),
    *(Row(f"{row.label}, tuned", row.model, tuned=row.model) for row in CONTRASTIVE),
)
AMAZON = ("amazon-beauty", "amazon-clothing", "amazon-sports")

_LARGE = f"{SEQUENCES}, 256 users"


def _in_mode(row: Row, mode: str) -> Row:
    """The row, trained in a way; on sequences also with as many users in a batch as the paper has instances."""
    settings = {"train_batch_size": 256} if mode == _LARGE else {}
    train_on = PREFIXES if mode == PREFIXES else SEQUENCES
    return replace(row, label=f"{row.label}, {mode}", train_on=train_on, settings={**row.settings, **settings})


_COLUMNS = {"inter": ["user_id", "item_id", "timestamp"]}

# Both views by masking, 4 of 10 items (section 3.3). With so few sequences an epoch is a few steps, and nothing is
# learned in the first ones.
_MASKING = {
    "augmentations": ["mask"],
    "metrics": ["Hit", "NDCG"],
    "topk": [3],
    "valid_metric": "NDCG@3",
    "epochs": 400,
    "stopping_step": 40,
}
_ORACLE = {
    "explainer": "oracle",
    "oracle_scores": "important",
    "mu_e": 0.4,
    "lambda_cl_neg": 0,  # CL4SRec has no negative views
    "warmup": [],
    "num_updates": 0,
    "update_epochs": [1],
}
RANDOM_MASKING = Row("random", "CL4SRec", {**_MASKING, "mu_m": 0.4})

_EXPLAINERS = ("random", "attention", "attention_norm", "saliency", "integrated_gradients", "occlusion")
_WITHOUT = {"reorder": ["crop", "mask"], "mask": ["crop", "reorder"], "crop": ["mask", "reorder"]}


# A setting that is the default is left out, so that a run is shared by all that ask for it.
_DEFAULTS = properties("model/EC4SRec.yaml")


def _setting(key: str, value: Any) -> dict:
    return {} if _DEFAULTS[key] == value else {key: value}


def _one_at_a_time(row: Row) -> tuple[Row, ...]:
    """A row, and a row for each value of its model's search space that is no default, with this one value changed."""
    space = read_space(properties_dir() / "hyper" / f"{row.model}.test")
    others = (
        Row(f"{row.label}, {key} {value}", row.model, {**row.settings, key: value})
        for key, (_, values) in space.items()
        for value in values
        if key not in row.settings and _setting(key, value)
    )
    return (row, *others)


_BUDGET = 12


def _drawn(row: Row) -> tuple[Row, ...]:
    """A row at :data:`_BUDGET` points of the space that all models share, the same ones for every row, each with values
    of the row's own keys: those of its model's search space, and the similarity of its contrastive losses."""
    folder, rng = properties_dir() / "hyper", random.Random(1)
    shared = {key: values for key, (_, values) in read_space(folder / "shared.test").items()}
    points = rng.sample(list(itertools.product(*shared.values())), _BUDGET)
    own = {key: values for key, (_, values) in read_space(folder / f"{row.model}.test").items()}
    own = {} if row is CONTROL else {**own, "sim": ["dot", "cos"]}
    return tuple(
        Row(
            f"{row.label}, point {number}",
            row.model,
            {**dict(zip(shared, point)), **{key: rng.choice(values) for key, values in own.items()}, **row.settings},
        )
        for number, point in enumerate(points, 1)
    )


def _varied(rows: Iterable[Row], key: str, values: Iterable, name: str = "") -> tuple[Row, ...]:
    """Each row with each value of a key, a line of a figure; ``name`` is before the value in the label."""
    return tuple(
        Row(
            f"{row.label}, {name}{value}".replace(" 0.", " ."),
            row.model,
            {**row.settings, **_setting(key, value)},
            row.label,
            value,
        )
        for row in rows
        for value in values
    )


def _option(key: str, value: Any) -> Row:
    """EC4SRec with one key that is not as the paper has it."""
    return Row(f"{key}: {value}", "EC4SRec", {key: value})


def _against_random(rows: Iterable[Row]) -> tuple[tuple[str, str], ...]:
    """The pairs of every explainer with the same row guided by random importance."""
    return tuple((f"{row.label}, {name}", f"{row.label}, random") for row in rows for name in _EXPLAINERS[1:])


def _losses(label: str, *names: str) -> Row:
    """EC4SRec with only these guided losses."""
    kept = {term.weight_key for term in BUILT_IN if term.name in names}
    others = [term for term in BUILT_IN if term.phase == GUIDED and term.weight_key not in kept]
    weights = {term.weight_key: 0 for term in others if _DEFAULTS.get(term.weight_key, term.default) != 0}
    return Row(label, "EC4SRec", weights)


_OPTIONS = (
    _option("importance_scope", "context"),
    _option("guided_negatives", "hard"),
    _option("same_target", "ignored"),
    _option("same_target", "positive"),
)
_IN_CONTEXT = tuple(Row(f"{row.label}, context", row.model, {"importance_scope": "context"}) for row in GUIDED_ROWS)

_PLANS = (
    Plan(
        "table1",
        "Table 1: CL4SRec on the synthetic data, masking at random or only what does not matter",
        (Row("control", "CL4SRec", {**_MASKING, "lambda": 0}), RANDOM_MASKING)
        + (Row("oracle", "EC4SRecSSL", {**_MASKING, **_ORACLE}),),
        ("synthetic",),
        ("hit@3", "ndcg@3"),
        control="random",
    ),
    Plan(
        "table3",
        "Table 3: overall results",
        (
            *(Row(name, name, train_on=PREFIXES) for name in ("BPR", "GRU4Rec", "Caser", "SASRec", "BERT4Rec")),
            Row("S3Rec", "S3Rec", {"load_col": {**_COLUMNS, "item": ["item_id", "class"]}}, train_on=PREFIXES),
            CONTROL,
            Row("views as data", "EC4SRec", {"view_loss": "recommendation"}),
            *CONTRASTIVE,
            *TUNED,
        ),
        (*AMAZON, "ml-1m"),
        control="control",
        pairs=(
            ("EC4SRec(SSL)", "CL4SRec"),
            ("EC4SRec(SL)", "DuoRec"),
            ("EC4SRec", "CL4SRec"),
            ("EC4SRec", "DuoRec"),
            *((row.label, row.label.removesuffix(", tuned")) for row in TUNED),
            ("EC4SRec, tuned", "CL4SRec"),
            ("EC4SRec, tuned", "DuoRec"),
        ),
    ),
    Plan(
        "modes",
        "Training on prefixes and on sequences",
        tuple(_in_mode(row, mode) for row in (CONTROL, EC4SREC) for mode in (*MODES, _LARGE)),
        AMAZON[:1],
        ("ndcg@10", "hit@10"),
        pairs=tuple(
            (f"{row.label}, {mode}", f"{row.label}, {PREFIXES}")
            for row in (CONTROL, EC4SREC)
            for mode in (SEQUENCES, _LARGE)
        ),
        timed=True,
    ),
    Plan(
        "search",
        "Search: the paper's ranges, one setting at a time",
        tuple(
            point
            for row in (*CONTRASTIVE, _losses("EC4SRec without L_cl+", "cl_neg", "sl_pos"))
            for point in _one_at_a_time(row)
        ),
        (*AMAZON, "ml-1m"),
        ("ndcg@10", "hit@10"),
        split="valid",
    ),
    Plan(
        "budget",
        f"Budget: {_BUDGET} points of one search space for every model",
        tuple(point for row in OF_ONE_ENCODER for point in _drawn(row)),
        AMAZON[:1],
        ("ndcg@10", "hit@10"),
        split="valid",
    ),
    Plan(
        "table4",
        "Table 4: other backbones",
        tuple(
            Row(f"{row.label}, {backbone}", row.model, {**row.settings, "backbone": backbone}, train_on=train_on)
            for backbone, train_on in (("GRU4Rec", None), ("Caser", PREFIXES), ("BERT4Rec", PREFIXES))
            for row in OF_ONE_ENCODER
        ),
        AMAZON,
    ),
    Plan(
        "table5",
        "Table 5: without one of the augmentations",
        tuple(
            Row(f"{row.label}{label}", row.model, settings)
            for row in (CL4SREC, SSL)
            for label, settings in [
                ("", {}),
                *((f", no {name}", {"augmentations": others}) for name, others in _WITHOUT.items()),
            ]
        ),
        AMAZON,
        ("ndcg@5",),
    ),
    Plan(
        "figure3",
        "Figure 3: validation NDCG@5 by epoch, p importance updates",
        _varied([EC4SREC], "num_updates", (0, 1, 2, 5), "p = "),
        AMAZON[:2],
        ("ndcg@5",),
        control="EC4SRec, p = 0",  # random views and random retrieval to the end
        figure="epochs",
    ),
    Plan(
        "figure4",
        "Figure 4: NDCG@5 with p importance updates",
        _varied(GUIDED_ROWS, "num_updates", (1, 2, 3, 5, 9), "p = "),
        AMAZON[:2],
        ("ndcg@5",),
        figure="lines",
    ),
    Plan(
        "figure5",
        "Figure 5: combinations of the guided losses",
        (
            CONTROL,
            CL4SREC,
            DUOREC,
            _losses("L_cl+", "cl_pos"),
            _losses("L_cl-", "cl_neg"),
            Row("L_sl+", "EC4SRecSL"),
            Row("L_cl+ + L_cl-", "EC4SRecSSL"),
            _losses("L_sl+ + L_cl+", "sl_pos", "cl_pos"),
            _losses("L_sl+ + L_cl-", "sl_pos", "cl_neg"),
            Row("L_cl+ + L_cl- + L_sl+", "EC4SRec"),
        ),
        AMAZON[:1],
        ("ndcg@5",),
        control="control",
        pairs=(
            ("L_cl+ + L_cl-", "L_cl+"),
            ("L_cl+ + L_cl-", "L_cl-"),
            ("L_sl+ + L_cl+", "L_sl+"),
            ("L_sl+ + L_cl-", "L_sl+"),
            ("L_cl+ + L_cl- + L_sl+", "L_sl+"),
            ("L_cl+ + L_cl- + L_sl+", "L_cl+ + L_cl-"),
        ),
        figure="points",
    ),
    Plan(
        "figure6",
        "Figure 6: the share μ_e of the items that guided operators act on",
        _varied([SSL, EC4SREC], "mu_e", [tenths / 10 for tenths in range(1, 10)], "μ_e "),
        AMAZON[:2],
        ("ndcg@5",),
        figure="lines",
    ),
    Plan(
        "figure7",
        "Figure 7: explanation methods",
        (CL4SREC, DUOREC, *_varied((*GUIDED_ROWS, *_IN_CONTEXT), "explainer", _EXPLAINERS)),
        AMAZON[:2],
        ("ndcg@5",),
        figure="points",
    ),
    Plan(
        "options",
        "Options: EC4SRec with one of them, chosen on the validation set",
        (EC4SREC, *_OPTIONS, _option("explainer", "attention_norm"), _option("lambda_cl_pos", 0)),
        AMAZON[:1],
        ("ndcg@10", "hit@10"),
        split="valid",
    ),
    Plan(
        "guidance",
        "Guidance: every explainer against random importance",
        _varied((EC4SREC, *_OPTIONS), "explainer", _EXPLAINERS),
        AMAZON,
        ("ndcg@10", "hit@10"),
        pairs=_against_random((EC4SREC, *_OPTIONS)),
        figure="differences",
    ),
)
#: Every table and figure by its name.
PLANS = {plan.name: plan for plan in _PLANS}
