"""RecBole's SASRec, its modules and weights as they are, computed without most of the padding.

The same numbers as ``SASRec.forward`` up to rounding (in training: with other draws of dropout). All tokens of a batch
are the rows of one matrix for everything that works token by token, and only attention is computed group by group. Of
the last layer only the last position of each sequence is read, so only that is computed.

Shapes: N sequences of a batch, in groups of n sequences of w positions; d dimensions. ``layer`` and ``attention`` are
RecBole's ``TransformerLayer`` and ``MultiHeadAttention``.

:func:`encode` cuts tensors with ``narrow``, ``split`` and ``index_select`` rather than brackets: those also work on the
fake GPU tensors of a torch without CUDA, by which the absence of synchronisation is tested.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
import torch.nn.functional as F
from recbole.model.layers import MultiHeadAttention, TransformerLayer
from recbole.model.sequential_recommender import SASRec
from torch import Tensor

from recbole_ec4srec.encoder.grouping import Group, first_tokens, split
from recbole_ec4srec.encoder.kernels.linear import by_blocks, linear, rows_to_add


def encode(
    model: SASRec, item_seq: Tensor, item_seq_len: Tensor, groups: Sequence[Group], item_embedding: Tensor | None = None
) -> Tensor:
    """Representations ``[N, d]`` of sequences ``[N, L]``.

    Args:
        model: RecBole's ``SASRec``.
        groups: all the sequences, in order; none of a group is longer than its width.
        item_embedding: ``[N, L, d]``, taken in place of the embeddings of ``item_seq``.
    """
    *layers, final = model.trm_encoder.layer
    hidden = _states(model, layers, item_seq, groups, item_embedding)  # [tokens, d]
    last = first_tokens(groups, item_seq.device) + item_seq_len - 1  # [N]
    context = _attend_from_last(final.multi_head_attention, hidden, last, item_seq_len, groups)  # [N, d]
    return _finish(final, context, hidden.index_select(0, last))  # [N, d]


def encode_all(model: SASRec, item_seq: Tensor, groups: Sequence[Group]) -> Tensor:
    """Representations ``[tokens, d]`` of all prefixes of sequences ``[N, L]``: the states of all positions, those of
    padding included, group by group and sequence by sequence."""
    return _states(model, list(model.trm_encoder.layer), item_seq, groups, None)


def _states(
    model: SASRec,
    layers: list[TransformerLayer],
    item_seq: Tensor,
    groups: Sequence[Group],
    item_embedding: Tensor | None,
) -> Tensor:
    """The output of ``layers`` at every position of every sequence, ``[tokens, d]``.

    The tokens are those of the first group, sequence by sequence, then those of the second …, and rows that fill up
    the last block of a matrix product.
    """
    tokens, positions = [], []
    for group, part in split(groups, item_seq if item_embedding is None else item_embedding):
        tokens.append(part.narrow(1, 0, group.width).flatten(0, 1))  # [n * w] ids or [n * w, d] embeddings
        position = model.position_embedding.weight.narrow(0, 0, group.width)  # [w, d]
        positions.append(position.expand(group.size, -1, -1).flatten(0, 1))  # [n * w, d]
    if added := rows_to_add(sum(group.tokens for group in groups), model.item_embedding.weight):
        tokens.append(tokens[0].new_zeros((added, *tokens[0].shape[1:])))
        positions.append(model.position_embedding.weight.narrow(0, 0, 1).expand(added, -1))
    embedded = torch.cat(tokens)
    if item_embedding is None:
        # One lookup for all: the gradient of each lookup is as large as the table.
        embedded = model.item_embedding(embedded)
    hidden = model.dropout(model.LayerNorm(embedded + torch.cat(positions)))  # [tokens, d]
    for layer in layers:
        hidden = _finish(layer, _attend(layer.multi_head_attention, hidden, groups), hidden)
    return hidden


class PrefixPass:
    """One pass over whole sequences for all their prefixes, and again with one item occluded.

    SASRec is causal: nothing after a position reaches its state. So one pass over a sequence holds the representations
    of all its prefixes; and where the item at p is occluded (its embedding is zero), the states before p stay, and only
    those from p on are computed again. They need queries, keys and values of their own, and the keys and values of the
    positions before p, which :meth:`__init__` keeps of every layer. To be used without gradients.

    Args:
        model: RecBole's ``SASRec``, in evaluation mode.
        item_seq: ``[n, w]``, without padding.
        last_only: compute the representations of whole sequences alone, not of every prefix. The last layer is then
            computed for the last position only.

    Attributes:
        states: ``[n, w, d]``, that of the first j + 1 items at j; with ``last_only`` ``[n, 1, d]``.
    """

    def __init__(self, model: SASRec, item_seq: Tensor, last_only: bool = False):
        first, *later = model.trm_encoder.layer
        self._last_only = last_only
        self._final = later.pop() if last_only and later else None
        positions = model.position_embedding.weight[: item_seq.shape[1]]  # [w, d]
        hidden = model.LayerNorm(model.item_embedding(item_seq) + positions)  # [n, w, d]
        # Contiguous, since every occlusion reads them: [n, heads, w, d / heads] each.
        query, key, value = (part.contiguous() for part in _project_by_blocks(first, hidden))
        # What a zero embedding leaves of the input is the same for all sequences.
        self._first = _OccludedFirstLayer(first, hidden, query, key, value, occluded=model.LayerNorm(positions))
        hidden = _continue(first, hidden, query, key, value)  # [n, w, d]
        self._later = []
        for layer in later:
            query, key, value = (part.contiguous() for part in _project_by_blocks(layer, hidden))
            self._later.append((layer, key, value))
            hidden = _continue(layer, hidden, query, key, value)  # [n, w, d]
        self._before_final = hidden
        self.states = self._last_state(hidden, 0) if last_only else hidden

    def without(self, position: int) -> Tensor:
        """Representations of the prefixes that contain ``position``, with the embedding there set to zero.

        Positions have to be asked for from the last to the first: what an occlusion changes is written over what the
        pass has kept, from ``position`` on, and the next occlusion, further to the left, writes over all of that.

        Returns:
            ``[n, w - position, d]``, that of the first ``position + 1 + j`` items at j; with ``last_only``
            ``[n, 1, d]``.
        """
        hidden = self._first.without(position, last_only=self._last_only and self._final is None)
        for layer, key, value in self._later:
            query, key[:, :, position:], value[:, :, position:] = _project_by_blocks(layer, hidden)
            hidden = _continue(layer, hidden, query, key, value)  # [n, w - position, d]
        return self._last_state(hidden, position) if self._last_only else hidden

    def _last_state(self, hidden: Tensor, position: int) -> Tensor:
        """The representation of the whole sequence, ``[n, 1, d]``, from ``hidden [n, w - position, d]``, the states
        before the final layer from ``position`` on."""
        last = hidden[:, -1]  # [n, d]
        if self._final is None:
            return last.unsqueeze(1)
        self._before_final[:, position:] = hidden
        attention = self._final.multi_head_attention
        context = _values(attention, *_pool(attention, *_absorb(attention, last), self._before_final))  # [n, d]
        return _finish(self._final, context, last).unsqueeze(1)


class _OccludedFirstLayer:
    """The first layer of a :class:`PrefixPass`, with one item occluded.

    Its input is the embeddings themselves, so an occlusion at p changes the input at p alone, and of attention only

    - row p of the weights (the query at p is another),
    - column p of the weights of later positions (the key at p is another),
    - the value at p.

    All of these are computed at once for all p; :meth:`without` writes those of its position into the attention of the
    whole sequence, and takes them out again. The weights are kept as exponentials, not yet divided by their sums, since
    one changed column changes every sum.

    Args:
        hidden: ``[n, w, d]``, the layer's input.
        query, key, value: ``[n, heads, w, d / heads]``, its projections.
        occluded: ``[w, d]``, the input at each position when its item is occluded.
    """

    def __init__(
        self, layer: TransformerLayer, hidden: Tensor, query: Tensor, key: Tensor, value: Tensor, occluded: Tensor
    ):
        self._layer, self._hidden, self._value, self._occluded = layer, hidden, value, occluded
        attention = layer.multi_head_attention
        scale, width = 1 / attention.sqrt_attention_head_size, len(occluded)
        causal = _causal(width, width, occluded)  # [w, w]
        new_query, new_key, self._new_value = _heads(attention, _project(attention, occluded), 1)  # [1, heads, w, …]
        # Row p: the scores of position p when p is occluded; it sees itself by its new key.
        row = torch.matmul(new_query, key.transpose(2, 3)) * scale + causal  # [n, heads, w, w]
        row.diagonal(dim1=2, dim2=3).copy_((new_query * new_key).sum(-1) * scale)
        self._new_row = row.softmax(3)
        scores = torch.matmul(query, key.transpose(2, 3)) * scale + causal  # [n, heads, w, w]
        # Column p: the scores of all positions for position p when p is occluded.
        column = torch.matmul(query, new_key.transpose(2, 3)) * scale  # [n, heads, w, w]
        # Relative to the second largest, since the largest may be the occluded one. Where a score exceeds it by 80, the
        # others have no weight that a float could hold.
        second = scores.scatter(3, scores.argmax(3, keepdim=True), -torch.inf).amax(3, keepdim=True)
        second[:, :, 0] = 0  # the first position sees itself alone
        self._weights = (scores - second).clamp_(max=80).exp_()
        self._new_column = (column - second).clamp_(max=80).exp_()

    def without(self, position: int, last_only: bool) -> Tensor:
        """The layer's output from ``position`` on, ``[n, w - position, d]``, or at the last position, ``[n, 1, d]``,
        with the item at ``position`` occluded."""
        later = slice(position + 1, None)
        changes = (
            (self._hidden[:, position], self._occluded[position]),
            (self._value[:, :, position], self._new_value[:, :, position]),
            (self._weights[:, :, position], self._new_row[:, :, position]),
            (self._weights[:, :, later, position], self._new_column[:, :, later, position]),
        )
        with _written_over(changes):
            start = -1 if last_only else position
            weights = self._weights[:, :, start:]  # [n, heads, w - position, w]
            context = torch.matmul(weights, self._value) / weights.sum(3, keepdim=True)
            return _finish_by_blocks(self._layer, context, self._hidden[:, start:])


@contextmanager
def _written_over(changes: Sequence[tuple[Tensor, Tensor]]) -> Iterator[None]:
    """Each first tensor holds the values of the second for a while."""
    kept = [place.clone() for place, _ in changes]
    for place, new in changes:
        place.copy_(new)
    yield
    for (place, _), old in zip(changes, kept):
        place.copy_(old)


def _continue(layer: TransformerLayer, hidden: Tensor, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """A layer's output for the last q positions, ``hidden [n, q, d]``, each of which sees the keys up to itself."""
    bias = _causal(hidden.shape[1], key.shape[2], hidden)
    return _finish_by_blocks(layer, _weigh(layer.multi_head_attention, query, key, value, bias), hidden)


