"""Options that several commands share."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Callable

from recbole_ec4srec import console
from recbole_ec4srec.config import recbole_keys
from recbole_ec4srec.config.keys import KEYS
from recbole_ec4srec.errors import ConfigError

ITEMS = "oldest first: one text with spaces between the ids, or several, each an id that may hold spaces"
PARQUET = ".parquet"
HISTORIES = """histories: .csv, .tsv, RecBole's .inter, .jsonl or, where pyarrow is installed, .parquet. Either one
interaction per row, with the columns user, item and optionally timestamp; or one history per row, with the columns user
and items (separated by spaces, in JSON and Parquet a list). Columns may also have the names that they have in the data
set of the training"""


def add_command(
    commands: argparse._SubParsersAction, name: str, function: Callable, summary: str, epilog: str
) -> argparse.ArgumentParser:
    """Add a command to ``ec4srec``, which calls ``function(args)``; its parser."""
    raw = argparse.RawDescriptionHelpFormatter
    command = commands.add_parser(name, help=summary, description=summary, formatter_class=raw, epilog=epilog)
    command.set_defaults(function=function)
    console.add_options(command)
    return command


def add_checkpoint(
    parser: argparse.ArgumentParser, group: argparse._MutuallyExclusiveGroup | None = None, required: bool = False
) -> None:
    """The options that name the trained model; ``--checkpoint`` may be one of a group of alternatives."""
    text = "the best model that a training saved (.pth)"
    (group or parser).add_argument("--checkpoint", type=Path, required=required, help=text)
    parser.add_argument("--data_path", help="the folder of the data set's folder (default: as in the training)")


def file_of(*suffixes: str) -> Callable[[str], Path]:
    """The type of an option that is a file with one of these suffixes."""

    def file(text):
        if Path(text).suffix not in suffixes:
            raise argparse.ArgumentTypeError(f"got {text}, allowed are the suffixes {', '.join(suffixes)}")
        return Path(text)

    return file


def positive(text: str) -> int:
    """The type of an option that is an integer >= 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"got {text}, allowed is an integer >= 1")
    return number


def items_of(args: argparse.Namespace) -> list[str]:
    """The ids in ``--items``: one text is split at spaces; of several texts each is an id."""
    return args.items[0].split() if len(args.items) == 1 else args.items


def files_of(text: str | None) -> list[str] | None:
    """The files in ``--config_files``, which are separated by spaces."""
    return text.strip().split() if text else None


def parse_settings(
    parser: argparse.ArgumentParser, quiet: str
) -> tuple[argparse.Namespace, dict[str, object], list[str]]:
    """The options of a command, RecBole's settings that follow from them, and the arguments that are settings.

    Progress bars are switched off if stderr is no terminal. ``quiet`` is the help of ``--quiet``.
    """
    console.add_options(parser, "log messages for debugging too", quiet)
    args, arguments = parser.parse_known_args()
    settings: dict[str, object] = {} if console.show_bars(args) else {"show_progress": False}
    if args.verbose or args.quiet:
        settings["state"] = "WARNING" if args.quiet else "DEBUG"
    return args, settings, arguments


def check_settings(arguments: Sequence[str]) -> None:
    """Refuse arguments that RecBole would ignore, with a warning or without one.

    Raises:
        ConfigError: one is not ``--key=value``, or has a key that nothing reads.
    """
    for argument in arguments:
        if not argument.startswith("--") or argument.count("=") != 1:
            raise ConfigError(f"command line: got {argument!r}, allowed is --key=value, with no other =")
    keys = [argument[2:].partition("=")[0] for argument in arguments]
    recbole_keys.refuse_unknown(keys, {*KEYS, *recbole_keys.GENERAL})
