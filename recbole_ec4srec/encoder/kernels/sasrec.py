"""RecBole's SASRec, its modules and weights as they are, computed without most of the padding.

The same numbers as ``SASRec.forward`` in evaluation mode, up to rounding. All tokens of a batch stand in one matrix for
everything that works token by token, and only attention goes group by group. Of the last layer only the last position
of each sequence is read, so only that is computed.

Tensors are cut with ``narrow``, ``split`` and ``index_select`` rather than brackets where a model runs: those also work
on the fake GPU tensors of a torch without CUDA, which is how the absence of synchronisation is tested.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from recbole_ec4srec.encoder.kernels.linear import by_blocks, linear, rows_to_add


def encode(model, item_seq: Tensor, item_seq_len: Tensor, groups, item_embedding: Tensor | None = None) -> Tensor:
    """Representations ``[N, d]`` of sequences ``[N, L]``.

    Args:
        model: RecBole's ``SASRec``.
        groups: ``(start, end, width)`` of consecutive sequences, none of a group longer than its width.
        item_embedding: ``[N, L, d]``, taken in the place of the embeddings of ``item_seq``.
    """
    tokens, positions, last, offset = [], [], [], 0
    counts = [end - start for start, end, _ in groups]
    inputs = item_seq if item_embedding is None else item_embedding
    for seq, lengths, (_, _, width) in zip(inputs.split(counts), item_seq_len.split(counts), groups):
        tokens.append(seq.narrow(1, 0, width).flatten(0, 1))
        place = model.position_embedding.weight.narrow(0, 0, width)
        positions.append(place.expand(len(seq), -1, -1).flatten(0, 1))
        last.append(torch.arange(len(seq), device=seq.device) * width + offset + lengths - 1)
        offset += len(seq) * width
    if added := rows_to_add(offset, model.item_embedding.weight):
        tokens.append(tokens[0].new_zeros((added, *tokens[0].shape[1:])))
        positions.append(model.position_embedding.weight.narrow(0, 0, 1).expand(added, -1))
    tokens, last = torch.cat(tokens), torch.cat(last)
    # Looked up at once: the gradient of every lookup is as large as the table.
    embedded = model.item_embedding(tokens) if item_embedding is None else tokens
    hidden = model.dropout(model.LayerNorm(embedded + torch.cat(positions)))  # (tokens, d)
    *layers, final = model.trm_encoder.layer
    for layer in layers:
        context = _attend(layer.multi_head_attention, hidden, groups)
        hidden = _finish(layer, context, hidden)
    context = _attend_from_last(final.multi_head_attention, hidden, last, item_seq_len, groups)
    return _finish(final, context, hidden.index_select(0, last))


class PrefixPass:
    """One pass over sequences for all their prefixes, and what changes in it when an item is occluded.

    Nothing after a prefix reaches its representation, so the pass over the whole sequence holds those of all prefixes
    (``states [n, w, d]``: of the first j + 1 items at j). To be used without gradients.

    Args:
        model: RecBole's ``SASRec``, in evaluation mode.
        item_seq: ``[n, w]``, without padding.
        last_only: ask for the whole sequence's representation alone, ``[n, 1, d]`` instead of ``[n, w, d]``.
    """

    def __init__(self, model, item_seq: Tensor, last_only: bool = False):
        self.n, self.width = item_seq.shape
        self._model, self._last_only = model, last_only
        self._layers = list(model.trm_encoder.layer)
        self._pooled = self._layers.pop() if last_only and len(self._layers) > 1 else None
        positions = model.position_embedding.weight[: self.width]
        self._input = hidden = model.LayerNorm(model.item_embedding(item_seq) + positions)
        self._cache = []  # of every layer: queries, keys and values, [n, heads, w, d / heads] each
        for layer in self._layers:
            attention = layer.multi_head_attention
            projected = _project_by_blocks((attention.query, attention.key, attention.value), hidden)
            self._cache.append([part.contiguous() for part in _heads(attention, projected, self.n, 3)])
            hidden = _continue(layer, hidden, *self._cache[-1])
        self._hidden = hidden
        self.states = self._result(hidden, 0) if last_only else hidden
        self._prepare_first_layer(model.LayerNorm(positions))

    def without(self, position: int) -> Tensor:
        """Representations of the prefixes that contain ``position``, with the embedding there set to zero.

        Only what the occlusion can change is computed: ``position`` and what follows it. The keys and values that
        change are written over those of the pass, so positions have to be asked for from the last to the first.

        Returns:
            ``[n, w - position, d]``, that of the first ``position + 1 + j`` items at j; with ``last_only``
            ``[n, 1, d]``.
        """
        hidden = self._first_layer(position)
        for layer, (_, key, value) in zip(self._layers[1:], self._cache[1:]):
            attention = layer.multi_head_attention
            projected = _project_by_blocks((attention.query, attention.key, attention.value), hidden)
            query, key[:, :, position:], value[:, :, position:] = _heads(attention, projected, self.n, 3)
            hidden = _continue(layer, hidden, query, key, value)
        return self._result(hidden, position) if self._last_only else hidden

    def _prepare_first_layer(self, tokens):
        """The first layer's attention weights with and without an occlusion, not yet divided by their sums.

        Its input changes at the occluded position alone, to what a zero embedding leaves (``tokens [w, d]``), the same
        for all sequences. So of a later position's weights one changes; only the occluded position's own are all new.
        """
        attention, (query, key, _) = self._layers[0].multi_head_attention, self._cache[0]
        projected = _project((attention.query, attention.key, attention.value), tokens)
        new_query, new_key, new_value = _heads(attention, projected, 1, 3)
        scale, causal = 1 / attention.sqrt_attention_head_size, _causal(self.width, self.width, tokens)
        own = torch.matmul(new_query, key.transpose(2, 3)) * scale + causal
        own.diagonal(dim1=2, dim2=3).copy_((new_query * new_key).sum(-1) * scale)
        scores = torch.matmul(query, key.transpose(2, 3)) * scale + causal
        changed = torch.matmul(query, new_key.transpose(2, 3)) * scale
        # Relative to the second largest, since the largest may be the occluded one; what exceeds it by 80 leaves the
        # others no weight that a float could hold.
        second = scores.scatter(3, scores.argmax(3, keepdim=True), -torch.inf).amax(3, keepdim=True)
        second[:, :, 0] = 0  # the first position has no second
        self._weights = (scores - second).clamp_(max=80).exp_()
        self._occluded = tokens, own.softmax(3), (changed - second).clamp_(max=80).exp_(), new_value

    def _first_layer(self, position):
        """The first layer's output from ``position`` on."""
        value, later = self._cache[0][2], slice(position + 1, None)
        tokens, own, changed, values = self._occluded
        places = (
            (self._input[:, position], tokens[position]),
            (self._weights[:, :, position], own[:, :, position]),
            (self._weights[:, :, later, position], changed[:, :, later, position]),
            (value[:, :, position], values[:, :, position]),
        )
        before = [place.clone() for place, _ in places]
        for place, now in places:
            place.copy_(now)
        start = self.width - 1 if self._last_only and self._pooled is None else position
        weights = self._weights[:, :, start:]
        context = torch.matmul(weights, value) / weights.sum(3, keepdim=True)
        output = _finish_by_blocks(self._layers[0], context, self._input[:, start:])
        for (place, _), unchanged in zip(places, before):
            place.copy_(unchanged)
        return output

    def _result(self, hidden, position):
        """The whole sequence's representation, from ``hidden``, the last cached layer's output from ``position`` on."""
        if self._pooled is None:
            return hidden[:, -1:]
        attention, last = self._pooled.multi_head_attention, hidden[:, -1]
        pooled = _pool(attention, *_absorb(attention, last), [self._hidden[:, :position], hidden])
        return _finish(self._pooled, _values(attention, *pooled), last).unsqueeze(1)


