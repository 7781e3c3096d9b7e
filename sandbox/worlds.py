"""Several independent societies in one run: what differs from world to world, and where each is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from agents.errors import BadInput
from sandbox.config import SimulateOptions

T = TypeVar("T")


def each_world(options: SimulateOptions) -> list[SimulateOptions]:
    """The options of each world: its own seed and folder, its own stances and rule where several are named.

    A run of one world is its own world. Raises BadInput where more stances or rules are named than there are worlds.
    """
    for name in ("stance", "stances", "rule"):
        given = getattr(options, name)
        if len(given) > options.worlds:
            raise BadInput(
                f"--{name}: {len(given)} given for {options.worlds} world{'s' * (options.worlds > 1)}; "
                f"raise --worlds, or name fewer"
            )
    if options.worlds == 1:
        return [options]
    return [
        options.model_copy(
            update={
                "worlds": 1,
                "ray": None,
                "seed": options.seed + number,
                "out": options.out / f"world-{number:02}",
                "stance": _turn(options.stance, number),
                "stances": _turn(options.stances, number),
                "rule": _turn(options.rule, number),
            }
        )
        for number in range(options.worlds)
    ]


def _turn(given: Sequence[T], number: int) -> list[T]:
    """The one of `given` for world `number`; they take turns."""
    return [given[number % len(given)]] if given else []
