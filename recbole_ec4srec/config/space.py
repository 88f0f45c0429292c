"""The space of a search, from a file in RecBole's format: the user's, or the paper's for a model."""

from __future__ import annotations

import ast
import json
import math
from pathlib import Path

from recbole_ec4srec.config.properties import properties_dir
from recbole_ec4srec.config.variants import canonical_name
from recbole_ec4srec.errors import ConfigError

#: The kind and the values of each parameter, by its name.
Space = dict[str, tuple[str, list]]

#: The kinds of parameters in RecBole's format, with the form of their values.
KINDS = {
    "choice": "a list of values, such as [0.1,0.2]",
    "uniform": "low,high",
    "quniform": "low,high,step",
    "loguniform": "low,high: the value is e to the power of a number between them",
}


def read_space(file: str | Path) -> Space:
    """The search space of a file in RecBole's format, ``name kind values`` on each line.

    Returns:
        The kind and the values of each parameter, by its name.

    Raises:
        ConfigError: a line has another format; the message names the file, the line and what is allowed.
    """
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"params_file: {file} cannot be read ({error})") from None
    space: Space = {}
    for number, line in enumerate(lines, 1):
        words, where = line.split(None, 2), f"{file}, line {number}"
        if not words or words[0].startswith("#"):
            continue
        if len(words) < 3 or words[1] not in KINDS:
            raise ConfigError(f"{where}: got {line!r}, allowed is: name kind values, of kind {', '.join(KINDS)}")
        name, kind, text = words
        if name in space:
            raise ConfigError(f"{where}: {name} is there already")
        try:
            space[name] = (kind, _values(kind, text))
        except (ValueError, TypeError, SyntaxError, RecursionError):
            raise ConfigError(f"{where}: {name}: got {text!r}, allowed for {kind} is {KINDS[kind]}") from None
    if not space:
        raise ConfigError(f"params_file: {file} has no parameter")
    return space


def _values(kind: str, text: str) -> list:
    values = ast.literal_eval(text)
    if kind == "choice":
        if not isinstance(values, (list, tuple)) or not values:
            raise ValueError
    else:
        low, high, *step = values
        numbers = all(isinstance(value, (int, float)) and math.isfinite(value) for value in values)
        if not numbers or low >= high or len(step) != (kind == "quniform") or any(size <= 0 for size in step):
            raise ValueError
    return json.loads(json.dumps(values))


def whole(kind: str, values: list) -> bool:
    """Whether a parameter is a range of whole numbers."""
    return kind == "quniform" and all(isinstance(value, int) for value in values)


def shipped_space(model: str | None) -> Path:
    """The file with the paper's space for a model (section 5.1.4).

    Raises:
        ConfigError: there is none.
    """
    folder = properties_dir() / "hyper"
    file = folder / f"{canonical_name(model)}.test"
    if not file.is_file():
        models = ", ".join(sorted(file.stem for file in folder.iterdir()))
        raise ConfigError(f"params_file: missing; without it --model has to be one of {models}")
    return file
