"""Values for every key, RecBole's and ours: which are refused.

``python tools/key_values.py`` prints what was tried. What each key may hold is written here a second time, from
RecBole's documentation and source, not from the rules.
"""

import copy
import re
from pathlib import Path

import recbole
import yaml
from recbole.config import Config

from recbole_ec4srec import ConfigError
from recbole_ec4srec.config import recbole_keys
from recbole_ec4srec.config.keys import validate
from recbole_ec4srec.config.recbole_keys import GENERAL, of_model

#: Of our keys.
NO_NUMBERS = [None, True, "much", [0.5], {}, float("nan"), float("inf"), -float("inf")]
AT_LEAST_0 = [-1, -1e-9, *NO_NUMBERS]
ABOVE_0 = [0, *AT_LEAST_0]
SHARE = [1.0001, 2, *AT_LEAST_0]
BAD_COUNT = [0, -1, 1.5, 1.0, *NO_NUMBERS]
WORD = [None, True, 1, "", "Xyz", ["dot"], {}]
WORDS = ["Xyz", 1, True, ["crop", "Xyz"], ["crop", "crop"], [["crop"]], {}, {"crop": 1}]
BAD_FLAG = [None, 0, 1, "yes", [True]]

BAD = {
    "backbone": [None, 1, True, "", "no name", "a.b", ["SASRec"]],
    "augmentations": [None, [], "", *WORDS],
    "negative_augmentations": [None, [], ["reorder"], *WORDS],
    "mu_c": [0, *SHARE],
    "mu_m": SHARE,
    "mu_r": SHARE,
    "mu_e": [0, *SHARE],
    "importance_scope": WORD,
    "ertrl_score": WORD,
    "ertrl_max_candidates": BAD_COUNT,
    "sim": WORD,
    "tau": ABOVE_0,
    "tau_cl": ABOVE_0,
    "lambda": AT_LEAST_0,
    "lambda_cl_pos": AT_LEAST_0,
    "lambda_cl_neg": AT_LEAST_0,
    "lambda_sl_pos": AT_LEAST_0,
    "view_loss": WORD,
    "second_pass": BAD_FLAG,
    "guided_negatives": WORD,
    "tau_neg": ABOVE_0,
    "same_target": WORD,
    "warmup": ["Xyz", ["cl", "cl"], ["cl_pos"], 1, {}, [None]],
    "num_updates": [-1, 1.5, 1.0, *NO_NUMBERS],
    "update_epochs": [0, [0], [-1], [2, 2], [1.5], [True], True, "Xyz", ["Xyz"], 2.0, {}, [None]],
    "explainer": [*WORD, "Occlusion", "captum", "captum:", "captum:Foo", "captum:DeepLift", "captum:version"],
    "oracle_scores": [None, 1, True, ["scores"], {}],
    "explain_target": WORD,
    "explain_output": WORD,
    "explain_batch_size": BAD_COUNT,
    "train_on": WORD,
    "ddp_backend": WORD,
    "log_mlflow": [None, 2, "Xyz", "", [True], {}],
    "resume": [None, 1, True, ["auto"], {}, "nowhere"],
}

THEIRS = Path(recbole.__file__).parent
NAN, INF = float("nan"), float("inf")

# Each of these is tried as the value of each of RecBole's general keys.
POOL = [None, True, False, 0, 1, 5, -1, 1.5, 10**400, NAN, INF, "", "abc", "None", [], ["abc"], [1], [-1], (1, 2)]
POOL += [{}, {"abc": 1}, {1: "abc"}, b"abc", object]

FLAG = [None, True, False, 0, 1]
COUNT = [1, 5]
WHOLE = [0, 1, 5]
NUMBER = [0, 1, 5, 1.5]
TEXT = ["abc", "None"]
FIELDS = [[], ["abc"]]
BY_FIELD = [None, {}]
INTERVAL = [None, (1, 2)]  # RecBole reads the text of the tuple, "(1, 2)"


def each(keys, allowed):
    return dict.fromkeys(keys.split(), allowed)


