"""The curriculum: draws against exact probabilities, evolutions in turn, the mix of an iteration, and lineages."""

from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignment.eva.curriculum import Evolution, chosen, evolutions, lineage_of, next_tasks
from alignment.iterative.prompts import Task


def tasks(count, iteration=1):
    return [Task(f"{iteration}-{n}", f"What about {n}?", "", iteration) for n in range(1, count + 1)]


# Who is chosen.

WEIGHTS = [5.0, 1.0, 0.0, 2.0, 2.0]


def exact_orders(weights, count):
    """The probability of every order of `count` draws without replacement, each ∝ the weights that are left."""
    found = {}
    for order in permutations(range(len(weights)), count):
        left, probability = sum(weights), 1.0
        for place in order:
            probability *= weights[place] / left
            left -= weights[place]
        found[order] = probability
    return found


def test_prompts_are_drawn_in_proportion_to_their_weights_without_replacement():
    draws, count = 4000, 2
    orders = exact_orders(WEIGHTS, count)
    assert sum(orders.values()) == pytest.approx(1.0)
    exact = [sum(p for order, p in orders.items() if place in order) for place in range(len(WEIGHTS))]
    seen = Counter(place for seed in range(draws) for place in chosen(WEIGHTS, count, seed=seed, iteration=1))
    for place, probability in enumerate(exact):  # five standard deviations: one of 350,000 suites fails by luck
        deviation = np.sqrt(probability * (1 - probability) / draws)
        assert abs(seen[place] / draws - probability) <= 5 * deviation, (place, seen[place] / draws, probability)
    pairs = Counter(frozenset(chosen(WEIGHTS, count, seed=seed, iteration=2)) for seed in range(draws))
    for pair in pairs:
        probability = sum(p for order, p in orders.items() if pair == set(order))
        assert abs(pairs[pair] / draws - probability) <= 5 * np.sqrt(probability * (1 - probability) / draws)


def test_one_draw_is_in_proportion():
    seen = Counter(chosen([1.0, 3.0], 1, seed=seed, iteration=1)[0] for seed in range(2000))
    assert abs(seen[1] / 2000 - 3 / 4) < 5 * np.sqrt(3 / 16 / 2000)


def test_prompts_without_weight_come_last_and_then_all_alike():
    assert all(set(chosen([0, 1e-300, 0, 2.0], 2, seed=seed, iteration=1)) == {1, 3} for seed in range(50))
    seen = Counter(chosen([0.0, 0.0, 0.0], 1, seed=seed, iteration=1)[0] for seed in range(3000))
    assert all(abs(seen[place] / 3000 - 1 / 3) < 5 * np.sqrt(2 / 9 / 3000) for place in range(3))


def test_the_most_informative_come_first_and_of_equal_ones_the_first():
    assert chosen([2.0, 5.0, 2.0, 5.0], 4, seed=3, iteration=1) == [1, 3, 0, 2]


def test_greedily_the_largest_weights_are_taken_of_equal_ones_the_first():
    for seed in range(5):
        assert chosen([2.0, 5.0, 2.0, 7.0, 2.0], 3, seed=seed, iteration=1, greedy=True) == [3, 1, 0]
    assert chosen([0.0, 0.0], 1, seed=0, iteration=1, greedy=True) == [0]


def test_there_are_no_more_than_there_are():
    assert sorted(chosen([1.0, 2.0], 9, seed=0, iteration=1)) == [0, 1]
    assert chosen([], 3, seed=0, iteration=1) == chosen([], 3, seed=0, iteration=1, greedy=True) == []


def test_draws_are_decided_by_seed_and_iteration():
    many = np.linspace(1, 2, 40)
    first = chosen(many, 10, seed=1, iteration=2)
    assert first == chosen(list(many), 10, seed=1, iteration=2)
    assert first != chosen(many, 10, seed=1, iteration=3) and first != chosen(many, 10, seed=2, iteration=2)


@pytest.mark.parametrize("weights", [[1.0, -0.5], [1.0, float("nan")], [1.0, float("inf")]])
def test_weights_that_are_none(weights):
    with pytest.raises(ValueError, match="weights must be finite and at least 0"):
        chosen(weights, 1, seed=0, iteration=1)


@given(st.lists(st.floats(0, 1e6), max_size=12), st.integers(0, 14), st.integers(0, 5), st.booleans())
def test_any_choice_is_of_distinct_prompts_in_order(weights, count, seed, greedy):
    places = chosen(weights, count, seed=seed, iteration=1, greedy=greedy)
    assert len(places) == len(set(places)) == min(count, len(weights))
    assert places == sorted(places, key=lambda place: (-weights[place], place))
    known = sum(weight > 0 for weight in weights)
    if all(weight == 0 or weight > 1e-9 for weight in weights):
        assert sum(weights[place] > 0 for place in places) == min(known, len(places))


