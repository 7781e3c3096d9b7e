"""The world: a Mesa grid with one immobile social agent a cell, and who is whose neighbour."""

from __future__ import annotations

from collections.abc import Callable

import mesa
import numpy as np
from mesa.discrete_space import Cell, FixedAgent, OrthogonalMooreGrid

from agents.canonical import generator
from agents.social_agent import SocialAgent


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
        self._places = np.array([cell.coordinate for cell in cells])

    @property
    def people(self) -> list[SocialAgent]:
        """The social agents in agent order."""
        return [resident.social for resident in self.residents]

    def neighbours(self, agent: int) -> list[int]:
        """All agents within the radius, the agent itself excluded, in agent order."""
        distances = np.linalg.norm(self._places - self._places[agent], axis=1)
        return [int(other) for other in np.flatnonzero(distances <= self.radius + 1e-9) if other != agent]

    def raters(self, round: int, agent: int, count: int) -> list[SocialAgent]:
        """The neighbours who give feedback to an agent in a round: `count` of them drawn by seed, in agent order."""
        near = self.neighbours(agent)
        drawn = generator(self.run_seed, round, agent, "raters").permutation(near)[:count]
        return [self.residents[other].social for other in sorted(drawn.tolist())]
