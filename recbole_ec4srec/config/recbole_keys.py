"""RecBole's configuration keys: which there are, what they may hold, and which combinations work.

RecBole takes any key and any value; with a wrong one it ends in a traceback, perhaps after an epoch, or ignores it.
Here the keys are checked for every model, RecBole's own too, when its ``Config`` is built. What RecBole can run is
allowed.
"""

from __future__ import annotations

import codecs
import functools
import importlib.util
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from logging import getLogger
from pathlib import Path
from typing import Any

import recbole
import yaml
from recbole.config import Config
from recbole.data.dataset import Dataset
from recbole.evaluator import metric_types, metrics_dict
from recbole.utils import EvaluatorType, InputType, ModelType, argument_list

from recbole_ec4srec.config.objective import RETIRED
from recbole_ec4srec.config.rules import (
    DictOf,
    Either,
    ListOf,
    Number,
    Parts,
    Rule,
    Value,
    check,
    nearest,
    one_of,
    refuse,
    unknown,
)
from recbole_ec4srec.errors import ConfigError

_PROPERTIES = Path(recbole.__file__).parent / "properties"

# --- what a key may hold ----------------------------------------------------------------------------------------------


class Intervals(Rule):
    """RecBole's intervals, ``[a,b)``, several separated by ``;``. For other texts RecBole warns and filters nothing."""

    _INTERVAL = re.compile(r"[\[(]([^,]+),([^,]+)[\])]")

    def _parse(self, value):
        for text in str(value).split(";"):
            ends = self._INTERVAL.fullmatch(text.strip())
            low, high = map(float, ends.groups()) if ends else (1, 0)
            if not low <= high:
                raise ValueError
        return value

    def __str__(self):
        return "an interval such as [5,inf), or several, separated by ;"


def _is_encoding(value):
    try:
        return bool(codecs.lookup(value))
    except LookupError:
        return False


def _ignoring_case(*words):
    return Value(str, "one of " + ", ".join(words), lambda value: value.lower() in words)


def _or_none(rule):
    return Either((rule, NONE))


def _one_of_or_none(*words):
    allowed = (*words, "None", None)
    return Value((str, type(None)), "one of " + ", ".join(allowed[:-1]), allowed.__contains__)


def _each(rule: Rule, keys: str) -> dict[str, Rule]:
    """The same rule for several keys."""
    return dict.fromkeys(keys.split(), rule)


def _names(text):
    return frozenset(text.split())


NONE = Value(type(None), "None")
#: RecBole tests its truth, so 0 and 1 are allowed as well.
FLAG = Value((bool, int, type(None)), "True or False", (True, False, None).__contains__)
TEXT = Value(str, "a text", bool)
PATH = Value((str, os.PathLike), "a path", lambda value: bool(str(value)))
FIELDS = ListOf(TEXT, empty=True)
COUNT = Number(1, integer=True)
WHOLE = Number(0, integer=True)
SHARE = Number(0, 1)
NUMBER = Number()
ANYTHING = Value(object, "anything")

_SAMPLED = re.compile(r"(uni|pop)0*[1-9][0-9]*")
_MODE = Value(
    str,
    "full, labeled, or uniN or popN with N sampled items, such as uni100",
    lambda mode: mode in ("full", "labeled") or bool(_SAMPLED.fullmatch(mode)),
)
_RATIOS = Value(
    list,
    "[training, validation, test] with three numbers >= 0, the first > 0",
    lambda ratios: len(ratios) == 3 and all(Number(0).parse(ratio) >= 0 for ratio in ratios) and ratios[0] > 0,
)
_LEARNERS = ("adam", "adamw", "sgd", "adagrad", "rmsprop", "sparse_adam")
_SPLITS: dict[str, Rule] = {"LS": one_of("valid_and_test", "valid_only", "test_only"), "RS": _RATIOS}
if hasattr(Dataset, "time_based_split"):  # new in RecBole 1.2.1
    _SPLITS["TS"] = _RATIOS
