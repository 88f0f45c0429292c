"""``ec4srec``: use a trained model."""

from __future__ import annotations

from collections.abc import Sequence

from recbole_ec4srec import console
from recbole_ec4srec.commands import explain, export, recommend, report, views
from recbole_ec4srec.version import __version__


def _parser():
    parser = console.parser(
        "ec4srec",
        "Use a trained model: explain, recommend, export, show views, report.",
        "examples:\n"
        "  ec4srec explain --checkpoint=saved/EC4SRec.pth --user=196\n"
        "  ec4srec recommend --checkpoint=saved/EC4SRec.pth --input=histories.csv --output=best.csv\n"
        "  ec4srec export --checkpoint=saved/EC4SRec.pth --output=exported\n"
        "  ec4srec COMMAND --help      options and more examples",
    )
    parser.add_argument("--version", action="version", version=f"recbole_ec4srec {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (explain, recommend, export, views, report):
        command.add_to(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command; on an error it ends with one line and status 1, for options that do not exist with 2."""
    console.end_with_the_reader()
    args = _parser().parse_args(argv)
    console.log_to_stderr(args)
    console.run(lambda: args.function(args), args)
