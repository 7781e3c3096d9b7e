"""Continue many token sequences with one model; a prefix that several of them share is computed once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import Cache, DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from agents.prefixes import Chunk, chunks
from agents.sampling import sample, uniform

# New tokens of one pass over prompts. Attention within a chunk grows with the square of its length; on a CPU that
# soon outweighs the rest.
CHUNK = {"cpu": 512, "cuda": 4096}

# Finished rows leave the batch when at most this share of it is still going: leaving copies all that stay.
LIVE_SHARE = 0.75


@dataclass(frozen=True, slots=True)
class Row:
    """A sequence to continue: its ids so far, and how.

    `choice_ids` are tokens whose raw log-probabilities are wanted at the first new position. Where `first_ids` are
    given, they are the only tokens allowed there.
    """

    ids: tuple[int, ...]
    max_tokens: int
    temperature: float
    top_p: float
    seed: int
    choice_ids: tuple[int, ...] = ()
    first_ids: tuple[int, ...] = ()


@dataclass(slots=True)
class Continuation:
    """The new ids of a row, its end token included where there was one; the raw log-probabilities of `choice_ids`."""

    ids: list[int] = field(default_factory=list)
    ended: bool = False
    choice_logprobs: tuple[float, ...] = ()


def shares_prefixes(model: PreTrainedModel) -> bool:
    """Whether the model can read a token tree: full attention in all layers, and positions that can be told to it.

    Not so: sliding windows (Mistral 7B v0.1, Gemma 2 and 3), recurrences (Mamba, Qwen3-Next), ALiBi (Bloom, MPT).
    """
    layers = DynamicCache(config=model.config).layers
    told = {"position_ids", "logits_to_keep"} <= set(inspect.signature(model.forward).parameters)
    return told and all(type(layer) is DynamicLayer for layer in layers) and not getattr(model.config, "alibi", False)


@torch.inference_mode()
def continue_rows(
    model: PreTrainedModel, rows: Sequence[Row], ends: frozenset[int], abandoned: Callable[[], bool], *, share: bool
) -> list[Continuation]:
    """Continue each row until a token of `ends` or its `max_tokens`. Gives up, with less, once `abandoned()`.

    `share` computes shared prefixes once (see `shares_prefixes`); without it prompts are padded on the left.
    """
    room = max(row.max_tokens for row in rows) - 1  # the last token is never read
    sequences = [row.ids for row in rows]
    read = _read_tree(model, sequences, room, abandoned) if share else _read_padded(model, sequences, room)
    if read is None:
        return []
    logits, cache, seen = read
    filled = seen.shape[1] - room
    continuations = [Continuation(choice_logprobs=_choices(row, at)) for row, at in zip(rows, logits, strict=True)]
    _forbid(rows, logits)
    masked = any(isinstance(layer, DynamicLayer) for layer in cache.layers)  # a pure recurrence knows no mask at a step
    live = list(range(len(rows)))  # the row at each place of the batch
    for step in range(room + 1):
        tokens = _next_tokens(logits, [rows[i] for i in live], step)
        for i, token in zip(live, tokens.tolist(), strict=True):
            if not _finished(rows[i], continuations[i]):
                continuations[i].ids.append(token)
                continuations[i].ended = token in ends
        going = [place for place, i in enumerate(live) if not _finished(rows[i], continuations[i])]
        if not going or abandoned():
            break
        if len(going) <= LIVE_SHARE * len(live):
            keep = torch.tensor(going, device=model.device)
            cache.reorder_cache(keep)
            seen, tokens, live = seen[keep], tokens[keep], [live[place] for place in going]
        positions = torch.tensor([len(rows[i].ids) + step for i in live], device=model.device)
        output = model(
            input_ids=tokens[:, None],
            attention_mask=seen[:, : filled + step + 1] if masked else None,
            position_ids=positions[:, None],
            cache=cache,
            use_cache=True,
        )
        logits = output.logits[:, -1]
    return continuations


def _finished(row: Row, continuation: Continuation) -> bool:
    return continuation.ended or len(continuation.ids) == row.max_tokens


def _choices(row: Row, logits: torch.Tensor) -> tuple[float, ...]:
    if not row.choice_ids:
        return ()
    return tuple(torch.log_softmax(logits.float(), -1)[list(row.choice_ids)].tolist())


def _forbid(rows: Sequence[Row], logits: torch.Tensor) -> None:
    """Take away, in place, what may not come first."""
    for first_ids in {row.first_ids for row in rows} - {()}:
        bound = [place for place, row in enumerate(rows) if row.first_ids == first_ids]
        forbidden = torch.ones(logits.shape[1], dtype=torch.bool, device=logits.device)
        forbidden[list(first_ids)] = False
        logits[bound] = logits[bound].masked_fill(forbidden, -torch.inf)


def _next_tokens(logits: torch.Tensor, rows: Sequence[Row], step: int) -> torch.Tensor:
    settings = torch.tensor(
        [(row.temperature, row.top_p, uniform(row.seed, step)) for row in rows],
        dtype=torch.float64,
        device=logits.device,
    )
    return sample(logits, *settings.unbind(1))


class _Room(DynamicLayer):  # type: ignore[misc]
    """A layer's keys and values in room made once: growing them would copy them all at every token."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, filled: int) -> None:
        super().__init__()
        self.keys, self.values, self.filled = keys, values, filled
        self.is_initialized = True

    def update(self, keys: torch.Tensor, values: torch.Tensor, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        end = self.filled + keys.shape[2]
        self.keys[:, :, self.filled : end] = keys
        self.values[:, :, self.filled : end] = values
        self.filled = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def get_seq_length(self) -> int:
        return self.filled


def _read_padded(
    model: PreTrainedModel, sequences: Sequence[tuple[int, ...]], room: int
) -> tuple[torch.Tensor, Cache, torch.Tensor]:
    """Read whole prompts, padded on the left. Returns as `_read_tree`."""
    longest = max(len(ids) for ids in sequences)
    padded = torch.tensor([[ids[0]] * (longest - len(ids)) + list(ids) for ids in sequences], device=model.device)
    seen = _seen(sequences, longest, room, model.device)
    mask = seen[:, :longest]
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    output = model(input_ids=padded, attention_mask=mask, position_ids=positions, use_cache=True, logits_to_keep=1)
    return output.logits[:, -1], output.cache, seen


def _read_tree(
    model: PreTrainedModel, sequences: Sequence[tuple[int, ...]], room: int, abandoned: Callable[[], bool]
) -> tuple[torch.Tensor, Cache, torch.Tensor] | None:
    """Read prompts, each token of their tree once.

    Returns logits [B, V] at each one's end; the cache of the batch, each prompt flush right, with `room` for more
    tokens; and what of it is seen, [B, longest + room]. None once abandoned.
    """
    longest = max(len(ids) for ids in sequences)
    logits: dict[int, torch.Tensor] = {}
    layers: list[_Room] = []
    cache = DynamicCache()
    for chunk in chunks(sequences, CHUNK.get(model.device.type, CHUNK["cpu"])):
        if abandoned():
            return None
        cache = _carried(cache, chunk)
        leaves = torch.tensor([path[-1] - len(chunk.carried) for path in chunk.paths], device=model.device)
        output = model(
            input_ids=torch.tensor([chunk.ids], device=model.device),
            attention_mask=_mask(chunk, model),
            position_ids=torch.tensor([chunk.positions], device=model.device),
            cache=cache,
            use_cache=True,
            logits_to_keep=leaves,
        )
        logits.update(zip(chunk.rows, output.logits[0], strict=True))
        if room:
            layers = layers or [_empty(layer, len(sequences), longest + room, longest) for layer in cache.layers]
            _spread(cache, chunk, layers)
    at_end = torch.stack([logits[row] for row in range(len(sequences))])
    return at_end, Cache(layers=layers), _seen(sequences, longest, room, model.device)


def _seen(sequences: Sequence[tuple[int, ...]], longest: int, room: int, device: torch.device) -> torch.Tensor:
    starts = torch.tensor([longest - len(ids) for ids in sequences], device=device)
    return torch.arange(longest + room, device=device) >= starts[:, None]


def _carried(cache: Cache, chunk: Chunk) -> Cache:
    carried = DynamicCache()
    if chunk.carried:
        for number, layer in enumerate(cache.layers):
            path = list(chunk.carried)
            carried.update(layer.keys[:, :, path], layer.values[:, :, path], number)
    return carried


def _mask(chunk: Chunk, model: PreTrainedModel) -> torch.Tensor:
    """[1, 1, new, carried + new], to be added to attention scores."""
    hidden = torch.from_numpy(~chunk.visible()).to(model.device)
    mask = torch.zeros(hidden.shape, dtype=model.dtype, device=model.device).masked_fill_(hidden, -torch.inf)
    return mask[None, None]


def _empty(layer: DynamicLayer, rows: int, width: int, filled: int) -> _Room:
    keys, values = (
        states.new_zeros(rows, states.shape[1], width, states.shape[3]) for states in (layer.keys, layer.values)
    )
    return _Room(keys, values, filled)


def _spread(cache: Cache, chunk: Chunk, layers: Sequence[_Room]) -> None:
    """Copy each row's path out of the chunk, flush right. What lands before it is hidden by the mask."""
    width = layers[0].filled
    paths = torch.tensor([[0] * (width - len(path)) + list(path) for path in chunk.paths])
    for source, target in zip(cache.layers, layers, strict=True):
        target.keys[chunk.rows, :, :width] = source.keys[0][:, paths].transpose(0, 1)
        target.values[chunk.rows, :, :width] = source.values[0][:, paths].transpose(0, 1)
