"""docs/keys.md: every key of ours with its default, what is allowed and what it does.

``python tools/keys_page.py > docs/keys.md`` writes the page.
"""

import yaml

from recbole_ec4srec.config.keys import KEYS
from recbole_ec4srec.config.properties import properties_dir
from recbole_ec4srec.config.rules import FLAG
from recbole_ec4srec.reporting.markdown import markdown_table

RULES = {**KEYS, "detect_anomaly": FLAG}  # RecBole 1.2.1 reads it and has no default for it

DESCRIPTIONS = {
    "Encoder": {
        "backbone": "RecBole's class that encodes sequences, with RecBole's settings for it; [list](backbones.md)",
    },
    "Views": {
        "augmentations": "operators that make positive views, random and guided (Table 5 leaves one out)",
        "negative_augmentations": "operators that make negative views",
        "mu_c": "random crop keeps max(1, floor(mu_c · n)) of n items",
        "mu_m": "random mask hides floor(mu_m · n) items",
        "mu_r": "random reorder shuffles floor(mu_r · n) adjacent items",
        "mu_e": "guided operators act on floor(mu_e · n) items",
        "importance_scope": "`context`: the last item is not ranked; positive views keep it, negative ones lose it; "
        "[formula](method.md#beyond-the-paper)",
        "ertrl_score": "whose importance scores weight the candidates of guided retrieval (ertrl+)",
        "ertrl_max_candidates": "number of candidates that guided retrieval draws from, at most; limits memory",
    },
    "Losses": {
        "sim": "similarity of representations: inner product or cosine",
        "tau": "temperature of L_sl and L_sl+",
        "tau_cl": "temperature of L_cl, L_cl+ and L_cl-",
        "lambda": "weight of L_cl and L_sl in the warm-up",
        "lambda_cl_pos": "weight of L_cl+",
        "lambda_cl_neg": "weight of L_cl-",
        "lambda_sl_pos": "weight of L_sl+",
        "view_loss": "`recommendation` is a control: positive views are additional training data",
        "second_pass": "compute h_u of L_sl and L_sl+ in a second forward pass, with another dropout mask",
        "guided_negatives": "`hard`: negative views are further negatives in L_cl+, and there is no L_cl-; "
        "[formula](method.md#beyond-the-paper)",
        "tau_neg": "temperature of negative views with `guided_negatives: hard`",
        "same_target": "what sequences of the batch with the same next item are for each other; "
        "[formula](method.md#beyond-the-paper)",
    },
    "Schedule": {
        "warmup": "contrastive losses before the first importance update",
        "num_updates": "number p of importance updates, at epochs l · floor(N / (p + 1)) of N; at most epochs - 1",
        "update_epochs": "the epochs of the updates as a list, instead of `num_updates`",
    },
    "Explanation": {
        "explainer": "the explanation method; [list](own_explainer.md#built-in-explainers)",
        "oracle_scores": "scores of `explainer: oracle`: a field of the interactions, or a file",
        "explain_target": "whose score is explained: the item ranked first, the true next item, or the highest score "
        "after each perturbation",
        "explain_output": "what is explained: the logit, or the probability under the softmax over all items",
        "explain_batch_size": "perturbed sequences encoded at a time; changes memory, not the result",
    },
    "Training": {
        "train_on": "`sequences`: one pass over a user's sequence represents all its prefixes; "
        "[details](running.md#train-on-sequences)",
        "ddp_backend": "how several processes communicate; [details](running.md#several-processes)",
        "log_mlflow": "tell MLflow of the training; [details](running.md#tracking)",
        "resume": "resume an interrupted training after the last completed epoch; "
        "[details](running.md#resume-an-interrupted-training)",
        "detect_anomaly": "PyTorch's anomaly detection, for debugging; slow. RecBole 1.2.1 switches it on by accident",
    },
}

PAGE = """# Configuration keys

Written by `python tools/keys_page.py`. These are the keys of this package. They are set like
[RecBole's own](https://recbole.io/docs/user_guide/config_settings.html): `--key=value`, a YAML file or `config_dict`.
The defaults are those of EC4SRec; `properties/model/` has the files, with a longer comment for each key.

A value that is not allowed, a combination that cannot work, and an unknown key end in an error before the data is
loaded. This includes RecBole's keys. `recbole_ec4srec.register_keys` adds keys that your own code reads."""


def page():
    defaults = yaml.safe_load((properties_dir() / "model" / "EC4SRec.yaml").read_text(encoding="utf-8"))
    lines = [PAGE]
    for title, keys in DESCRIPTIONS.items():
        rows = [[f"`{key}`", _shown(defaults[key]), _escaped(RULES[key]), does] for key, does in keys.items()]
        lines += ["", f"## {title}", "", *markdown_table(["key", "default", "allowed", "what it does"], rows)]
    return "\n".join(lines) + "\n"


def _shown(default):
    text = f"[{', '.join(default)}]" if isinstance(default, list) else str(default)
    return f"`{text}`" if text else ""


def _escaped(rule):
    return str(rule).replace("<", "\\<")  # Markdown would take captum:<Class> for a tag


if __name__ == "__main__":
    print(page(), end="")
