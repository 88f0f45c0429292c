"""What the commands share: options, what they tell beside their results, and how they end."""

from __future__ import annotations

import argparse
import logging
import signal
import sys

from torch.multiprocessing import ProcessExitedException, ProcessRaisedException

from recbole_ec4srec.errors import RunError, printable

_told = logging.getLogger(__name__)


def tell(text: str) -> None:
    """Say on stderr what is being done, unless the command was asked to be quiet."""
    _told.info(printable(str(text), lines=True))


def show(text: str) -> None:
    """Print a result that a person reads."""
    print(printable(str(text), lines=True))


def warn(text: str) -> None:
    """Say on stderr that a result is not what it could be."""
    _told.warning(text)


def parser(prog: str, description: str, epilog: str) -> argparse.ArgumentParser:
    """A parser that keeps the lines of its ``epilog``, where the examples are."""
    kept = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(prog=prog, description=description, epilog=epilog, formatter_class=kept)


def add_options(parser, verbose: str = "tell what is being done", quiet: str = "tell errors alone") -> None:
    parser.add_argument("-v", "--verbose", action="store_true", help=verbose)
    parser.add_argument("-q", "--quiet", action="store_true", help=quiet)
    parser.add_argument("--traceback", action="store_true", help="show where an error was raised")


def show_bars(args) -> bool:
    """Whether there is a person who looks at them."""
    return sys.stderr.isatty() and not args.quiet


def log_to_stderr(args, level: int = logging.ERROR) -> None:
    """Let RecBole's log and that of trainings go to stderr, from ``level`` on, or all that a person would read."""
    logging.basicConfig(level=logging.INFO if args.verbose else level, format="%(message)s", force=True)


def end_with_the_reader() -> None:
    """A reader that has seen enough (``| head``) ends the command without a word."""
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def run(command, args, go_on: str = "the same command starts anew"):
    """Call ``command``; where it cannot go on, end with the message alone, on stderr, and status 1.

    A refusal of the machine's (a full disk, a folder that cannot be written) tells what and where by itself. Ctrl-C
    ends with status 130.

    Args:
        args: what :func:`add_options` added, parsed.
        go_on: what can be done after Ctrl-C, where what was interrupted does not say so itself.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    _told.handlers, _told.propagate = [handler], False
    _told.setLevel(logging.ERROR if args.quiet else logging.INFO)
    try:
        return command()
    except (RunError, OSError) as error:
        if args.traceback:
            raise
        print("error:", printable(" ".join(str(error).splitlines())), file=sys.stderr)
        sys.exit(1)
    except (ProcessRaisedException, ProcessExitedException) as error:  # of several processes; it has the traceback
        print("error:", printable(str(error).strip(), lines=True), file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt as interrupt:
        print(f"interrupted: {interrupt.args[0] if interrupt.args else go_on}", file=sys.stderr)
        sys.exit(130)
