"""What the options of several commands have in common."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from recbole_ec4srec import console
from recbole_ec4srec.config import recbole_keys
from recbole_ec4srec.config.keys import KEYS
from recbole_ec4srec.errors import ConfigError

ITEMS = "oldest first: one text with spaces between the ids, or several, each an id that may hold spaces"
HISTORIES = """histories: .csv, .tsv, RecBole's .inter or .jsonl with the columns user and item (perhaps timestamp),
an interaction a row, or user and items (separated by spaces, in JSON a list), a history a row; columns may have
the names that the training had"""


def add_command(commands, name: str, function, summary: str, epilog: str) -> argparse.ArgumentParser:
    """The parser of a command of ``ec4srec``; ``function(args)`` is what it does."""
    raw = argparse.RawDescriptionHelpFormatter
    found = commands.add_parser(name, help=summary, description=summary, formatter_class=raw, epilog=epilog)
    found.set_defaults(function=function)
    console.add_options(found)
    return found


def add_checkpoint(parser, group=None, **options) -> None:
    """The options that say which trained model is meant."""
    (group or parser).add_argument("--checkpoint", type=Path, help="what a training saved", **options)
    parser.add_argument("--data_path", help="the folder of the data set's folder (default: as in the training)")


def file_of(*suffixes):
    def file(text):
        if Path(text).suffix not in suffixes:
            raise argparse.ArgumentTypeError(f"got {text}, allowed are the suffixes {', '.join(suffixes)}")
        return Path(text)

    return file


def positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"got {text}, allowed is an integer >= 1")
    return number


def items_of(args) -> list:
    """The ids of ``--items``: one text is split at spaces, of several each is an id."""
    return args.items[0].split() if len(args.items) == 1 else args.items


def files_of(text):
    return text.strip().split() if text else None


def parse_settings(parser, quiet):
    """The command's own options, and what they, or an output that nobody watches, mean among RecBole's settings; the
    command line keeps the settings."""
    console.add_options(parser, "tell what is for debugging too", quiet)
    args, sys.argv[1:] = parser.parse_known_args()
    asked = {} if console.show_bars(args) else {"show_progress": False}
    if args.verbose or args.quiet:
        asked["state"] = "WARNING" if args.quiet else "DEBUG"
    return args, asked


def check_settings(arguments) -> None:
    """Refuse what RecBole would not read of the command line, which it only warns of, if at all.

    Raises:
        ConfigError: something is no ``--key=value``, or a key that nobody reads.
    """
    for argument in arguments:
        if not argument.startswith("--") or argument.count("=") != 1:
            raise ConfigError(f"command line: got {argument!r}, allowed is --key=value, with no other =")
    keys = [argument[2:].partition("=")[0] for argument in arguments]
    recbole_keys.refuse_unknown(keys, {*KEYS, *recbole_keys.GENERAL})