# Which of the pool a key may hold (of a key that another one decides about too, with the other one's default).
ALLOWED = {
    **each(
        "use_gpu reproducibility show_progress save_dataset save_dataloaders shuffle detect_anomaly require_pow "
        "enable_amp enable_scaler valid_metric_bigger normalize_all kg_reverse_r",
        FLAG,
    ),
    **each("epochs worker metric_decimal_place offset local_rank", WHOLE),
    **each("train_batch_size eval_batch_size MAX_ITEM_LIST_LENGTH nproc world_size", COUNT),
    **each("learning_rate weight_decay", NUMBER),
    **each("data_path checkpoint_dir field_separator seq_separator LABEL_FIELD NEG_PREFIX ip", TEXT),
    **each("ITEM_LIST_LENGTH_FIELD LIST_SUFFIX USER_ID_FIELD ITEM_ID_FIELD TIME_FIELD", TEXT),
    **each("HEAD_ENTITY_ID_FIELD TAIL_ENTITY_ID_FIELD RELATION_ID_FIELD ENTITY_ID_FIELD", TEXT),
    **each("dataset_save_path dataloaders_save_path wandb_project", [None, *TEXT]),
    **each("RATING_FIELD POSITION_FIELD", [None, *TEXT]),
    **each("user_inter_num_interval item_inter_num_interval", INTERVAL),
    **each("entity_kg_num_interval relation_kg_num_interval", INTERVAL),
    **each("alias_of_user_id alias_of_item_id normalize_field", [None, []]),
    **each("alias_of_entity_id alias_of_relation_id", [None, *FIELDS]),
    "seq_len": [None, {}, {"abc": 1}],
    **each("preload_weight val_interval discretization unload_col unused_col", BY_FIELD),
    "gpu_id": [None, 0, 1, 5, -1, 10**400, "", *TEXT, (1, 2)],
    "port": [0, 1, 5],
    "seed": WHOLE,
    "state": [None],
    "log_wandb": [None, False, 0],
    "encoding": [None],
    "learner": [],
    "train_neg_sample_args": [None],  # of cross-entropy
    "eval_step": [0, 1, 5, -1],
    "stopping_step": [*NUMBER, 10**400, INF],
    "clip_grad_norm": [None, False, 0, "", [], {}],
    "loss_decimal_place": [None, *WHOLE],
    "transform": [None],
    "eval_args": [],
    "repeatable": FLAG,
    "metrics": [],
    "topk": [],  # without NDCG@10
    "valid_metric": [],
    "tail_ratio": [None, *NUMBER, -1],
    "threshold": [None],
    "numerical_features": [[]],
    "load_col": [None, {}],
    "additional_feat_suffix": [None, *TEXT, *FIELDS],
    "rm_dup_inter": [None],
    "filter_inter_by_user_or_item": [None, True, False],
    "benchmark_filename": [None],
}
#: Whose message may begin with another key, that does not go with the value.
WITH = {"topk": "valid_metric", "metrics": "valid_metric"}

