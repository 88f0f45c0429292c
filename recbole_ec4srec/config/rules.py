"""What a setting may hold: kinds of rules, each of which reads a value and tells in words what it allows."""

from __future__ import annotations

import difflib
import functools
import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable

from recbole_ec4srec.errors import ConfigError


class _PartRefused(ValueError):
    """A part of a dict is refused, with the function that tells so of the dict's key."""


@dataclass(frozen=True)
class Number:
    """A number between ``low`` and ``high``; the bounds themselves are allowed unless ``above`` is set."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    integer: bool = False

    def parse(self, value):
        if isinstance(value, bool) or not isinstance(value, numbers.Integral if self.integer else numbers.Real):
            raise ValueError
        if not math.isfinite(value) or value > self.high or (value <= self.low if self.above else value < self.low):
            raise ValueError
        return value

    def __str__(self):
        bounds = [f"{'>' if self.above else '>='} {self.low:.12g}"] if self.low > -math.inf else []
        bounds += [f"<= {self.high:.12g}"] if self.high < math.inf else []
        return " ".join(["an integer" if self.integer else "a number", " and ".join(bounds)]).strip()


@dataclass(frozen=True)
class Words:
    """A list of distinct words out of those that ``words()`` gives; ``a,b`` and ``[a,b]`` from the command line are
    read as lists."""

    words: Callable
    empty: bool = False

    def parse(self, value):
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
        return f"a list of distinct words out of [{', '.join(self.words())}]" + (
            " (may be empty)" if self.empty else ""
        )


@dataclass(frozen=True)
class Value:
    """A value of one type, or of one of several, that passes a test, as told in words."""

    kind: Any
    told: str
    passes: Callable = lambda value: True

    def parse(self, value):
        if not isinstance(value, self.kind) or not self.passes(value):
            raise ValueError
        return value

    def __str__(self):
        return self.told


@dataclass(frozen=True)
class Either:
    """What one of several rules allows."""

    rules: tuple

    def parse(self, value):
        for rule in self.rules:
            try:
                return rule.parse(value)
            except _PartRefused:
                raise
            except (ValueError, TypeError, OverflowError):
                continue
        raise ValueError

    def __str__(self):
        return ", or ".join(map(str, self.rules))


@dataclass(frozen=True)
class ListOf:
    """A list of what a rule allows, of ``size`` where that is given; a tuple becomes a list."""

    rule: Any
    size: int | None = None
    empty: bool = False

    def parse(self, value):
        if not isinstance(value, (list, tuple)) or not (value or self.empty):
            raise ValueError
        if self.size is not None and len(value) != self.size:
            raise ValueError
        return [self.rule.parse(each) for each in value]

    def __str__(self):
        size = "" if self.size is None else f" {self.size}:"
        return f"a list of{size} {self.rule}" + (" (may be empty)" if self.empty else "")


@dataclass(frozen=True)
class DictOf:
    """A dict by names of the user's; ``named`` says what they are, and ``size`` how many there are."""

    rule: Any
    named: str
    size: int | None = None

    def parse(self, value):
        if not isinstance(value, Mapping) or any(not isinstance(name, str) for name in value):
            raise ValueError
        if self.size is not None and len(value) != self.size:
            raise ValueError
        return {name: self.rule.parse(each) for name, each in value.items()}

    def __str__(self):
        size = "" if self.size is None else f" of {self.size}"
        return f"a dict{size}, {self.named}: {self.rule}"


@dataclass(frozen=True)
class Parts:
    """A dict of a few known keys, each with a rule; those of ``needed`` have to be there."""

    rules: dict
    needed: tuple = ()

    def parse(self, value):
        if not isinstance(value, Mapping) or any(name not in value for name in self.needed):
            raise ValueError
        for name, part in value.items():
            try:
                self.rules[name].parse(part)
            except KeyError:
                raise _PartRefused(functools.partial(self._refuse_name, name)) from None
            except (ValueError, TypeError, OverflowError):
                raise _PartRefused(functools.partial(self._refuse_part, name, part)) from None
        return value

    def _refuse_name(self, name, key):
        raise unknown(f"{key}.{name}", [f"{key}.{known}" for known in self.rules])

    def _refuse_part(self, name, part, key):
        refuse(f"{key}.{name}", part, self.rules[name])

    def __str__(self):
        needed = [f"{name}: {rule}" for name, rule in self.rules.items() if name in self.needed]
        others = ", ".join(name for name in self.rules if name not in self.needed)
        return " ".join(["a dict with", *needed, f"and perhaps {others}" if needed else f"some of {others}"])


def one_of(*words) -> Value:
    return Value(str, "one of " + ", ".join(words), words.__contains__)


def nearest(key: str, known, cutoff: float = 0.6) -> str | None:
    """The known key whose spelling is next to ``key``, in capitals or not."""
    lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(key.lower(), lower, n=1, cutoff=cutoff)
    return lower[close[0]] if close else None


def unknown(key: str, known) -> ConfigError:
    close = nearest(key, known)
    return ConfigError(f"{key}: no such key" + (f"; did you mean {close}?" if close else ""))


def refuse(key: str, value, allowed):
    raise ConfigError(f"{key}: got {value!r}, allowed is {allowed}")


def check(key: str, value, rule):
    """The value of a key in its normal form.

    Raises:
        ConfigError: the rule does not allow it; the key, the value and what is allowed are told.
    """
    try:
        return rule.parse(value)
    except _PartRefused as error:
        error.args[0](key)
    except (ValueError, TypeError, OverflowError):
        refuse(key, value, rule)


#: True or False, and nothing else.
FLAG = Value(bool, "True or False")
