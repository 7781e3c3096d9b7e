"""What sums up a training by Meta-Rewarding, on numbers worked by hand."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignment.meta_judge.record import (
    Iteration,
    agreement,
    length_bias,
    metrics_of,
    read_record,
    sweep,
    verdict_biases,
)
from tests.alignment.meta_judge.test_learned import bout, judged, said

NOTHING = Iteration(1, [], [], [], [], [], [], [], {}, [])


def value(found):
    return None if found is None else found["value"]


# Agreement with ratings.


def test_ties_count_half_or_are_dropped():
    # Of the pairs of 5, 3, 1: 4 and 4 tie, 4 > 2 and 4 > 2 are in order; of the others the only one is not.
    found = agreement([{0: 4.0, 1: 4.0, 2: 2.0}, {0: 1.0, 1: 2.5}], [(5, 3, 1), (7, 2)])
    assert (found["scored"], found["pairs"], found["ties"]) == (5, 4, 1)
    assert found["in_order"]["value"] == (0.5 + 1 + 1 + 0) / 4
    assert found["in_order_decided"]["value"] == (1 + 1 + 0) / 3


def test_all_pairs_weigh_the_same_and_the_interval_resamples_prompts():
    found = agreement([{0: 3.0, 1: 2.0, 2: 1.0}, {0: 1.0, 1: 2.0}], [(3, 2, 1), (2, 1)])
    for name in ("in_order", "in_order_decided"):
        assert found[name] == {"value": 3 / 4, "low": 0.0, "high": 1.0}


def test_answers_that_are_rated_alike_or_have_no_score_make_no_pair():
    # Places 0 and 3 have no score; 1 and 2 are rated alike.
    found = agreement([{1: 4.0, 2: 3.0, 4: 1.0}], [(7, 5, 5, 1, 2)])
    assert (found["scored"], found["pairs"], found["ties"]) == (3, 2, 0)
    assert found["in_order"] == found["in_order_decided"] == {"value": 1.0, "low": None, "high": None}


def test_spearmans_correlation_is_the_mean_over_prompts_that_have_one():
    # Ranks 1 2 3 against 1 3 2: 1 − 6 (0 + 1 + 1) / (3 · 8) = ½. Ranks 1 2 against 2 1: −1. The others are level.
    scores = [{0: 1.0, 1: 2.0, 2: 2.5}, {0: 0.0, 1: 1.0}, {0: 2.0, 1: 2.0}, {0: 1.0, 1: 2.0}, {0: 4.0}, {}]
    ratings = [(1, 7, 3), (5, 4), (1, 2), (3, 3), (1, 2), (1, 2)]
    found = agreement(scores, ratings)
    assert value(found["spearman"]) == pytest.approx((0.5 - 1) / 2)
    # With ties, ranks are means: 1½ 1½ 3 against 1 2 3 have the correlation 1½ / √(1½ · 2).
    tied = agreement([{0: 1.0, 1: 1.0, 2: 4.0}], [(1, 2, 3)])
    assert value(tied["spearman"]) == pytest.approx(1.5 / (1.5 * 2) ** 0.5)


@pytest.mark.parametrize("scores", [[], [{}], [{0: 3.0}], [{0: 3.0, 1: 3.0}]])
def test_without_scores_that_differ_there_is_no_agreement(scores):
    found = agreement(scores, [(1, 2)] * len(scores))
    assert found["in_order_decided"] is found["spearman"] is None
    assert value(found["in_order"]) == (0.5 if found["pairs"] else None)
    json.dumps(found, allow_nan=False)


@given(st.lists(st.tuples(st.integers(0, 10), st.integers(1, 7)), min_size=2, max_size=6))
def test_agreement_turns_with_the_ratings(drawn):
    scores, ratings = {place: half / 2 for place, (half, _) in enumerate(drawn)}, [rating for _, rating in drawn]
    found, turned = agreement([scores], [ratings]), agreement([scores], [[8 - rating for rating in ratings]])
    for name in ("in_order", "in_order_decided"):
        one, other = value(found[name]), value(turned[name])
        assert (one is None and other is None) or one + other == pytest.approx(1)
    assert (found["pairs"], found["ties"]) == (turned["pairs"], turned["ties"])


# What the meta-judge follows.


def test_biases_are_shares_of_what_was_decided():
    row = judged("1-1", _0=[4, 2, 2])
    for each, text in zip(row["judgements"]["0"], ("long", "longer", "longest"), strict=True):
        each["text"] = text
    results = bout("1-1", 0, _01=1, _10=0, _02=-1, _20=None, _12=1, _21=1)
    found = verdict_biases(replace(NOTHING, judgements=[row], verdicts=[results]))
    assert (found["bouts"], found["verdicts"], found["unread"], found["draws"]) == (1, 6, 1, 1)
    # Decided: 0 beats 1 (4 > 2), 2 beats 0 (4 > 2) from behind, 1 beats 2, and 2 beats 1, both 2.
    assert value(found["higher_score"]) == 1 / 2
    assert value(found["first"]) == 3 / 4
    assert value(found["first_of_equals"]) == 2 / 2
    assert value(found["longer"]) == (0 + 1 + 0 + 1) / 4
    assert found["weights"] == [1 / 4, 3 / 4]


def test_bouts_weigh_by_their_decided_comparisons():
    rows = [judged("1-1", _0=[4, 2]), judged("1-2", _1=[1, 5])]
    bouts = [bout("1-1", 0, _01=1, _10=-1), bout("1-2", 1, _01=1, _10=None)]
    found = verdict_biases(replace(NOTHING, judgements=rows, verdicts=bouts))
    assert value(found["higher_score"]) == (1 + 1 + 0) / 3 and value(found["first"]) == 2 / 3
    assert found["first_of_equals"] is found["longer"] is None, "all scores differ, all judgements are equally long"


@pytest.mark.parametrize("results", [{}, {"_01": None, "_10": None}, {"_01": 0, "_10": 0}])
def test_without_a_decision_there_are_no_biases(results):
    found = verdict_biases(
        replace(NOTHING, judgements=[judged("1-1", _0=[4, 2])], verdicts=[bout("1-1", 0, **results)])
    )
    assert [found[name] for name in ("higher_score", "first", "first_of_equals", "longer")] == [None] * 4
    assert found["weights"] == [0.5, 0.5] and found["verdicts"] == len(results)


# Lengths.


def test_the_length_bias_is_the_correlation_of_scores_with_lengths():
    # Lengths 1 2 3 have the scores 3, 4, 5; lengths 2 and 1 have 2 and 4; the last have one score.
    responses = [said("1-1", "a", "bb", "ccc"), said("1-2", "aa", None, "b"), said("1-3", "a", "bb")]
    rows = [
        judged("1-1", _0=[3], _1=[4, None], _2=[5]),
        judged("1-2", _0=[1, 3], _2=[4]),
        judged("1-3", _0=[1], _1=[1]),
    ]
    found = length_bias(replace(NOTHING, responses=responses, judgements=rows))
    assert value(found) == pytest.approx((1 - 1) / 2) and (found["low"], found["high"]) == pytest.approx((-1, 1))
    assert length_bias(replace(NOTHING, responses=responses[2:], judgements=rows[2:])) is None


def test_a_sweep_tells_how_many_pairs_every_rho_gives_and_what_their_sides_are_like():
    # The same scores and lengths as in the pairs that are worked by hand: 5, 4.5, 3, 1.5, 1.
    responses = [said("1-1", "a" * 90, "b" * 40, "c" * 20, "d" * 80, "e" * 30), said("1-2", "Yes.", "No.")]
    rows = [judged("1-1", _0=[5], _1=[4, 5], _2=[3], _3=[1.5], _4=[1]), judged("1-2", _0=[2], _1=[2])]
    found = sweep(replace(NOTHING, responses=responses, judgements=rows), [0.0, 0.125])
    assert found == [
        {"rho": 0.0, "pairs": 1, "chosen_characters": 90, "chosen_score": 5.0, "rejected_characters": 30,
         "rejected_score": 1.0},
        {"rho": 0.125, "pairs": 1, "chosen_characters": 40, "chosen_score": 4.5, "rejected_characters": 80,
         "rejected_score": 1.5},
    ]  # fmt: skip
    level = sweep(replace(NOTHING, responses=responses[1:], judgements=rows[1:]), [0.3])
    assert level == [{"rho": 0.3, "pairs": 0, "chosen_characters": None, "chosen_score": None,
                      "rejected_characters": None, "rejected_score": None}]  # fmt: skip


# The whole of it.


def written(folder, name, rows):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_training_read_from_its_files(tmp_path):
    (tmp_path / "align.toml").write_text('optimiser = "dpo"\njudge = "text"\nmeta = true\n')
    task = {"id": "1-1", "text": "May I sing?", "topic": "", "born": 1}
    first = tmp_path / "iteration-1"
    written(first, "prompts", [task])
    written(first, "responses", [said("1-1", "Yes.", "No.", None, "Yes.")])
    written(first, "judgements", [judged("1-1", _0=[4, None, 1], _1=[2, 2, 3])])
    written(first, "verdicts", [bout("1-1", 0, _02=1, _20=None)])
    written(first, "pairs", [{"kind": "actor"}, {"kind": "judge"}])
    written(first / "model", "trainer_log", [{"loss": 0.5}])
    (first / "model/learned.json").write_text('{"pairs": 2}')
    for number, scores in enumerate([{"_0": [1], "_1": [None]}, {"_0": [1, 2], "_1": [3]}]):
        written(tmp_path / f"iteration-{number}", "reference", [judged("0", **scores)])
    record = read_record(tmp_path, 1, [(2.0, 6.0)])
    assert record.iterations[0] == replace(NOTHING, number=0, reference=[judged("0", _0=[1], _1=[None])])
    assert record.iterations[1].log == [{"loss": 0.5}] and record.iterations[1].tasks[0].text == "May I sing?"
    found = metrics_of(record)
    (told,) = found["iterations"]
    assert (told["prompts"], told["responses"], told["distinct"], told["tokens"]) == (1, 4, 2, 3)
    assert told["characters"] == (4 + 3 + 4) / 3
    assert (told["judgements"], told["unread"]) == (6, 1)
    assert value(told["score"]) == pytest.approx(((4 + 1) / 2 + (2 + 2 + 3) / 3) / 2)
    # Standard deviations of 4 and 1, and of 2, 2 and 3.
    assert told["disagreement"] == pytest.approx((1.5 + (2 / 9) ** 0.5) / 2)
    assert value(told["length_bias"]) == pytest.approx(1), "2.5 for the four characters, 2⅓ for the three"
    assert value(told["meta_judge"]["higher_score"]) == 1 and told["meta_judge"]["unread"] == 1
    assert (told["actor_pairs"], told["judge_pairs"], told["learned"]) == (1, 1, {"pairs": 2})
    assert [row["rho"] for row in told["sweep"]] == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    before, after = found["reference"]
    assert (before["iteration"], before["scored"], before["pairs"], before["in_order"]) == (0, 1, 0, None)
    assert (after["iteration"], after["scored"], after["pairs"], value(after["in_order"])) == (1, 2, 1, 1.0)
    assert found["answers"] == [{"iteration": 0}, {"iteration": 1}]
    json.dumps(found, allow_nan=False)


def test_an_iteration_that_read_nothing_has_numbers_all_the_same(tmp_path):
    (tmp_path / "align.toml").write_text('optimiser = "dpo"\njudge = "text"\nmeta = false\n')
    written(tmp_path / "iteration-1", "responses", [said("1-1", None, None)])
    written(tmp_path / "iteration-1", "judgements", [judged("1-1", _0=[None, None])])
    (told,) = metrics_of(read_record(tmp_path, 1))["iterations"]
    missing = ("tokens", "characters", "score", "disagreement", "length_bias", "meta_judge")
    assert [told[name] for name in missing] == [None] * len(missing)
    assert (told["unread"], told["judgements"], {row["pairs"] for row in told["sweep"]}) == (2, 2, {0})
    json.dumps(told, allow_nan=False)
