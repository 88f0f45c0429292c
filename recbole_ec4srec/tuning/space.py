"""The space of a search, from a file in RecBole's format, and points of it."""

from __future__ import annotations

import ast
import itertools
import json
import math
import random
from pathlib import Path
from typing import Any

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


def points(space: Space, algo: str, max_evals: int, seed: int) -> list[dict]:
    """The points that Ray tries, in order: all of them, shuffled (``exhaustive``), or some (``random``).

    The same seed gives the same points, and more of them with a larger ``max_evals``.
    """
    rng = random.Random(seed)
    if algo == "exhaustive":
        every = [dict(zip(space, point)) for point in itertools.product(*(values for _, values in space.values()))]
        rng.shuffle(every)
    else:
        every = [{name: draw(*parameter, rng) for name, parameter in space.items()} for _ in range(max_evals)]
    return list({name_of_point(point): point for point in every}.values())


def draw(kind: str, values: list, rng: random.Random) -> Any:
    """A value of a parameter, drawn as RecBole's hyperopt draws one."""
    if kind == "choice":
        return rng.choice(values)
    low, high, *step = values
    value = rng.uniform(low, high)
    if step:
        return round(value / step[0]) * step[0]
    return math.exp(value) if kind == "loguniform" else value


def name_of_point(point: dict) -> str:
    """The same text for the same values, in any order."""
    return json.dumps(point, sort_keys=True)
