"""Reads groups of rated responses, from runs and from files, and checks them before any model is loaded."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from agents.errors import BadInput
from agents.language_model import Message
from agents.rating import HIGHEST, LOWEST
from agents.rows import read_rows, text_field
from sandbox import transcript
from sandbox.dataset import GROUP_TYPES, Group, collect
from sandbox.responses import GroupType, Scoring
from sandbox.transcript import Transcript

PUBLISHED_SCALE = 7.0  # S of ratings from 1 to 7, as in the paper: seven points, not six steps
ROLES = ("system", "user", "assistant")


@dataclass(frozen=True, slots=True)
class Counts:
    """What was found and what became of it."""

    read: int  # groups as read
    merged: int  # groups that went into another with an equal query
    copies: int  # responses that stood twice in their group
    single: int  # groups with one response: plain fine-tuning
    level: int  # groups of several responses that all count as equal: plain fine-tuning


@dataclass(frozen=True, slots=True)
class Ratings:
    """Checked groups. `scale` is the span S of their rating scale, `delta` the difference that counts as none."""

    groups: tuple[Group, ...]
    scale: float
    delta: float
    counts: Counts


def is_run(source: Path | Transcript) -> bool:
    """Whether a source of groups is a run, by its folder or transcript, and not a file of rows."""
    return isinstance(source, Transcript) or source.is_dir() or source.name == transcript.FILE


def read_sources(
    sources: Sequence[Path | Transcript],
    types: Sequence[GroupType] = ("imitation",),
    scoring: Scoring | None = None,
) -> tuple[list[Group], dict[str, int]]:
    """The groups of runs (of each type) and of files, and what was left out of the runs, by reason.

    Raises BadInput, naming file and row.
    """
    runs = [source for source in sources if is_run(source)]
    collections = [collect(runs, type, scoring) for type in types] if runs else []
    groups = [group for collection in collections for group in collection.groups]
    left_out: Counter[str] = Counter()
    for collection in collections:
        left_out.update(collection.left_out)
    for source in sources:
        if isinstance(source, Path) and not is_run(source):
            groups += read_file(source)
    return groups, dict(left_out)


def checked(groups: Sequence[Group], *, scale: float | None = None, delta: float = 0.25) -> Ratings:
    """`groups` with equal queries merged, copies dropped, and what is rated like the best put level with it.

    `scale`: the span S of the rating scale, by default as `rating_scale` reads it from the data. `delta`: ratings
    that far below a group's best count as equally good and are set to it; in units of a 1–7 scale, so on another
    scale it becomes delta · S / 7. Raises BadInput where no group is left with a contrast.
    """
    if not groups:
        raise BadInput("no groups in the data; give runs or files with {query, responses, scores}")
    span = rating_scale(groups) if scale is None else scale
    near = delta * span / PUBLISHED_SCALE
    merged, copies = _merged(groups)
    levelled = tuple(replace(group, scores=_levelled(group.scores, near)) for group in merged)
    single = sum(len(group.responses) == 1 for group in levelled)
    level = sum(len(group.responses) > 1 and not has_contrast(group) for group in levelled)
    if single + level == len(levelled):
        raise BadInput(
            f"nothing to contrast in {len(levelled)} groups: {single} with one response, {level} with ratings within "
            f"{near:.3g} of each other; give groups with differently rated responses, or a smaller --delta"
        )
    return Ratings(levelled, span, near, Counts(len(groups), len(groups) - len(merged), copies, single, level))


def has_contrast(group: Group) -> bool:
    """Whether some response is rated lower than another."""
    return min(group.scores) < max(group.scores)


def read_file(path: Path) -> list[Group]:
    """The groups of a JSON array or JSON Lines file. Raises BadInput naming file and row."""
    return [group_of(row, place) for place, row in read_rows(path)]


def group_of(row: Mapping[str, Any], place: str) -> Group:
    """The group in a row `{query, responses, scores}`, with `models` and `finished` where there are.

    `query` is a text, which becomes one user message, or a list of `{role, content}` that ends with the user's.
    `question`, by which training and test are split, is the last message unless the row has one. Other fields are
    ignored. A response counts as finished unless `finished` says otherwise. Raises BadInput naming `place`.
    """
    for name in ("query", "responses", "scores"):
        if name not in row:
            raise BadInput(f"{place}: field {name!r} is missing; a group has query, responses and scores")
    query = _query(row, place)
    responses = _column(row, place, "responses", str, "texts")
    if not responses:
        raise BadInput(f"{place}: 'responses' is empty; a group needs at least one")
    blank = next((number for number, text in enumerate(responses, start=1) if not text.strip()), None)
    if blank is not None:
        raise BadInput(f"{place}: response {blank} is empty; remove it and its score")
    scores = _column(row, place, "scores", (int, float), "numbers")
    if not all(math.isfinite(score) for score in scores):
        raise BadInput(f"{place}: scores must be finite, found {scores}; remove the response that has no score")
    models = _column(row, place, "models", str, "texts") if row.get("models") is not None else [""] * len(responses)
    finished = [True] * len(responses)
    if row.get("finished") is not None:
        finished = _column(row, place, "finished", bool, "true or false")
    for name, column in (("scores", scores), ("models", models), ("finished", finished)):
        if len(column) != len(responses):
            raise BadInput(f"{place}: {len(responses)} responses but {len(column)} {name}; give one each")
    question = row["question"] if isinstance(row.get("question"), str) else query[-1].content
    return Group(
        query,
        tuple(responses),
        tuple(map(float, scores)),
        tuple(finished),
        tuple(models),
        question,
        type=_type(row, place),
        topic=next((row[name] for name in ("topic", "category") if isinstance(row.get(name), str)), ""),
    )


def rating_scale(groups: Sequence[Group]) -> float:
    """The span S of the groups' rating scale, read from their scores.

    Runs are rated from 1 to 7, S = 7, and what is read beside them must be too (BadInput). Files whose scores lie
    within 1 to 7 and go beyond 5 are taken for that scale. Else S is what the scores span, and for whole numbers the
    count of points (−3 … 3: 7), as 7 is for 1–7.
    """
    scores = [score for group in groups for score in group.scores]
    low, high = min(scores), max(scores)
    within = low >= LOWEST and high <= HIGHEST
    if any(group.origins for group in groups) and not within:
        raise BadInput(f"scores go from {low:g} to {high:g}, but those of runs from 1 to 7; rescale or part the files")
    if within and (high > 5 or any(group.origins for group in groups)):
        return PUBLISHED_SCALE
    whole = all(score.is_integer() for score in scores)
    return high - low + whole or 1.0


def _type(row: Mapping[str, Any], place: str) -> GroupType:
    found: GroupType | None = next((type for type in GROUP_TYPES if type == row.get("type", "imitation")), None)
    if found is None:
        raise BadInput(f"{place}: 'type' is {row['type']!r}; give {', '.join(GROUP_TYPES)} or leave it out")
    return found


def _query(row: Mapping[str, Any], place: str) -> tuple[Message, ...]:
    value = row["query"]
    if isinstance(value, str):
        return (Message("user", text_field(place, dict(row), "query")),)
    if not isinstance(value, list) or not value:
        raise BadInput(f"{place}: 'query' is {type(value).__name__}; give a text or a list of {{role, content}}")
    for turn in value:
        role, content = (turn.get("role"), turn.get("content")) if isinstance(turn, dict) else (None, None)
        if role not in ROLES or not isinstance(content, str):
            raise BadInput(f"{place}: 'query' holds {turn!r}; a message has a role ({', '.join(ROLES)}) and a content")
    if value[-1]["role"] != "user":
        raise BadInput(f"{place}: 'query' ends with a message of {value[-1]['role']}; the last must be the user's")
    return tuple(Message(turn["role"], turn["content"]) for turn in value)


def _column(row: Mapping[str, Any], place: str, name: str, kind: type | tuple[type, ...], what: str) -> list[Any]:
    values = row[name]
    if not isinstance(values, list):
        raise BadInput(f"{place}: {name!r} is {type(values).__name__}; give a list of {what}")
    for number, value in enumerate(values, start=1):
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise BadInput(f"{place}: entry {number} of {name!r} is {value!r}; give {what}")
    return values


def _merged(groups: Sequence[Group]) -> tuple[list[Group], int]:
    """One group a query, in order of appearance, and how many copies of a response went into another."""
    together: dict[tuple[GroupType, tuple[Message, ...]], list[Group]] = {}
    for group in groups:
        together.setdefault((group.type, group.query), []).append(group)
    merged = [_joined(same) for same in together.values()]
    return merged, sum(len(g.responses) for g in groups) - sum(len(g.responses) for g in merged)


def _joined(groups: Sequence[Group]) -> Group:
    """The groups as one. A response that stands twice keeps its first place, and the mean of its scores."""
    parts = [
        (text, score, finished, model, origin)
        for group in groups
        for text, score, finished, model, origin in zip(
            group.responses,
            group.scores,
            group.finished,
            group.models,
            group.origins or [None] * len(group.responses),
            strict=True,
        )
    ]
    first = {text: (finished, model, origin) for text, _, finished, model, origin in reversed(parts)}
    texts = tuple(dict.fromkeys(part[0] for part in parts))
    finished, models, origins = zip(*(first[text] for text in texts), strict=True)
    return replace(
        groups[0],
        responses=texts,
        scores=tuple(fmean(score for other, score, *_ in parts if other == text) for text in texts),
        finished=finished,
        models=models,
        origins=origins if None not in origins else (),
    )


def _levelled(scores: tuple[float, ...], near: float) -> tuple[float, ...]:
    """Scores within `near` of the best become the best; the hair's breadth forgives decimal fractions."""
    best = max(scores)
    return tuple(best if best - score <= near + 1e-9 * abs(best) else score for score in scores)
