"""``ec4srec export``: a trained model as files that other programs run, without PyTorch and RecBole."""

from __future__ import annotations

import argparse
from pathlib import Path

from recbole_ec4srec.commands.arguments import add_checkpoint, add_command, positive
from recbole_ec4srec.console import tell
from recbole_ec4srec.inference import TrainedModel
from recbole_ec4srec.inference.export import export


def _export(args):
    told = export(TrainedModel(args.checkpoint, args.data_path), args.output, args.topk, args.filter_seen)
    for file, size in told.sizes.items():
        tell(f"written: {args.output / file} ({size / 1e6:.1f} MB)")
    tell(f"largest difference of a score by onnxruntime: {told.difference:.1e}")


def add_to(commands: argparse._SubParsersAction) -> None:
    """Add the command to those of ``ec4srec``."""
    command = add_command(
        commands,
        "export",
        _export,
        "A trained model as files that other programs run, without PyTorch and RecBole.",
        "Writes model.onnx (the encoder and the scores), items.json (the ids of the items, each at the place of its\n"
        "number), model.safetensors (the weights) and README.md (the model card, which tells the inputs and outputs).\n"
        "Before that, scores by onnxruntime are compared with PyTorch's.\n"
        "Needs pip install 'recbole_ec4srec[export]'.\n\n"
        "examples:\n"
        "  ec4srec export --checkpoint=saved/EC4SRec.pth --output=exported\n"
        "  ec4srec export --checkpoint=saved/SASRec.pth --output=exported --topk=20 --filter_seen",
    )
    add_checkpoint(command, required=True)
    command.add_argument("--output", type=Path, required=True, help="the folder to write into")
    command.add_argument("--topk", type=positive, help="give the best items (default: the scores of all items)")
    command.add_argument("--filter_seen", action="store_true", help="take the items that are not to be recommended too")
