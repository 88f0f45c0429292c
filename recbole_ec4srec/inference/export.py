"""A trained model as files that other programs run: ONNX, the ids of its items, its weights, and a model card."""

from __future__ import annotations

import inspect
import io
import json
import os
import warnings
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from recbole.model.abstract_recommender import SequentialRecommender
from torch import Tensor, nn

from recbole_ec4srec.encoder.encoder import Encoder
from recbole_ec4srec.errors import ConfigError, require
from recbole_ec4srec.inference.card import model_card
from recbole_ec4srec.inference.trained import TrainedModel
from recbole_ec4srec.model import EC4SRec
from recbole_ec4srec.storage.atomic import replacing

#: The version of ONNX's operators: the newest that torch 2.0 writes.
OPSET = 17
#: By how much a score of the exported model may differ, relative to the largest one where that is above 1.
TOLERANCE = 1e-4
MODEL, ITEMS, WEIGHTS, CARD = "model.onnx", "items.json", "model.safetensors", "README.md"


class Exported(NamedTuple):
    """What was written.

    Attributes:
        difference: the largest one of a score between onnxruntime and :meth:`TrainedModel.scores`, over histories of
            all lengths.
        sizes: in bytes, by the name of the file.
    """

    difference: float
    sizes: dict[str, int]


class Scorer(nn.Module):
    """What is exported: an encoder, the scores of all items, and perhaps the best of them.

    The scores of the padding and of items that are left out are minus infinity, and so are all scores of a history
    without an item.
    """

    def __init__(self, encoder: Encoder, topk: int | None, filter_seen: bool):
        super().__init__()
        self.encoder, self.topk = encoder, topk
        self.inputs = ["item_seq", *(["seen"] if filter_seen else [])]
        self.outputs = [*([] if topk is None else ["items"]), "scores", "representation"]

    def forward(self, item_seq: Tensor, seen: Tensor | None = None) -> tuple[Tensor, ...]:
        """``representation [B, d]`` and ``scores [B, n_items]``; with ``topk`` those of the best, in ``[B, topk]``, and
        their internal ids ``items``.

        Args:
            item_seq: internal ids, ``[B, L]``, padded on the right with 0.
            seen: internal ids that are left out, ``[B, any]``, padded with 0.
        """
        length = (item_seq > 0).sum(1)  # [B]
        representation = self.encoder(item_seq, length.clamp(min=1))  # [B, d]
        scores = self.encoder.score_all(representation)  # [B, n_items]
        left_out = F.pad(item_seq[:, :0] if seen is None else seen, (0, 1))  # [B, any + 1], of which one is the padding
        scores = scores.scatter(1, left_out, -torch.inf)
        scores = scores.masked_fill((length == 0).unsqueeze(1), -torch.inf)
        if self.topk is None:
            return scores, representation
        best = scores.topk(self.topk, dim=1)
        return best.indices, best.values, representation


