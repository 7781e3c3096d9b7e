"""A group as one row `[prompt | r1 | … | rK]`: its prompt is computed once for all its responses.

Positions restart after the prompt for every response, and a mask keeps responses apart; so each is read as if it stood
alone behind the prompt, at a fraction of the tokens. Loss and gradient are those of one line a response.

Shapes: G groups, K responses a group, T tokens of a row, of which the last N are responses and end in padding; prompts
are padded at the start. So a row's responses begin at the same place in all rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, pad
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from alignment.tokens import Collator, Row, rated, reply_nll

TAKES_A_MASK = ("eager", "sdpa")  # implementations of attention that add a mask [G,1,T,T] to the scores

# The most that a trial may differ from plain rows, as a share of what a model that ignores mask and positions would.
# With the embedded model rounding alone came to 5e-6 (in bfloat16 0.02), ignored positions to 0.3.
TOLERANCE, HALF_TOLERANCE = 0.01, 0.1


@dataclass(frozen=True, slots=True)
class SharedCollator:
    """Rows to one batch, each a group with one prompt, where that costs less than a line for every response.

    Shared: `input_ids`, `attention_mask`, `position_ids` [G,T]; `response` [G,N], which of a group's responses a token
    belongs to: 1 … K, 0 for padding; `ratings`, `present` [G,K]. Else what `lines` makes.

    `width` is the model's hidden size; `positions` how many tokens a row may have, None where there is no end.
    """

    lines: Collator
    width: int
    positions: int | None

    @classmethod
    def of(cls, config: Any, lines: Collator) -> SharedCollator:
        """For a model of this configuration."""
        text = config.get_text_config()
        return cls(lines, text.hidden_size, getattr(text, "max_position_embeddings", None))

    def __call__(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        """The batch of `rows`."""
        return joined(rows, self.lines.pad) if self._pays(rows) else self.lines(rows)

    def _pays(self, rows: Sequence[Row]) -> bool:
        shared = max(len(row.prompt) for row in rows) + max(sum(map(len, row.replies)) for row in rows)
        if self.positions is not None and shared > self.positions:
            return False  # some models hold tables of that size, whatever the positions in them
        line = max(len(row.prompt) + len(reply) for row in rows for reply in row.replies)
        lines = sum(len(row.replies) for row in rows)
        return _cost(len(rows), shared, self.width) < _cost(lines, line, self.width)


def joined(rows: Sequence[Row], padding: int) -> dict[str, Tensor]:
    """The batch of `rows` as `SharedCollator` describes it, filled up with the token `padding`."""
    prompts = [torch.tensor(row.prompt) for row in rows]
    replies = [torch.tensor([*chain(*row.replies)]) for row in rows]
    response = [torch.tensor([k for k, reply in enumerate(row.replies, 1) for _ in reply]) for row in rows]
    behind = [torch.tensor([len(row.prompt) + n for reply in row.replies for n in range(len(reply))]) for row in rows]

    def side_by_side(before: list[Tensor], after: list[Tensor], value: int) -> Tensor:
        left = pad_sequence(before, batch_first=True, padding_value=value, padding_side="left")
        return torch.cat([left, pad_sequence(after, batch_first=True, padding_value=value)], dim=1)

    return {
        "input_ids": side_by_side(prompts, replies, padding),
        "attention_mask": side_by_side(list(map(torch.ones_like, prompts)), list(map(torch.ones_like, replies)), 0),
        "position_ids": side_by_side([torch.arange(len(prompt)) for prompt in prompts], behind, 0),
        "response": pad_sequence(response, batch_first=True),
        **rated(rows),
    }


def visible(attention_mask: Tensor, response: Tensor) -> Tensor:
    """Which tokens each token of a row reads, [G,T,T]: the prompt and its own response, up to itself.

    Nobody reads padding, except that it reads itself: attention over nothing is not a number.
    """
    owner = pad(response, (attention_mask.shape[1] - response.shape[1], 0)).unsqueeze(1)
    own = (owner == 0) | (owner == owner.mT)
    itself = torch.eye(attention_mask.shape[1], dtype=torch.bool, device=response.device)
    return (own & attention_mask.bool().unsqueeze(1)).tril() | itself


def shared_nll(model: Any, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Summed negative log-likelihood (nats) of each response of a shared batch, and its tokens: nll[R], tokens[R].

    R are the present places of `present`, row by row, as in `reply_nll`. Only the prompt's last position and the
    responses' meet the vocabulary head.
    """
    response, present = batch["response"], batch["present"]
    length = response.shape[1]
    hidden = ~visible(batch["attention_mask"], response).unsqueeze(1)
    scores = torch.zeros(hidden.shape, dtype=_dtype(model), device=hidden.device).masked_fill_(hidden, -torch.inf)
    logits = model(
        input_ids=batch["input_ids"],
        attention_mask=scores,
        position_ids=batch["position_ids"],
        logits_to_keep=length + 1,
        use_cache=False,
    ).logits
    # Logits are those of the prompt's end, then of each token: a response's first token is told by the former.
    trained = response > 0
    starts = response != pad(response[:, :-1], (1, 0))
    before = torch.arange(length, device=response.device).expand_as(response).masked_fill(starts, 0)
    group = trained.nonzero()[:, 0]
    wanted = batch["input_ids"][:, -length:][trained]
    token_nll = cross_entropy(logits[group, before[trained]].float(), wanted, reduction="none")
    nll = torch.zeros(response.shape, device=token_nll.device).masked_scatter(trained, token_nll)
    belongs = response.unsqueeze(1) == torch.arange(1, present.shape[1] + 1, device=response.device).unsqueeze(-1)
    return torch.where(belongs, nll.unsqueeze(1), 0).sum(-1)[present], belongs.sum(-1)[present]