def _finish_by_blocks(layer: TransformerLayer, context: Tensor, residual: Tensor) -> Tensor:
    """:func:`_finish` of ``context [n, heads, w, d / heads]`` and ``residual [n, w, d]``."""
    finished = by_blocks(partial(_finish, layer), _join_heads(context), residual.flatten(0, 1))
    return finished.unflatten(0, residual.shape[:2])


def _project_by_blocks(layer: TransformerLayer, hidden: Tensor) -> tuple[Tensor, ...]:
    """Queries, keys and values of ``hidden [n, w, d]``, ``[n, heads, w, d / heads]`` each."""
    attention = layer.multi_head_attention
    projected = by_blocks(partial(_project, attention), hidden.flatten(0, 1))  # [n * w, 3 * d]
    return _heads(attention, projected, len(hidden))


def _project(attention: MultiHeadAttention, hidden: Tensor) -> Tensor:
    """Queries, keys and values side by side, ``[…, d]`` to ``[…, 3 * d]``, by one product."""
    parts = (attention.query, attention.key, attention.value)
    return linear(hidden, torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts]))


def _heads(attention: MultiHeadAttention, projected: Tensor, n: int) -> tuple[Tensor, ...]:
    """``[n * w, 3 * d]`` of :func:`_project` as queries, keys and values, ``[n, heads, w, d / heads]`` each."""
    heads, size = attention.num_attention_heads, attention.attention_head_size
    return projected.view(n, -1, 3, heads, size).permute(2, 0, 3, 1, 4).unbind(0)