def export(trained: TrainedModel, folder: str | Path, topk: int | None = None, filter_seen: bool = False) -> Exported:
    """Write a model into ``folder``; it has been run by onnxruntime before.

    - ``model.onnx`` is a :class:`Scorer`, for any number of sequences of ``MAX_ITEM_LIST_LENGTH`` positions.
    - ``items.json``: the external item ids in the order of the internal ones; the first, the padding, is null.
    - ``model.safetensors``: all weights, by PyTorch's names.
    - ``README.md``: the model card.

    Args:
        topk: the graph gives the best items instead of the scores of all.
        filter_seen: the graph takes items that are not to be recommended.

    Raises:
        ConfigError: the model cannot be exported, with the reason, or a package is missing; nothing is written.
    """
    require("export", "onnx", "onnxruntime", "safetensors", install="'recbole_ec4srec[export]'")
    from safetensors.torch import save

    folder, name = Path(folder), _name(trained)
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"output: got {folder}, which is no folder")
    scorer = _scorer(trained, topk, filter_seen)
    given, expected = _examples(trained, filter_seen)
    try:
        with torch.no_grad():
            padded = [part.cpu().numpy() for part in scorer(*given.values())]
        reason = _refusal(_difference(scorer, padded, expected), expected)
    except Exception as error:  # models of RecBole's raise anything when they are called in another way
        reason = _first_line(error)
    if reason:
        raise ConfigError(
            f"export: got a {name}, whose scores are not products of a representation of the sequence and vectors of "
            f"items ({reason})"
        )
    try:
        graph = _graph(scorer, given)
        difference = _difference(scorer, _run(graph, scorer, given), expected)
        reason = _refusal(difference, expected)
    except Exception as error:  # torch's and onnxruntime's for what ONNX has no operator for
        reason = _first_line(error)
    if reason:
        raise ConfigError(f"export: got a {name}, which cannot be written as ONNX ({reason})")
    weights = {name: value.cpu().contiguous().clone() for name, value in trained.model.state_dict().items()}
    files = {
        MODEL: graph,
        ITEMS: json.dumps([None, *trained.items[1:]], ensure_ascii=False).encode(),
        WEIGHTS: save(weights, {"format": "pt"}),
        CARD: model_card(trained, name, _interface(trained, scorer), OPSET, difference).encode(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as together:  # all are there before the first replaces what was in the folder
        for file, content in files.items():
            together.enter_context(replacing(folder / file)).write_bytes(content)
    return Exported(difference, {file: len(content) for file, content in files.items()})


def _name(trained):
    model = trained.config["model"]
    return f"{model} with backbone {trained.model.backbone.name}" if isinstance(trained.model, EC4SRec) else model


def _scorer(trained, topk, filter_seen):
    model, n_items = trained.model, len(trained.items)
    encoder = model.backbone if isinstance(model, EC4SRec) else Encoder(trained.config["model"], model, n_items)
    if encoder.takes_user:
        raise ConfigError(
            f"export: got a {_name(trained)}, which takes the user with the sequence; what is exported takes "
            "the sequence alone"
        )
    return Scorer(encoder, None if topk is None else min(topk, n_items - 1), filter_seen).eval()


def _examples(trained, filter_seen):
    """Random histories of each length up to the longest that the model sees, one of twice that length, and one without
    an item: the inputs of a :class:`Scorer` by name, and the scores ``[L + 2, n_items]``."""
    length, rng = trained.config["MAX_ITEM_LIST_LENGTH"], np.random.default_rng(0)
    lengths = np.array([*range(1, length + 1), 2 * length])
    items = rng.integers(1, len(trained.items), lengths.sum())
    row = np.repeat(np.arange(len(lengths)), lengths)
    batch = trained.batch(items, lengths)
    expected = trained.scores(batch, (row, items) if filter_seen else None).cpu().numpy()
    item_seq = batch[trained.model.ITEM_SEQ]  # [L + 1, L]
    given = {"item_seq": F.pad(item_seq, (0, 0, 0, 1))}
    if filter_seen:
        seen = np.zeros((len(lengths) + 1, 2 * length), dtype=np.int64)
        seen[row, np.concatenate([np.arange(count) for count in lengths])] = items
        given["seen"] = torch.from_numpy(seen).to(item_seq.device)
    return given, np.pad(expected, ((0, 1), (0, 0)), constant_values=-np.inf)


def _graph(scorer, given):
    """The bytes of the ONNX file."""
    file: Any = io.BytesIO()  # newer torch's types name only what the newer exporter takes
    dynamic = {name: {0: "batch"} for name in [*scorer.inputs, *scorer.outputs]}
    if "seen" in dynamic:
        dynamic["seen"][1] = "n_seen"
    # The exporter that traces (TorchScript's) is in every torch from 2.0 on and needs no other package than onnx; the
    # newer one is not there before 2.5, and became usable for such a graph later. That a trace holds for other inputs,
    # of which torch warns, is seen by running it.
    options: dict[str, Any] = {"dynamo": False} if "dynamo" in inspect.signature(torch.onnx.export).parameters else {}
    with warnings.catch_warnings(), torch.no_grad(), _nothing_on_stdout(), _simple_mask(scorer.encoder.model):
        warnings.simplefilter("ignore")
        torch.onnx.export(
            scorer,
            tuple(part[:2] for part in given.values()),
            file,
            input_names=scorer.inputs,
            output_names=scorer.outputs,
            dynamic_axes=dynamic,
            opset_version=OPSET,
            do_constant_folding=False,  # it would write the items' embeddings twice; onnxruntime folds when it loads
            **options,
        )
    return file.getvalue()


@contextmanager
def _simple_mask(model):
    """With another way to RecBole's attention mask: of the mask itself torch 2.0 writes a part in double precision, and
    onnxruntime has had the triangle of booleans for a short time only."""
    if type(model).get_attention_mask is not SequentialRecommender.get_attention_mask:
        yield
        return
    model.get_attention_mask = _attention_mask
    try:
        yield
    finally:
        del model.get_attention_mask


def _attention_mask(item_seq, bidirectional=False):
    """What is added to the scores of attention: 0 or -10000, ``[B, 1, 1 or L, L]``."""
    seen = (item_seq != 0).unsqueeze(1).unsqueeze(2)  # [B, 1, 1, L]
    if not bidirectional:
        place = torch.arange(item_seq.shape[1], device=item_seq.device)
        seen = seen & (place <= place.unsqueeze(1))
    return (1 - seen.float()) * -10000


@contextmanager
def _nothing_on_stdout():
    """Without what torch prints, in part past Python's stdout, of a graph that it cannot write: all of it."""
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def _interface(trained, scorer):
    """What each input and output is, for people."""
    length, n_items, k = trained.config["MAX_ITEM_LIST_LENGTH"], len(trained.items), scorer.topk
    said = {
        "item_seq": f"input, int64 [batch, {length}]: numbers of the last items, oldest first, then 0 for the padding",
        "seen": "input, int64 [batch, any]: numbers of items that are not to be recommended; 0 for the padding",
        "items": f"output, int64 [batch, {k}]: numbers of the best items, the best first",
        "scores": f"output, float32 [batch, {k}]: their scores"
        if k
        else f"output, float32 [batch, {n_items}]: of each item",
        "representation": "output, float32 [batch, size]: the encoded history",
    }
    said["scores"] += "; minus infinity for what is not to be recommended, and of a history without an item"
    return {name: said[name] for name in [*scorer.inputs, *scorer.outputs]}


def _run(graph, scorer, given):
    """The outputs of the graph by onnxruntime."""
    from onnxruntime import InferenceSession

    session = InferenceSession(graph, providers=["CPUExecutionProvider"])
    return session.run(scorer.outputs, {name: part.cpu().numpy() for name, part in given.items()})


def _difference(scorer, found, expected):
    """The largest difference of a score from the one that is expected of its item or of its rank, infinite where
    another item is left out."""
    scores = found[scorer.outputs.index("scores")]
    same = [expected]
    if scorer.topk is not None:
        items = found[scorer.outputs.index("items")]
        best = -np.sort(-expected, axis=1)[:, : scorer.topk]
        same = [best, np.take_along_axis(expected, items, axis=1)]
    if any(not np.array_equal(np.isfinite(scores), np.isfinite(other)) for other in same):
        return np.inf
    ranked = np.isfinite(scores)
    return max(float(np.abs(scores[ranked] - other[ranked]).max(initial=0)) for other in same)


def _refusal(difference, expected):
    """What is to be said about a difference that is too large."""
    largest = np.abs(expected[np.isfinite(expected)]).max(initial=1)
    return "" if difference <= TOLERANCE * largest else f"scores differ by {difference:.2g}"


def _first_line(error):
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
