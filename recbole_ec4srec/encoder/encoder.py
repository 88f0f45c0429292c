"""A sequential recommender of RecBole's as an encoder of sequences, computed as they are padded."""

from __future__ import annotations

import inspect

from recbole.model.abstract_recommender import SequentialRecommender
from torch import Tensor, nn

from recbole_ec4srec.encoder.adapters import ADAPTERS, Adapter
from recbole_ec4srec.encoder.kernels.linear import linear

#: The names that RecBole's models have for the arguments of ``forward``.
SEQUENCE, LENGTH, USER = ("item_seq", "seq_item"), ("item_seq_len", "seq_item_len"), ("user",)


def parameters_of(model_class: type[SequentialRecommender]) -> list[str]:
    """The names of the arguments of a model's ``forward``."""
    return list(inspect.signature(model_class.forward).parameters)[1:]


class Encoder(nn.Module):
    """An encoder of item sequences, ``[B, L]`` ids to ``[B, d]``, and the scores of items for its representations.

    Args:
        name: of the class of ``model``, by which its adapter is found.
        n_items: the number of items that are scored, the padding included.
    """

    def __init__(self, name: str, model: SequentialRecommender, n_items: int):
        super().__init__()
        self.name, self.n_items = name, n_items
        self.model = model
        self._parameters_of_forward = parameters_of(type(model))
        self._adapter = ADAPTERS.get(name, Adapter())

    @property
    def takes_user(self) -> bool:
        """Whether ``forward`` has an argument for the user."""
        return any(name in self._parameters_of_forward for name in USER)

    def forward(
        self, item_seq: Tensor, item_seq_len: Tensor, item_embedding: Tensor | None = None, user: Tensor | None = None
    ) -> Tensor:
        """Encode ``item_seq [B, L]`` as it is padded.

        Args:
            item_embedding: ``[B, L, d]``; taken in place of the embeddings of ``item_seq``, which still says where the
                padding is.
            user: ``[B]``; needed where :attr:`takes_user`.

        Raises:
            ValueError: the user is needed and not given.
        """
        ids = self._adapter.inputs(self.model, item_seq, item_seq_len)
        arguments: dict[str, Tensor | bool | None] = {**self._adapter.arguments}
        for names, value in ((SEQUENCE, ids), (LENGTH, item_seq_len.clone()), (USER, user)):
            arguments.update({name: value for name in names if name in self._parameters_of_forward})
        if self.takes_user and user is None:
            raise ValueError(f"{self.name} encodes the user with the sequence: user is needed")
        if item_embedding is None:
            states = self.model(**arguments)
        else:
            handle = self.model.item_embedding.register_forward_hook(
                lambda _, ids, own: self._adapter.embedded(self.model, ids[0], own, item_embedding)
            )
            try:
                states = self.model(**arguments)
            finally:
                handle.remove()
        return states if states.dim() == 2 else self.model.gather_indexes(states, item_seq_len - 1)

    def item_vectors(self, first: int = 0, count: int | None = None) -> Tensor:
        """What representations are multiplied with to score items, ``[count, d]``: of ``count`` items from ``first``
        on, or all; the padding included, ``[m]`` not."""
        count = self.n_items - first if count is None else count
        rows = getattr(self.model, self._adapter.table).weight.narrow(0, first, count)
        return self._adapter.item_vectors(self.model, rows)

    def score_all(self, encoded: Tensor, first: int = 0, count: int | None = None) -> Tensor:
        """Scores ``[B, count]`` of the items of :meth:`item_vectors` for representations ``[B, d]``."""
        vectors, bias = self.item_vectors(first, count), self._adapter.item_bias(self.model)
        return linear(encoded, vectors, None if bias is None else bias.narrow(0, first, len(vectors)))