def _join_heads(context: Tensor) -> Tensor:
    """``[n, heads, w, d / heads]`` as ``[n * w, d]``."""
    return context.transpose(1, 2).flatten(0, 1).flatten(1)


def _causal(queries: int, keys: int, like: Tensor) -> Tensor:
    """What is added to the scores of the last positions so that they see the keys up to themselves, ``[q, k]``."""
    return torch.full((queries, keys), -torch.inf, dtype=like.dtype, device=like.device).triu(keys - queries + 1)


def _weigh(attention: MultiHeadAttention, query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """Attention of ``[n, heads, q, d / heads]`` to ``[n, heads, k, d / heads]``, with ``bias [q, k]`` added to the
    scores, ``[n, heads, q, d / heads]``."""
    dropout, bias = attention.attn_dropout, bias.to(query.dtype)
    if not (dropout.training and dropout.p > 0):
        return F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    keys = key.flatten(0, 1).transpose(1, 2)  # [n * heads, d / heads, k]
    scores = torch.baddbmm(bias, query.flatten(0, 1), keys, alpha=1 / attention.sqrt_attention_head_size)
    weights = dropout(attention.softmax(scores))  # [n * heads, q, k]
    return torch.bmm(weights, value.flatten(0, 1)).unflatten(0, query.shape[:2])


def _attend(attention: MultiHeadAttention, hidden: Tensor, groups: Sequence[Group]) -> Tensor:
    """Causal self-attention within every sequence, ``[tokens, d]`` to ``[tokens, d]``.

    Padding stands to the right of all items, so no item sees it.
    """
    context = []
    # One split, not a slice for each group: the gradient of a slice is as large as what it was cut from.
    *parts, added = _project(attention, hidden).split(_sizes(groups, hidden))
    for group, part in zip(groups, parts):
        query, key, value = _heads(attention, part, group.size)
        bias = _causal(group.width, group.width, hidden)
        context.append(_join_heads(_weigh(attention, query, key, value, bias)))  # [n * w, d]
    return torch.cat([*context, hidden.new_zeros(len(added), hidden.shape[1])])


def _sizes(groups: Sequence[Group], hidden: Tensor) -> list[int]:
    """How many rows of ``hidden`` each group has, and how many rows fill up the last block."""
    sizes = [group.tokens for group in groups]
    return [*sizes, len(hidden) - sum(sizes)]


def _attend_from_last(
    attention: MultiHeadAttention, hidden: Tensor, last: Tensor, item_seq_len: Tensor, groups: Sequence[Group]
) -> Tensor:
    """Self-attention of the last item of every sequence, ``[N, d]``; ``last [N]`` is where it is in ``hidden``."""
    absorbed = _absorb(attention, hidden.index_select(0, last))
    pooled = []
    for (group, query, offset, lengths), tokens in zip(
        split(groups, *absorbed, item_seq_len), hidden.split(_sizes(groups, hidden))
    ):
        padding = torch.arange(group.width, device=hidden.device) >= lengths.view(-1, 1, 1)  # [n, 1, w]
        states = tokens.unflatten(0, (group.size, group.width))  # [n, w, d]
        pooled.append(_pool(attention, query, offset, states, padding))
    return _values(attention, *(torch.cat(parts) for parts in zip(*pooled)))


# One position attends to many. Its query q meets the keys K h + b in q·(K h + b) = (Kᵀ q)·h + q·b, and the weighted sum
# of the values V h + c is V (the weighted sum of h) + c times the sum of the weights. So K and V are applied once for
# the position, not once for each h.


def _absorb(attention: MultiHeadAttention, states: Tensor) -> tuple[Tensor, Tensor]:
    """``Kᵀ q [n, heads, d]`` and ``q·b [n, heads, 1]`` of ``states [n, d]`` for every head."""
    heads, size = attention.num_attention_heads, attention.attention_head_size
    query = attention.query(states).view(-1, heads, size).transpose(0, 1)  # [heads, n, d / heads]
    weight = attention.key.weight.view(heads, size, -1)  # [heads, d / heads, d]
    bias = attention.key.bias.view(heads, size, 1)  # [heads, d / heads, 1]
    return torch.bmm(query, weight).transpose(0, 1), torch.bmm(query, bias).transpose(0, 1)


def _pool(
    attention: MultiHeadAttention, query: Tensor, offset: Tensor, states: Tensor, padding: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The weighted sums ``[n, heads, d]`` of ``states [n, w, d]``, and the sums ``[n, heads, 1]`` of the weights, which
    dropout leaves other than 1. ``query`` and ``offset`` are from :func:`_absorb`; ``padding [n, 1, w]`` gets none."""
    scale = 1 / attention.sqrt_attention_head_size
    scores = torch.baddbmm(offset, query, states.transpose(1, 2), beta=scale, alpha=scale)  # [n, heads, w]
    if padding is not None:
        scores = scores.masked_fill(padding, -torch.inf)
    weights = attention.attn_dropout(attention.softmax(scores))
    return torch.bmm(weights, states), weights.sum(2, keepdim=True)


def _values(attention: MultiHeadAttention, pooled: Tensor, total: Tensor) -> Tensor:
    """The context of attention, ``[n, d]``, from what :func:`_pool` gives."""
    heads, size = attention.num_attention_heads, attention.attention_head_size
    weight = attention.value.weight.view(heads, size, -1).transpose(1, 2)  # [heads, d, d / heads]
    values = torch.bmm(pooled.transpose(0, 1), weight).transpose(0, 1)  # [n, heads, d / heads]
    return (values + total * attention.value.bias.view(heads, size)).flatten(1)


def _finish(layer: TransformerLayer, context: Tensor, residual: Tensor) -> Tensor:
    """What a transformer layer does after attention, token by token, ``[…, d]``."""
    attention = layer.multi_head_attention
    return layer.feed_forward(attention.LayerNorm(attention.out_dropout(attention.dense(context)) + residual))