NDCG = {"metrics": ["NDCG"], "valid_metric": "NDCG@10"}
# Values that need more than a kind, by key: what is allowed, and what is not.
MORE = {
    "gpu_id": (["0,1"], [[0, 1]]),
    "state": (["INFO", "error", "Debug"], ["WARN", "loud"]),
    "seed": ([2**32 - 1], [2**32]),
    "encoding": (["utf-8", "latin-1"], ["utf8x"]),
    "learner": (["adam", "AdamW", "sgd", "adagrad", "RMSprop"], ["adm", "sparse_adam", "Sparse_Adam"]),
    "train_batch_size": ([2048], ["64k", -5, 256.0]),
    "learning_rate": ([1e-4], ["1e-3", "abc"]),
    "clip_grad_norm": (
        [{"max_norm": 5}, {"max_norm": 5.0, "norm_type": 2}, {"max_norm": 1, "norm_type": INF}],
        [5, {"norm_type": 2}, {"max_norm": -1}, {"max_norm": 5, "norm_typ": 2}],
    ),
    "transform": (["inverse_itemseq", "user_defined"], ["mask_items"]),
    "eval_args": (
        [
            {"order": "TO"},
            {"order": "TO", "split": {"RS": [8, 1, 1]}, "group_by": "none", "mode": "uni100"},
            {"order": "TO", "split": {"RS": [0.8, 0.2, 0]}, "group_by": None, "mode": {"valid": "pop50"}},
            {"order": "TO", "split": {"LS": "valid_only"}, "mode": {"valid": "full", "test": "uni10"}},
            {"order": "TO", "split": {"LS": "test_only"}, "mode": {}},
        ],
        [
            {"mode": "uni100"},
            {"order": "RO"},
            {"order": "time"},
            {"order": "TO", "split": None},
            {"order": "TO", "split": {"RS": [0.9, 0.1]}},
            {"order": "TO", "split": {"RS": [0, 0.5, 0.5]}},
            {"order": "TO", "split": {"RS": ["a", "b", "c"]}},
            {"order": "TO", "split": {"RS": [0.8, 0.1, -0.1]}},
            {"order": "TO", "split": {"LS": "leave_one_out"}},
            {"order": "TO", "split": {"LS": "valid_and_test", "RS": [8, 1, 1]}},
            {"order": "TO", "split": {"KS": [8, 1, 1]}},
            {"order": "TO", "group_by": "item"},
            {"order": "TO", "mode": "labeled"},
            {"order": "TO", "mode": "uniform100"},
            {"order": "TO", "mode": "uni0"},
            {"order": "TO", "mode": "uni"},
            {"order": "TO", "mode": None},
            {"order": "TO", "mode": {"valid": "uniform100"}},
            {"order": "TO", "mode": {"train": "full"}},
            {"ordre": "TO"},
        ],
    ),
    "train_neg_sample_args": (
        [],
        [
            "uniform",
            {"distribution": "normal"},
            {"sample_num": 0},
            {"distribution": "none"},
            {"distributions": "uniform"},
        ],
    ),
    "metrics": (["ndcg", ["NDCG", "Hit"], ("ndcg", "GAUC")], [["NDCG", "AUC"], ["NDCG", 1], ["Recall"], "[NDCG]"]),
    "topk": ([10, [5, 10], (10, 20)], [5, [5], [10, 0], [10, "5"], "10"]),
    "valid_metric": (["NDCG@10", "ndcg@10"], ["NDCG", "NDCG@5", "AUC", 10]),
    "USER_ID_FIELD": ([], [1e3]),
    "checkpoint_dir": ([Path("saved")], [1e3]),
    "seq_len": ([{"a": 3}], [{"a": 0}, {"a": "3"}]),
    "threshold": ([{"timestamp": 3}], [{"rating": 3}, {"timestamp": "3"}, {"timestamp": 1, "item_id": 2}]),
    "numerical_features": ([["timestamp"]], ["timestamp", [1], ["age"]]),
    "load_col": (
        [{"inter": ["user_id", "item_id", "timestamp"], "item": "*"}, {"inter": "*"}],
        [["user_id"], {"inter": "user_id"}, {"inter": None}, {"inter": [1]}],
    ),
    "unload_col": ([{"item": ["class"]}], [["a"], {"inter": ["a"]}, {"item": "class"}]),
    "unused_col": ([{"inter": ["timestamp"]}], [{"item": ["class"]}, {"iter": ["a"]}, {"inter": "timestamp"}]),
    "rm_dup_inter": (["first", "last"], ["middle", True, False]),
    "val_interval": (
        [{"timestamp": "[1,inf)"}, {"timestamp": "[1,2];(4,5]"}, {"item_id": ["a", "b"]}],
        [{"timestamp": "1"}, {"timestamp": "[2,1]"}, {"rating": "[1,2]"}, {"timestamp": 4}],
    ),
    "user_inter_num_interval": (
        ["[5,inf)", "(1,3];[7,9]", [5, 10]],
        ["5", "[5,4]", "[5]", "5,inf", "[a,b]", "[nan,1]"],
    ),
    "alias_of_item_id": ([["item_id"]], ["item_id", ["ent_id"]]),
    "preload_weight": ([{"item_id": "timestamp"}], [{"ent_id": "ent_emb"}, ["item_id"], {"item_id": 1}]),
    "normalize_field": ([["timestamp"]], ["timestamp", ["rating"]]),
    "discretization": (
        [],
        [{"timestamp": {"method": "ED", "bucket": 4}}, {"a": {"method": "XD"}}, {"a": {"bucket": 4}}, {"a": "ED"}],
    ),
    "benchmark_filename": ([["train", "valid", "test"]], ["train", ["train", "test"]]),
    "port": (["5678"], ["http", -1]),
}

