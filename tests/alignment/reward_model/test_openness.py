from collections import Counter
from itertools import combinations, permutations
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import alignment
from agents.rows import read_rows
from alignment.reward_model.openness import CLOSED, OPEN, estimate_all, estimate_openness, spread
from sandbox.questions import DATA, SHIPPED, load_questions

PROMPTS = Path(alignment.__file__).parent / "data" / "openness.jsonl"
ROWS = [row for _, row in read_rows(PROMPTS)]


class Compass:
    """An encoder for texts that are degrees: each is the vector of that direction. It keeps what it was asked."""

    def __init__(self, length=1.0):
        self.length = length
        self.asked = []

    def encode(self, texts):
        self.asked.append(list(texts))
        angles = np.radians([float(text) for text in texts])
        return (self.length * np.stack([np.cos(angles), np.sin(angles)], axis=1)).astype(np.float32)


@pytest.mark.parametrize(
    ("responses", "mean_spread"),
    [
        (("0", "60"), 1 - 1 / 2),
        (("0", "0", "90"), ((1 - 1) + (1 - 0) + (1 - 0)) / 3),
        (("0", "60", "60"), ((1 - 1 / 2) + (1 - 1 / 2) + (1 - 1)) / 3),
        (("0", "60", "120"), ((1 - 1 / 2) + (1 + 1 / 2) + (1 - 1 / 2)) / 3),
        (("0", "0", "60", "60"), (2 * 0 + 4 * (1 - 1 / 2)) / 6),
    ],
)
def test_openness_lies_between_the_spreads_of_closed_and_open_prompts(responses, mean_spread):
    expected = min(1, max(0, (mean_spread - CLOSED) / (OPEN - CLOSED)))
    assert estimate_openness(responses, Compass()) == pytest.approx(expected, abs=1e-6)


def test_two_answers_at_sixty_degrees_are_a_third_open():
    assert estimate_openness(["0", "60"], Compass()) == pytest.approx((0.50 - 0.38) / (0.74 - 0.38), abs=1e-6)


def test_equal_answers_are_closed_and_opposite_ones_open():
    assert estimate_all([["30"] * 6, ["30", "210"]], Compass()) == [0, 1]


def test_no_order_of_answers_matters():
    orders = list(permutations(["0", "20", "75", "100"]))
    first, *others = estimate_all(orders, Compass())
    assert 0 < first < 1
    assert others == pytest.approx([first] * len(others))


def test_nor_do_lengths_of_vectors():
    groups = [["0", "70"], ["0", "50", "80"]]
    assert estimate_all(groups, Compass(5.0)) == pytest.approx(estimate_all(groups, Compass()))


def test_groups_of_any_sizes_are_encoded_in_one_call_and_estimated_apart():
    groups = [["0", "60"], ["10", "50", "90"], ["0", "10", "20", "180"]]
    encoder = Compass()
    assert estimate_all(groups, encoder) == pytest.approx([estimate_openness(group, Compass()) for group in groups])
    assert encoder.asked == [[text for group in groups for text in group]]


@pytest.mark.parametrize("count", [2, 3, 6, 11])
def test_spread_is_the_mean_over_pairs(count):
    vectors = np.random.default_rng(count).standard_normal((count, 8))
    by_hand = [1 - a @ b / np.sqrt((a @ a) * (b @ b)) for a, b in combinations(vectors, 2)]
    assert spread(vectors) == pytest.approx(np.mean(by_hand))


@pytest.mark.parametrize("responses", [[], ["0"]])
def test_fewer_than_two_answers_have_no_spread(responses):
    with pytest.raises(ValueError, match=f"group 1: .*at least two responses, got {len(responses)}"):
        estimate_all([["0", "60"], responses], Compass())


@pytest.mark.parametrize("empty", ["", " \n"])
def test_an_empty_answer_is_refused_before_anything_is_encoded(empty):
    encoder = Compass()
    with pytest.raises(ValueError, match="group 0: response 1 is empty; leave it out"):
        estimate_openness(["0", empty, "60"], encoder)
    assert encoder.asked == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["prompt"])
def test_a_shipped_row_has_a_prompt_and_six_different_answers(row):
    assert set(row) == {"prompt", "openness", "topic", "answers"}
    assert row["openness"] in (0, 1)
    assert len(row["answers"]) == 6
    texts = [row["prompt"], row["topic"], *row["answers"]]
    assert all(isinstance(text, str) and text == text.strip() != "" for text in texts)
    assert len({answer.casefold() for answer in row["answers"]}) == 6


def test_shipped_rows_are_balanced_in_both_halves():
    for half in (ROWS[::2], ROWS[1::2]):
        assert Counter(row["openness"] for row in half) == {0: 12, 1: 12}
    kinds = {row["topic"]: row["openness"] for row in ROWS}
    assert all(row["openness"] == kinds[row["topic"]] for row in ROWS)
    assert len(kinds) >= 12


def test_no_shipped_prompt_stands_twice_or_is_a_question_of_societies():
    prompts = [row["prompt"].casefold() for row in ROWS]
    assert len(set(prompts)) == len(prompts)
    asked = [question.text for name in SHIPPED for question in load_questions(name)]
    asked += [row["question"] for _, row in read_rows(DATA / "prior.jsonl")]
    assert not {text.casefold() for text in asked} & set(prompts)


@pytest.mark.slow
def test_written_answers_tell_open_prompts_from_closed_ones(encoder):
    estimates = np.array(estimate_all([row["answers"] for row in ROWS], encoder))
    is_open = np.array([row["openness"] == 1 for row in ROWS])
    closed, opened = estimates[~is_open], estimates[is_open]
    assert closed.mean() < 0.1 < 0.9 < opened.mean()
    assert stats.mannwhitneyu(opened, closed).statistic / (len(opened) * len(closed)) > 0.95
    # What the constants stand for, on the half that they come from.
    spreads = [spread(encoder.encode(row["answers"])) for row in ROWS[::2]]
    halves = np.mean(spreads[:12]), np.mean(spreads[12:])
    assert halves == pytest.approx((CLOSED, OPEN), abs=0.01)
