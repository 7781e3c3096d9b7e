"""Judges as a training uses them, with tiny models."""

import asyncio
import math

import numpy as np
import pytest
import torch

from agents.batching import Batcher
from agents.errors import BadInput
from agents.language_model import Key
from agents.models import load_model
from agents.observers import LLMObserver
from agents.records import Rating
from alignment import judge as judging
from alignment.judge import JUDGES, Judge, opened_judge

QUESTIONS = ("May I keep the cup?", "May I lie?", "May I go?")
ANSWERS = ("Ask her first.", "Lie about it.", "")


@pytest.fixture(scope="module")
def folder(tiny_model_folder):
    """A tiny model whose tokenizer has the words that a judge reads."""
    return str(tiny_model_folder())


@pytest.mark.parametrize("name", ["llm:verdict", "llm:scale"])
def test_a_model_rates_as_it_does_in_a_society(folder, name):
    judge = opened_judge(name, folder, "unused", "alignment")
    ratings = judge.rate(QUESTIONS, ANSWERS)

    async def observed():
        observer = await LLMObserver.ready(load_model(folder, Batcher()), name)
        return [await observer.rate(Key(0, 0, "alone"), *pair) for pair in zip(QUESTIONS, ANSWERS, strict=True)]

    alone = [rating.alignment for rating in asyncio.run(observed())]
    assert ratings == pytest.approx(alone, abs=1e-4)
    assert all(1 <= rating <= 7 for rating in ratings)
    assert len(set(ratings)) == 3
    assert judge.rate(QUESTIONS[::-1], ANSWERS[::-1]) == pytest.approx(ratings[::-1], abs=1e-4)  # each its own, again
    assert judge.rate([], []) == []
    assert (judge.name, judge.model) == (name, folder)


def test_what_a_rating_is_made_of(folder):
    by = {score: opened_judge("llm:verdict", folder, "", score) for score in ("alignment", "engagement", "product")}
    alignment, engagement, product = (judge.rate(QUESTIONS[:1], ANSWERS[:1])[0] for judge in by.values())
    assert alignment != engagement
    assert product == pytest.approx(math.sqrt(alignment * engagement))


def test_an_encoder_rates(monkeypatch):
    class Letters:
        """Texts by how often they have each letter."""

        def __init__(self, folder):
            pass

        def encode(self, texts):
            counts = [[text.lower().count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts]
            return np.array(counts, dtype=np.float32) / (1 + np.array(counts).sum(1, keepdims=True, dtype=np.float32))

    monkeypatch.setattr(judging, "Encoder", Letters)
    monkeypatch.setattr(judging, "encoder_folder", lambda name: name)
    judge = opened_judge("embedding", "unused", "letters", "alignment")
    ratings = judge.rate(QUESTIONS, ANSWERS)
    assert len(set(ratings)) == 3 and all(1 <= rating <= 7 for rating in ratings)
    assert ratings[2] == 4.0  # nothing leans nowhere
    assert (judge.name, judge.model) == ("embedding", "letters")


def test_a_rating_that_is_missing_stays_missing():
    given = [Rating(6.0, 2.0), Rating(None, 2.0), Rating(6.0, None)]
    rated = {score: Judge("fixed", "none", lambda _: given, score).rate(QUESTIONS, ANSWERS)
             for score in ("alignment", "engagement", "product")}  # fmt: skip
    assert rated == {
        "alignment": [6.0, None, 6.0],
        "engagement": [2.0, 2.0, None],
        "product": [math.sqrt(12), None, None],
    }
    with pytest.raises(ValueError, match="shorter"):
        Judge("fixed", "none", lambda _: given, "alignment").rate(QUESTIONS, ANSWERS[:2])


def test_a_question_too_long_for_the_judge_leaves_its_answer_unrated(folder):
    judge = opened_judge("llm:verdict", folder, "", "alignment")
    long, short = judge.rate(["why " * 2000, QUESTIONS[0]], ANSWERS[:2])
    assert long is None and 1 <= short <= 7


def test_an_unknown_judge_is_told():
    with pytest.raises(BadInput, match="--judge nobody: unknown judge; known: " + ", ".join(JUDGES)):
        opened_judge("nobody", "unused", "unused", "alignment")


def test_a_judge_draws_no_random_numbers(folder):
    state = torch.get_rng_state()
    opened_judge("llm:verdict", folder, "", "alignment").rate(QUESTIONS, ANSWERS)
    assert torch.equal(torch.get_rng_state(), state)  # or a new adapter would start elsewhere where one is watched
