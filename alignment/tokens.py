"""From groups to tensors: the chat template, which tokens are trained, which responses are drawn, and batches of them.

Shapes: G groups, K responses a group, R = all responses of a batch, T tokens. What is trained is decided by length,
never by a token's id: a response may hold the padding token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jinja2 import TemplateError
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from agents.canonical import generator
from agents.chat import ChatTemplate
from agents.errors import BadInput
from agents.language_model import Message
from alignment.group_trainer import Ranked
from sandbox.dataset import Group

_MARK = "RESPONSE"


@dataclass(frozen=True, slots=True)
class Row:
    """A group as token ids. All of `replies` is trained, its end of turn included where the response had finished."""

    prompt: tuple[int, ...]
    replies: tuple[tuple[int, ...], ...]
    scores: tuple[float, ...]
    truncated: tuple[bool, ...]
    question: str


@dataclass(frozen=True, slots=True)
class ChatFormat:
    """A tokenizer and how its chat template writes a reply.

    `end_of_turn` is the token that ends one, `pad` any id to fill up with.
    """

    tokenizer: Any
    template: ChatTemplate
    end_of_turn: int
    pad: int

    @classmethod
    def of(cls, tokenizer: Any) -> ChatFormat:
        """The format of `tokenizer`; raises BadInput where it has no chat template, or the template no end of turn."""
        name = tokenizer.name_or_path
        template = ChatTemplate.of(tokenizer, name)
        end = _end_of_turn(template)
        if end is None:
            raise BadInput(f"model {name!r}: no token ends a turn in its chat template; set the tokenizer's eos_token")
        return cls(tokenizer, template, end, tokenizer.pad_token_id if tokenizer.pad_token_id is not None else end)

    def row(self, group: Group, max_length: int) -> Row | None:
        """`group` as tokens, responses cut at `max_length` tokens with their prompt; None where no room is left.

        A response that is cut has not finished: its end of turn is not trained.
        """
        prompt = tuple(self._prompt(group.query))
        room = max_length - len(prompt)
        if room < 1:
            return None
        whole = [
            (*self._ids(text), *([self.end_of_turn] if finished else []))
            for text, finished in zip(group.responses, group.finished, strict=True)
        ]
        return Row(
            prompt,
            tuple(reply[:room] for reply in whole),
            group.scores,
            tuple(len(reply) > room for reply in whole),
            group.question,
        )

    def text_row(self, text: str) -> Row:
        """Plain text without any template; its first token stands as the prompt and is not scored."""
        first, *rest = self._ids(text)
        return Row((first,), (tuple(rest),), (0.0,), (False,), text)

    def _prompt(self, messages: Sequence[Message]) -> list[int]:
        try:
            return self.template.ids(messages)
        except TemplateError as error:
            raise BadInput(
                f"model {self.tokenizer.name_or_path!r}: its chat template refused a query that begins "
                f"{messages[0].content[:40]!r} ({error}); choose another model"
            ) from error

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])


def drawn(scores: Sequence[float], count: int, *, seed: int, epoch: int, index: int) -> list[int]:
    """The places of `count` responses of a group, in order: one of the best, and others at random.

    The draw depends on the seed, the epoch and the group's `index` only.
    """
    if len(scores) <= count:
        return list(range(len(scores)))
    random = generator(seed, epoch, index, "responses")
    best = random.choice([place for place, score in enumerate(scores) if score == max(scores)])
    others = random.permutation([place for place in range(len(scores)) if place != best])
    return sorted([int(best), *others[: count - 1].tolist()])


@dataclass(frozen=True, slots=True)
class Collator:
    """Rows to one batch: every response a line of its own behind its prompt, padded at the end.

    `input_ids`, `attention_mask`, `trained` [R,T]; `ratings`, `present` [G,K]. The lines of `input_ids` are the
    present places of `present`, row by row.
    """

    pad: int

    def __call__(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        """The batch of `rows`."""
        lines = [torch.tensor(row.prompt + reply) for row in rows for reply in row.replies]
        prompts = torch.tensor([len(row.prompt) for row in rows for _ in row.replies]).unsqueeze(-1)
        lengths = torch.tensor([len(line) for line in lines]).unsqueeze(-1)
        input_ids = pad_sequence(lines, batch_first=True, padding_value=self.pad)
        place = torch.arange(input_ids.shape[1])
        return {
            "input_ids": input_ids,
            "attention_mask": (place < lengths).long(),
            "trained": (place >= prompts) & (place < lengths),
            **rated(rows),
        }


def rated(rows: Sequence[Ranked]) -> dict[str, Tensor]:
    """`ratings` and `present` [G,K] of a batch."""
    ratings = [torch.tensor(row.scores, dtype=torch.float32) for row in rows]
    return {
        "ratings": pad_sequence(ratings, batch_first=True),
        "present": pad_sequence([torch.ones(len(r), dtype=torch.bool) for r in ratings], batch_first=True),
    }


def reply_nll(model: Any, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Summed negative log-likelihood (nats) of each line's trained tokens, and their number: nll[R], tokens[R].

    Only positions that predict a trained token in some line meet the vocabulary head.
    """
    input_ids, predicts = batch["input_ids"], batch["trained"][:, 1:]
    kept = predicts.any(0).nonzero().squeeze(-1)
    logits = model(
        input_ids=input_ids, attention_mask=batch["attention_mask"], logits_to_keep=kept, use_cache=False
    ).logits
    wanted = predicts[:, kept]
    token_nll = cross_entropy(logits[wanted].float(), input_ids[:, kept + 1][wanted], reduction="none")
    nll = torch.zeros(wanted.shape, device=token_nll.device).masked_scatter(wanted, token_nll)
    return nll.sum(-1), wanted.sum(-1)


def _end_of_turn(template: ChatTemplate) -> int | None:
    """The first special token that the template writes behind a reply, else the tokenizer's end of text."""
    tokenizer = template.tokenizer
    behind = template.text((Message("user", "-"), Message("assistant", _MARK))).rpartition(_MARK)[2]
    special = set(tokenizer.all_special_ids) | {
        id for id, token in tokenizer.added_tokens_decoder.items() if token.special
    }
    found = (id for id in tokenizer(behind, add_special_tokens=False)["input_ids"] if id in special)
    eos: int | None = tokenizer.eos_token_id
    return next(found, eos)
