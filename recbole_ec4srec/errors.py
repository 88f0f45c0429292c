"""What a user can mend is told in one line: what is wrong, where, and what to do. Anything else keeps its traceback."""

from __future__ import annotations

import sys

from torch.multiprocessing import ProcessExitedException, ProcessRaisedException


class RunError(ValueError):
    """A run cannot start or go on."""


class ConfigError(RunError):
    """A configuration that cannot work; the message names the key, the value and what is allowed."""


class DataError(RunError):
    """Data that cannot be trained on; the message names the file, and the field and line where there is one."""


class NonFiniteError(RunError):
    """A number that training needs is not finite; the message names the epoch and what it is."""


def report(command, traceback: bool = False):
    """Call ``command``; where it cannot go on, end with the message alone, on stderr, and status 1.

    A refusal of the machine's (a full disk, a folder that cannot be written) tells what and where by itself.

    Args:
        traceback: let Python show where the error was raised.
    """
    try:
        return command()
    except (RunError, OSError) as error:
        if traceback:
            raise
        print("error:", " ".join(str(error).splitlines()), file=sys.stderr)
        sys.exit(1)
    except (ProcessRaisedException, ProcessExitedException) as error:  # of several processes; it has the traceback
        print("error:", str(error).strip(), file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def add_traceback_option(parser) -> None:
    parser.add_argument("--traceback", action="store_true", help="show where an error was raised")
