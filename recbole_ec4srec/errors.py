"""What a user can mend is told in one line: what is wrong, where, and what to do. Anything else keeps its traceback."""

from __future__ import annotations

from recbole_ec4srec.printable import printable


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