_SPLIT = Value(
    Mapping,
    "; or ".join(f"{{'{name}': {rule}}}" for name, rule in _SPLITS.items()),
    lambda split: len(split) == 1 and all(name in _SPLITS and _SPLITS[name].parse(split[name]) for name in split),
)
_METRIC = Value(
    str,
    "one of " + ", ".join(kind.__name__ for kind in metrics_dict.values()),
    lambda name: name.lower() in metric_types,
)
_SAMPLING = {
    "distribution": _one_of_or_none("uniform", "popularity"),
    **_each(COUNT, "sample_num"),
    "alpha": NUMBER,
    "dynamic": FLAG,
    "candidate_num": WHOLE,
}
_CLIPPING = {
    "max_norm": Number(0),
    "norm_type": Value((int, float), "a number"),
    **_each(FLAG, "error_if_nonfinite foreach"),
}
_EVALUATION = {
    "split": _SPLIT,
    "group_by": _one_of_or_none("user", "none"),
    "order": one_of("RO", "TO"),
    "mode": Either((_MODE, Parts({"valid": _MODE, "test": _MODE}))),
}
_FIELDS_OF_FILES = _or_none(DictOf(FIELDS, "by suffixes of files"))

#: The keys of every model: those in RecBole's ``properties/overall.yaml`` and ``properties/dataset/sample.yaml``, and
#: those that only its source has.
GENERAL: dict[str, Rule] = {
    **_each(
        FLAG, "use_gpu reproducibility show_progress save_dataset save_dataloaders log_wandb shuffle detect_anomaly"
    ),
    **_each(FLAG, "require_pow enable_amp enable_scaler repeatable valid_metric_bigger normalize_all kg_reverse_r"),
    **_each(COUNT, "nproc world_size train_batch_size eval_batch_size MAX_ITEM_LIST_LENGTH"),
    **_each(WHOLE, "worker offset local_rank epochs metric_decimal_place"),
    **_each(Number(0), "learning_rate weight_decay"),
    **_each(PATH, "data_path checkpoint_dir"),
    **_each(_or_none(PATH), "dataset_save_path dataloaders_save_path"),
    **_each(TEXT, "ip field_separator seq_separator LABEL_FIELD NEG_PREFIX ITEM_LIST_LENGTH_FIELD LIST_SUFFIX"),
    **_each(TEXT, "HEAD_ENTITY_ID_FIELD TAIL_ENTITY_ID_FIELD RELATION_ID_FIELD ENTITY_ID_FIELD"),
    **_each(_or_none(TEXT), "wandb_project USER_ID_FIELD ITEM_ID_FIELD RATING_FIELD TIME_FIELD POSITION_FIELD"),
    **_each(_or_none(FIELDS), "alias_of_user_id alias_of_item_id alias_of_entity_id alias_of_relation_id"),
    **_each(_or_none(FIELDS), "normalize_field"),
    **_each(_or_none(Intervals()), "user_inter_num_interval item_inter_num_interval"),
    **_each(_or_none(Intervals()), "entity_kg_num_interval relation_kg_num_interval"),
    **_each(_FIELDS_OF_FILES, "unload_col unused_col"),
    # environment
    "gpu_id": Value(
        (str, int, tuple, type(None)),
        "ids of GPUs, such as 0 or 0,1, or an empty text",
        lambda ids: not isinstance(ids, bool),
    ),
    "seed": Number(0, 2**32 - 1, integer=True),
    "state": _or_none(_ignoring_case("debug", "info", "warning", "error", "critical")),
    "encoding": _or_none(Value(str, "an encoding of texts, such as utf-8", _is_encoding)),
    "port": Value((str, int), "the number of a port", lambda port: str(port).isdigit() and int(port) < 65536),
    # training
    "learner": _ignoring_case(*_LEARNERS),
    "train_neg_sample_args": _or_none(Parts(_SAMPLING)),
    "eval_step": Number(integer=True),
    "stopping_step": Value((int, float), "a number >= 0", lambda steps: not isinstance(steps, bool) and steps >= 0),
    "clip_grad_norm": Either((Value(object, "None", lambda value: not value), Parts(_CLIPPING, needed=("max_norm",)))),
    "loss_decimal_place": _or_none(WHOLE),
    "transform": _or_none(one_of("mask_itemseq", "inverse_itemseq", "crop_itemseq", "reorder_itemseq", "user_defined")),
    # evaluation
    "eval_args": Parts(_EVALUATION),
    "metrics": Either(
        (_METRIC, Value((list, tuple), "a list of these", lambda names: bool(ListOf(_METRIC).parse(names))))
    ),
    "topk": Either((COUNT, ListOf(COUNT))),
    "valid_metric": Value(str, "a metric at one of topk, such as NDCG@10", bool),
    "tail_ratio": _or_none(NUMBER),
    # files and fields
    "seq_len": _or_none(DictOf(COUNT, "by fields")),
    "threshold": _or_none(DictOf(NUMBER, "by its field", size=1)),
    "numerical_features": FIELDS,
    "load_col": _or_none(DictOf(Either((FIELDS, one_of("*"))), "by suffixes of files")),
    "additional_feat_suffix": _or_none(Either((TEXT, FIELDS))),
    "rm_dup_inter": _or_none(one_of("first", "last")),
    "val_interval": _or_none(DictOf(Either((Intervals(), ListOf(ANYTHING))), "by fields")),
    "filter_inter_by_user_or_item": _or_none(Value(bool, "True or False")),  # RecBole: ``is not True``
    "preload_weight": _or_none(DictOf(TEXT, "by fields of ids")),
    "discretization": _or_none(
        DictOf(Parts({"method": one_of("ED", "LD"), "bucket": COUNT}, needed=("method",)), "by fields")
    ),
    "benchmark_filename": _or_none(
        Value(
            (list, tuple),
            "a list of three, as ['train', 'valid', 'test'] for NAME.train.inter and so on",
            lambda names: bool(ListOf(TEXT, size=3).parse(names)),
        )
    ),
}

