"""Errors that a user can correct: the message says in one line what is wrong, where, and what to do.

A message quotes files, whose text must not control the terminal that shows it: see :func:`printable`.
"""

from __future__ import annotations

import importlib.util


def printable(text: str, lines: bool = False) -> str:
    """``text`` with an escape such as ``\\x1b`` for each character that acts on the terminal or page that shows it.

    These are the control characters (C0, DEL and C1, so all sequences that move a terminal's cursor or change its
    title), those that change the direction of what follows (U+202A to U+202E, U+2066 to U+2069), and what cannot be
    written into a page (surrogates, U+FFFE, U+FFFF).

    Args:
        lines: keep newlines and tabs.
    """
    return text.translate(_LINES if lines else _ACTING)


_RANGES = ((0, 0x20), (0x7F, 0xA0), (0x202A, 0x202F), (0x2066, 0x206A), (0xD800, 0xE000), (0xFFFE, 0x10000))
_ACTING = {code: chr(code).encode("unicode_escape").decode("ascii") for ends in _RANGES for code in range(*ends)}
_LINES = {code: escape for code, escape in _ACTING.items() if chr(code) not in "\t\n"}


class RunError(ValueError):
    """A run cannot start or continue; what the message quotes from files is made :func:`printable`."""

    def __init__(self, message: object) -> None:
        super().__init__(printable(str(message), lines=True))


class ConfigError(RunError):
    """A configuration that cannot work; the message names the key, the value and what is allowed."""


class DataError(RunError):
    """Data that cannot be trained on; the message names the file, and the field and line where there is one."""


class ProcessLost(RunError):
    """Another process of the run has ended or cannot be reached; the message names its address."""


class NonFiniteError(RunError):
    """A number that training needs is not finite; the message names the epoch and what it is."""


def require(what: str, *packages: str, install: str) -> None:
    """Refuse ``what`` where one of its packages, which not everybody needs, is not installed.

    Args:
        install: what ``pip install`` is given to have them.

    Raises:
        ConfigError: naming the first that is missing.
    """
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise ConfigError(f"{what} needs {package}, which is not installed: pip install {install}")
