"""Controls: importance that no model gave."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from recbole_ec4srec.data import ImportanceTable
from recbole_ec4srec.data.files import check_lines, encoding_of
from recbole_ec4srec.errors import ConfigError
from recbole_ec4srec.explain.base import Explainer


class _Control(Explainer):
    """An explainer that looks at no model."""

    @classmethod
    def refusal(cls, backbone):
        return None


class Random(_Control):
    """Uniform random numbers, new ones at every update; the same for the same seed."""

    def __init__(self, model, target="predicted", output="logit", batch_size=4096, seed=0):
        super().__init__(model, target, output, batch_size)
        self._generator = torch.Generator().manual_seed(seed)

    def state_dict(self):
        return {"generator": self._generator.get_state()}

    def load_state_dict(self, state):
        self._generator.set_state(state["generator"])

    def attribute(self, item_seq, item_seq_len, next_item=None, user=None):
        scores = torch.rand(item_seq.shape, generator=self._generator).to(item_seq.device)
        return self._inside([scores], item_seq_len)

    def table(self, dataset, device, show_progress=False):
        table = ImportanceTable(dataset.item_seq_len, dataset.max_item_list_len)
        table.values.uniform_(generator=self._generator)
        return table


class Oracle(_Control):
    """The scores that the data bring with them.

    Args:
        scores: a field of the interactions (to be loaded by ``load_col``), or a tab-separated file with a header and
            the columns user, item, score.
    """

    def __init__(self, model, target="predicted", output="logit", batch_size=4096, scores=""):
        super().__init__(model, target, output, batch_size)
        self.scores = scores
        self._score = None

    def attribute(self, item_seq, item_seq_len, next_item=None, user=None):
        raise NotImplementedError("explainer: oracle knows the training instances alone, see table()")

    def prepare(self, dataset):
        history = dataset.history
        if self._score is None:
            score = history[self.scores] if self.scores in history else self._from_file(dataset, history)
            if score.dim() != 1 or not score.float().isfinite().all():
                raise ConfigError(
                    f"oracle_scores: got {self.scores!r}, allowed is a finite number for each interaction"
                )
            self._score = score.float()

    def table(self, dataset, device, show_progress=False):
        self.prepare(dataset)
        table = ImportanceTable(dataset.item_seq_len, dataset.max_item_list_len)
        for rows in torch.arange(len(table)).split(1 << 16):
            table.set_rows(rows, self._score[dataset.window_cells(rows)[0]])
        return table

    def _from_file(self, dataset, history):
        fields = ", ".join(field for field in history if history[field].dim() == 1)
        try:
            encoding = encoding_of(self.scores, "utf-8")
            check_lines(self.scores, "\t", encoding)
            file = pd.read_csv(self.scores, sep="\t", dtype={0: str, 1: str}, index_col=False, encoding=encoding)
            user, item, score = (file.iloc[:, column] for column in range(3))
            score = score.to_numpy(np.float64)
        except (OSError, ValueError, IndexError) as error:
            raise ConfigError(
                f"oracle_scores: got {self.scores!r}, allowed is a field of the interactions ({fields}) or a "
                f"tab-separated file of user, item, score ({type(error).__name__}: {error})"
            ) from error
        known = pd.Series(score, pd.MultiIndex.from_arrays([user, item]))
        known = known[~known.index.duplicated(keep="last")]
        fields = (dataset.uid_field, dataset.iid_field)
        wanted = pd.MultiIndex.from_arrays([dataset.field2id_token[f][history[f].numpy()] for f in fields])
        place = known.index.get_indexer(wanted)
        missing = np.flatnonzero(place < 0)
        if len(missing):
            user, item = wanted[missing[0]]
            raise ConfigError(
                f"oracle_scores: {self.scores} has no score for {len(missing)} of {len(wanted)} interactions, "
                f"the first of user {user} and item {item}"
            )
        return torch.from_numpy(known.to_numpy()[place])