#: The keys of single models whose default does not show what they may hold.
OF_MODELS: dict[str, Rule] = {
    **_each(one_of("average", "max"), "pooling_type pooling_type_layer_1 pooling_type_layer_2"),
    **_each(one_of("replace", "add"), "partition_merging_mode reranker_merging_mode"),
    **_each(
        _or_none(_ignoring_case("sigmoid", "tanh", "relu", "leakyrelu", "dice", "none")), "mlp_act_func ae_act_func"
    ),
    **_each(
        Value((str, type(None), os.PathLike), "a path, or an empty text"),
        "pre_model_path warm_up pretrain_path mf_pretrain_path mlp_pretrain_path",
    ),
    # RecBole's comments call some of them integers, but they may be any number
    **_each(NUMBER, "topk_factor resolution q negative_weight global_ratio spatial_ratio"),
    **_each(NUMBER, "w_max w_min reg_weight beta gamma alpha"),
    "hidden_act": one_of("gelu", "relu", "swish", "tanh", "sigmoid"),
    "pooling_mode": one_of("mean", "max", "sum"),
    "dnn_type": one_of("trm", "ave"),
    "gru_type": one_of("GRU", "AIGRU", "AGRU", "AUGRU"),
    "fredom_type": one_of("None", "us", "un", "su", "us_x"),
    "weight_mode": one_of("", "dynamic", "static", "max_logits"),
    "reranker_CAN_NUM": Value((int, str, tuple), "sizes in descending order, such as 500,100,20"),
    "noise_schedule": one_of("linear", "linear-var", "cosine", "binomial"),
    "mean_type": one_of("x0", "eps"),
    "accum": one_of("stack", "sum"),
    "aggregator_type": one_of("gcn", "graphsage", "bi"),
    "algorithm": one_of("prod", "concat"),
    "hid_activation": one_of("sigmoid", "relu", "tanh"),
    "out_activation": one_of("sigmoid", "relu"),
    "inter_matrix_type": one_of("01", "rating"),
    "knn_method": one_of("item", "user"),
    "loss_function": one_of("inner_product", "transe"),
    "neigh_info_method": one_of("random", "knn", "louvain"),
    "ind": one_of("mi", "distance", "cosine"),
    "phase": one_of("teacher_training", "distillation", "finetuning"),
    "structure": one_of("stacked", "parallel"),
    "teacher": one_of("CrossNet", "CIN", "CINComp"),
    "train_method": one_of("after_pretrain", "no_pretrain"),
    "item_attribute": TEXT,
    "transform": GENERAL["transform"],
    "n_facet_emb": Value(int, "0 or 2", lambda number: number in (0, 2) and number is not False),
    "order": Number(1, 2, integer=True),
    "xgb_verbose_eval": ANYTHING,
}
#: Keys that mean one thing in one model and another in others: the rules by model, and that of all others.
_BY_MODEL: dict[str, dict[str | None, Rule]] = {
    "loss_type": {
        None: one_of("CE", "BPR"),
        **dict.fromkeys(("CORE", "SASRecCPR", "GRU4RecCPR"), one_of("CE")),
        "FPMC": one_of("BPR"),
        "SINE": one_of("CE", "BPR", "NLL"),
        "CDAE": one_of("BCE", "MSE"),
        "MCCLK": _ignoring_case("bpr", "bce"),
    },
    "train_stage": {
        "S3Rec": one_of("pretrain", "finetune"),
        "RaCT": one_of("actor_pretrain", "critic_pretrain", "finetune"),
    },
    "type": {None: one_of("outer", "inner"), "SGL": one_of("ED", "ND", "RW")},
    "aggregator": {
        None: one_of("sum", "neighbor", "concat"),
        "SimpleX": one_of("mean", "user_attention", "self_attention"),
    },
}
_SHARES = re.compile(r".*dropout.*|drop_(ex|im|ratio)|mask_ratio|ft_ratio|corruption_ratio")
_SIZES = re.compile(r".*_size|hidden_dimension|latent_dimension|n_heads|num_heads|num_layers|nh|nv|rank|kfac|steps")
_OF_SIZE = re.compile(r"reg_weights?|dropout_probs|mixture_weights")


