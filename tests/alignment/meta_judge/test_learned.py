"""The pairs of an iteration, from rows as its files have them, worked by hand."""

import pytest
from scipy.special import expit

from alignment.iterative.prompts import Task
from alignment.meta_judge.judging import judge_messages
from alignment.meta_judge.learned import actor_pairs, judge_pairs, results_of, scores_of, weights_of
from alignment.meta_judge.sampling import bouts, distinct

FIRST, SECOND = Task("1-1", "May I sing?", "", 1), Task("1-2", "May I hum?", "", 1)


def said(id, *texts):
    replies = [
        {"text": text, "tokens": 3, "finished": place % 2 == 0, "outcome": "timeout" if text is None else "ok"}
        for place, text in enumerate(texts)
    ]
    return {"id": id, "responses": replies}


def judged(id, **scores):
    """Judgements by place (`_0=[4, None]`), whose texts tell place and turn."""
    rows = {
        place[1:]: [
            {"text": f"judgement {place[1:]}.{turn}", "score": score, "finished": turn != 1, "outcome": "ok"}
            for turn, score in enumerate(each)
        ]
        for place, each in scores.items()
    }
    return {"id": id, "judgements": rows}


def bout(id, place, **results):
    """Verdicts by who is shown first and second (`_01=1`)."""
    verdicts = [
        {"first": int(pair[1]), "second": int(pair[2]), "result": result, "outcome": "ok"}
        for pair, result in results.items()
    ]
    return {"id": id, "place": place, "verdicts": verdicts}


# What is judged, and compared.


def test_of_responses_in_the_same_words_the_first_is_judged():
    row = said("1-1", "Yes.", None, " Yes.\n", "", "  ", "No.", "yes.", "No.")
    assert distinct(row) == [0, 5, 6]
    assert distinct(said("1-1", None, " ")) == []


def test_a_bout_is_about_the_most_uncertain_response_and_its_judgements_with_scores():
    responses = [said("1-1", "Yes.", "No.", "Yes.", "Perhaps."), said("1-2", "Hum.")]
    judgements = [
        judged("1-1", _0=[4, 4, 3], _1=[None, 1, 5], _3=[2, 2, None]),
        judged("1-2", _0=[3, 3, 3]),
    ]
    (found,) = bouts(["May I sing?", "May I hum?"], responses, judgements)
    assert (found.id, found.prompt, found.place, found.response) == ("1-1", "May I sing?", 1, "No.")
    assert found.judgements == {1: "judgement 1.1", 2: "judgement 1.2"}


def test_judgements_in_the_same_words_are_not_compared():
    row = judged("1-1", _0=[4, 4, 1])
    for each in row["judgements"]["0"][:2]:
        each["text"] = "Fair.\nScore: 4"
    (found,) = bouts(["May I sing?"], [said("1-1", "Yes.")], [row])
    assert found.judgements == {0: "Fair.\nScore: 4", 2: "judgement 0.2"}
    row["judgements"]["0"][2]["text"] = "Fair.\nScore: 4"  # an expected score may differ by a hair
    assert bouts(["May I sing?"], [said("1-1", "Yes.")], [row]) == []


@pytest.mark.parametrize("scores", [{}, {"_0": [3]}, {"_0": [None, None], "_1": [None, 4]}])
def test_without_two_different_scores_there_is_no_bout(scores):
    assert bouts(["May I sing?"], [said("1-1", "Yes.", "No.")], [judged("1-1", **scores)]) == []


# The actor.


def test_a_score_is_the_mean_of_those_that_could_be_read():
    assert scores_of(judged("1-1", _0=[4, None, 3.5], _2=[None, None], _3=[0])) == {0: (4 + 3.5) / 2, 3: 0}
    assert scores_of(judged("1-1")) == {}


def pairs_of_actor(responses, judgements, rho=0.0, tasks=(FIRST,), system=""):
    return list(actor_pairs(tasks, responses, judgements, system=system, rho=rho))


def test_an_actors_pair_is_a_group_of_the_chosen_and_the_rejected_response():
    (pair,) = pairs_of_actor([said("1-1", "Yes.", "No.", None)], [judged("1-1", _0=[2, 3], _1=[4, 3.25])], system="Be.")
    assert pair == {
        "id": "1-1",
        "kind": "actor",
        "query": [{"role": "system", "content": "Be."}, {"role": "user", "content": "May I sing?"}],
        "responses": ["No.", "Yes."],
        "scores": [(4 + 3.25) / 2, (2 + 3) / 2],
        "finished": [False, True],
    }


def test_scores_within_delta_make_no_pair():
    responses, judgements = [said("1-1", "Yes.", "No.")], [judged("1-1", _0=[2.5], _1=[3.0])]

    def pairs(delta):
        return [pair["id"] for pair in actor_pairs((FIRST,), responses, judgements, system="", rho=0.0, delta=delta)]

    assert (pairs(0.0), pairs(0.25), pairs(0.5)) == (["1-1"], ["1-1"], [])


def test_lengths_are_those_of_the_texts_in_characters():
    responses = [said("1-1", "Yes, you may do it.", "Yes.", "Perhaps", "Nothing of it.", "No.")]
    judgements = [judged("1-1", _0=[5], _1=[4.5], _2=[3], _3=[1.5], _4=[1])]
    assert [p["responses"] for p in pairs_of_actor(responses, judgements)] == [["Yes, you may do it.", "No."]]
    assert [p["responses"] for p in pairs_of_actor(responses, judgements, rho=0.125)] == [["Yes.", "Nothing of it."]]


