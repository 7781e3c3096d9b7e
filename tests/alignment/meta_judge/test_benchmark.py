"""The pure functions of benchmarks/meta_judge.py: judged data from rankings, equal budgets, paired agreement."""

import runpy
from itertools import combinations, pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from agents.language_model import Message
from alignment.meta_judge.eft import read_judged
from alignment.meta_judge.judging import score_in
from alignment.meta_judge.record import agreement
from alignment.phases import json_line
from sandbox.dataset import Group

BENCHMARK = runpy.run_path(str(Path(__file__).parents[3] / "benchmarks/meta_judge.py"))
judgement_of, points_of, judged = (BENCHMARK[name] for name in ("judgement_of", "points_of", "judged"))
divided, matched_prompts, agreement_gain = (
    BENCHMARK[name] for name in ("divided", "matched_prompts", "agreement_gain")
)


def group(question, scores):
    responses = tuple(f"answer {number}" for number in range(len(scores)))
    finished, models = (True,) * len(scores), ("",) * len(scores)
    return Group((Message("user", question),), responses, tuple(scores), finished, models, question)


def test_a_judgement_awards_its_points_and_withholds_the_next():
    found = [judgement_of(score).split(". ") for score in range(6)]
    assert [len(sentences) for sentences in found] == [1, 2, 3, 4, 5, 5]
    assert len(set(map(judgement_of, range(6)))) == 6
    for less, more in pairwise(found):
        assert more[: len(less) - 1] == less[:-1]
        assert more[len(less) - 1] != less[-1]
    assert all(score_in(judgement_of(score)) is None for score in range(6))  # the score's line is put behind it


@pytest.mark.parametrize(
    "scores, points",
    [
        ([1, 2, 3, 4, 5, 6], [0, 1, 2, 3, 4, 5]),
        ([0.2, 0.9], [0, 5]),
        ([9, 1, 5], [5, 0, 3]),  # 2.5 is rounded up
        ([1, 1, 3, 3], [1, 1, 4, 4]),  # 5 × 0.5 / 3 = 0.83 and 5 × 2.5 / 3 = 4.17
        ([1, 2, 2, 3], [0, 3, 3, 5]),
    ],
)
def test_points_are_ranks_on_the_scale_of_the_rubric(scores, points):
    assert points_of(scores) == points


def test_judged_answers_are_spread_over_the_ranking_and_can_be_learned_from(tmp_path):
    rows = list(judged([group("Why?", [3, 1, 2, 7, 5, 4, 6]), group("How?", [1, 0])], 4))
    assert [row["response"] for row in rows] == [f"answer {place}" for place in (1, 0, 4, 3, 1, 0)]
    assert [row["score"] for row in rows] == [0, 2, 3, 5, 0, 5]  # ranks 1, 3, 5 and 7 of 7: 0, 1.67, 3.33, 5
    (tmp_path / "eft.jsonl").write_text("".join(map(json_line, rows)))
    texts = [row["responses"][0] for row in read_judged(tmp_path / "eft.jsonl")]
    assert [score_in(text) for text in texts] == [row["score"] for row in rows]


@given(count=st.integers(0, 8), seed=st.integers(0, 3))
def test_no_prompt_is_both_learned_from_and_measured_on(count, seed):
    groups = [group(f"question {number % 6}", [number, number + 1]) for number in range(9)]
    learned, measured = divided(groups, count, seed)
    sides = [{each.question for each in side} for side in (learned, measured)]
    assert not sides[0] & sides[1] and len(sides[0]) == min(count, 6)
    assert sorted(learned + measured, key=groups.index) == groups


def test_prompts_for_equal_tokens():
    def phase(iteration, name, **tokens):
        return {"iteration": iteration, "phase": name, "seconds": 1.0, **tokens}

    telemetry = [
        phase(None, "answers", prompt_tokens=999, completion_tokens=999),
        phase(0, "fine-tuning", input_tokens=999),
        phase(1, "reference", prompt_tokens=999, completion_tokens=999),
        phase(1, "responses", prompt_tokens=100, completion_tokens=200),
        phase(1, "judgements", prompt_tokens=300, completion_tokens=100),
        phase(1, "verdicts", prompt_tokens=150, completion_tokens=50),
        phase(1, "learning", input_tokens=100),
        phase(2, "responses", prompt_tokens=100, completion_tokens=200),
        phase(2, "judgements", prompt_tokens=300, completion_tokens=100),
        phase(2, "learning", input_tokens=60),
    ]
    total = 300 + 400 + 200 + 100 + 300 + 400 + 60
    spared = 200 + 100 * 3 / (2 + 3)
    assert matched_prompts(50, telemetry, {1: (2, 3), 2: (4, 0)}) == round(50 * total / (total - spared)) == 59
    assert matched_prompts(50, telemetry[-3:], {2: (4, 0)}) == 50


def test_the_gain_is_of_answers_with_both_scores():
    ratings = [(1.0, 2.0, 3.0), (1.0, 2.0), (2.0, 1.0, 1.0)]
    new = [{0: 1, 1: 2, 2: 3}, {0: 2, 1: 2}, {0: 5, 1: 0}]
    old = [{0: 3, 1: 3, 2: 1}, {0: 1, 1: 2}, {0: 1, 1: 4, 2: 0}]  # its third answer has no new score
    found = agreement_gain(new, old, ratings)
    assert found["in_order"]["value"] == pytest.approx((3 + 0.5 + 1) / 5 - (0.5 + 1 + 0) / 5)
    assert found["in_order_decided"]["value"] == pytest.approx(4 / 4 - 1 / 4)
    # The second group's new scores are equal and so have no correlation.
    gains = [1 - spearmanr([3, 3, 1], [1, 2, 3]).statistic, 1 - -1]
    assert found["spearman"]["value"] == pytest.approx(sum(gains) / 2)
    assert found["in_order"]["low"] <= found["in_order"]["value"] <= found["in_order"]["high"]


def test_what_nobody_can_tell_is_missing():
    level, told = [{0: 2, 1: 2}], [{0: 1, 1: 2}]
    found = agreement_gain(level, told, [(1.0, 2.0)])
    assert found["in_order"] == {"value": -0.5, "low": None, "high": None}
    assert found["in_order_decided"] is None and found["spearman"] is None
    assert not any(agreement_gain([{}], told, [(1.0, 2.0)]).values())


SCORES = st.lists(st.integers(0, 5), min_size=3, max_size=3)


@given(groups=st.lists(st.tuples(SCORES, SCORES, SCORES), min_size=1, max_size=4))
def test_the_gain_is_the_difference_of_both_agreements(groups):
    new, old = ([dict(enumerate(each[side])) for each in groups] for side in (0, 1))
    ratings = [each[2] for each in groups]
    found = agreement_gain(new, old, ratings)
    one, other = agreement(new, ratings), agreement(old, ratings)
    for name in ("in_order", "in_order_decided"):
        both = one[name] and other[name]
        assert (found[name] is None) == (both is None)
        if both is not None:
            assert found[name]["value"] == pytest.approx(one[name]["value"] - other[name]["value"])
    ranked = [all(len(set(scores)) > 1 for scores in each) for each in groups]
    assert (found["spearman"] is None) == (not any(ranked))
    assert one["pairs"] == sum(a != b for rated in ratings for a, b in combinations(rated, 2))