def _like(key: str, default: Any) -> Rule:
    """What a key of a single model may hold, by its name and RecBole's default."""
    if isinstance(default, list):
        one = _like(key, default[0]) if default else COUNT
        if isinstance(one, Number) and one.integer:
            one = COUNT
        return ListOf(one, len(default) if _OF_SIZE.fullmatch(key) else None, empty=not default)
    if key in OF_MODELS:
        return OF_MODELS[key]
    if isinstance(default, bool):
        return FLAG
    if isinstance(default, (int, float)):
        if _SHARES.fullmatch(key):
            return SHARE
        if isinstance(default, float):
            return NUMBER
        return Number(1 if _SIZES.fullmatch(key) else 0 if default >= 0 else -float("inf"), integer=True)
    return Value(str, "a text") if isinstance(default, str) else ANYTHING


@functools.cache
def of_model(name: str) -> dict[str, Rule]:
    """The rules of the keys that only one model of RecBole has, by the file of its defaults."""
    file = _PROPERTIES / "model" / f"{name}.yaml"
    if not file.is_file():
        return {}
    defaults = yaml.load(file.read_text(encoding="utf-8"), Loader=Config._build_yaml_loader(None)) or {}
    rules = {key: _like(key, default) for key, default in defaults.items() if key not in GENERAL}
    rules.update({key: of.get(name) or of[None] for key, of in _BY_MODEL.items() if key in rules})
    if "n_heads" in rules:
        rules["n_layers"] = COUNT
    return rules


# --- which keys there are ---------------------------------------------------------------------------------------------

#: Keys that RecBole's source reads, or its scripts and ``Config`` are given, and that no file of its defaults has.
UNLISTED = _names(
    """cin config_files contrast dataset eta feature_num full group_offset has_residual model neg_sampling norm sim tau
    token_num_threshold training_neg_sample_num use_filter verbose xgb_early_stopping_rounds"""
)
#: Keys that RecBole sets itself; the settings of another configuration have them.
SET_BY_RECBOLE = _names(
    """MODEL_TYPE MODEL_INPUT_TYPE device eval_type single_spec valid_neg_sample_args test_neg_sample_args MASK_INDEX
    MASK_ITEM_SEQ POS_ITEMS NEG_ITEMS CROP_ITEM_SEQ CROP_ITEM_SEQ_LEN INVERSE_ITEM_SEQ REORDER_ITEM_SEQ"""
)
#: A key in RecBole's table that nothing reads.
_UNREAD = _names("config_file")
_NEARLY = 0.85
_REGISTERED: set[str] = set()


def register_keys(*keys: str) -> None:
    """Make keys known that code of your own reads from RecBole's ``Config``."""
    _REGISTERED.update(keys)


