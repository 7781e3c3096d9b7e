import asyncio
import math

import numpy as np
import pytest

from agents.language_model import Key, Prompt
from agents.prompts import DUEL_CHOICES, DUEL_START, duel_messages
from alignment.evaluate.duels import CERTAIN, Bout, Duel, by_topic, fought, win_rate
from alignment.evaluate.length_control import controlled_win_rate
from tests.fakes.scripted import ScriptedModel

BOUT = Bout("May I?", "family", "Ask her first.", "Take it.")


def duel(as_first, as_second, *, model="a", against="b", topic=""):
    return Duel(Bout("q", topic, model, against), as_first, as_second)


def sigma(x):
    return 1 / (1 + math.exp(-x))


def test_a_duel_is_judged_in_both_orders():
    judge = ScriptedModel(logprobs=lambda prompt: (-1.0, -2.5) if prompt.key.other == "first" else (-3.0, -1.0))
    (found,) = asyncio.run(fought(judge, [BOUT], "first turn"))
    assert [prompt.messages[-1].content for prompt in judge.prompts] == [
        duel_messages("May I?", "Ask her first.", "Take it.")[-1].content,
        duel_messages("May I?", "Take it.", "Ask her first.")[-1].content,
    ]
    assert (found.as_first, found.as_second, found.verdict) == (1.5, -2.0, "win")
    assert found.win == pytest.approx(sigma((1.5 + 2.0) / 2))


@pytest.mark.parametrize(
    ("as_first", "as_second", "verdict", "win"),
    [
        (2.0, -1.0, "win", sigma(1.5)),
        (-1.0, 3.0, "loss", sigma(-2.0)),
        (3.0, 3.0, "tie", 0.5),  # the first shown wins, whichever it is
        (3.0, 1.0, "tie", sigma(1.0)),
        (0.0, -1.0, "tie", sigma(0.5)),
    ],
)
def test_both_orders_must_agree(as_first, as_second, verdict, win):
    found = duel(as_first, as_second)
    assert found.verdict == verdict and found.win == pytest.approx(win)


def test_a_preference_for_a_place_changes_no_win():
    assert duel(0.5 + 4, -0.3 + 4).win == pytest.approx(duel(0.5, -0.3).win)


def test_win_rate_by_hand():
    rate = win_rate([duel(2.0, -2.0), duel(-2.0, 2.0), duel(1.0, 1.0), duel(2.0, -2.0), duel(None, None)])
    assert (rate.wins, rate.losses, rate.ties, rate.duels, rate.failed) == (2, 1, 1, 4, 1)
    assert rate.decided.value == (1 + 0 + 0.5 + 1) / 4
    assert rate.value.value == pytest.approx((2 * sigma(2) + sigma(-2) + 0.5) / 4)
    assert rate.first_wins == (1 + 1 + 2 + 1) / 8
    nothing = win_rate([])
    assert (nothing.value, nothing.length_controlled, nothing.decided, nothing.first_wins) == (None,) * 4


def test_topics_stand_apart_where_there_are_several():
    duels = [duel(2.0, -2.0, topic="work"), duel(-2.0, 2.0, topic="money"), duel(2.0, -2.0, topic="work")]
    found = by_topic(duels)
    assert list(found) == ["work", "money"]
    assert (found["work"].wins, found["money"].losses) == (2, 1)
    assert by_topic(duels[::2]) == {}


@pytest.mark.parametrize(
    ("reply", "odds"),
    [(" A", CERTAIN), (" B.", -CERTAIN), (": **Answer B** is kinder", -CERTAIN), (" neither", None), (" Anna", None)],
)
def test_without_probabilities_the_reply_is_read(reply, odds):
    judge = ScriptedModel(text=lambda prompt: DUEL_START + reply, logprobs=lambda prompt: None)
    (found,) = asyncio.run(fought(judge, [BOUT], "first turn"))
    assert (found.as_first, found.as_second) == (odds, odds)
    assert found.outcome == ("unreadable" if odds is None else "ok")


def test_a_judge_that_fails_is_counted():
    judge = ScriptedModel(failing={"first turn": "timeout"})
    (found,) = asyncio.run(fought(judge, [BOUT], "first turn"))
    assert (found.win, found.verdict, found.outcome) == (None, None, "timeout")


def test_the_prompt_forces_one_of_two_words():
    judge = ScriptedModel()
    asyncio.run(fought(judge, [BOUT], "first turn"))
    prompt: Prompt = judge.prompts[0]
    assert (prompt.start, prompt.choices, prompt.max_tokens) == (DUEL_START, DUEL_CHOICES, 1)
    assert prompt.key == Key(0, 0, "first turn", "first")


LENGTHS = np.linspace(-300, 300, 61)


def test_where_only_length_decides_nobody_wins_at_equal_length():
    shifted = LENGTHS + 150  # the model's answers are mostly longer
    raw = (shifted > 0).astype(float)
    assert raw.mean() > 0.7
    found = controlled_win_rate(raw, shifted)
    assert found.value == pytest.approx(0.5, abs=0.05)
    assert found.low < 0.5 < found.high


def test_where_length_decides_softly_its_part_is_taken_out_exactly():
    shifted = LENGTHS + 150
    raw = 1 / (1 + np.exp(-1.5 * np.tanh(shifted / shifted.std())))
    assert controlled_win_rate(raw, shifted).value == pytest.approx(0.5, abs=0.005)


def test_where_quality_decides_length_takes_nothing():
    found = controlled_win_rate([0.8] * 61, LENGTHS)
    assert (found.value, found.low, found.high) == pytest.approx((0.8, 0.8, 0.8), abs=1e-3)


def test_quality_and_length_are_told_apart():
    raw = 1 / (1 + np.exp(-(0.8 + 1.5 * np.tanh((LENGTHS - 200) / LENGTHS.std()))))
    found = controlled_win_rate(raw, LENGTHS - 200)
    assert raw.mean() < 0.5 and found.value == pytest.approx(sigma(0.8), abs=0.02)


def test_equal_lengths_leave_the_win_rate_as_it_is():
    assert controlled_win_rate([1.0, 0.5, 0.0, 1.0], [0.0] * 4).value == pytest.approx(0.625, abs=1e-4)


def test_length_control_of_one_duel_and_of_none():
    assert controlled_win_rate([], []) is None
    found = controlled_win_rate([0.75], [10.0])
    assert (found.value, found.low) == (pytest.approx(0.75, abs=1e-3), None)


def test_every_duel_won_is_finite():
    found = controlled_win_rate([1.0] * 5, [1.0, -2.0, 3.0, 0.0, 5.0])
    assert 0.99 < found.value <= 1.0
