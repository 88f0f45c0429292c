"""``ec4srec views``: what each augmentation makes of one sequence."""

from __future__ import annotations

import argparse

import numpy as np
import yaml

from recbole_ec4srec.commands.arguments import ITEMS, add_checkpoint, add_command, file_of, items_of
from recbole_ec4srec.config.properties import properties_dir
from recbole_ec4srec.console import show, tell
from recbole_ec4srec.errors import ConfigError, DataError
from recbole_ec4srec.inference import TrainedModel, views
from recbole_ec4srec.reporting import rendering
from recbole_ec4srec.reporting.picture import picture
from recbole_ec4srec.storage.settings import differences, plain_settings


def sequence_of(args: argparse.Namespace, run: dict | None = None) -> views.SequenceViews:
    """The views that the arguments ask for; a checkpoint has to be of the training ``run``."""
    rng = np.random.default_rng(args.seed)
    if args.checkpoint:
        if args.user is None:
            raise ConfigError("--user: missing; tell with --checkpoint whose sequence is to be shown")
        trained = TrainedModel(args.checkpoint, args.data_path)
        if run and (told := differences(plain_settings(trained.config), run["config"])):
            raise DataError(f"{args.checkpoint} is of another training than {args.run}: {told}")
        return views.views_of_user(trained, args.user, args.explainer, rng)
    items, importance = items_of(args), args.importance
    if len(items) != len(importance):
        raise ConfigError(f"--importance: got {len(importance)} numbers, allowed is one for each of {len(items)} items")
    settings = yaml.safe_load((properties_dir() / "model" / "EC4SRec.yaml").read_text(encoding="utf-8"))
    return views.views_of_items(items, importance, settings, rng)


def _views(args):
    shown = sequence_of(args)
    if args.output is None:
        show(rendering.views_text(shown))
        return
    draw = picture if args.output.suffix == ".svg" else rendering.views_html
    args.output.write_text(draw(shown), encoding="utf-8")
    tell(f"written: {args.output}")


def add_to(commands: argparse._SubParsersAction) -> None:
    """Add the command to those of ``ec4srec``."""
    views = add_command(
        commands,
        "views",
        _views,
        "What each augmentation makes of one sequence, at random and guided by importance.",
        "examples:\n"
        "  ec4srec views --items='a b c d e' --importance .05 .4 .1 .35 .1\n"
        "  ec4srec views --checkpoint=saved/EC4SRec.pth --user=196 --output=views.svg",
    )
    whose = views.add_mutually_exclusive_group(required=True)
    add_checkpoint(views, whose)
    whose.add_argument("--items", nargs="+", metavar="ITEM", help=f"a sequence, {ITEMS}")
    views.add_argument("--user", help="with --checkpoint: the user whose last training sequence is shown")
    views.add_argument("--explainer", help="with --checkpoint: the explainer (default: that of the training)")
    views.add_argument("--importance", type=float, nargs="+", default=[], help="with --items: the importance of each")
    views.add_argument("--seed", type=int, default=0, help="seed of the random numbers (default: %(default)s)")
    views.add_argument("--output", type=file_of(".svg", ".html"), help=".svg or .html (default: print a table)")