@functools.cache
def listed() -> frozenset[str]:
    """The keys of all of RecBole's tables and files of defaults."""
    files = (path for path in _PROPERTIES.rglob("*.yaml") if not path.stem.endswith("url"))
    keys = {key for file in files for key in re.findall(r"^([\w-]+):", file.read_text(encoding="utf-8"), re.M)}
    tables = (table for name, table in vars(argument_list).items() if name.endswith("_arguments"))
    return frozenset(keys.union(*tables))


def known(own: Iterable[str]) -> set[str]:
    """All keys of RecBole, the ``own`` keys of a configuration, those of :func:`register_keys`, and :data:`RETIRED`."""
    return {*own, *GENERAL, *listed(), *UNLISTED, *_REGISTERED, RETIRED} - _UNREAD


def _unknown(given: Iterable, own: Iterable[str], cutoff: float = 0.0) -> Iterator[ConfigError]:
    """Errors for the ``given`` keys that nothing reads and that are at least as similar to one of ``own`` as
    ``cutoff``."""
    every, own = known(own), {*own, *GENERAL, "config_files"} - _UNREAD
    for key in given:
        if isinstance(key, str) and key not in every and key not in SET_BY_RECBOLE and nearest(key, own, cutoff):
            yield unknown(key, own if nearest(key, own, 0.75) else every)


def refuse_unknown(given: Iterable, own: Iterable[str], strict: bool = True) -> None:
    """Refuse keys that nothing reads.

    Args:
        given: the keys that a user set.
        own: the keys of this configuration's defaults, with which a misspelt key is compared first.
        strict: False if code of the user takes part: then a key is refused only if it is nearly one of ``own``.

    Raises:
        ConfigError: a key is unknown; the message has the nearest known one.
    """
    for error in _unknown(given, own, 0.0 if strict else _NEARLY):
        hint = "" if strict else "; recbole_ec4srec.register_keys makes one of your own known"
        raise ConfigError(f"{error}{hint}")


def warn_of_unknown(given: Iterable, own: Iterable[str]) -> None:
    """Warn of options on the command line of the user's own program, which RecBole reads as well, if they nearly spell
    a key."""
    for error in _unknown(given, own, _NEARLY):
        getLogger().warning(f"command line: {error}")


# --- which combinations work ------------------------------------------------------------------------------------------

#: Models that are trained on whole users, without sampling (RecBole's ``UserDataLoader``).
_OF_USERS = _names("MultiDAE MultiVAE MacridVAE CDAE ENMF RaCT RecVAE DiffRec LDiffRec")
_RATIO_OF = {"mask_itemseq": "mask_ratio", "crop_itemseq": "eta", "reorder_itemseq": "beta"}
_PRETRAINED = {
    ("S3Rec", "train_stage", "finetune"): "pre_model_path",
    ("RaCT", "train_stage", "critic_pretrain"): "pre_model_path",
    ("RaCT", "train_stage", "finetune"): "pre_model_path",
    ("ConvNCF", "train_method", "after_pretrain"): "pre_model_path",
    ("KD_DAGFM", "phase", "distillation"): "warm_up",
    ("KD_DAGFM", "phase", "finetuning"): "warm_up",
    ("NeuMF", "use_pretrain", True): "mf_pretrain_path",
}
_ALIASES = {"GRU4RecKG": {"ent_id": "item_id"}, "KSR": {"ent_id": "entity_id", "rel_id": "relation_id"}}


