"""From groups of rated responses to the rows of a reward model: token lines, ratings, openness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from agents.reward_model import PairFormat
from alignment.group_trainer import Prepared
from alignment.groups import has_contrast
from alignment.reward_model.openness import estimate_all
from alignment.tokens import rated
from memory.encoder import Encoder
from sandbox.dataset import Group

FEW = 4  # responses: below it all utilities have the same optimum, or nearly


@dataclass(frozen=True, slots=True)
class RankedRow:
    """A group as token lines, one a response, as the model takes them. `openness` is in [0, 1]."""

    lines: tuple[dict[str, list[int]], ...]
    scores: tuple[float, ...]
    openness: float
    truncated: tuple[bool, ...]
    question: str


def with_openness(groups: Sequence[Group], encoder: Encoder) -> list[Group]:
    """The groups, each with an openness: its own, else what the spread of its responses says.

    A group with one response is given ½: it ranks nothing.
    """
    unknown = [n for n, group in enumerate(groups) if group.openness is None]
    several = [n for n in unknown if len(groups[n].responses) > 1]
    found = dict.fromkeys(unknown, 0.5)
    if several:
        found |= zip(several, estimate_all([groups[n].responses for n in several], encoder), strict=True)
    return [replace(group, openness=found.get(n, group.openness)) for n, group in enumerate(groups)]


def prepared(groups: Sequence[Group], format: PairFormat) -> Prepared[RankedRow]:
    """`groups`, which have an openness, as rows; those whose responses are all rated alike are dropped."""
    kept = tuple(group for group in groups if has_contrast(group))
    return Prepared(
        groups=kept,
        rows=tuple(_row(group, format) for group in kept),
        dropped=tuple(group for group in groups if not has_contrast(group)),
    )


@dataclass(frozen=True, slots=True)
class LineCollator:
    """Rows to one batch: the lines of all responses [R,T], padded by the tokenizer, with what the loss needs.

    `ratings`, `present` [G,K] and `openness` [G]; the lines are the present places of `present`, row by row.
    """

    tokenizer: Any

    def __call__(self, rows: Sequence[RankedRow]) -> dict[str, Tensor]:
        """The batch of `rows`."""
        lines = self.tokenizer.pad([line for row in rows for line in row.lines], padding=True, return_tensors="pt")
        openness = torch.tensor([row.openness for row in rows], dtype=torch.float32)
        return {**lines, **rated(rows), "openness": openness}


def _row(group: Group, format: PairFormat) -> RankedRow:
    made = [format.line(group.query, response) for response in group.responses]
    if group.openness is None:
        raise ValueError(f"the group {group.question[:40]!r} has no openness; give it one by with_openness")
    return RankedRow(
        lines=tuple(line for line, _ in made),
        scores=group.scores,
        openness=group.openness,
        truncated=tuple(cut for _, cut in made),
        question=group.question,
    )
