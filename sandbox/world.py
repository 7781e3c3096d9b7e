"""The world: a Mesa grid with one immobile social agent a cell, and who is whose neighbour."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import mesa
import numpy as np
from mesa.discrete_space import Cell, FixedAgent, OrthogonalMooreGrid

from agents.canonical import generator
from agents.social_agent import SocialAgent

if TYPE_CHECKING:
    from numpy.typing import NDArray

NEARLY = 1e-9  # a distance that is the radius but for rounding is within it


class Resident(FixedAgent):  # type: ignore[misc]  # Mesa is not typed
    """The Mesa agent of a cell, holding the social agent that lives there."""

    def __init__(self, model: World, cell: Cell, social: SocialAgent) -> None:
        super().__init__(model)
        self.cell = cell
        self.social = social


class World(mesa.Model):  # type: ignore[misc]
    """size × size residents, numbered row by row; no wrap.

    Two agents are neighbours when their Euclidean distance is at most `radius` (Mesa's own radius is Chebyshev).
    """

    def __init__(self, size: int, radius: float, seed: int, settle: Callable[[int], SocialAgent]) -> None:
        super().__init__(rng=seed)
        self.radius = radius
        self.run_seed = seed
        self.grid = OrthogonalMooreGrid((size, size), torus=False, capacity=1, random=self.random)
        cells = sorted(self.grid.all_cells, key=lambda cell: tuple(cell.coordinate))
        self.residents = [Resident(self, cell, settle(index)) for index, cell in enumerate(cells)]
        self.people = tuple(resident.social for resident in self.residents)
        self._numbers = np.arange(size * size).reshape(size, size)
        self._disc = _disc(int(min(radius + NEARLY, size - 1)), radius)

    def neighbours(self, agent: int) -> NDArray[np.int64]:
        """All agents within the radius, the agent itself excluded, in agent order."""
        reach = len(self._disc) // 2
        size = len(self._numbers)
        place = divmod(agent, size)
        box = tuple(slice(max(0, at - reach), at + reach + 1) for at in place)
        disc = tuple(slice(max(0, reach - at), reach + size - at) for at in place)
        near: NDArray[np.int64] = self._numbers[box][self._disc[disc]]
        return near

    def raters(self, round: int, agent: int, count: int) -> list[SocialAgent]:
        """The neighbours who give feedback to an agent in a round: `count` of them drawn by seed, in agent order."""
        drawn = generator(self.run_seed, round, agent, "raters").permutation(self.neighbours(agent))[:count]
        return [self.people[other] for other in sorted(drawn.tolist())]


def _disc(reach: int, radius: float) -> NDArray[np.bool_]:
    """Which cells of a square, `reach` to each side of its centre, lie within the radius of it; the centre does not."""
    steps = np.arange(-reach, reach + 1)
    distances = np.sqrt(steps[:, None] ** 2 + steps**2)
    near: NDArray[np.bool_] = (distances <= radius + NEARLY) & (distances > 0)
    return near
