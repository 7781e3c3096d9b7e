"""From transcripts to training rows: groups of rated responses to one query, split by question.

What each type of row is, and how its scores come about, is described in docs/datasets.md.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from agents.canonical import seed_of
from agents.errors import BadInput
from agents.language_model import Message
from agents.prompts import STARTS, draft_messages, review_messages, revise_messages
from agents.rating import HIGHEST, LOWEST, NEUTRAL
from agents.records import Answer, Feedback, Rating
from sandbox.interaction import Interaction
from sandbox.transcript import Transcript, given_feedback, read, world_folders

GroupType = Literal["imitation", "self_critic", "realignment"]
ScoreBy = Literal["alignment", "engagement", "product"]
CriticScore = Literal["agreement", "peer"]

GROUP_TYPES: tuple[GroupType, ...] = get_args(GroupType)

# Share of word pairs that two responses have in common (Jaccard) from which they are near-copies: at 0.9 one word
# changed inside forty, or one added to twenty. Word pairs rather than words, so that an added "not" weighs.
NEAR_COPY = 0.9

# Ratings closer than this count as equal: no pair is made of them.
TIE = 0.25

# Cosine similarity from which two questions count as the same one; see docs/datasets.md for how it was measured.
PARAPHRASE = 0.85
TEST_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Group:
    """One query with several rated responses; the tuples run parallel.

    `query` is the chat before the response, without memory and rule. `finished` says whether a response ended by
    itself: only then is its end of turn trained. `question` is the text that train/test splits go by.
    """

    query: tuple[Message, ...]
    responses: tuple[str, ...]
    scores: tuple[float, ...]
    finished: tuple[bool, ...]
    models: tuple[str, ...]
    question: str
    origins: tuple[Origin, ...] = ()


@dataclass(frozen=True, slots=True)
class Collection:
    """Groups, and how many responses were left out for which reason."""

    groups: list[Group]
    left_out: dict[str, int]


def groups_of(
    runs: Sequence[Path],
    type: GroupType = "imitation",
    *,
    score_by: ScoreBy = "alignment",
    observer: str | None = None,
    critic_score: CriticScore = "agreement",
) -> list[Group]:
    """The groups of one type in `runs` (run folders or transcripts, one world or several); see `Scoring`.

    Equal queries merge across agents, rounds, worlds and runs. Failed answers, missing ratings and near-copies are
    left out; `collect` counts them. Raises BadInput where a run has no such observer.
    """
    return collect(runs, type, Scoring(score_by, observer, critic_score)).groups


def collect(runs: Sequence[Path], type: GroupType = "imitation", scoring: Scoring | None = None) -> Collection:
    """`groups_of` with the count of what was left out, by reason."""
    scoring = scoring or Scoring()
    left_out: Counter[str] = Counter()
    together: dict[tuple[Message, ...], list[Response]] = {}
    for transcript in _transcripts(runs):
        for response in responses_of(transcript, type, scoring):
            if response.flaw:
                left_out[response.flaw] += 1
            else:
                together.setdefault(response.query, []).append(response)
    groups = []
    for responses in together.values():
        kept = _without_near_copies(responses)
        left_out["near-copy"] += len(responses) - len(kept)
        groups.append(_group(kept))
    return Collection(groups, {reason: count for reason, count in sorted(left_out.items()) if count})


def preference_rows(groups: Iterable[Group]) -> list[dict[str, Any]]:
    """TRL's conversational preference rows: {prompt, chosen, rejected, margin}.

    The best response of a group against each one rated at least TIE below it; margin is the difference of scores.
    """
    return [preference_row(group, best, worse) for group in groups for best, worse in preference_pairs(group)]


def preference_pairs(group: Group) -> list[tuple[int, int]]:
    """(best, worse) places in a group, one pair for each response that is rated at least TIE below the best."""
    best = _best(group)
    return [(best, k) for k, score in enumerate(group.scores) if group.scores[best] - score >= TIE]


def preference_row(group: Group, best: int, worse: int) -> dict[str, Any]:
    """One conversational preference row."""
    return {
        "prompt": _chat(group.query),
        "chosen": [_reply(group.responses[best])],
        "rejected": [_reply(group.responses[worse])],
        "margin": group.scores[best] - group.scores[worse],
    }


def sft_rows(groups: Iterable[Group]) -> list[dict[str, Any]]:
    """Conversational rows {messages}: each query with its best response (the first of equals)."""
    return [{"messages": [*_chat(group.query), _reply(group.responses[_best(group)])]} for group in groups]


def group_row(group: Group) -> dict[str, Any]:
    """A group as plain JSON values."""
    return {
        "query": _chat(group.query),
        "responses": list(group.responses),
        "scores": list(group.scores),
        "finished": list(group.finished),
        "models": list(group.models),
        "question": group.question,
        "origins": [origin_row(origin) for origin in group.origins],
    }


def origin_row(origin: Origin) -> dict[str, Any]:
    """An origin as plain JSON values."""
    return {"run": origin.run, "round": origin.round, "agent": origin.agent, "part": origin.part}


def _transcripts(runs: Sequence[Path]) -> list[Transcript]:
    return [read(folder) for run in runs for folder in (world_folders(Path(run)) or [run])]


def _without_near_copies(responses: Sequence[Response]) -> list[Response]:
    """The responses without those that nearly repeat an earlier one."""
    kept: list[tuple[Response, tuple[str, frozenset[tuple[str, str]]]]] = []
    for response in responses:
        form = _form(response.text)
        if not any(_near(form, earlier) for _, earlier in kept):
            kept.append((response, form))
    return [response for response, _ in kept]


def _form(text: str) -> tuple[str, frozenset[tuple[str, str]]]:
    """The text without case and punctuation, and its pairs of neighbouring words."""
    words = re.findall(r"\w+", text.casefold())
    return " ".join(words) or text.strip(), frozenset(pairwise(words))


def _near(one: tuple[str, frozenset[tuple[str, str]]], other: tuple[str, frozenset[tuple[str, str]]]) -> bool:
    shared, either = len(one[1] & other[1]), len(one[1] | other[1])
    return one[0] == other[0] or (either > 0 and shared / either >= NEAR_COPY)


def _group(responses: Sequence[Response]) -> Group:
    return Group(
        query=responses[0].query,
        responses=tuple(response.text for response in responses),
        scores=tuple(response.score for response in responses),
        finished=tuple(response.finished for response in responses),
        models=tuple(response.model for response in responses),
        question=responses[0].question,
        origins=tuple(response.origin for response in responses),
    )


def _best(group: Group) -> int:
    return group.scores.index(max(group.scores))


def _chat(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]


def _reply(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}
