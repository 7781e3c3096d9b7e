"""Reads groups of rated responses, from runs and from files, and checks them before any model is loaded."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from agents.errors import BadInput
from agents.language_model import Message
from agents.rating import HIGHEST, LOWEST
from agents.rows import text_field
from alignment.formats import BETTER, WORSE, is_dataset, read_source
from alignment.safety import Flaw, require_few, sound
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
    conflicting: int  # copies among them that were rated differently
    single: int  # groups with one response: plain fine-tuning
    level: int  # groups of several responses that all count as equal: plain fine-tuning


@dataclass(frozen=True, slots=True)
class Ratings:
    """Checked groups. `scale` is the span S of their rating scale, `delta` the difference that counts as none."""

    groups: tuple[Group, ...]
    scale: float
    delta: float
    counts: Counts


@dataclass(frozen=True, slots=True)
class Found:
    """What sources hold: groups; what was left out of runs, by reason; flawed responses of files, of so many in all."""

    groups: list[Group]
    left_out: dict[str, int]
    flaws: list[Flaw]
    responses: int


def is_run(source: Path | Transcript) -> bool:
    """Whether a source of groups is a run, by its folder or transcript, and not rows of a file or dataset."""
    if isinstance(source, Transcript):
        return True
    return (source.is_dir() and not is_dataset(source)) or source.name == transcript.FILE


def read_sources(
    sources: Sequence[Path | Transcript],
    types: Sequence[GroupType] = ("imitation",),
    scoring: Scoring | None = None,
    max_flawed: float = 1.0,
) -> Found:
    """What is in runs (of each type), files and datasets. Rows of files whose type is another are left out.

    Raises BadInput, naming file and row; also where more than `max_flawed` of a file's responses are flawed.
    """
    runs = [source for source in sources if is_run(source)]
    collections = [collect(runs, type, scoring) for type in types] if runs else []
    groups = [group for collection in collections for group in collection.groups]
    left_out: Counter[str] = Counter()
    for collection in collections:
        left_out.update(collection.left_out)
    files = [read_file(source) for source in sources if isinstance(source, Path) and not is_run(source)]
    for file in files:
        require_few(file.flaws, file.responses, max_flawed)
    flaws = [flaw for file in files for flaw in file.flaws]
    responses = sum(file.responses for file in files)
    rows = [group for file in files for group in file.groups]
    kept = [group for group in rows if group.type in types]
    if len(kept) < len(rows):
        left_out["of another type"] = len(rows) - len(kept)
    return Found(groups + kept, dict(left_out), flaws, responses)


def checked(groups: Sequence[Group], *, scale: float | None = None, delta: float = 0.25) -> Ratings:
    """As `ratings_of`; raises BadInput where no group is left with a contrast."""
    data = ratings_of(groups, scale=scale, delta=delta)
    single, level = data.counts.single, data.counts.level
    if single + level == len(data.groups):
        raise BadInput(
            f"nothing to contrast in {len(data.groups)} groups: {single} with one response, {level} with ratings "
            f"within {data.delta:.3g} of each other; give groups with differently rated responses, or a smaller --delta"
        )
    return data


def ratings_of(groups: Sequence[Group], *, scale: float | None = None, delta: float = 0.25) -> Ratings:
    """`groups` with equal queries merged, copies dropped, and what is rated like the best put level with it.

    `scale`: the span S of the rating scale, by default as `rating_scale` reads it from the data. `delta`: ratings
    that far below a group's best count as equally good and are set to it; in units of a 1–7 scale, so on another
    scale it becomes delta · S / 7. In groups that are not rated, the better response stands half a scale above the
    other. Raises BadInput where there is no group.
    """
    if not groups:
        raise BadInput("no groups in the data; give runs or files with {query, responses, scores}")
    span = rating_scale(groups) if scale is None else scale
    near = delta * span / PUBLISHED_SCALE
    merged, copies, conflicting = _merged([_on_scale(group, span) for group in groups], near)
    levelled = tuple(replace(group, scores=_levelled(group.scores, near)) for group in merged)
    single = sum(len(group.responses) == 1 for group in levelled)
    level = sum(len(group.responses) > 1 and not has_contrast(group) for group in levelled)
    counts = Counts(len(groups), len(groups) - len(merged), copies, conflicting, single, level)
    return Ratings(levelled, span, near, counts)


def has_contrast(group: Group) -> bool:
    """Whether some response is rated lower than another."""
    return min(group.scores) < max(group.scores)


def read_file(source: Path) -> Found:
    """The groups of a file or dataset in any of the known formats. Raises BadInput naming file and row."""
    groups, flaws, responses = [], [], 0
    for place, row in read_source(source):
        kept, found = sound(row, place)
        flaws += found
        if kept is not None:
            groups.append(group_of(kept, place))
        responses += len(row["responses"])
    return Found(groups, {}, flaws, responses)


def group_of(row: Mapping[str, Any], place: str) -> Group:
    """The group in a row `{query, responses, scores}`, with `models` and `finished` where there are.

    `query` is a text, which becomes one user message, or a list of `{role, content}` that ends with the user's.
    `question`, by which training and test are split, is the last message unless the row has one; `openness` tells a
    reward model how many good responses there are, from 0 to 1. Other fields are ignored. A response counts as
    finished unless `finished` says otherwise. Raises BadInput naming `place`.
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
        type=_type(row),
        topic=next((row[name] for name in ("topic", "category") if isinstance(row.get(name), str)), ""),
        rated=not row.get("pair"),
        openness=_openness(row, place),
    )