def validate(
    settings: dict, model: str, kind: ModelType, input_type: InputType | None = None, known_model: bool = True
) -> None:
    """Check RecBole's keys in ``settings``, all of them merged.

    Args:
        settings: RecBole's merged configuration; tuples that stand for lists are replaced.
        model: the name of the RecBole model whose own keys are checked too; for our models, of the backbone.
        kind, input_type: those of the model.
        known_model: False for a class of the user's own, whose keys may mean anything.

    Raises:
        ConfigError: a value is not allowed, or a combination cannot work.
    """
    rules = of_model(model) if known_model else {}
    for key, rule in {**GENERAL, **rules}.items():
        if key in settings:
            settings[key] = check(key, settings[key], rule)
    sequential = kind == ModelType.SEQUENTIAL
    _check_metrics(settings)
    _check_evaluation(settings, sequential)
    _check_fields(settings, sequential)
    _check_named_fields(settings, kind)
    if known_model:
        _check_model(settings, model, rules)
        _check_sampling(settings, model, kind, input_type, rules)
    transform = settings.get("transform")
    if transform not in (None, "user_defined") and not sequential:
        refuse("transform", transform, f"None for {model}: it transforms sequences")
    ratio = _RATIO_OF.get(transform or "")
    if ratio and ratio not in rules:
        check(ratio, settings.get(ratio), SHARE)
    if settings.get("log_wandb") and importlib.util.find_spec("wandb") is None:
        refuse("log_wandb", settings["log_wandb"], "False without wandb: pip install wandb")


def validate_dataset(name: object) -> None:
    """The name of a data set is the name of a folder, and a part of the names of files.

    Raises:
        ConfigError: it cannot be one.
    """
    if not isinstance(name, str) or not name or name in (".", "..") or {"/", "\\", "\0"} & set(name):
        refuse("dataset", name, "the name of a folder in data_path, without / or \\")


def _as_list(value):
    """RecBole takes a single value in the place of a list of one."""
    return [] if value is None else list(value) if isinstance(value, (list, tuple)) else [value]


def _check_metrics(settings):
    metrics = _as_list(settings["metrics"])
    kinds = {metric_types[metric.lower()] for metric in metrics}
    of_values = [name for name, kind in metric_types.items() if kind == EvaluatorType.VALUE]
    if len(kinds) > 1:
        refuse("metrics", metrics, f"either {', '.join(metrics_dict[name].__name__ for name in of_values)} or others")
    without_cutoff = [metric for metric in metrics if metric.lower() in {"gauc", *of_values}]
    results = [
        f"{metric}@{k}" for metric in metrics if metric not in without_cutoff for k in _as_list(settings["topk"])
    ]
    results += without_cutoff
    valid = settings["valid_metric"]
    if settings["eval_step"] > 0 and valid.lower() not in [result.lower() for result in results]:
        refuse("valid_metric", valid, f"one of {', '.join(results)} (metrics, at topk)")


def _check_evaluation(settings, sequential):
    # RecBole's values for the parts that are left out
    given = {"split": {"RS": [0.8, 0.1, 0.1]}, "order": "RO", "mode": "full", **settings["eval_args"]}
    if sequential and given["order"] != "TO":
        allowed = "order: TO for sequential models; a part that is left out is RecBole's default, "
        refuse("eval_args", settings["eval_args"], allowed + "order: RO, split: {'RS': [0.8, 0.1, 0.1]}, mode: full")
    mode, metrics = given["mode"], settings["metrics"]
    modes = set(mode.values() or ["full"]) if isinstance(mode, Mapping) else {mode}
    of_values = metric_types[_as_list(metrics)[0].lower()] == EvaluatorType.VALUE
    if of_values and "full" in modes:
        refuse("eval_args.mode", mode, f"labeled, uniN or popN with the metrics {metrics}")
    if "labeled" in modes and not of_values:
        refuse("eval_args.mode", mode, f"full, uniN or popN with the metrics {metrics}")
    label, loaded = settings["LABEL_FIELD"], _loaded(settings)
    if "labeled" in modes and not settings.get("threshold") and loaded is not None and label not in loaded:
        refuse("eval_args.mode", mode, f"labeled with labels: a threshold, or the field {label} in load_col")


def _loaded(settings):
    """The fields that ``load_col`` names, or None if it leaves some to the files."""
    columns = settings["load_col"]
    if columns is None or "*" in columns.values() or settings["benchmark_filename"]:
        return None
    return {field for fields in columns.values() for field in fields}


