"""Importance that does not come from a model: random, or given with the data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_ec4srec.data import EC4SRecDataset, ImportanceTable
from recbole_ec4srec.data.files import check_lines, encoding_of
from recbole_ec4srec.encoder.backbone import Backbone
from recbole_ec4srec.errors import ConfigError
from recbole_ec4srec.explain.base import Explainer


class _ModelFree(Explainer):
    """An explainer for any backbone, since it does not use it."""

    @classmethod
    def refusal(cls, backbone: Backbone) -> None:
        """None: every backbone will do."""


class Random(_ModelFree):
    """Uniform random numbers, new ones at every update; the same for the same seed."""

    def __init__(self, *common: Any, seed: int = 0):
        super().__init__(*common)
        self._generator = torch.Generator().manual_seed(seed)

    def state_dict(self) -> dict:
        """The state of the random numbers."""
        return {"generator": self._generator.get_state()}

    def load_state_dict(self, state: dict) -> None:
        """Continue with the random numbers after :meth:`state_dict`."""
        self._generator.set_state(state["generator"])

    def attribute(
        self, item_seq: Tensor, item_seq_len: Tensor, next_item: Tensor | None = None, user: Tensor | None = None
    ) -> Tensor:
        """Uniform in [0, 1)."""
        scores = torch.rand(item_seq.shape, generator=self._generator).to(item_seq.device)
        return self._inside([scores], item_seq_len)

    def table(self, dataset: EC4SRecDataset, device: torch.device, show_progress: bool = False) -> ImportanceTable:
        """Uniform in [0, 1), drawn for all instances at once."""
        table = ImportanceTable(dataset.item_seq_len, dataset.max_item_list_len)
        table.values.uniform_(generator=self._generator)
        return table


class Oracle(_ModelFree):
    """Scores that come with the data.

    Args:
        common: as for :class:`Explainer`.
        scores: a field of the interactions (to be loaded by ``load_col``), or a tab-separated file with a header and
            the columns user, item, score.
    """

    def __init__(self, *common: Any, scores: str = ""):
        super().__init__(*common)
        self.scores = scores
        self._score: Tensor | None = None  # of every interaction

    def attribute(
        self, item_seq: Tensor, item_seq_len: Tensor, next_item: Tensor | None = None, user: Tensor | None = None
    ) -> Tensor:
        """Raises NotImplementedError: only training instances have scores, see :meth:`table`."""
        raise NotImplementedError("explainer: oracle knows the training instances only, see table()")

    def check(self, dataset: EC4SRecDataset) -> None:
        """Read the scores. Raises ConfigError: an interaction has none, or one that is no finite number."""
        self._scores_of(dataset)

    def table(self, dataset: EC4SRecDataset, device: torch.device, show_progress: bool = False) -> ImportanceTable:
        """The scores of the interactions in the window of every instance."""
        score = self._scores_of(dataset)  # [interactions]
        table = ImportanceTable(dataset.item_seq_len, dataset.max_item_list_len)
        for rows in torch.arange(len(table)).split(1 << 16):
            table.set_rows(rows, score[torch.from_numpy(dataset.window_cells(rows)[0])])
        return table

    def _scores_of(self, dataset: EC4SRecDataset) -> Tensor:
        """A score for each interaction, read once."""
        if self._score is None:
            history = dataset.history
            if history is None:
                raise ConfigError("explainer: got 'oracle', which has no scores for files that are split already")
            score = history[self.scores] if self.scores in history else self._from_file(dataset, history)
            if score.dim() != 1 or not score.float().isfinite().all():
                raise ConfigError(
                    f"oracle_scores: got {self.scores!r}, allowed is a finite number for each interaction"
                )
            self._score = score.float()
        return self._score

    def _from_file(self, dataset: EC4SRecDataset, history: Interaction) -> Tensor:
        allowed = ", ".join(field for field in history if history[field].dim() == 1)
        try:
            encoding = encoding_of(self.scores, "utf-8")
            check_lines(self.scores, "\t", encoding)
            file = pd.read_csv(self.scores, sep="\t", dtype={0: str, 1: str}, index_col=False, encoding=encoding)
            users, items, scores = (file.iloc[:, column] for column in range(3))
            known = pd.Series(scores.to_numpy(np.float64), pd.MultiIndex.from_arrays([users, items]))
        except (OSError, ValueError, IndexError) as error:
            raise ConfigError(
                f"oracle_scores: got {self.scores!r}, allowed is a field of the interactions ({allowed}) or a "
                f"tab-separated file of user, item, score ({type(error).__name__}: {error})"
            ) from error
        known = known[~known.index.duplicated(keep="last")]
        fields = (dataset.uid_field, dataset.iid_field)
        interactions = pd.MultiIndex.from_arrays([dataset.field2id_token[f][history[f].numpy()] for f in fields])
        row = known.index.get_indexer(interactions)  # of the file, -1: none
        missing = np.flatnonzero(row < 0)
        if len(missing):
            user, item = interactions[missing[0]]
            raise ConfigError(
                f"oracle_scores: {self.scores} has no score for {len(missing)} of {len(interactions)} interactions, "
                f"the first of user {user} and item {item}"
            )
        return torch.from_numpy(known.to_numpy()[row])