# What does not go together: (model, settings, the key that the message begins with).
PARTNERS = [
    ("EC4SRec", {"guided_negatives": "hard", "view_loss": "recommendation"}, "guided_negatives"),
    ("EC4SRec", {"mask_same_target": 1}, "mask_same_target"),
    ("EC4SRec", {"mask_same_target": True, "same_target": "positive"}, "mask_same_target"),
    ("SASRec", {"topk": [5]}, "valid_metric"),
    ("SASRec", {"valid_metric": "MAP@10"}, "valid_metric"),
    ("SASRec", {"metrics": ["AUC"], "valid_metric": "AUC"}, "eval_args.mode"),
    ("SASRec", {"hidden_size": 10, "n_heads": 3}, "n_heads"),
    ("CORE", {"embedding_size": 10, "n_heads": 3}, "n_heads"),
    ("AutoInt", {"threshold": {"item_id": 1}, "attention_size": 10, "num_heads": 3}, "num_heads"),
    ("EC4SRec", {"hidden_size": 10, "n_heads": 3}, "n_heads"),
    ("EC4SRec", {"loss_type": "BPR", "train_neg_sample_args": None}, "train_neg_sample_args"),
    ("SASRec", {"loss_type": "BPR", "train_neg_sample_args": None}, "train_neg_sample_args"),
    ("SASRec", {"loss_type": "BPR", "train_neg_sample_args": {"distribution": None}}, "train_neg_sample_args"),
    ("BPR", {"train_neg_sample_args": None}, "train_neg_sample_args"),
    ("BPR", {"train_neg_sample_args": {"dynamic": True}}, "train_neg_sample_args"),
    ("BPR", {"transform": "mask_itemseq"}, "transform"),
    ("SASRec", {"transform": "mask_itemseq"}, "mask_ratio"),
    ("SASRec", {"transform": "reorder_itemseq"}, "beta"),
    ("SASRec", {"transform": "crop_itemseq"}, "eta"),
    ("SASRec", {"USER_ID_FIELD": None, "ITEM_ID_FIELD": None}, "USER_ID_FIELD"),
    ("BPR", {"USER_ID_FIELD": None}, "USER_ID_FIELD"),
    ("SASRec", {"normalize_field": ["item_id"], "normalize_all": True}, "normalize_all"),
    ("SASRec", {"numerical_features": ["item_id"], "discretization": {"item_id": {"method": "ED"}}}, "discretization"),
    ("SASRec", {"load_col": {"inter": ["a"]}, "unload_col": {"inter": ["b"]}}, "unload_col"),
    ("SHAN", {"short_item_length": 9, "MAX_ITEM_LIST_LENGTH": 8}, "short_item_length"),
    ("S3Rec", {"train_stage": "finetune"}, "pre_model_path"),
    ("NeuMF", {"use_pretrain": True}, "mf_pretrain_path"),
    ("FM", {}, "eval_args.mode"),
    (
        "GRU4RecKG",
        {
            "eval_args": {"order": "TO", "split": {"LS": "valid_and_test"}},
            "preload_weight": {"ent_id": "ent_emb"},
            "load_col": {"inter": ["user_id"], "ent": ["ent_id", "ent_emb"]},
        },
        "alias_of_item_id",
    ),
    ("SASRec", {"log_wandb": True}, "log_wandb"),
]
# What goes together, and looks as if it did not.
TOGETHER = [
    ("SASRec", {"topk": [5], "eval_step": 0}),
    ("SASRec", {"valid_metric": "GAUC", "metrics": ["GAUC", "NDCG"]}),
    ("SASRec", {"loss_type": "BPR"}),
    ("SASRec", {"loss_type": "BPR", "train_neg_sample_args": {"sample_num": 2}}),
    ("SASRec", {"loss_type": "BPR", "train_neg_sample_args": {"distribution": "popularity", "alpha": 0.5}}),
    ("EC4SRec", {"loss_type": "BPR"}),
    ("EC4SRec", {"mask_same_target": True, "same_target": "ignored"}),
    ("GRU4Rec", {"n_heads": 7, "hidden_size": 64}),
    ("MultiVAE", {"train_neg_sample_args": None}),
    ("NeuMF", {"train_neg_sample_args": None}),
    ("BPR", {"train_neg_sample_args": {"dynamic": True, "candidate_num": 2}}),
    ("SASRec", {"transform": "mask_itemseq", "mask_ratio": 0.2}),
    ("SASRec", {"tau": "abc", "backbone": 7, "cin_layer_size": None}),  # of other models
    ("BPR", {"USER_ID_FIELD": None, "ITEM_ID_FIELD": None}),
    ("BPR", {"eval_args": {"order": "RO", "split": {"RS": [8, 1, 1]}}, "repeatable": False}),
    ("FM", {"threshold": {"item_id": 1}}),
    ("DIN", {}),
    ("SASRec", {"val_interval": {"rating": "[3,inf)"}, "load_col": None}),
    ("GRU4RecKG", {"eval_args": {"order": "TO", "split": {"LS": "valid_and_test"}}}),
]

