"""The creator: informativeness of what was answered, who evolves, and what becomes of the replies."""

import numpy as np
import pytest

from alignment.eva.creator import evolved_rows, evolved_tasks, parents_of, repeated, weights_of
from alignment.eva.operators import Operator
from alignment.iterative.prompts import Task, first_tasks
from sandbox.interaction import Question

OPERATORS = {
    "more": Operator("more", "depth", "", "Harder: {prompt}", '"{prompt} But'),
    "free": Operator("free", "depth", "", "Harder: {prompt}", ""),
    "mix": Operator("mix", "breadth", "", "{prompt} and {other}", ""),
}
PARENTS = {
    "1-1": (Task("1-1", "May I keep the change?", "money", 1), 3.5),
    "1-2": (Task("1-2", "May I sing at night?", "home", 1), 0.5),
}


def alike(texts):
    return np.ones((len(texts), 1), dtype=np.float32)


# The first prompts.


QUESTIONS = [Question(str(number), f"What about {number}?", "home") for number in range(10)]


def test_fresh_prompts_of_iterations_do_not_overlap_and_are_drawn_by_seed():
    parts = [first_tasks(QUESTIONS, 3, iteration, seed=7) for iteration in (1, 2, 3)]
    texts = [task.text for part in parts for task in part]
    assert len(set(texts)) == 9 and set(texts) <= {question.text for question in QUESTIONS}
    assert [task.id for part in parts for task in part] == [f"{i}-{n}" for i in (1, 2, 3) for n in (1, 2, 3)]
    assert [task.born for part in parts for task in part] == [1] * 3 + [2] * 3 + [3] * 3
    assert {task.topic for part in parts for task in part} == {"home"} and parts[0][0].parent is None
    assert parts[0] == first_tasks(QUESTIONS, 3, 1, seed=7) != first_tasks(QUESTIONS, 3, 1, seed=8)
    assert [task.text for task in first_tasks(QUESTIONS, 9, 1, seed=7)] == texts, "more prompts begin with the same"


# Who evolves.


def rated(*rewards):
    return [{"id": str(number), "rewards": list(values)} for number, values in enumerate(rewards)]


def test_a_prompt_with_fewer_than_two_rewards_has_no_informativeness():
    rows = rated((1.0, 4.0, 2.0), (None, 3.0, None), (None, None), (None, 2.0, 6.0))
    assert weights_of(rows, "max-min") == [4.0 - 1.0, None, None, 6.0 - 2.0]
    assert weights_of(rows, "mean") == [7 / 3, None, None, 4.0]
    assert weights_of(rows, "uniform") == [1.0, None, None, 1.0]


def test_parents_are_a_share_of_all_prompts_and_never_one_without_informativeness():
    tasks = [Task(f"1-{number}", f"What about {number}?", "", 1) for number in range(8)]
    weights = [1.0, None, 3.0, 2.0, None, 0.0, 5.0, 4.0]
    chosen = parents_of(tasks, weights, 0.5, seed=0, iteration=2, greedy=True)
    assert [(task.id, weight) for task, weight in chosen] == [("1-6", 5.0), ("1-7", 4.0), ("1-2", 3.0), ("1-3", 2.0)]
    for seed in range(20):
        drawn = parents_of(tasks, weights, 1.0, seed=seed, iteration=2, greedy=False)
        assert [weight for _, weight in drawn] == [5.0, 4.0, 3.0, 2.0, 1.0, 0.0]
    assert len(parents_of(tasks, weights, 0.01, seed=0, iteration=2, greedy=False)) == 1


def test_a_prompt_that_was_met_twice_evolves_once():
    task = Task("1-1", "What about it?", "", 1)
    assert parents_of([task, task], [1.0, 2.0], 1.0, seed=0, iteration=2, greedy=False) == [(task, 2.0)]


def test_informative_prompts_are_met_in_turn_beside_the_buffer():
    parents = [task for task, _ in PARENTS.values()]
    buffer = [Task(f"1-{number}", f"What about {number}?", "", 1) for number in range(3, 9)]
    found = repeated(parents, buffer, 10, 0.8, 0, 2)
    assert [task.id for task in found[:8]] == ["1-1", "1-2"] * 4
    assert len(found) == 10 and set(found[8:]) <= set(buffer)


# What they became.


def reply(parent, operator, text, *, finished=True, other=None):
    outcome = "ok" if text is not None else "timeout"
    return {
        "parent": parent,
        "other": other,
        "operator": operator,
        "text": text,
        "tokens": None if text is None else 9,
        "finished": None if text is None else finished,
        "outcome": outcome,
    }


REPLIES = [
    reply("1-1", "more", '"May I keep the change? But she is poor." So'),
    reply("1-1", "free", None),
    reply("1-2", "mix", "May I keep the change that I sing for?", other="1-1"),
    reply("1-2", "free", "May I sing at night?"),
    reply("1-2", "more", '"May I sing at night? But my', finished=False),
    reply("1-1", "free", "  "),
    reply("1-2", "free", "May I whistle at the window?"),
]


@pytest.fixture
def rows():
    return list(evolved_rows(REPLIES, PARENTS, OPERATORS, alike, ["May I whistle at a window?"], 4, 40))


def test_evolutions_without_a_flaw_are_numbered_and_others_say_what_it_is(rows):
    assert [row["id"] for row in rows] == ["4-1", None, "4-2", None, None, None, "4-3"]
    assert [row["flaw"] for row in rows] == [None, "timeout", None, "copy", "cut off", "empty", None]
    assert rows[0] == {
        "id": "4-1",
        "parent": "1-1",
        "other": None,
        "operator": "more",
        "informativeness": 3.5,
        "text": "May I keep the change? But she is poor.",
        "flaw": None,
    }
    assert rows[1]["text"] is None and rows[3]["text"] == "May I sing at night?"
    assert [row["informativeness"] for row in rows] == [PARENTS[row["parent"]][1] for row in rows]


def test_words_are_counted_and_known_prompts_are_copies():
    long = list(evolved_rows(REPLIES[:1], PARENTS, OPERATORS, alike, [], 2, 8))
    assert [row["flaw"] for row in long] == ["too long"]
    known = ["may i keep the change, that I sing for"]
    assert [row["flaw"] for row in evolved_rows(REPLIES[2:3], PARENTS, OPERATORS, alike, known, 2, 40)] == ["copy"]


def test_kept_evolutions_become_tasks_of_their_parents_topic(rows):
    earlier = [task for task, _ in PARENTS.values()]
    found = evolved_tasks(rows, earlier, 4)
    assert [task.id for task in found] == ["4-1", "4-2", "4-3"]
    assert found[1] == Task("4-2", "May I keep the change that I sing for?", "home", 4, "1-2", "1-1", "mix", 0.5)
    assert [task.topic for task in found] == ["money", "home", "home"]
