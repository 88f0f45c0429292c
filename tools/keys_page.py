"""docs/keys.md: every key of ours with its default, what is allowed and what it does.

``python tools/keys_page.py > docs/keys.md`` writes the page.
"""

import re

import yaml

from recbole_ec4srec.config.keys import KEYS
from recbole_ec4srec.config.properties import properties_dir
from recbole_ec4srec.config.rules import FLAG
from recbole_ec4srec.reporting.markdown import markdown_table

DEFAULTS = (properties_dir() / "model" / "EC4SRec.yaml").read_text(encoding="utf-8")
RULES = {**KEYS, "detect_anomaly": FLAG}  # RecBole 1.2.1 reads it and has no default for it

#: Where more is said of a key.
LINKS = {
    "backbone": "[list](backbones.md)",
    **dict.fromkeys(["importance_scope", "guided_negatives", "same_target"], "[formula](method.md#beyond-the-paper)"),
    "explainer": "[list](own_explainer.md#built-in-explainers)",
    "train_on": "[details](running.md#train-on-sequences)",
    "ddp_backend": "[details](running.md#several-processes)",
    "log_mlflow": "[details](running.md#tracking)",
    "resume": "[details](running.md#resume-an-interrupted-training)",
}

PAGE = """# Configuration keys

Written by `python tools/keys_page.py`. These are the keys of this package. They are set like
[RecBole's own](https://recbole.io/docs/user_guide/config_settings.html): `--key=value`, a YAML file or `config_dict`.
Defaults and texts are those of `properties/model/EC4SRec.yaml`; the other files there have what differs.

A value that is not allowed, a combination that cannot work, and an unknown key end in an error before the data is
loaded. This includes RecBole's keys. `recbole_ec4srec.register_keys` adds keys that your own code reads."""


def described():
    """What the comments of the defaults say of our keys, ``{heading: {key: text}}``; what is allowed is left out."""
    sections, key, blank = {}, None, True
    for line in DEFAULTS.splitlines():
        if heading := blank and re.match(r"# (.+?)(\. |\.?$)", line):
            sections[heading[1]] = section = {}
        elif begun := re.match(r"(\w+):.*?# \([\w ]+\) (.*)", line):
            key, section[begun[1]] = begun[1], begun[2]
        elif more := re.match(r"\s+#\s+(.*)", line):
            section[key] += f" {more[1]}"
        blank = not line
    ours = {
        title: {key: re.sub(r" Range: .*", "", text) for key, text in section.items() if key in RULES}
        for title, section in sections.items()
    }
    return {title: section for title, section in ours.items() if section}


def page():
    defaults, lines = yaml.safe_load(DEFAULTS), [PAGE]
    for title, section in described().items():
        rows = [
            [
                f"`{key}`",
                _shown(defaults[key]),
                _escaped(RULES[key]),
                " ".join([_escaped(text), *LINKS.get(key, "").split()]),
            ]
            for key, text in section.items()
        ]
        lines += ["", f"## {title}", "", *markdown_table(["key", "default", "allowed", "what it does"], rows)]
    return "\n".join(lines) + "\n"


def _shown(default):
    text = f"[{', '.join(default)}]" if isinstance(default, list) else str(default)
    return f"`{text}`" if text else ""


def _escaped(rule):
    return str(rule).replace("<", "\\<")  # Markdown would take captum:<Class> for a tag


if __name__ == "__main__":
    print(page(), end="")
