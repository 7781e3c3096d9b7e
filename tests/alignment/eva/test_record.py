"""What sums up a training, on numbers worked by hand."""

import json

import numpy as np
import pytest

from agents.errors import BadInput
from alignment.eva.record import Iteration, metrics_of, operators_of, read_record
from alignment.iterative.measures import answers_numbers, cost_of, worst_estimate, worst_gain
from alignment.iterative.prompts import Task


def answer(question, reward, kind="held-out", *, tokens=4, finished=True, outcome="ok"):
    said = outcome == "ok"
    return {
        "set": kind,
        "question": question,
        "text": "Yes." if said else None,
        "tokens": tokens if said else None,
        "finished": finished if said else None,
        "outcome": outcome,
        "reward": reward,
    }


# The worst tenth.


def test_the_worst_tenth_is_the_mean_of_one_in_ten_rounded_up():
    assert worst_estimate([5.0, 2.0, 4.0]).value == 2.0
    assert worst_estimate([float(reward) for reward in range(10, 0, -1)]).value == 1.0
    assert worst_estimate([float(reward) for reward in range(11, 0, -1)]).value == (1 + 2) / 2
    assert worst_estimate([float(reward) for reward in range(30)]).value == (0 + 1 + 2) / 3


def test_its_interval_holds_it_and_one_answer_has_none():
    found = worst_estimate([float(reward) for reward in range(40)])
    assert 0 <= found.low <= found.value == 1.5 <= found.high < 20
    alone = worst_estimate([3.0])
    assert (alone.value, alone.low, alone.high) == (3.0, None, None)
    assert worst_estimate([]) is None


def test_its_gain_compares_the_worst_of_both_whichever_prompts_they_are():
    both = [(3.0, 1.0), (2.0, 5.0), (6.0, 6.0)]
    assert worst_gain(both).value == 2.0 - 1.0
    assert worst_gain([]) is None
    many = [(float(number), float(number) - 0.5) for number in range(30)]
    found = worst_gain(many)
    assert found.value == pytest.approx(0.5) and (found.low, found.high) == pytest.approx((0.5, 0.5))


# Answers.


def test_answers_are_summed_up_by_set_and_paired_by_prompt_with_those_at_the_start():
    start = [answer("a", 2.0), answer("b", None, outcome="timeout"), answer("c", 4.0), answer("a", 1.0, "hard")]
    now = [
        answer("c", 3.0, tokens=2),
        answer("a", 6.0, finished=False, tokens=9),
        answer("b", 5.0),
        answer("a", 1.5, "hard"),
    ]
    found = answers_numbers(now, start)
    assert list(found) == ["held-out", "hard"]
    told = found["held-out"]
    assert (told["answers"], told["rated"]) == (3, 3)
    assert told["reward"]["value"] == pytest.approx((3 + 6 + 5) / 3)
    assert told["worst"]["value"] == 3.0
    assert told["tokens"] == (2 + 9 + 4) / 3 and told["finished"] == pytest.approx(2 / 3)
    assert told["gain"]["value"] == ((6 - 2) + (3 - 4)) / 2, "b was not rated at the start"
    assert told["worst_gain"]["value"] == 3 - 2
    assert found["hard"]["gain"] == {"value": 0.5, "low": None, "high": None}
    json.dumps(found, allow_nan=False)


def test_what_is_missing_stays_missing():
    found = answers_numbers([answer("a", None), answer("b", None, outcome="timeout")], None)["held-out"]
    assert (found["answers"], found["rated"], found["reward"], found["worst"]) == (2, 0, None, None)
    assert (found["tokens"], found["finished"]) == (4, 1.0)
    assert "gain" not in found and "worst_gain" not in found
    none = answers_numbers([answer("a", None, outcome="timeout")], [answer("a", 3.0)])["held-out"]
    assert none["tokens"] is none["finished"] is none["gain"] is none["worst_gain"] is None
    assert answers_numbers([], []) == {}


# What it took.


def test_costs_are_summed_by_phase_over_iterations_and_resumptions():
    telemetry = [
        {"iteration": 1, "phase": "responses", "seconds": 1.5, "calls": 4, "completion_tokens": 40},
        {"iteration": 1, "phase": "learning", "seconds": 2.25, "input_tokens": 90},
        {"iteration": 1, "phase": "responses", "seconds": 0.1, "calls": 2, "completion_tokens": 21},
        {"iteration": 2, "phase": "responses", "seconds": 0.2, "calls": 6, "completion_tokens": 60},
    ]
    assert cost_of(telemetry) == {
        "responses": {"seconds": 1.5 + 0.1 + 0.2, "calls": 4 + 2 + 6, "completion_tokens": 40 + 21 + 60},
        "learning": {"seconds": 2.25, "input_tokens": 90},
    }
    assert cost_of([]) == {}