def _continue(layer, hidden: Tensor, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """A layer's output for the last positions, ``hidden [N, q, d]``, that see the keys up to themselves."""
    bias = _causal(hidden.shape[1], key.shape[2], hidden)
    return _finish_by_blocks(layer, _weigh(layer.multi_head_attention, query, key, value, bias), hidden)


def _finish_by_blocks(layer, context: Tensor, residual: Tensor) -> Tensor:
    """:func:`_finish` of ``context [n, heads, w, d / heads]`` and ``residual [n, w, d]``."""
    context = context.transpose(1, 2).flatten(0, 1).flatten(1)
    finished = by_blocks(lambda *rows: _finish(layer, *rows), context, residual.flatten(0, 1))
    return finished.unflatten(0, residual.shape[:2])


def _project_by_blocks(linears, hidden: Tensor) -> Tensor:
    """:func:`_project` of ``hidden [n, w, d]``, ``[n * w, parts * d]``."""
    return by_blocks(lambda rows: _project(linears, rows), hidden.flatten(0, 1))


def _heads(attention, projected: Tensor, n: int, parts: int):
    """``[n * w, parts * d]`` as ``parts`` tensors ``[n, heads, w, d / heads]``."""
    heads, size = attention.num_attention_heads, attention.attention_head_size
    return projected.view(n, -1, parts, heads, size).permute(2, 0, 3, 1, 4).unbind(0)


def _project(linears, hidden: Tensor) -> Tensor:
    """Several projections of the same input as one product."""
    return linear(hidden, torch.cat([f.weight for f in linears]), torch.cat([f.bias for f in linears]))


def _causal(queries: int, keys: int, like: Tensor) -> Tensor:
    """What is added to the scores of the last positions so that they see the keys up to themselves, ``[q, k]``."""
    return torch.full((queries, keys), -torch.inf, dtype=like.dtype, device=like.device).triu(keys - queries + 1)


def _weigh(attention, query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """Attention with ``bias`` added to the scores, ``[n, heads, q, d / heads]``."""
    dropout, bias = attention.attn_dropout, bias.to(query.dtype)
    if not (dropout.training and dropout.p > 0):
        return F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    n, heads = query.shape[:2]
    bias = bias.expand(n, heads, -1, -1).flatten(0, 1) if bias.dim() == 4 else bias
    keys = key.flatten(0, 1).transpose(1, 2)
    scores = torch.baddbmm(bias, query.flatten(0, 1), keys, alpha=1 / attention.sqrt_attention_head_size)
    return torch.bmm(dropout(attention.softmax(scores)), value.flatten(0, 1)).view(n, heads, -1, value.shape[-1])


def _attend(attention, hidden: Tensor, groups) -> Tensor:
    """Causal self-attention within every sequence, ``[tokens, d]``.

    Padding stands to the right of all items, so no item sees it.
    """
    projected = _project((attention.query, attention.key, attention.value), hidden)
    context = []
    # One split, not a slice a group: the gradient of a slice is as large as what it was cut from.
    parts = projected.split(_tokens(groups, hidden))
    for (start, end, width), part in zip(groups, parts):
        query, key, value = _heads(attention, part, end - start, 3)
        weighed = _weigh(attention, query, key, value, _causal(width, width, hidden))
        context.append(weighed.transpose(1, 2).flatten(0, 1).flatten(1))
    context += [hidden.new_zeros(len(part), hidden.shape[1]) for part in parts[len(groups) :]]
    return torch.cat(context)


def _tokens(groups, hidden: Tensor) -> list[int]:
    """How many rows of ``hidden`` belong to each group, and how many were added to them."""
    counts = [(end - start) * width for start, end, width in groups]
    return [*counts, *([added] if (added := len(hidden) - sum(counts)) else [])]


def _attend_from_last(attention, hidden: Tensor, last: Tensor, item_seq_len: Tensor, groups) -> Tensor:
    """Self-attention of the last item of every sequence, ``[N, d]``."""
    counts = [end - start for start, end, _ in groups]
    absorbed = (part.split(counts) for part in _absorb(attention, hidden.index_select(0, last)))
    states = hidden.split(_tokens(groups, hidden))
    pooled = []
    for *query, part, lengths, (_, _, width) in zip(*absorbed, states, item_seq_len.split(counts), groups):
        padding = torch.arange(width, device=hidden.device) >= lengths.view(-1, 1, 1)
        pooled.append(_pool(attention, *query, [part.unflatten(0, (len(lengths), width))], padding))
    return _values(attention, *(torch.cat(parts) for parts in zip(*pooled)))


# One state attends to many. Its query q meets the keys K h + b in q·(K h + b) = (Kᵀ q)·h + q·b, and the weighted sum of
# the values V h + c is V (the weighted sum of h) + c times the sum of the weights. So K and V are applied once for the
# state, not once for each h.


def _absorb(attention, states: Tensor):
    """``Kᵀ q [N, heads, d]`` and ``q·b [N, heads, 1]`` of ``states [N, d]`` for every head."""
    heads, size = attention.num_attention_heads, attention.attention_head_size
    query = attention.query(states).view(-1, heads, size).transpose(0, 1)
    key = attention.key
    absorbed = torch.bmm(query, key.weight.view(heads, size, -1)), torch.bmm(query, key.bias.view(heads, size, 1))
    return tuple(part.transpose(0, 1) for part in absorbed)


def _pool(attention, query: Tensor, offset: Tensor, states, padding: Tensor | None = None):
    """The weighted sums ``[N, heads, d]`` of ``states``, one or more ``[N, w, d]`` that follow each other, and the sums
    ``[N, heads, 1]`` of the weights (dropout leaves them other than 1). ``padding [N, 1, w]`` is not looked at."""
    scale = 1 / attention.sqrt_attention_head_size
    scores = [torch.baddbmm(offset, query, part.transpose(1, 2), beta=scale, alpha=scale) for part in states]
    scores = scores[0] if len(scores) == 1 else torch.cat(scores, 2)
    if padding is not None:
        scores = scores.masked_fill(padding, -torch.inf)
    weights = attention.attn_dropout(attention.softmax(scores))
    parts = weights.split([part.shape[1] for part in states], 2)
    sums = [torch.bmm(weight, part) for weight, part in zip(parts, states)]
    return sum(sums[1:], sums[0]), weights.sum(2, keepdim=True)


def _values(attention, pooled: Tensor, total: Tensor) -> Tensor:
    """What :func:`_pool` gives as the context of attention, ``[N, d]``."""
    heads, size = attention.num_attention_heads, attention.attention_head_size
    weight = attention.value.weight.view(heads, size, -1).transpose(1, 2)
    values = torch.bmm(pooled.transpose(0, 1), weight).transpose(0, 1)
    return (values + total * attention.value.bias.view(heads, size)).flatten(1)


def _finish(layer, context: Tensor, residual: Tensor) -> Tensor:
    """What a transformer layer does after attention, token by token."""
    attention = layer.multi_head_attention
    return layer.feed_forward(attention.LayerNorm(attention.out_dropout(attention.dense(context)) + residual))
