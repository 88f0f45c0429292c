"""What a setting may hold: kinds of rules, each of which reads a value and says in words what it allows."""

from __future__ import annotations

import difflib
import math
import numbers
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Callable, NoReturn

from recbole_ec4srec.errors import ConfigError


class _PartRefused(ValueError):
    """A part of a dict is not allowed: its name, its value, and the rules of all parts."""


class Rule:
    """What a setting may hold; ``str(rule)`` says it in words."""

    def parse(self, value: Any) -> Any:
        """The value in its normal form.

        Raises:
            ValueError: the rule does not allow it.
        """
        try:
            return self._parse(value)
        except (TypeError, OverflowError) as error:
            raise ValueError from error

    def _parse(self, value):
        raise NotImplementedError


@dataclass(frozen=True)
class Number(Rule):
    """A number between ``low`` and ``high``; the bounds themselves are allowed unless ``above`` is set."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    integer: bool = False

    def _parse(self, value):
        is_number = isinstance(value, numbers.Integral if self.integer else numbers.Real)
        if not is_number or isinstance(value, bool) or not math.isfinite(value):
            raise ValueError
        if value > self.high or (value <= self.low if self.above else value < self.low):
            raise ValueError
        return value

    def __str__(self):
        bounds = [f"{'>' if self.above else '>='} {self.low:.12g}"] if self.low > -math.inf else []
        bounds += [f"<= {self.high:.12g}"] if self.high < math.inf else []
        return " ".join(["an integer" if self.integer else "a number", " and ".join(bounds)]).strip()


@dataclass(frozen=True)
class Words(Rule):
    """A list of distinct words of ``words()``; the texts ``a,b`` and ``[a,b]`` of a command line are lists too."""

    words: Callable[[], Iterable[str]]
    empty: bool = False

    def _parse(self, value):
        if value is None:
            value = []
        if isinstance(value, str):
            value = [word.strip(" '\"") for word in value.strip("[] ").split(",") if word.strip()]
        if not isinstance(value, (list, tuple)) or any(word not in self.words() for word in value):
            raise ValueError
        if len(set(value)) != len(value) or not (value or self.empty):
            raise ValueError
        return list(value)

    def __str__(self):
        words = ", ".join(self.words())
        return f"a list of distinct words out of [{words}]{' (may be empty)' if self.empty else ''}"


@dataclass(frozen=True)
class Value(Rule):
    """A value of one type, or of one of several, that passes a test; ``words`` say what is allowed."""

    kind: type | tuple[type, ...]
    words: str
    passes: Callable[[Any], bool] = lambda value: True

    def _parse(self, value):
        if not isinstance(value, self.kind) or not self.passes(value):
            raise ValueError
        return value

    def __str__(self):
        return self.words


@dataclass(frozen=True)
class Either(Rule):
    """What one of several rules allows."""

    rules: tuple[Rule, ...]

    def _parse(self, value):
        for rule in self.rules:
            try:
                return rule.parse(value)
            except _PartRefused:
                raise
            except ValueError:
                continue
        raise ValueError

    def __str__(self):
        return ", or ".join(map(str, self.rules))


@dataclass(frozen=True)
class ListOf(Rule):
    """A list of what a rule allows, of ``size`` values where that is given; a tuple becomes a list."""

    rule: Rule
    size: int | None = None
    empty: bool = False

    def _parse(self, value):
        if not isinstance(value, (list, tuple)) or not (value or self.empty):
            raise ValueError
        if self.size is not None and len(value) != self.size:
            raise ValueError
        return [self.rule.parse(each) for each in value]

    def __str__(self):
        size = "" if self.size is None else f" {self.size}:"
        return f"a list of{size} {self.rule}" + (" (may be empty)" if self.empty else "")


@dataclass(frozen=True)
class DictOf(Rule):
    """A dict whose keys the user names; ``named`` says what they are, and ``size`` how many there are."""

    rule: Rule
    named: str
    size: int | None = None

    def _parse(self, value):
        if not isinstance(value, Mapping) or any(not isinstance(name, str) for name in value):
            raise ValueError
        if self.size is not None and len(value) != self.size:
            raise ValueError
        return {name: self.rule.parse(each) for name, each in value.items()}

    def __str__(self):
        size = "" if self.size is None else f" of {self.size}"
        return f"a dict{size}, {self.named}: {self.rule}"


@dataclass(frozen=True)
class Parts(Rule):
    """A dict of a few known keys, each with a rule; those in ``needed`` have to be there."""

    rules: dict[str, Rule]
    needed: tuple[str, ...] = ()

    def _parse(self, value):
        if not isinstance(value, Mapping) or any(name not in value for name in self.needed):
            raise ValueError
        for name, part in value.items():
            try:
                self.rules[name].parse(part)
            except (KeyError, ValueError):
                raise _PartRefused(name, part, self.rules) from None
        return value

    def __str__(self):
        needed = [f"{name}: {rule}" for name, rule in self.rules.items() if name in self.needed]
        others = ", ".join(name for name in self.rules if name not in self.needed)
        return " ".join(["a dict with", *needed, f"and perhaps {others}" if needed else f"some of {others}"])


def one_of(*words: str) -> Value:
    """A rule that allows these words."""
    return Value(str, "one of " + ", ".join(words), words.__contains__)


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known name whose spelling is nearest to ``name``, in capitals or not; None if none is as similar as
    ``cutoff`` (from 0 to 1, as :mod:`difflib` measures it)."""
    lower = {other.lower(): other for other in known}
    close = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=cutoff)
    return lower[close[0]] if close else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a message that refuses ``name``: the nearest known one, if there is one."""
    close = nearest(name, known)
    return f"; did you mean {close}?" if close else ""


def unknown(key: str, known: Iterable[str]) -> ConfigError:
    """The error for a key that does not exist."""
    return ConfigError(f"{key}: no such key{did_you_mean(key, known)}")


def refuse(key: str, value: Any, allowed: Any) -> NoReturn:
    """Say that a value is not allowed.

    Raises:
        ConfigError: always.
    """
    raise ConfigError(f"{key}: got {value!r}, allowed is {allowed}")


def check(key: str, value: Any, rule: Rule) -> Any:
    """The value of a key in its normal form.

    Raises:
        ConfigError: the rule does not allow it; the message has the key, the value and what is allowed.
    """
    try:
        return rule.parse(value)
    except _PartRefused as refused:
        name, part, rules = refused.args
        if name not in rules:
            raise unknown(f"{key}.{name}", [f"{key}.{known}" for known in rules]) from None
        refuse(f"{key}.{name}", part, rules[name])
    except ValueError:
        refuse(key, value, rule)


#: True or False, and nothing else.
FLAG = Value(bool, "True or False")