# Operators, and the whole of an iteration.


def evolved(operator, flaw, number=1):
    return {"id": None if flaw else f"2-{number}", "operator": operator, "flaw": flaw}


def reply(text, tokens=3):
    ok = text is not None
    return {
        "text": text,
        "tokens": tokens if ok else None,
        "finished": True if ok else None,
        "outcome": "ok" if ok else "timeout",
    }


@pytest.fixture
def iteration():
    """The second one: two of three evolved prompts are kept, and one of these met, beside an earlier one."""
    return Iteration(
        2,
        [Task("2-1", "May I sing loudly?", "", 2, "1-1", None, "deeper", 2.0), Task("1-2", "May I hum?", "", 1)],
        [evolved("deeper", None), evolved("wider", "copy"), evolved("deeper", "too long"), evolved("wider", None, 2)],
        [
            {"id": "2-1", "responses": [reply("No."), reply("Yes.", 6), reply(None)]},
            {"id": "1-2", "responses": [reply("Do."), reply(" "), reply("Don't.")]},
        ],
        [{"id": "2-1", "rewards": [1.0, 4.0, None]}, {"id": "1-2", "rewards": [5.0, None, 5.5]}],
        [{"id": "2-1"}],
        [],
        {},
        [],
    )


def test_operators_tell_what_they_made_what_was_met_and_why_others_were_left_out(iteration):
    assert operators_of(iteration) == {
        "deeper": {"evolved": 2, "kept": 1, "met": 1, "flaws": {"too long": 1}},
        "wider": {"evolved": 2, "kept": 1, "met": 0, "flaws": {"copy": 1}},
    }


def written(folder, name, rows):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


SETTINGS = 'optimiser = "dpo"\ncurriculum = "evolve"\nmetric = "max-min"\njudge = "embedding"\n'


def test_an_iteration_read_from_its_files(tmp_path, iteration):
    (tmp_path / "align.toml").write_text(SETTINGS)
    for number in (1, 2):
        folder = tmp_path / f"iteration-{number}"
        prompts = [{name: getattr(task, name) for name in task.__slots__} for task in iteration.tasks]
        for name, rows in (("prompts", prompts), *((n, getattr(iteration, n)) for n in ("evolved", "responses"))):
            written(folder, name, rows)
        written(folder, "rewards", iteration.rewards)
        written(folder, "pairs", iteration.pairs)
    written(tmp_path / "iteration-0", "answers", [answer("a", 2.0)])
    written(tmp_path / "iteration-1", "answers", [answer("a", 3.0)])
    record = read_record(tmp_path, 2)
    assert record.iterations[2] == iteration and record.iterations[0].tasks == [] and record.telemetry == []
    asked = []

    def encode(texts):
        asked.append(texts)
        return np.eye(len(texts), dtype=np.float32)

    found = metrics_of(record, encode)
    assert asked == [["May I sing loudly?", "May I hum?"]] * 2
    told = found["iterations"][1]
    assert (told["prompts"], told["born"], told["pairs"], told["without_pair"]) == (2, {"1": 1, "2": 1}, 1, 1)
    assert (told["responses"], told["failed"], told["unrated"]) == (6, {"timeout": 1}, 1)
    assert told["tokens"] == (3 + 6 + 3 + 3 + 3) / 5 and told["finished"] == 1.0
    assert told["informativeness"]["value"] == told["max_min"]["value"] == ((4 - 1) + (5.5 - 5)) / 2
    assert told["reward"]["value"] == ((1 + 4) / 2 + (5 + 5.5) / 2) / 2
    assert told["best"]["value"] == (4 + 5.5) / 2 and told["worst"]["value"] == (1 + 5) / 2
    assert found["answers"][1]["held-out"]["gain"]["value"] == 1.0
    assert found["answers"][2] == {"iteration": 2}
    assert found["method"] == "eva" and found["metric"] == "max-min"
    json.dumps(found, allow_nan=False)


def test_a_broken_file_is_told(tmp_path):
    (tmp_path / "align.toml").write_text(SETTINGS)
    (tmp_path / "iteration-0").mkdir()
    (tmp_path / "iteration-0" / "answers.jsonl").write_text("{}\nnothing\n")
    with pytest.raises(BadInput, match=r"iteration-0/answers\.jsonl: holds a line that is not JSON"):
        read_record(tmp_path, 0)