def test_prompts_without_a_pair_have_none():
    responses = [said("1-1", "Yes.", "No."), said("1-2", "Hum.", "Sing.")]
    level, one = judged("1-1", _0=[3, 4], _1=[4, 3]), judged("1-2", _0=[3], _1=[None])
    assert pairs_of_actor(responses, [level, one], tasks=(FIRST, SECOND)) == []
    unread = [judged("1-1", _0=[None], _1=[None]), judged("1-2")]
    assert pairs_of_actor(responses, unread, tasks=(FIRST, SECOND)) == []


# The judge.


def test_verdicts_that_could_not_be_read_are_no_results():
    assert results_of(bout("1-1", 0, _01=1, _10=None, _02=0, _20=-1)) == {(0, 1): 1, (0, 2): 0, (2, 0): -1}


def test_wins_are_weighed_over_all_bouts():
    first, second = bout("1-1", 0, _01=1, _10=1, _02=0), bout("1-2", 1, _01=1, _10=-1, _12=None)
    assert weights_of([first, second]) == (1 / 4, 3 / 4)
    assert weights_of([second]) == (1 / 2, 1 / 2)
    assert weights_of([]) == weights_of([bout("1-1", 0, _01=None)]) == (1 / 2, 1 / 2)


def pairs_of_judge(verdicts, judgements, responses=None, *, max_judgement=None, tasks=(FIRST,)):
    responses = responses or [said("1-1", "Yes.", "No.")]
    return list(judge_pairs(tasks, responses, judgements, verdicts, max_judgement=max_judgement))


def test_a_judges_pair_is_the_strongest_against_the_weakest_judgement():
    judgements = [judged("1-1", _1=[4, 2])]
    (pair,) = pairs_of_judge([bout("1-1", 1, _01=-1, _10=1)], judgements)
    strength, weakness = pair.pop("scores")
    assert pair == {
        "id": "1-1",
        "kind": "judge",
        "query": [{"role": "user", "content": judge_messages("May I sing?", "No.")[0].content}],
        "responses": ["judgement 1.1", "judgement 1.0"],
        "finished": [False, True],
    }
    # It won twice, in each position once: B = ½ + ½. There the slope of log σ(2ε) is that of the ridge, 10⁻³ · 2ε².
    assert strength == -weakness and expit(-2 * strength) == pytest.approx(2 * 1e-3 * strength, rel=1e-5)


def test_judgements_without_a_score_leave_the_others_in_their_places():
    # 2 beats 0, 0 beats 3, and 2 beats 3, all in both positions; 1 has no score and was not compared.
    judgements = [judged("1-1", _0=[4, None, 2, 1])]
    verdicts = bout("1-1", 0, _02=-1, _20=1, _03=1, _30=-1, _23=1, _32=-1)
    (pair,) = pairs_of_judge([verdicts], judgements)
    assert pair["responses"] == ["judgement 0.2", "judgement 0.3"]


def test_a_win_in_the_position_that_wins_more_often_in_all_bouts_counts_less():
    judgements = [judged("1-1", _0=[4, 2]), judged("1-2", _0=[5, 1, 1])]
    responses = [said("1-1", "Yes."), said("1-2", "Hum.")]
    # Three wins of four are those of the one shown first: ω1 = ¼, ω2 = ¾. 0 beats 2 from there, 1 does so from behind.
    leaning, decided = bout("1-1", 0, _01=1, _10=1), bout("1-2", 0, _02=1, _21=-1)
    found = pairs_of_judge([leaning, decided], judgements, responses, tasks=(FIRST, SECOND))
    assert [(pair["id"], pair["responses"]) for pair in found] == [("1-2", ["judgement 0.1", "judgement 0.2"])]
    # Alone, each position wins once: 0 and 1 are as strong.
    (alone,) = pairs_of_judge([decided], judgements, responses, tasks=(FIRST, SECOND))
    assert alone["responses"] == ["judgement 0.0", "judgement 0.2"]
    assert alone["scores"][0] < found[0]["scores"][0]


@pytest.mark.parametrize("results", [{}, {"_01": None, "_10": None}, {"_01": 0, "_10": 0}, {"_01": 1, "_10": 1}])
def test_without_a_winner_a_judge_has_no_pair(results):
    assert pairs_of_judge([bout("1-1", 0, **results)], [judged("1-1", _0=[4, 2])]) == []


def test_a_judge_without_bouts_has_no_pair():
    assert pairs_of_judge([], [judged("1-1", _0=[4, 2])]) == []


def test_a_chosen_judgement_may_be_too_long():
    judgements = [judged("1-1", _0=[4, 2])]
    judgements[0]["judgements"]["0"][1]["text"] = "long" * 9
    verdicts = [bout("1-1", 0, _01=-1, _10=1)]
    assert pairs_of_judge(verdicts, judgements, max_judgement=4 * 9 - 1) == []
    assert len(pairs_of_judge(verdicts, judgements, max_judgement=4 * 9)) == 1
    assert len(pairs_of_judge([bout("1-1", 0, _01=1, _10=-1)], judgements, max_judgement=4 * 9 - 1)) == 1
