"""What the commands share: options, messages beside the results, and how they end."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Callable, TypeVar

from torch.multiprocessing import ProcessExitedException, ProcessRaisedException

from recbole_ec4srec.errors import RunError, printable

_messages = logging.getLogger(__name__)
Result = TypeVar("Result")


def tell(text: object) -> None:
    """Say on stderr what is being done, unless the command has ``--quiet``."""
    _messages.info(printable(str(text), lines=True))


def show(text: object) -> None:
    """Print a result for a person to read."""
    print(printable(str(text), lines=True))


def warn(text: str) -> None:
    """Say on stderr that a result is not what it could be."""
    _messages.warning(text)


def parser(prog: str, description: str, epilog: str) -> argparse.ArgumentParser:
    """A parser that keeps the lines of its ``epilog``, where the examples are."""
    raw = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(prog=prog, description=description, epilog=epilog, formatter_class=raw)


def add_options(
    parser: argparse.ArgumentParser, verbose: str = "log what is being done", quiet: str = "print errors only"
) -> None:
    """Add ``--verbose``, ``--quiet`` and ``--traceback``; the first two texts are their help."""
    parser.add_argument("-v", "--verbose", action="store_true", help=verbose)
    parser.add_argument("-q", "--quiet", action="store_true", help=quiet)
    parser.add_argument("--traceback", action="store_true", help="print where an error was raised")


def show_bars(args: argparse.Namespace) -> bool:
    """Whether progress bars are shown: stderr is a terminal, and the command is not quiet."""
    return sys.stderr.isatty() and not args.quiet


def log_to_stderr(args: argparse.Namespace, level: int = logging.ERROR) -> None:
    """Write the log of RecBole and of trainings to stderr, from ``level`` on; with ``--verbose`` from INFO on."""
    logging.basicConfig(level=logging.INFO if args.verbose else level, format="%(message)s", force=True)


def end_with_the_reader() -> None:
    """If the reader of the output ends (``| head``), the command ends without a message."""
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)


@contextmanager
def command_line(settings: Sequence[str] = ()) -> Iterator[None]:
    """In the block RecBole, whose Config reads ``sys.argv``, finds only these arguments there."""
    argv, sys.argv = sys.argv, [*sys.argv[:1], *settings]
    try:
        yield
    finally:
        sys.argv = argv


@contextmanager
def _messages_on_stderr(args):
    """In the block the messages of :func:`tell` and :func:`warn` are lines on stderr, and nowhere else."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    before = _messages.handlers, _messages.propagate, _messages.level
    _messages.handlers, _messages.propagate = [handler], False
    _messages.setLevel(logging.ERROR if args.quiet else logging.INFO)
    try:
        yield
    finally:
        _messages.handlers, _messages.propagate = before[:2]
        _messages.setLevel(before[2])


def run(
    command: Callable[[], Result],
    args: argparse.Namespace,
    go_on: str = "the same command starts anew",
    settings: Sequence[str] = (),
) -> Result:
    """Call ``command``; on an error that a user can correct, print it in one line to stderr and end with status 1.

    The messages of the operating system (a full disk, a folder that cannot be written) name the file themselves. Ctrl-C
    ends with status 130.

    Args:
        args: the parsed options, with those of :func:`add_options`.
        go_on: what can be done after Ctrl-C, if the interrupted function does not say so itself.
        settings: the part of the command line that is for RecBole's Config.
    """
    try:
        with _messages_on_stderr(args), command_line(settings):
            return command()
    except (RunError, OSError) as error:
        if args.traceback:
            raise
        print("error:", printable(" ".join(str(error).splitlines())), file=sys.stderr)
        sys.exit(1)
    except (
        ProcessRaisedException,
        ProcessExitedException,
    ) as error:  # from one of several processes, with its traceback
        print("error:", printable(str(error).strip(), lines=True), file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt as interrupt:
        print(f"interrupted: {interrupt.args[0] if interrupt.args else go_on}", file=sys.stderr)
        sys.exit(130)
