"""``ec4srec``: what people do with a trained model."""

from __future__ import annotations

import sys

from recbole_ec4srec import console
from recbole_ec4srec.commands import explain, recommend, report, views
from recbole_ec4srec.version import __version__


def _parser():
    parser = console.parser(
        "ec4srec",
        "What people do with a trained model.",
        "examples:\n"
        "  ec4srec explain --checkpoint=saved/EC4SRec.pth --user=196\n"
        "  ec4srec recommend --checkpoint=saved/EC4SRec.pth --input=histories.csv --output=best.csv\n"
        "  ec4srec COMMAND --help      has more",
    )
    parser.add_argument("--version", action="version", version=f"recbole_ec4srec {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (explain, recommend, views, report):
        command.add_to(commands)
    return parser


def main(argv=None) -> None:
    """Run the command; ends with status 1 and one line where it cannot go on, 2 for options that do not exist."""
    console.end_with_the_reader()
    args = _parser().parse_args(argv)
    sys.argv = sys.argv[:1]  # where RecBole would read our options as its own
    console.log_to_stderr(args)
    console.run(lambda: args.function(args), args)