# RecBole's own defaults that cannot run without settings of the user's, as its documentation tells.
NEED = {
    **each("GRU4RecKG KSR", {"eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO"}}),
    "context": {"threshold": {"item_id": 1}},
}
#: Where RecBole's comment tells another type than its source takes, or the value goes to another library.
OTHERWISE = {
    "xgb_params",
    "lgb_params",
    "xgb_verbose_eval",
    "xgb_model",
    "fields",
    "reranker_CAN_NUM",
    "ind",
    "use_proj_bias",
}
OTHERWISE |= {"w_max", "w_min", "noise_scale", "noise_min", "noise_max", "topk_factor", "order_list", "negative_weight"}
OTHERWISE |= {"split_to", "lgb_early_stopping_rounds", "xgb_nthread", "xgb_silent", "reg_weight", "global_ratio"}
#: What no value of RecBole's documented type may be, by the type.
WRONG = {
    "int": ["abc", 1.5, [1], {}, None, True, INF],
    "float": ["abc", [1.0], {}, None, True, NAN, INF],
    "bool": ["abc", 2, [True], 1.5],
    "str": [1, ["abc"], {}],
    "list of int": ["abc", 1, {}, ["abc"], [1.5], [0], None],
    "list of float": ["abc", 1.0, {}, ["abc"], [NAN], None],
    "list of str": ["abc", 1, {}, [1], None],
}


def config_of(model="SASRec", **given):
    return Config(model, "no-such-data", config_dict=given)


class Tried:
    """What became of settings: refused in words that begin with the key, passed, or a traceback."""

    def __init__(self):
        self.number, self.tracebacks, self.passed, self.refused = 0, [], [], []

    def __call__(self, function, key, told, wrong):
        self.number += 1
        try:
            function()
        except ConfigError as error:
            if not wrong:
                self.refused.append(f"{told}: {error}")
            elif not str(error).startswith((f"{key}: ", f"{key}.", f"{WITH.get(key, key)}: ")):
                self.tracebacks.append(f"{told}: {error}")
        except Exception as error:
            self.tracebacks.append(f"{told}: {type(error).__name__}: {error}")
        else:
            if wrong:
                self.passed.append(told)

    def __str__(self):
        return (
            f"{self.number} values tried, {len(self.tracebacks)} end in a traceback or in words about something else, "
            f"{len(self.passed)} pass that should not, {len(self.refused)} are refused that should not"
        )


def allows(key, value):
    """Whether ALLOWED has a value of the pool for a key; 1 is not True there."""
    return any(value is each or (type(value) is type(each) and value == each) for each in ALLOWED[key])