# What is asked of the creator.

OPERATORS = {"deeper": False, "wider": False, "mix": True}


def test_every_parent_is_evolved_in_turn_by_different_operators():
    parents, pool = tasks(3), tasks(6)
    found = evolutions(parents, pool, OPERATORS, 4, seed=0, iteration=2)
    assert [evolution.parent.id for evolution in found] == ["1-1", "1-2", "1-3"] * 4
    for parent in parents:
        used = [evolution.operator for evolution in found if evolution.parent is parent]
        assert set(used[:3]) == set(OPERATORS) and used[3] == used[0]
    for evolution in found:
        assert (evolution.other is not None) == (evolution.operator == "mix")
        assert evolution.other is None or (evolution.other in pool and evolution.other.id != evolution.parent.id)


def test_operators_are_used_alike_and_others_are_drawn_from_the_whole_pool():
    parents, pool = tasks(300), tasks(5)
    found = evolutions(parents, pool, OPERATORS, 1, seed=0, iteration=2)
    used = Counter(evolution.operator for evolution in found)
    assert all(abs(used[name] - 100) < 5 * np.sqrt(300 * 2 / 9) for name in OPERATORS)
    assert {evolution.other.id for evolution in found if evolution.other} == {task.id for task in pool}


def test_a_mix_of_a_prompt_with_itself_is_left_out():
    (task,) = tasks(1)
    assert evolutions([task], [task], {"mix": True}, 2, seed=0, iteration=2) == []
    assert (
        evolutions([task], [task], {"deeper": False}, 2, seed=0, iteration=2) == [Evolution(task, "deeper", None)] * 2
    )


def test_what_is_asked_does_not_depend_on_the_other_parents():
    parents, pool = tasks(4), tasks(6)
    among = evolutions(parents, pool, OPERATORS, 3, seed=5, iteration=2)
    alone = evolutions(parents[2:3], pool, OPERATORS, 3, seed=5, iteration=2)
    assert alone == [evolution for evolution in among if evolution.parent.id == "1-3"]
    assert among != evolutions(parents, pool, OPERATORS, 3, seed=5, iteration=3)
    assert among != evolutions(parents, pool, OPERATORS, 3, seed=6, iteration=2)


# The prompts of an iteration.


@pytest.mark.parametrize(
    ("evolved", "buffer", "size", "new", "old"),
    [
        (20, 20, 10, 8, 2),
        (8, 2, 10, 8, 2),
        (5, 20, 10, 5, 5),  # too few have evolved: the buffer fills up
        (20, 1, 10, 9, 1),  # the buffer is too small: the evolved ones do
        (3, 4, 10, 3, 4),  # both are
        (0, 20, 10, 0, 10),
        (20, 0, 10, 10, 0),
    ],
)
def test_an_iteration_is_four_fifths_evolved_where_there_are_as_many(evolved, buffer, size, new, old):
    fresh, earlier = tasks(evolved, iteration=2), tasks(buffer)
    found = next_tasks(fresh, earlier, size, share=0.8, seed=0, iteration=2)
    assert found[:new] == fresh[:new]
    assert len(found) == new + old and len({task.id for task in found}) == new + old
    assert found[new:] == [task for task in earlier if task in found[new:]], "not in the buffer's order"


def test_the_share_of_the_buffer_is_drawn_anew_by_seed_and_iteration():
    fresh, earlier = tasks(16, iteration=2), tasks(50)
    drawn = [
        tuple(task.id for task in next_tasks(fresh, earlier, 20, share=0.8, seed=seed, iteration=iteration)[16:])
        for seed, iteration in ((0, 2), (0, 2), (0, 3), (1, 2))
    ]
    assert drawn[0] == drawn[1] and len(set(drawn)) == 3


@given(st.integers(0, 9), st.integers(0, 9), st.integers(1, 12), st.floats(0.1, 1))
def test_any_mix_has_its_size_unless_there_are_too_few(evolved, buffer, size, share):
    found = next_tasks(tasks(evolved, 2), tasks(buffer), size, share=share, seed=0, iteration=2)
    assert len(found) == len({task.id for task in found}) == min(size, evolved + buffer)
    new = sum(task.born == 2 for task in found)
    assert new == min(evolved, max(round(size * share), size - buffer))


# Lineages.


def test_the_lineage_of_a_prompt_begins_with_one_that_was_given():
    first = Task("1-1", "May I?", "home", 1)
    second = Task("2-1", "May I sing?", "home", 2, "1-1", None, "deeper", 3.5)
    third = Task("3-1", "May I sing at night?", "home", 3, "2-1", "1-1", "mix", 2.0)
    assert lineage_of(third, [third, first, second]) == [first, second, third]
    assert lineage_of(first, []) == [first]