def batch_nll(model: Any, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """`shared_nll` or `reply_nll`, by which collator made the batch."""
    return shared_nll(model, batch) if "response" in batch else reply_nll(model, batch)


def best_collator(model: Any, pad: int, longest: int) -> tuple[Collator | SharedCollator, str | None]:
    """How rows of `model` are made into batches, and why not shared, as `unshareable` tells; for all processes alike.

    `pad` is the token that fills up, `longest` the most tokens of a prompt with one response.
    """
    from accelerate.utils import broadcast_object_list

    lines = Collator(pad)
    # One process decides for all: FSDP may leave the others without weights until training starts.
    reason: str | None = broadcast_object_list([unshareable(model, longest)])[0]
    return (SharedCollator.of(model.config, lines) if reason is None else lines), reason


def unshareable(model: Any, longest: int) -> str | None:
    """Why `model` can't read shared rows, as a short text for the user; None where it can.

    `longest` is the most tokens of a prompt with one response.
    """
    return obstacle(model.config.get_text_config(), longest) or disagreement(model)


def obstacle(config: Any, longest: int) -> str | None:
    """What in a model's configuration speaks against shared rows. A window as wide as `longest` hides nothing."""
    attention = config._attn_implementation
    if attention not in TAKES_A_MASK:
        return f"its attention ({attention}) takes no mask; {' and '.join(TAKES_A_MASK)} do"
    layers = DynamicCache(config=config).layers
    windows = [layer.sliding_window for layer in layers if type(layer) is DynamicSlidingWindowLayer]
    windows += [getattr(config, "window_size", None) or longest]  # GPT-Neo's, of which the cache knows nothing
    if min(windows) < longest:
        return f"it has layers that see {min(windows)} tokens only, and prompts with a response may have {longest}"
    others = {type(layer).__name__ for layer in layers} - {DynamicLayer.__name__, DynamicSlidingWindowLayer.__name__}
    return f"it has layers without full attention ({', '.join(sorted(others))})" if others else None


def disagreement(model: Any) -> str | None:
    """Where shared and plain rows of a few tokens differ: a model may ignore mask or positions and nowhere tell.

    Parameters, gradients and random numbers stay as they are.
    """
    draw = torch.Generator().manual_seed(0)
    vocabulary = model.config.get_text_config().vocab_size

    def some(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(vocabulary, (count,), generator=draw).tolist())

    rows = [_row(some(prompt), *map(some, replies)) for prompt, replies in ((6, (4, 5, 3)), (3, (2, 6)))]
    behind = [
        _row(row.prompt + tuple(chain(*row.replies[:place])), reply)
        for row in rows
        for place, reply in enumerate(row.replies)
    ]
    lines = Collator(0)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            plain, ignored, found = (
                torch.div(*nll_of(model, {name: value.to(model.device) for name, value in batch.items()}))
                for nll_of, batch in (
                    (reply_nll, lines(rows)),
                    (reply_nll, lines(behind)),
                    (shared_nll, joined(rows, 0)),
                )
            )
    except Exception as error:  # whatever a model raises that can't read such rows
        return f"it does not take shared rows ({type(error).__name__}: {' '.join(str(error).split())[:100]})"
    finally:
        model.train(was_training)
    share = ((found - plain).abs().mean() / (ignored - plain).abs().mean()).item()
    if share <= (TOLERANCE if _dtype(model).itemsize >= 4 else HALF_TOLERANCE):
        return None
    return f"a trial gave other losses than plain rows, by {share:.1%} of what an ignored mask would do"


def _row(prompt: tuple[int, ...], *replies: tuple[int, ...]) -> Row:
    return Row(prompt, replies, (0.0,) * len(replies), (False,) * len(replies), "")


def _dtype(model: Any) -> torch.dtype:
    dtypes: Iterator[torch.dtype] = (held.dtype for held in model.parameters() if held.is_floating_point())
    return next(dtypes)


def _cost(rows: int, length: int, width: int) -> int:
    """Of a layer on `rows` of `length` tokens, in units of 4·width operations.

    A token's matrices take about 24·width² operations, its attention 4·width·length. Memory goes the same way.
    """
    return rows * length * (6 * width + length)
