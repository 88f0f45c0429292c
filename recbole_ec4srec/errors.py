"""What a user can mend is told in one line: what is wrong, where, and what to do. Anything else keeps its traceback.

A message quotes files, whose text must not act on what shows it: see :func:`printable`.
"""

from __future__ import annotations


def printable(text: str, lines: bool = False) -> str:
    """``text`` with an escape such as ``\\x1b`` in the place of each character that acts on what shows it.

    These are the control characters (C0, DEL and C1, so all sequences that move a terminal's cursor or change its
    title), those that change the direction of what follows (U+202A to U+202E, U+2066 to U+2069), and what cannot be
    written into a page (surrogates, U+FFFE, U+FFFF).

    Args:
        lines: keep newlines and tabs, of a text that was laid out with them.
    """
    return text.translate(_LINES if lines else _ACTING)


def _escapes(*codes):
    return {code: chr(code).encode("unicode_escape").decode("ascii") for of_kind in codes for code in of_kind}


_ACTING = _escapes(
    range(0x20),
    range(0x7F, 0xA0),
    range(0x202A, 0x202F),
    range(0x2066, 0x206A),
    range(0xD800, 0xE000),
    (0xFFFE, 0xFFFF),
)
_LINES = {code: escape for code, escape in _ACTING.items() if chr(code) not in "\t\n"}


class RunError(ValueError):
    """A run cannot start or go on; what the message quotes from files is made fit to be shown."""

    def __init__(self, message):
        super().__init__(printable(str(message), lines=True))


class ConfigError(RunError):
    """A configuration that cannot work; the message names the key, the value and what is allowed."""


class DataError(RunError):
    """Data that cannot be trained on; the message names the file, and the field and line where there is one."""


class NonFiniteError(RunError):
    """A number that training needs is not finite; the message names the epoch and what it is."""