def _check_fields(settings, sequential):
    for key in ("USER_ID_FIELD", "ITEM_ID_FIELD", "TIME_FIELD") if sequential else ():
        if settings[key] is None:
            refuse(key, None, f"{TEXT} for sequential models")
    if (settings["USER_ID_FIELD"] is None) != (settings["ITEM_ID_FIELD"] is None):
        refuse("USER_ID_FIELD", settings["USER_ID_FIELD"], "None where ITEM_ID_FIELD is None, and there alone")
    columns, unload, unused = (settings[key] or {} for key in ("load_col", "unload_col", "unused_col"))
    both = [suffix for suffix in unload if unload[suffix] and columns.get(suffix) not in (None, [], "*")]
    if both:
        refuse("unload_col", unload, f"no {both[0]} where load_col has it")
    suffixes = ["inter", "user", "item", "kg", *_as_list(settings["additional_feat_suffix"])]
    for suffix in unused:
        if suffix not in suffixes or (settings["load_col"] is not None and suffix not in columns):
            refuse("unused_col", unused, f"a dict of what load_col loads, {', '.join(columns or suffixes)}")
    if settings["normalize_field"] is not None and settings["normalize_all"] is True:
        refuse("normalize_all", True, "False with normalize_field")
    for field, how in (settings["discretization"] or {}).items():
        if field not in settings["numerical_features"]:
            refuse("discretization", settings["discretization"], "fields of numerical_features")
        if how["method"] == "ED" and "bucket" not in how:
            refuse("discretization", settings["discretization"], f"with method: ED a bucket, {COUNT}")


def _check_named_fields(settings, kind):
    """Fields that a key names are among those that are loaded."""
    loaded = _loaded(settings)
    if loaded is None:
        return
    keys = ["alias_of_user_id", "alias_of_item_id", "normalize_field", "threshold", "val_interval"]
    keys += ["numerical_features", "preload_weight"]
    if kind == ModelType.KNOWLEDGE:
        keys += ["alias_of_entity_id", "alias_of_relation_id"]
    for key in keys:
        fields = list(settings.get(key) or ())
        if key == "preload_weight":
            fields += (settings[key] or {}).values()
        if not loaded.issuperset(fields):
            refuse(key, settings[key], f"fields that load_col has, {', '.join(sorted(loaded))}")


def _check_model(settings, model, rules):
    for size, heads in (("hidden_size", "n_heads"), ("embedding_size", "n_heads"), ("attention_size", "num_heads")):
        if size in rules and heads in rules and settings[size] % settings[heads]:
            refuse(heads, settings[heads], f"a divisor of {size}: {settings[size]}")
    longest = settings["MAX_ITEM_LIST_LENGTH"]
    if "short_item_length" in rules and settings["short_item_length"] > longest:
        refuse("short_item_length", settings["short_item_length"], f"at most MAX_ITEM_LIST_LENGTH: {longest}")
    if settings["learner"].lower() == "sparse_adam":
        refuse("learner", settings["learner"], f"one of {', '.join(_LEARNERS[:-1])}: no model has sparse gradients")
    for (of, key, value), path in _PRETRAINED.items():
        if of == model and settings[key] == value and not os.path.isfile(settings[path] or ""):
            refuse(path, settings[path], f"a file of a trained model with {key}: {value}")
    for field, name in _ALIASES.get(model, {}).items():
        if field in (settings["preload_weight"] or {}) and field not in (settings[f"alias_of_{name}"] or ()):
            refuse(f"alias_of_{name}", settings[f"alias_of_{name}"], f"a list with {field}, which preload_weight has")


def _check_sampling(settings, model, kind, input_type, rules):
    given, loss_type = settings["train_neg_sample_args"], settings["loss_type"] if "loss_type" in rules else None
    sampling = {"distribution": None} if given is None else given
    if sampling.get("dynamic") and not sampling.get("candidate_num"):
        refuse("train_neg_sample_args", sampling, f"candidate_num, {COUNT}, with dynamic: True")
    if kind == ModelType.SEQUENTIAL and input_type is None and loss_type == "CE" and given is not None:
        refuse("train_neg_sample_args", given, "None with loss_type: CE")
    sampled = sampling.get("distribution", "uniform") not in (None, "None")
    if model in _OF_USERS or kind == ModelType.TRADITIONAL or sampled:
        return
    pairwise = loss_type.lower() == "bpr" if loss_type else input_type == InputType.PAIRWISE
    if pairwise or kind == ModelType.KNOWLEDGE:
        what = f"loss_type: {loss_type}" if loss_type else model
        refuse("train_neg_sample_args", given, f"a dict with distribution: uniform or popularity for {what}")