def rating_scale(groups: Sequence[Group]) -> float:
    """The span S of the groups' rating scale, read from their scores.

    Runs are rated from 1 to 7, S = 7, and what is read beside them must be too (BadInput). Files whose scores lie
    within 1 to 7 and go beyond 5 are taken for that scale. Else S is what the scores span, and for whole numbers the
    count of points (−3 … 3: 7), as 7 is for 1–7. Of groups that are not rated nothing is read; alone they have S = 2.
    """
    scores = [score for group in groups if group.rated for score in group.scores] or [BETTER, WORSE]
    low, high = min(scores), max(scores)
    within = low >= LOWEST and high <= HIGHEST
    if any(group.origins for group in groups) and not within:
        raise BadInput(f"scores go from {low:g} to {high:g}, but those of runs from 1 to 7; rescale or part the files")
    if within and (high > 5 or any(group.origins for group in groups)):
        return PUBLISHED_SCALE
    whole = all(score.is_integer() for score in scores)
    return high - low + whole or 1.0


def _type(row: Mapping[str, Any]) -> GroupType:
    """The row's type; another data set's field of that name says something else and is ignored, as others are."""
    return next((type for type in GROUP_TYPES if type == row.get("type")), "imitation")


def _openness(row: Mapping[str, Any], place: str) -> float | None:
    value = row.get("openness")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise BadInput(f"{place}: 'openness' is {value!r}; give a number from 0 (one right answer) to 1 (any will do)")
    return float(value)


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


def _on_scale(group: Group, span: float) -> Group:
    return group if group.rated else replace(group, scores=tuple(score * span / 2 for score in group.scores))


def _merged(groups: Sequence[Group], near: float) -> tuple[list[Group], int, int]:
    """One group a query, in order of appearance; copies of responses; those that were rated further apart than `near`.

    Groups that are not rated are joined with their like only: their scores say nothing of other groups' responses.
    """
    together: dict[Hashable, list[Group]] = {}
    for group in groups:
        alike = () if group.rated else tuple(sorted(group.responses))
        together.setdefault((group.type, group.query, group.rated, alike), []).append(group)
    merged = [_joined(same) for same in together.values()]
    copies = sum(len(g.responses) for g in groups) - sum(len(g.responses) for g in merged)
    return merged, copies, sum(_conflicts(same, near) for same in together.values())


def _conflicts(groups: Sequence[Group], near: float) -> int:
    """How many responses stand several times in groups of one query, with scores further apart than `near`."""
    scores: dict[str, list[float]] = {}
    for group in groups:
        for text, score in zip(group.responses, group.scores, strict=True):
            scores.setdefault(text, []).append(score)
    return sum(max(given) - min(given) > near for given in scores.values())


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
