"""A checkpoint with its data set: external ids in, batches that the model takes out."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.dataset import SequentialDataset
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.utils import get_model, init_seed

from recbole_ec4srec.data.dataset import SequenceBatch
from recbole_ec4srec.data.identity import check_same, kept_in, recall
from recbole_ec4srec.data.presplit import item_list_field
from recbole_ec4srec.errors import DataError
from recbole_ec4srec.inference.titles import read_titles
from recbole_ec4srec.storage.checkpoint import load_checkpoint
from recbole_ec4srec.training.build import build_model


def _read(file: str | Path) -> dict:
    """What a training saved in ``file``; refuse what is no checkpoint."""
    allowed = "allowed is the best model that a training saved (.pth)"
    try:
        state = load_checkpoint(file)
    except OSError as error:
        raise DataError(f"checkpoint: got {file}, {allowed} ({error.strerror or error})") from None
    except pickle.UnpicklingError as error:
        raise DataError(f"checkpoint: got {file}, {allowed}: {error}") from None
    if isinstance(state, dict) and "best_model" in state:
        best = Path(file).parent / state["best_model"]
        raise DataError(f"checkpoint: got {file}, the state of a training to be resumed; its best model is {best}")
    if not isinstance(state, dict) or not {"config", "state_dict"} <= set(state):
        raise DataError(f"checkpoint: got {file}, {allowed}: it has no configuration and weights")
    return state


def _sequential(file: str | Path, config: Config) -> type[SequentialRecommender]:
    """The class of the model in the checkpoint ``file``."""
    name = config["model"]
    try:
        model_class = get_model(name)
    except (ValueError, AttributeError, ImportError):
        raise DataError(f"{file} holds a {name}, which is not known here; register_model makes it known") from None
    if not issubclass(model_class, SequentialRecommender):
        raise DataError(f"{file} holds a {name}, which knows no sequences of items")
    if model_class.full_sort_predict is SequentialRecommender.full_sort_predict:
        raise DataError(f"{file} holds a {name}, which scores pairs of a user and an item, and no list of all items")
    return model_class


class TrainedModel:
    """A sequential recommender of RecBole or of this package, as a training left it.

    The checkpoint has the external ids. The data set is read only for interactions and training instances, or if the
    checkpoint has no ids because RecBole wrote it without this package.

    Args:
        checkpoint: the file that a training saved.
        data_path: the folder that now holds the data set's folder; by default the one of the training.

    Attributes:
        config, model: RecBole's; the model is in evaluation mode.
        items: external item ids by internal id, ``[n_items]``; the padding is 0.
        epoch, best_valid_score: of the training, the epoch (from 0) after which the model was saved, and how good it
            was by the setting ``valid_metric``; None where the file does not say.
        fingerprint: of the data set, see :func:`~recbole_ec4srec.data.identity.fingerprint`; empty where unknown.

    Raises:
        DataError: the file is no checkpoint, or its model is not sequential.
    """

    def __init__(self, checkpoint: str | Path, data_path: str | Path | None = None):
        state = _read(checkpoint)
        self.checkpoint, self.config, self._kept = checkpoint, state["config"], kept_in(state)
        self.epoch, self.best_valid_score = state.get("epoch"), state.get("best_valid_score")
        self.fingerprint: dict[str, str] = (self._kept or {}).get("fingerprint", {})
        final = self.config.final_config_dict
        final.update(save_dataset=False, save_dataloaders=False)  # nothing is trained here
        if data_path is not None:
            final["data_path"] = str(Path(data_path, self.config["dataset"]))
        self.model, numbered = self._build()
        try:
            self.model.load_state_dict(state["state_dict"])
        except RuntimeError as error:
            raise DataError(f"{checkpoint} does not fit the data in {final['data_path']} ({error})") from None
        self.model.load_other_parameter(state.get("other_parameter"))
        self.model.eval()
        self.items = np.asarray(numbered.field2id_token[numbered.iid_field], dtype=object)
        self._item_id, self._user_id = (numbered.field2token_id[f] for f in (numbered.iid_field, numbered.uid_field))

    def _build(self) -> tuple[SequentialRecommender, SequentialDataset]:
        """The model, not yet with its weights, and the data set that has the internal ids of its users and items."""
        _sequential(self.checkpoint, self.config)  # refuses what it cannot serve
        init_seed(self.config["seed"], self.config["reproducibility"])
        dataset, reason = None, "it was written without this package"
        if self._kept:
            dataset = recall(self.config, self._kept)
            try:
                return build_model(self.config, dataset), dataset
            except Exception as error:  # constructors of a few look at the interactions, and fail in as many ways
                reason = f"{type(error).__name__}: {error}"
        try:
            return build_model(self.config, self.train_dataset), self.train_dataset
        except DataError as error:
            raise DataError(f"{error}; without its data {self.checkpoint} cannot be used ({reason})") from None

    def _data_set(self):
        """The data set as it is now, before it is split."""
        if not Path(self.config["data_path"]).is_dir():
            raise DataError(
                f"{self.checkpoint} was trained on {self.config['dataset']}, which is not in "
                f"{self.config['data_path']}; tell with --data_path which folder it is in now"
            )
        return create_dataset(self.config)

    @cached_property
    def train_dataset(self) -> SequentialDataset:
        """RecBole's data set of the training instances.

        Raises:
            DataError: the data set is not there, or has other data than in the training.
        """
        dataset = self._data_set()
        check_same(self.checkpoint, self._kept, dataset)
        return data_preparation(self.config, dataset)[0]._dataset

    @cached_property
    def interactions(self) -> pd.DataFrame:
        """All interactions of the data set as it is now: ``user`` and ``item`` (external ids), by user, and of each
        user in the order of time.

        Raises:
            DataError: the data set is not there, or cannot be read.
        """
        dataset = self._data_set()
        table, uid, iid = dataset.inter_feat, dataset.uid_field, dataset.iid_field
        if dataset.benchmark_filename_list is not None:  # a row has its history; a user's last row has all of them
            last = table.drop_duplicates(uid, keep="last")
            histories = [np.append(row, item) for row, item in zip(last[item_list_field(self.config)], last[iid])]
            user, item = last[uid].repeat([len(row) for row in histories]), np.concatenate(histories)
        else:
            in_time = np.lexsort((dataset.place_in_time, table[uid]))
            user, item = (table[field].to_numpy()[in_time] for field in (uid, iid))
        return pd.DataFrame({"user": dataset.id2token(uid, user), "item": dataset.id2token(iid, item)})

    @cached_property
    def titles(self) -> dict[str, str]:
        """``{external item id: title}`` from the data set's ``.item`` file; empty without titles."""
        file = Path(self.config["data_path"], f"{self.config['dataset']}.item")
        return read_titles(file, self.config, self.config["ITEM_ID_FIELD"])

    def item_ids(self, tokens: pd.Series) -> np.ndarray:
        """Internal ids of external item ids, 0 where the model knows none."""
        return tokens.map(self._item_id).fillna(0).to_numpy(np.int64)

    def batch(self, items: np.ndarray, lengths: np.ndarray, users: Sequence | None = None) -> SequenceBatch:
        """The batch of B sequences; of each the last ``MAX_ITEM_LIST_LENGTH`` items are used.

        Args:
            items: internal ids of all sequences, one sequence after the other.
            lengths: of the sequences, ``[B]``, all positive.
            users: their external ids, ``[B]``; an unknown user becomes the padding, id 0.
        """
        model, width = self.model, self.config["MAX_ITEM_LIST_LENGTH"]
        used = np.minimum(lengths, width)
        cell = np.arange(width)
        inside = cell < used[:, None]
        place = (np.cumsum(lengths) - used)[:, None] + cell
        item_seq = np.where(inside, items[np.where(inside, place, 0)], 0)
        known = [0] * len(lengths) if users is None else [self._user_id.get(str(user), 0) for user in users]
        fields = {model.ITEM_SEQ: item_seq, model.ITEM_SEQ_LEN: used, model.USER_ID: np.array(known, dtype=np.int64)}
        tensors = {name: torch.from_numpy(values) for name, values in fields.items()}
        return SequenceBatch(tensors, {model.ITEM_SEQ_LEN: used.copy()}).to(self.config["device"])

    @torch.no_grad()
    def scores(self, batch: SequenceBatch, exclude: tuple[np.ndarray, np.ndarray] | None = None) -> torch.Tensor:
        """Scores of all items, ``[B, n_items]``, minus infinity for the padding.

        Args:
            exclude: rows and items, ``[K]`` each, whose scores are minus infinity too.
        """
        scores = self.model.full_sort_predict(batch).view(len(batch), -1).narrow(1, 0, len(self.items))
        scores[:, 0] = -torch.inf
        if exclude is not None:
            scores[tuple(torch.from_numpy(part).to(scores.device) for part in exclude)] = -torch.inf
        return scores
