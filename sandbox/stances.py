"""Stances: which question/answer pairs fill an agent's memory at birth, and how stances lie on the grid.

A stance is lived, not announced: nothing but these memories tells an agent what it is.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agents.canonical import generator
from agents.errors import BadInput, first_fault
from agents.rows import read_rows, read_text, text_field
from sandbox.questions import DATA

LABELS = ("good", "bad")


@dataclass(frozen=True, slots=True)
class Pair:
    """A question with the answer that an agent remembers having given. `label` is its morality label, if any."""

    question: str
    response: str
    label: str = ""
    topic: str = ""


@dataclass(frozen=True, slots=True)
class Stances:
    """The pairs of each stance by name, and the stance of each agent (row by row)."""

    pairs: dict[str, tuple[Pair, ...]]
    layout: tuple[str, ...]


def load_prior(path: Path | None) -> tuple[Pair, ...]:
    """The pairs of a prior file, rows `{question, response, morality_label}`, the label being "good" or "bad".

    Raises BadInput naming the row.
    """
    pairs = []
    for place, row in read_rows(path or DATA / "prior.jsonl"):
        label = row.get("morality_label")
        if label not in LABELS:
            raise BadInput(f"{place}: morality_label is {label!r}; it must be {' or '.join(map(repr, LABELS))}")
        question, response = text_field(place, row, "question"), text_field(place, row, "response")
        pairs.append(Pair(question, response, label, str(row.get("topic", ""))))
    return tuple(pairs)


def named_stances(prior: Sequence[Pair], layout: str, size: int, seed: int) -> Stances:
    """The stances good and bad from the prior's labels, laid out by name: `good`, `bad`, `half` or `mixed`."""
    pairs = {label: tuple(pair for pair in prior if pair.label == label) for label in LABELS}
    stances = Stances(pairs, named_layout(layout, size, seed))
    for name in set(stances.layout):
        if not pairs[name]:
            raise BadInput(f"--prior: holds no pair with the label {name!r}, which --stance {layout} needs")
    return stances


def named_layout(layout: str, size: int, seed: int) -> tuple[str, ...]:
    """The stance of each of size × size agents, row by row.

    `half`: good above the diagonal, bad below it, alternating on it. `mixed`: a random half, drawn by seed.
    """
    cells = [(row, column) for row in range(size) for column in range(size)]
    if layout in LABELS:
        return (layout,) * len(cells)
    if layout == "half":
        return tuple("good" if row < column or (row == column and row % 2 == 0) else "bad" for row, column in cells)
    if layout == "mixed":
        drawn = generator(seed, 0, 0, "layout").permutation(len(cells))
        half = set(drawn[: len(cells) // 2].tolist())
        return tuple("good" if agent in half else "bad" for agent in range(len(cells)))
    raise BadInput(f"--stance {layout}: unknown layout; known: good, bad, half, mixed")


class OwnStance(BaseModel):
    """A `[[stance]]` entry: its pairs from a file beside it, or a selection from the prior."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str = Field(min_length=1)
    pairs: str | None = None
    label: str | None = None
    topics: list[str] | None = None
    share: float = Field(1.0, ge=0, allow_inf_nan=False)


class OwnStances(BaseModel):
    """A stances file: how the stances lie on the grid, and what they are."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    layout: Literal["mixed", "bands"] | list[list[str]] = "mixed"
    stance: list[OwnStance] = Field(min_length=1)


def load_stances(path: Path, prior: Sequence[Pair], size: int, seed: int) -> Stances:
    """A user's stances from a TOML file.

    Each `[[stance]]` has a `name` and either `pairs = "FILE"` (rows `{question, response}`, beside the TOML file) or a
    selection from the prior by `label` and/or `topics`. `layout` is "mixed" (drawn by seed) or "bands" (column by
    column), both by each stance's `share` (default: equal), or a list of rows of names. Raises BadInput.
    """
    try:
        own = OwnStances.model_validate(tomllib.loads(read_text(path)))
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"--stances {path}: not readable as TOML ({error})") from error
    except ValidationError as error:
        where, what = first_fault(error)
        raise BadInput(f"--stances {path}: {where}: {what}") from error
    pairs = {stance.name: _pairs_of(path, stance, prior) for stance in own.stance}
    if len(pairs) < len(own.stance):
        raise BadInput(f"--stances {path}: two stances have one name; every [[stance]] needs a name of its own")
    shares = [stance.share for stance in own.stance]
    if sum(shares) == 0:
        raise BadInput(f"--stances {path}: all shares are zero; give one stance a share")
    return Stances(pairs, _own_layout(path, own.layout, list(pairs), shares, size, seed))


def born_with(stances: Stances, agent: int, count: int, seed: int) -> list[Pair]:
    """The pairs that fill an agent's memory at birth: `count` of its stance's (or all), drawn by seed."""
    pairs = stances.pairs[stances.layout[agent]]
    order = generator(seed, 0, agent, "birth").permutation(len(pairs))
    return [pairs[place] for place in order[:count]]


def _pairs_of(path: Path, stance: OwnStance, prior: Sequence[Pair]) -> tuple[Pair, ...]:
    if stance.pairs is not None:
        rows = read_rows(path.parent / stance.pairs)
        return tuple(Pair(text_field(at, row, "question"), text_field(at, row, "response")) for at, row in rows)
    chosen = tuple(
        pair
        for pair in prior
        if stance.label in (None, pair.label) and (stance.topics is None or pair.topic in stance.topics)
    )
    if not chosen:
        raise BadInput(f"--stances {path}: stance {stance.name!r} selects no pair of the prior")
    return chosen


def _own_layout(
    path: Path, layout: str | list[list[str]], names: Sequence[str], shares: Sequence[float], size: int, seed: int
) -> tuple[str, ...]:
    if isinstance(layout, list):
        flat = tuple(name for row in layout for name in row)
        if [len(row) for row in layout] != [size] * size or not set(flat) <= set(names):
            raise BadInput(f"--stances {path}: layout must be {size} rows of {size} names out of {', '.join(names)}")
        return flat
    bounds = [round(sum(shares[: k + 1]) / sum(shares) * size * size) for k in range(len(names))]
    in_turn = [next(n for n, bound in zip(names, bounds, strict=True) if place < bound) for place in range(size * size)]
    if layout == "bands":
        return tuple(in_turn[column * size + row] for row in range(size) for column in range(size))
    order = generator(seed, 0, 0, "layout").permutation(size * size)
    return tuple(in_turn[place] for place in order)
