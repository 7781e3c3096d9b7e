from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.errors import BadInput
from sandbox.interaction import Question
from sandbox.questions import deal, load_questions, split_probes

QUESTIONS = tuple(Question(f"q{k}", f"Question {k}?", "") for k in range(10))


def test_shipped_sets_load_and_do_not_overlap() -> None:
    everyday, heldout = load_questions("everyday"), load_questions("heldout")
    assert len(everyday) >= 300
    assert not {q.text for q in everyday} & {q.text for q in heldout}


@given(
    size=st.integers(2, 6), share=st.integers(1, 5), seed=st.integers(0, 99), round=st.integers(1, 9), bad=st.booleans()
)
def test_every_agent_gets_a_question_and_every_question_its_share(
    size: int, share: int, seed: int, round: int, bad: bool
) -> None:
    stances = ["bad" if bad and agent % 2 else "good" for agent in range(size * size)]
    dealt = deal(QUESTIONS * 10, stances, seed=seed, round=round, share=share)
    assert len(dealt) == size * size
    assert dealt == deal(QUESTIONS * 10, stances, seed=seed, round=round, share=share)


def test_a_question_meets_both_stances_and_all_come_up_before_one_comes_again() -> None:
    stances = ["good"] * 8 + ["bad"] * 8
    seen: Counter[str] = Counter()
    for round in (1, 2):
        dealt = deal(QUESTIONS[:8], stances, seed=3, round=round, share=4)
        for question in set(dealt):
            met = [stances[agent] for agent, got in enumerate(dealt) if got == question]
            assert Counter(met) == {"good": 2, "bad": 2}
        seen.update(question.id for question in dealt)
    assert seen == {f"q{k}": 4 for k in range(8)}


def test_rounds_differ_and_seeds_differ() -> None:
    stances = ["good"] * 16
    one, two = (deal(QUESTIONS, stances, seed=0, round=r, share=4) for r in (1, 2))
    assert one != two
    assert one != deal(QUESTIONS, stances, seed=1, round=1, share=4)


def test_probes_come_up_in_every_round_at_the_same_agents() -> None:
    probes, others = split_probes(QUESTIONS, 16, seed=0, share=2, probes=3)
    assert len(probes) == 3 and not set(probes) & set(others)
    places = []
    for round in (1, 2, 3):
        dealt = deal(others, ["good", "bad"] * 8, seed=0, round=round, share=2, probes=probes)
        places.append({agent: q.id for agent, q in enumerate(dealt) if q in probes})
        assert Counter(q for q in dealt if q in probes) == dict.fromkeys(probes, 2)
    assert places[0] == places[1] == places[2]


@pytest.mark.parametrize(
    ("questions", "probes", "share", "round", "expected"),
    [
        (QUESTIONS, (), 3, 1, "18889911"),
        (QUESTIONS, (), 3, 2, "75547744"),
        (QUESTIONS[2:], QUESTIONS[:2], 2, 1, "07110676"),
        (QUESTIONS[2:], QUESTIONS[:2], 2, 3, "05110252"),
        (QUESTIONS[:3], (), 1, 1, "10122102"),  # several laps in one round
        (QUESTIONS[:3], (), 1, 3, "12102210"),
    ],
)
def test_what_earlier_versions_dealt_stays(
    questions: tuple[Question, ...], probes: tuple[Question, ...], share: int, round: int, expected: str
) -> None:
    stances = ["good", "bad", "good", "odd", "bad", "good", "good", "bad"]
    dealt = deal(questions, stances, seed=7, round=round, share=share, probes=probes)
    assert [q.id for q in dealt] == [f"q{digit}" for digit in expected]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("q.jsonl", '{"text": "Why?"}\n{"text": ', r"q.jsonl line 2: not valid JSON"),
        ("q.jsonl", '{"text": "Why?"}\n{"words": "x"}', r"q.jsonl line 2: field 'text' is missing"),
        ("q.jsonl", '{"text": "  "}', r"q.jsonl line 1: field 'text' is blank"),
        ("q.jsonl", '{"text": 3}', r"q.jsonl line 1: field 'text' is 3, not text"),
        ("q.jsonl", '"just text"', r"q.jsonl line 1: expected a JSON object, found str"),
        ("q.json", "[", r"q.json line 1: not valid JSON"),
        ("q.json", "[\n{]", r"q.json line 2: not valid JSON"),
        ("q.json", "[" * 10**5, r"q.json line 1: JSON that can't be read \(maximum recursion depth exceeded"),
        ("q.jsonl", '{"text": "Why?"}\n' + "7" * 5000, r"q.jsonl line 2: JSON that can't be read \(Exceeds the limit"),
        ("q.json", "[]", r"q.json: holds no rows"),
        ("q.txt", "\n\n", r"q.txt: holds no questions"),
        ("q.jsonl", '{"text": "Why?"}\n{"text": "Why?"}', r"the question 'Why\?' stands 2 times"),
        ("q.jsonl", '{"text": "a", "id": 1}\n{"text": "b", "id": 1}', r"the id '1' stands 2 times"),
    ],
)
def test_a_malformed_file_is_refused_by_its_place(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(BadInput, match=message):
        load_questions(str(tmp_path / name))


def test_a_missing_file_is_refused() -> None:
    with pytest.raises(
        BadInput, match="--questions nowhere.jsonl: no such file; shipped sets are everyday and heldout"
    ):
        load_questions("nowhere.jsonl")


def test_rows_of_several_shapes_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([{"query": "Why?", "topic": "t"}, {"question": "How?", "id": "x"}]))
    assert load_questions(str(tmp_path / "a.json")) == (Question("1", "Why?", "t"), Question("x", "How?", ""))
    (tmp_path / "a.txt").write_text("Why?\n\nHow?\n")
    assert [q.text for q in load_questions(str(tmp_path / "a.txt"))] == ["Why?", "How?"]
