"""A checkpoint with its data set: external ids in, batches that the model takes out."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from recbole.data import create_dataset, data_preparation
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.utils import get_model, init_seed

from recbole_ec4srec.checkpoint import load_checkpoint
from recbole_ec4srec.data.dataset import SequenceBatch
from recbole_ec4srec.errors import DataError
from recbole_ec4srec.inference.titles import read_titles


class TrainedModel:
    """A sequential recommender of RecBole's or ours, as a training left it.

    Args:
        checkpoint: the file that a training saved.
        data_path: the folder that holds the data set's folder, where it is no longer where it was in the training.

    Attributes:
        config, train_dataset, model: RecBole's; the model is in evaluation mode.
        items: external item ids by internal id, ``[n_items]``; the padding is 0.
        interactions: of the data set, a row each: ``user`` and ``item`` (external ids), in the order of time.

    Raises:
        DataError: the data set is not there, is not the one of the training, or the model knows no sequences.
    """

    def __init__(self, checkpoint, data_path=None):
        state = load_checkpoint(checkpoint)
        self.config = config = state["config"]
        if data_path is not None:
            config.final_config_dict["data_path"] = str(Path(data_path, config["dataset"]))
        if not Path(config["data_path"]).is_dir():
            raise DataError(
                f"{checkpoint} was trained on {config['dataset']}, which is not in {config['data_path']}; "
                "tell with --data_path which folder it is in now"
            )
        init_seed(config["seed"], config["reproducibility"])
        dataset = create_dataset(config)
        fields = (dataset.uid_field, dataset.iid_field, dataset.time_field)
        uid, iid, time = (np.asarray(dataset.inter_feat[field]) for field in fields)
        self.items = np.asarray(dataset.field2id_token[dataset.iid_field], dtype=object)
        self._users = np.asarray(dataset.field2id_token[dataset.uid_field], dtype=object)
        order = np.lexsort((time, uid))
        self._interactions = uid[order], iid[order]
        train_data, _, _ = data_preparation(config, dataset)
        self.train_dataset = train_data._dataset
        self.model = get_model(config["model"])(config, self.train_dataset).to(config["device"])
        if not isinstance(self.model, SequentialRecommender):
            raise DataError(f"{checkpoint} holds a {config['model']}, which knows no sequences of items")
        try:
            self.model.load_state_dict(state["state_dict"])
        except RuntimeError as error:
            raise DataError(
                f"{checkpoint} does not fit the data in {config['data_path']}, on which it should have been trained "
                f"({error})"
            ) from None
        self.model.load_other_parameter(state.get("other_parameter"))
        self.model.eval()

    @cached_property
    def interactions(self) -> pd.DataFrame:
        users, items = self._interactions
        return pd.DataFrame({"user": self._users[users], "item": self.items[items]})

    @cached_property
    def titles(self) -> dict:
        """``{external item id: title}`` from the first field of the data set's ``.item`` file that is named a title or
        a name; empty without one."""
        file = Path(self.config["data_path"], f"{self.config['dataset']}.item")
        return read_titles(file, self.config, self.train_dataset.iid_field)

    def item_ids(self, tokens: pd.Series) -> np.ndarray:
        """Internal ids of external item ids, 0 where the model knows none."""
        return tokens.map(self.train_dataset.field2token_id[self.train_dataset.iid_field]).fillna(0).to_numpy(np.int64)

    def batch(self, items: np.ndarray, lengths: np.ndarray, users=None) -> SequenceBatch:
        """The batch of B sequences; of each the last ``MAX_ITEM_LIST_LENGTH`` items are used.

        Args:
            items: internal ids of all sequences, one sequence after the other.
            lengths: of the sequences, ``[B]``, all positive.
            users: their external ids, ``[B]``; one that the model does not know is the padding, as all are without.
        """
        model, width = self.model, self.config["MAX_ITEM_LIST_LENGTH"]
        used = np.minimum(lengths, width)
        cell = np.arange(width)
        inside = cell < used[:, None]
        place = (np.cumsum(lengths) - used)[:, None] + cell
        item_seq = np.where(inside, items[np.where(inside, place, 0)], 0)
        user = pd.Series(users if users is not None else [None] * len(lengths), dtype=object)
        user = user.map(self.train_dataset.field2token_id[self.train_dataset.uid_field]).fillna(0).to_numpy(np.int64)
        fields = {model.ITEM_SEQ: item_seq, model.ITEM_SEQ_LEN: used, model.USER_ID: user}
        fields = {name: torch.from_numpy(values) for name, values in fields.items()}
        return SequenceBatch(fields, {model.ITEM_SEQ_LEN: used.copy()}).to(self.config["device"])

    @torch.no_grad()
    def scores(self, batch: SequenceBatch, exclude=None) -> torch.Tensor:
        """Scores of all items, ``[B, n_items]``, minus infinity for the padding.

        Args:
            exclude: rows and items, ``[K]`` each, whose scores are minus infinity too.
        """
        scores = self.model.full_sort_predict(batch).view(len(batch), -1).narrow(1, 0, len(self.items))
        scores[:, 0] = -torch.inf
        if exclude is not None:
            scores[tuple(torch.from_numpy(part).to(scores.device) for part in exclude)] = -torch.inf
        return scores
