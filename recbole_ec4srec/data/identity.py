"""Which data a model was trained on, and which items its numbers mean.

RecBole numbers users and items in the order in which a file names them, and a model knows items by these numbers alone:
over the same file with its rows shuffled it would recommend other items, in silence. So every data set has a
fingerprint, and a model takes that of its training along in its checkpoints, among RecBole's *other parameters*, with
the ids of its items.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from logging import getLogger
from pathlib import Path

import numpy as np
import torch
from recbole.config import Config
from recbole.data import create_dataset
from recbole.data.dataset import Dataset, SequentialDataset
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import AbstractRecommender, SequentialRecommender
from recbole.utils import FeatureSource, FeatureType

from recbole_ec4srec.data.order import follow_rows
from recbole_ec4srec.errors import DataError
from recbole_ec4srec.storage.checkpoint import load_checkpoint
from recbole_ec4srec.storage.settings import differences

_KEPT = "trained_on"


def number_features(original: Callable, dataset: Dataset) -> None:
    """RecBole's ``Dataset._user_item_feat_preparation``, after which filters and numbering are done."""
    original(dataset)
    follow_rows(dataset)
    dataset.fingerprint = fingerprint(dataset)


def fingerprint(dataset: Dataset) -> dict[str, str]:
    """What was loaded of a data set, after filters and numbering: how many users, items and interactions, each with a
    digest, and of further ``features`` a digest. Paths and dates of files have no part in it."""
    digests = {}
    for name, field in (("users", dataset.uid_field), ("items", dataset.iid_field)):
        if field is not None:
            tokens = dataset.field2id_token[field]
            digests[name] = f"{len(tokens) - 1} ({_digest([tokens])})"
    place = [] if dataset.place_in_time is None else [dataset.place_in_time.to_numpy()]
    digests["interactions"] = f"{len(dataset.inter_feat)} ({_digest([*_columns(dataset.inter_feat), *place])})"
    tables = [getattr(dataset, name) for name in dataset.feat_name_list if name != "inter_feat"]
    ids = (dataset.uid_field, dataset.iid_field)
    others = [tokens for field, tokens in dataset.field2id_token.items() if field not in ids]
    if tables or others:
        digests["features"] = _digest([*others, *(column for table in tables for column in _columns(table))])
    return digests


def _columns(table):
    """The values of all columns, in the order of their names; of a column of sequences the lengths and what is in
    them."""
    for name in sorted(table.columns):
        values = table[name].to_numpy()
        yield [name]
        if values.dtype == object and len(values) and any(isinstance(value, np.ndarray) for value in values):
            sequences = [value if isinstance(value, np.ndarray) else np.array([]) for value in values]
            yield np.array([len(sequence) for sequence in sequences])
            values = np.concatenate(sequences)
        yield values


def _digest(parts: Iterable) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        part = np.asarray(part)
        if part.dtype.kind not in "iufb":
            part = np.frombuffer("\0".join(map(str, part)).encode(), np.uint8)
        elif part.dtype.kind in "iu":
            part = part.astype("<i8")
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()


def remember(model: AbstractRecommender, dataset: Dataset) -> None:
    """Let the checkpoints of ``model`` say what it is trained on: the fingerprint, and of a sequential recommender what
    :func:`recall` needs: the ids of the items, and those of the users where it has parameters for each user."""
    kept = {"fingerprint": dataset.fingerprint}
    if isinstance(model, SequentialRecommender):
        known = {"items": dataset.iid_field, **({"users": dataset.uid_field} if _knows_users(model) else {})}
        kept.update({name: dataset.field2id_token[field].tolist() for name, field in known.items()})
        kept["fields"] = {
            field: {
                "type": kind.value,
                "source": getattr(dataset.field2source[field], "value", dataset.field2source[field]),
                "length": dataset.field2seqlen.get(field),
                "buckets": dataset.field2bucketnum.get(field),
                "ids": len(dataset.field2id_token.get(field, ())),
            }
            for field, kind in dataset.field2type.items()
        }
        tables = {"item": dataset.item_feat, **({"user": dataset.user_feat} if "users" in known else {})}
        kept["features"] = {name: dict(table.interaction) for name, table in tables.items() if table is not None}
        kept["weights"] = {field: torch.as_tensor(weight) for field, weight in dataset._preloaded_weight.items()}
    setattr(model, _KEPT, kept)
    model.other_parameter_name = list(dict.fromkeys([*getattr(model, "other_parameter_name", ()), _KEPT]))


def _knows_users(model: AbstractRecommender) -> bool:
    return any(hasattr(part, name) for part in model.modules() for name in ("n_users", "n_user", "user_feat"))


def kept_in(checkpoint: dict) -> dict | None:
    """What :func:`remember` left in a checkpoint or a state, or None where the package had no part in it."""
    return (checkpoint.get("other_parameter") or {}).get(_KEPT)


def check_same(what: str | Path, kept: dict | None, dataset: Dataset) -> None:
    """See to it that ``what`` is of the data in ``dataset``; of what other programs saved nothing is known.

    Args:
        kept: what :func:`kept_in` gave.

    Raises:
        DataError: it is of other data, with what differs.
    """
    if kept and (told := differences(kept["fingerprint"], dataset.fingerprint)):
        raise DataError(f"{what} is of other data than {dataset.dataset_path}: {told}")


def load_data_and_model(original: Callable, model_file: str) -> tuple:
    """RecBole's function, for the data that the model was trained on and no other."""
    try:
        loaded = original(model_file)
    except RuntimeError:  # the sizes are others, too
        state = load_checkpoint(model_file, "cpu")
        check_same(model_file, kept_in(state), create_dataset(state["config"]))
        raise
    _, model, dataset, *_ = loaded
    check_same(model_file, getattr(model, _KEPT, None), dataset)
    return loaded


def recall(config: Config, kept: dict) -> SequentialDataset:
    """A data set without interactions, for the constructor of the model that :func:`remember` was told of."""
    dataset = SequentialDataset.__new__(SequentialDataset)
    dataset.config, dataset.dataset_name, dataset.logger = config, config["dataset"], getLogger()
    dataset.max_item_list_len = config["MAX_ITEM_LIST_LENGTH"]
    dataset.item_list_length_field = config["ITEM_LIST_LENGTH_FIELD"]
    dataset._get_preset()
    dataset._get_field_from_config()
    sources = {source.value: source for source in FeatureSource}
    for field, of_field in kept["fields"].items():
        dataset.field2type[field] = FeatureType(of_field["type"])
        dataset.field2source[field] = sources.get(of_field["source"], of_field["source"])
        dataset.field2seqlen[field], dataset.field2bucketnum[field] = of_field["length"], of_field["buckets"]
        if of_field["ids"]:
            dataset.field2id_token[field] = np.full(of_field["ids"], "", dtype=object)
            dataset.field2token_id[field] = {}
    for name, field in (("items", dataset.iid_field), ("users", dataset.uid_field)):
        if name in kept:
            dataset.field2id_token[field] = np.array(kept[name], dtype=object)
            dataset.field2token_id[field] = {token: number for number, token in enumerate(kept[name])}
    dataset.inter_feat, features = None, kept["features"]
    dataset.user_feat, dataset.item_feat = (
        Interaction(features[name]) if name in features else None for name in ("user", "item")
    )
    dataset._preloaded_weight = {field: weight.numpy() for field, weight in kept["weights"].items()}
    return dataset
