from __future__ import annotations

import math

import pytest

from agents.social_agent import SocialAgent, Speech
from memory.memory import Memory
from sandbox.world import World
from tests.fakes.scripted import ScriptedModel


def world(size: int, radius: float, seed: int = 0) -> World:
    speech = Speech(seed=seed)
    return World(size, radius, seed, lambda i: SocialAgent(i, "good", ScriptedModel(), Memory(None), speech))  # type: ignore[arg-type]


def test_one_agent_a_cell_numbered_row_by_row() -> None:
    society = world(3, 1)
    assert [agent.index for agent in society.people] == list(range(9))
    places = [tuple(int(x) for x in resident.cell.coordinate) for resident in society.residents]
    assert places == [(row, column) for row in range(3) for column in range(3)]
    assert all(len(resident.cell.agents) == 1 for resident in society.residents)


@pytest.mark.parametrize(
    ("size", "radius"), [(5, 2.0), (6, 2.5), (7, math.sqrt(5)), (4, 0.5), (4, 50.0), (3, math.inf), (1, 1.0)]
)
def test_neighbours_lie_within_the_euclidean_radius_without_wrap(size: int, radius: float) -> None:
    society = world(size, radius)
    for agent in range(size * size):
        at = divmod(agent, size)
        expected = [other for other in range(size * size) if 0 < math.dist(at, divmod(other, size)) <= radius + 1e-9]
        assert society.neighbours(agent).tolist() == expected


def test_raters_are_drawn_by_seed_round_and_agent() -> None:
    society = world(7, 3)
    drawn = {(r, a): [peer.index for peer in society.raters(r, a, 4)] for r in (1, 2) for a in range(49)}
    for (_, agent), peers in drawn.items():
        assert len(set(peers)) == 4 and set(peers) <= set(society.neighbours(agent).tolist()) and peers == sorted(peers)
    assert drawn == {(r, a): [peer.index for peer in world(7, 3).raters(r, a, 4)] for r, a in drawn}
    assert any(drawn[1, agent] != drawn[2, agent] for agent in range(49))
    assert [peer.index for peer in world(7, 3, seed=1).raters(1, 24, 4)] != drawn[1, 24]


@pytest.mark.parametrize(
    ("size", "radius", "seed", "round", "expected"),
    [
        (7, 3, 0, 1, {0: [1, 14, 15, 21], 24: [16, 23, 37, 38], 48: [40, 41, 46, 47]}),
        (10, 5, 3, 2, {0: [4, 11, 12, 40], 50: [22, 40, 51, 82], 99: [77, 79, 96, 97]}),
        (9, 2.5, 1, 1, {0: [1, 9, 10, 18], 40: [31, 38, 47, 49], 80: [61, 71, 78, 79]}),
        (3, 50, 2, 1, {0: [1, 5, 6, 8], 4: [1, 2, 7, 8], 8: [3, 5, 6, 7]}),
        (2, 1, 0, 1, {0: [1, 2], 2: [0, 3], 3: [1, 2]}),
        (100, 50, 5, 3, {0: [525, 1645, 2620, 4804], 5050: [2564, 5166, 6684, 7045], 9950: [6172, 7182, 7238, 8771]}),
    ],
)
def test_the_draws_of_earlier_versions_stay(
    size: int, radius: float, seed: int, round: int, expected: dict[int, list[int]]
) -> None:
    society = world(size, radius, seed)
    drawn = {agent: [peer.index for peer in society.raters(round, agent, 4)] for agent in expected}
    assert drawn == expected  # else runs cannot be resumed, nor their transcripts compared


def test_fewer_neighbours_than_raters_are_all_asked() -> None:
    assert len(world(2, 1).raters(1, 0, 4)) == 2