def try_general():
    """All of the pool, and what stands in MORE, as values of RecBole's general keys; what passes goes on to RecBole."""
    tried = Tried()
    base = config_of(load_col={"inter": ["user_id", "item_id", "timestamp"]}, **NDCG)
    base["train_neg_sample_args"] = None  # as it was before RecBole filled it in
    given = {key: (ALLOWED[key], [value for value in POOL if not allows(key, value)]) for key in GENERAL}
    for values in (given, MORE):
        for key, (right, wrong) in values.items():
            for value in [*right, *wrong]:
                final = {**copy.deepcopy(base.final_config_dict), key: copy.deepcopy(value)}
                told = f"{key}={value!r}"[:80]
                tried(lambda final=final: _as_in_recbole(base, final), key, told, any(value is each for each in wrong))
    return tried


def _as_in_recbole(base, final):
    recbole_keys.validate(final, base.model, base.final_config_dict["MODEL_TYPE"])
    config = copy.copy(base)
    config.final_config_dict = final
    config._set_default_parameters()
    config._set_train_neg_sample_args()
    for phase in ("valid", "test"):
        config._set_eval_neg_sample_args(phase)


def try_models():
    """Values of another type than RecBole documents for each key of each of its models, and its defaults."""
    tried = Tried()
    for file in sorted((THEIRS / "properties" / "model").glob("*.yaml")):
        rules, text = of_model(file.stem), file.read_text(encoding="utf-8")
        for key, default in (yaml.load(text, Loader=Config._build_yaml_loader(None)) or {}).items():
            if key in GENERAL:
                continue
            tried(lambda k=key, d=default, r=rules: _check(k, d, r), key, f"{file.stem}: {key}={default!r}", False)
            documented = re.search(rf"^{re.escape(key)}:[^#\n]*#\s*\(([\w ]+?)( or None)?\)", text, re.M)
            if documented and key not in OTHERWISE:
                for value in WRONG[documented[1].replace("string", "str")]:
                    told = f"{file.stem}: {key}={value!r}"
                    if documented[2] and value is None:
                        continue
                    tried(lambda k=key, v=value, r=rules: _check(k, v, r), key, told, True)
    return tried


def _check(key, value, rules):
    recbole_keys.check(key, value, rules[key])


def try_ours():
    """The wrong values of our keys."""
    tried = Tried()
    settings = config_of("EC4SRec").final_config_dict
    for key, values in BAD.items():
        for value in values:
            given = {**settings, key: value}
            tried(lambda given=given: validate_ours(given), key, f"{key}={value!r}", True)
    return tried


def validate_ours(settings):
    from recbole_ec4srec.config.keys import validate_common

    if None in (
        settings["ddp_backend"],
        settings["log_mlflow"],
        settings["resume"],
        settings["train_on"],
    ):  # which RecBole's own models have not
        return validate("EC4SRec", settings)
    validate_common(settings)
    return validate("EC4SRec", settings)


def try_partners():
    tried = Tried()
    for model, settings, key in PARTNERS:
        tried(lambda m=model, s=settings: config_of(m, **copy.deepcopy(s)), key, f"{model}: {settings}", True)
    for model, settings in TOGETHER:
        tried(lambda m=model, s=settings: config_of(m, **copy.deepcopy(s)), "", f"{model}: {settings}", False)
    return tried


TABLES = {
    "RecBole's general keys": (try_general, lambda: len(GENERAL)),
    "the keys of RecBole's models": (try_models, lambda: len({key for m in models() for key in of_model(m)})),
    "our keys": (try_ours, lambda: len(BAD)),
    "keys that need each other": (try_partners, lambda: len({key for *_, key in PARTNERS})),
}


def models():
    return [file.stem for file in sorted((THEIRS / "properties" / "model").glob("*.yaml"))]


def summary():
    """What docs/errors.md tells of the tables."""
    return [f"- {title} ({keys()}): {tables()}" for title, (tables, keys) in TABLES.items()]


def free():
    """The keys of which any text that is not empty, or any value, is right."""
    rules = {**GENERAL, **{key: rule for model in models() for key, rule in of_model(model).items()}}
    loose = [key for key, rule in rules.items() if str(rule) in ("a text", "a path", "anything")]
    return ", ".join(f"`{key}`" for key in loose)


if __name__ == "__main__":
    for title, (make, keys) in TABLES.items():
        tried = make()
        print(f"{title} ({keys()}): {tried}")
        for kind in ("tracebacks", "passed", "refused"):
            for line in getattr(tried, kind):
                print(f"  {kind}: {line}")
