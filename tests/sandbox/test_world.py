from __future__ import annotations

import math

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


def test_neighbours_lie_within_the_euclidean_radius_without_wrap() -> None:
    society = world(5, 2)
    for agent in range(25):
        expected = [
            other for other in range(25) if other != agent and math.dist(divmod(agent, 5), divmod(other, 5)) <= 2
        ]
        assert society.neighbours(agent) == expected
    assert 0 not in society.neighbours(24) and 6 in society.neighbours(0) and 12 not in society.neighbours(0)


def test_raters_are_drawn_by_seed_round_and_agent() -> None:
    society = world(7, 3)
    drawn = {(r, a): [peer.index for peer in society.raters(r, a, 4)] for r in (1, 2) for a in range(49)}
    for (_, agent), peers in drawn.items():
        assert len(set(peers)) == 4 and set(peers) <= set(society.neighbours(agent)) and peers == sorted(peers)
    assert drawn == {(r, a): [peer.index for peer in world(7, 3).raters(r, a, 4)] for r, a in drawn}
    assert any(drawn[1, agent] != drawn[2, agent] for agent in range(49))
    assert [peer.index for peer in world(7, 3, seed=1).raters(1, 24, 4)] != drawn[1, 24]


def test_fewer_neighbours_than_raters_are_all_asked() -> None:
    assert len(world(2, 1).raters(1, 0, 4)) == 2
