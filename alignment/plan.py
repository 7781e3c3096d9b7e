"""The order in which groups are met in training: epochs, types mixed by weight, stages; every draw by seed.

A *visit* is one group met once. The whole training is one sequence of visits, the same for every method.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import get_args

import numpy as np

from agents.canonical import generator
from agents.errors import BadInput
from alignment.config import ReadOptions, TrainingOptions
from sandbox.responses import GroupType

TYPES: tuple[GroupType, ...] = get_args(GroupType)


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the training. `weights` by type; a weight of None for all: every group once an epoch."""

    weights: Mapping[GroupType, float | None]
    epochs: float


def types_of(options: ReadOptions) -> list[GroupType]:
    """The types of rows to make of runs, each once, in the order they are named. Raises BadInput."""
    stages = stages_of(options) if isinstance(options, TrainingOptions) else [_only_stage(options, 1)]
    return list(dict.fromkeys(type for stage in stages for type in stage.weights))


def stages_of(options: TrainingOptions) -> list[Stage]:
    """The stages of `--stages`, or the single one that `--type` and `--epochs` make. Raises BadInput."""
    if not options.stages:
        return [_only_stage(options, options.epochs)]
    if options.type:
        raise BadInput("--stages: names the types itself; leave --type out")
    return [_stage(entry, options.epochs) for entry in options.stages]


def visits(types: Sequence[GroupType], stages: Sequence[Stage], *, seed: int) -> list[int]:
    """The places in `types` (the type of every group there is) in the order in which the groups are met.

    A stage without weights meets each group of its types once an epoch. With weights, an epoch has as many visits as
    the stage has groups, of each type its share, and no group comes again until all others of its type have come.
    Raises BadInput where a stage names a type of which there is no group.
    """
    return [place for number, stage in enumerate(stages) for place in _visits(types, stage, number, seed)]


def _visits(types: Sequence[GroupType], stage: Stage, number: int, seed: int) -> Iterator[int]:
    pools = {type: [place for place, other in enumerate(types) if other == type] for type in stage.weights}
    for type, pool in pools.items():
        if not pool:
            raise BadInput(f"no {type} rows to train on in the data; leave that type out, or give runs that have some")
    drawn = {type: _endless(pool, seed, number, type) for type, pool in pools.items()}
    weights = {type: weight or len(pools[type]) for type, weight in stage.weights.items()}
    total = sum(map(len, pools.values()))
    for epoch in range(ceil(stage.epochs)):
        count = round(total * min(1.0, stage.epochs - epoch))
        met = [next(drawn[type]) for type, share in _shares(weights, count).items() for _ in range(share)]
        yield from generator(seed, number, epoch, "visits").permutation(np.array(met, dtype=int)).tolist()


def _endless(pool: Sequence[int], seed: int, stage: int, type: GroupType) -> Iterator[int]:
    """The places of a type in one random order after another."""
    turn = 0
    while True:
        yield from generator(seed, stage, turn, "pool", type).permutation(pool).tolist()
        turn += 1


def _shares(weights: Mapping[GroupType, float], count: int) -> dict[GroupType, int]:
    """`count` divided by weight into whole numbers; what rounding leaves goes to the largest remainders."""
    exact = {type: count * weight / sum(weights.values()) for type, weight in weights.items()}
    shares = {type: int(value) for type, value in exact.items()}
    by_remainder = sorted(exact, key=lambda type: shares[type] - exact[type])
    for type in by_remainder[: count - sum(shares.values())]:
        shares[type] += 1
    return shares


def _only_stage(options: ReadOptions, epochs: float) -> Stage:
    return Stage(_mixed("--type", options.type or ["imitation"]), epochs)


def _stage(entry: str, epochs: float) -> Stage:
    """`TYPE`, `TYPE+TYPE` or either with `=EPOCHS`."""
    names, given, number = entry.partition("=")
    weights: dict[GroupType, float | None] = {_type("--stages", name): None for name in names.split("+")}
    return Stage(weights, _positive("--stages", entry, number) if given else epochs)


def _mixed(flag: str, entries: Sequence[str]) -> dict[GroupType, float | None]:
    """`TYPE` or `TYPE=WEIGHT`, a weight for all or for none."""
    parts = [entry.partition("=") for entry in entries]
    if len({given for _, given, _ in parts}) > 1:
        raise BadInput(f"{flag} {','.join(entries)}: give a weight to every type or to none")
    return {_type(flag, name): _positive(flag, entry, number) if given else None
            for entry, (name, given, number) in zip(entries, parts, strict=True)}  # fmt: skip


def _type(flag: str, name: str) -> GroupType:
    found = next((type for type in TYPES if type == name.strip()), None)
    if found is None:
        raise BadInput(f"{flag} {name}: unknown type of rows; known: {', '.join(TYPES)}")
    return found


def _positive(flag: str, entry: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise BadInput(f"{flag} {entry}: {text!r} is not a number above 0")
    return number
