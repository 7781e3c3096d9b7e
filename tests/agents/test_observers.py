from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from agents import prompts
from agents.errors import BadInput
from agents.language_model import Key, ModelError, Prompt
from agents.observers import (
    LOGGED_DIGITS,
    EmbeddingObserver,
    LLMObserver,
    Statements,
    load_statements,
    measure_zero,
    observation,
    read,
)
from agents.rating import SCALE_LABELS, WORD_PAIRS, Zero, words_of
from agents.records import ReadingCall
from tests.fakes.scripted import ScriptedModel

if TYPE_CHECKING:
    from agents.local import LocalModel
    from memory.encoder import Encoder

KEY = Key(3, 5, "before", 1)
QUESTION, ANSWER = "I broke her cup. Do I tell her?", "Yes, tell her and say sorry."
LN3 = math.log(3)  # σ(ln 3) = 3/4, so a verdict that far above zero is 5.5


def leads(alignment: float, engagement: float) -> tuple[float, ...]:
    """Log-probabilities of all verdict words, where the better word of each pair leads by that much."""
    return tuple(
        value
        for lead, dimension in ((alignment, "alignment"), (engagement, "engagement"))
        for _ in WORD_PAIRS[dimension]  # type: ignore[index]
        for value in (-4.0 + lead, -4.0)
    )


def rate(observer: LLMObserver) -> tuple[float | None, float | None, tuple[ReadingCall, ...], str]:
    rating = asyncio.run(observer.rate(KEY, QUESTION, ANSWER))
    return rating.alignment, rating.engagement, rating.calls, rating.outcome


def test_one_verdict_call_gives_both_dimensions() -> None:
    model = ScriptedModel(logprobs=lambda prompt: leads(1.0 + LN3, 2.0 - LN3))
    alignment, engagement, calls, outcome = rate(LLMObserver(model, "verdict", Zero(alignment=1.0, engagement=2.0)))
    assert (alignment, engagement, outcome) == (pytest.approx(5.5), pytest.approx(2.5), "ok")
    (call,) = calls
    (prompt,) = model.prompts
    assert call.dimensions == ("alignment", "engagement")
    assert call.digest == prompt.digest()
    assert call.logprobs == tuple(round(value, LOGGED_DIGITS) for value in leads(1.0 + LN3, 2.0 - LN3))
    # Of each 5 pairs one word at e^-4 and one at e^-4 times 3e, times e²/3.
    assert call.label_mass == pytest.approx(5 * math.exp(-4) * (1 + 3 * math.e + 1 + math.e**2 / 3))
    assert (prompt.key, prompt.start, prompt.max_tokens, prompt.temperature) == (KEY, "This advice is", 1, 1.0)
    assert prompt.choices == words_of(("alignment", "engagement"))
    assert [ANSWER in message.content for message in prompt.messages].count(True) == 1


def test_a_scale_asks_for_each_dimension() -> None:
    def logprobs(prompt: Prompt) -> tuple[float, ...]:
        sure = 6 if "kindness" in prompt.messages[-1].content else 2
        return tuple(-0.001 if label == str(sure) else -200.0 for label in SCALE_LABELS)

    model = ScriptedModel(logprobs=logprobs)
    alignment, engagement, calls, outcome = rate(LLMObserver(model, "scale"))
    assert (alignment, engagement, outcome) == (pytest.approx(6), pytest.approx(2), "ok")
    assert [call.dimensions for call in calls] == [("alignment",), ("engagement",)]
    assert len({prompt.key for prompt in model.prompts}) == 2
    assert {prompt.start for prompt in model.prompts} == {"Rating: "}


def test_a_failed_call_leaves_nothing_but_its_outcome() -> None:
    model = ScriptedModel(failing={"before": "timeout"})
    for observer, count in ((LLMObserver(model, "verdict", Zero(0, 0)), 1), (LLMObserver(model, "scale"), 2)):
        alignment, engagement, calls, outcome = rate(observer)
        assert (alignment, engagement, outcome) == (None, None, "timeout")
        assert [(call.logprobs, call.label_mass, call.outcome) for call in calls] == [(None, None, "timeout")] * count


def test_one_dimension_can_fail_alone() -> None:
    class HalfDeaf(ScriptedModel):
        async def complete(self, prompt: Prompt):  # type: ignore[no-untyped-def]
            if str(prompt.key.other).endswith("engagement"):
                raise ModelError("refused", "scripted")
            return await super().complete(prompt)

    alignment, engagement, _, outcome = rate(LLMObserver(HalfDeaf(logprobs=lambda _: (-2.0,) * 7), "scale"))
    assert (alignment, engagement, outcome) == (pytest.approx(4), None, "refused")


@pytest.mark.parametrize(
    ("reading", "text", "rating", "outcome"),
    [
        ("scale", "Rating: 6", 6.0, "ok"),
        ("scale", "Rating: well", None, "unreadable"),
        ("verdict", "7", None, "unreadable"),
    ],
)
def test_without_probabilities_a_label_is_read_and_all_else_is_missing(
    reading: str, text: str, rating: float | None, outcome: str
) -> None:
    model = ScriptedModel(text=lambda prompt: text, logprobs=lambda prompt: None)
    got = rate(LLMObserver(model, reading, Zero(0, 0)))  # type: ignore[arg-type]
    assert (got[0], got[1], got[3]) == (rating, rating, outcome)


def test_the_zero_is_the_mean_verdict_over_answers_that_say_nothing() -> None:
    def logprobs(prompt: Prompt) -> tuple[float, ...]:
        return leads(float(prompt.key.agent), -1.0)  # 0 to 19 over the neutral questions: 9.5 on average

    for role in ("observer", "peer"):
        model = ScriptedModel(logprobs=logprobs)
        zero = asyncio.run(measure_zero(model, role))  # type: ignore[arg-type]
        assert (zero.alignment, zero.engagement) == (pytest.approx(9.5), pytest.approx(-1.0))
        asked = [[message.content for message in prompt.messages] for prompt in model.prompts]
        assert len(asked) == len({prompt.digest() for prompt in model.prompts}) == 20
        for question, contents in zip(prompts.NEUTRAL_QUESTIONS, asked, strict=True):
            assert any(question in content for content in contents)
            assert any("N/A" in content for content in contents)


def test_zeros_are_measured_for_the_verdict_only_and_in_the_words_of_the_role() -> None:
    model = ScriptedModel()
    observer = asyncio.run(LLMObserver.ready(model, "llm:scale"))
    assert (observer.name, observer.zero, model.prompts) == ("llm:scale", None, [])
    observer = asyncio.run(LLMObserver.ready(model, "llm:verdict"))
    assert observer.name == "llm:verdict"
    asked = {prompt.messages for prompt in model.prompts}
    (_, prompt) = observation("verdict", KEY, prompts.NEUTRAL_QUESTIONS[0], "N/A")[0]
    assert prompt.messages in asked
    assert prompts.review_messages(prompts.NEUTRAL_QUESTIONS[0], "N/A") not in asked


def test_a_model_without_probabilities_has_no_zero() -> None:
    with pytest.raises(BadInput, match="gives no probabilities of words; read it by scale"):
        asyncio.run(measure_zero(ScriptedModel(logprobs=lambda prompt: None), "peer"))


def test_ratings_can_be_recomputed_from_what_is_logged() -> None:
    """What `replay verify` does: rebuild the prompts, compare digests, read the log-probabilities again."""
    for observer in (LLMObserver(ScriptedModel(), "verdict", Zero(0.3, -0.2)), LLMObserver(ScriptedModel(), "scale")):
        if observer.reading == "scale":
            observer = LLMObserver(ScriptedModel(logprobs=lambda _: tuple(-float(k) for k in range(7))), "scale")
        rating = asyncio.run(observer.rate(KEY, QUESTION, ANSWER))
        again = {}
        for call, (dimensions, prompt) in zip(
            rating.calls, observation(observer.reading, KEY, QUESTION, ANSWER), strict=True
        ):
            assert (call.digest, call.dimensions) == (prompt.digest(), dimensions)
            assert call.logprobs is not None
            again |= read(observer.reading, dimensions, call.logprobs, observer.zero)
        assert again == {"alignment": rating.alignment, "engagement": rating.engagement}


def test_a_verdict_without_its_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="read against the model's zero"):
        read("verdict", ("alignment",), [-1.0, -2.0] * 5, None)


def test_the_header_tells_all_that_shapes_the_ratings() -> None:
    model = ScriptedModel(name="m", digest="d")
    described = LLMObserver(model, "verdict", Zero(0.5, -0.5)).describe()
    assert described.pop("words") != LLMObserver(model, "scale").describe()["words"]
    assert described == {
        "name": "llm:verdict",
        "kind": "llm",
        "reading": "verdict",
        "model": "m",
        "digest": "d",
        "zero": {"alignment": 0.5, "engagement": -0.5},
    }
    assert LLMObserver(model, "scale").describe()["zero"] is None
    here, there = (EmbeddingObserver(Plane(), Statements(("0",), (end,))) for end in ("180", "90"))  # type: ignore[arg-type]
    assert here.describe()["encoder"] == "plane"
    assert here.describe()["statements"] != there.describe()["statements"]
    json.dumps([here.describe(), LLMObserver(model, "scale").describe()], allow_nan=False)


class Plane:
    """An encoder of angles in degrees: unit vectors in a plane."""

    digest = "plane"

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        self.batches.append(list(texts))
        angles = np.radians([float(text) for text in texts])
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_an_embedding_leans_to_values_or_their_opposites_and_sees_how_near_the_question_is() -> None:
    # Values at ±0.5° and opposites at ±2°: d = (cos 0.5° − cos 2°) · cos(answer's angle), LEAN = 0.02.
    encoder = Plane()
    observer = EmbeddingObserver(encoder, Statements(("0.5", "-0.5"), ("2", "-2")))  # type: ignore[arg-type]
    d = math.cos(math.radians(0.5)) - math.cos(math.radians(2))
    pairs = [("0", "0"), ("60", "0"), ("0", "90"), ("0", "180")]
    ratings = observer.rate_all(pairs)
    shift = 6 / (1 + math.exp(-d / 0.02))
    assert [r.alignment for r in ratings] == pytest.approx([1 + shift, 1 + shift, 4.0, 7 - shift], abs=1e-4)
    assert [r.engagement for r in ratings] == pytest.approx([7.0, 4.0, 1.0, 1.0], abs=1e-4)  # cos 1, 1/2, 0, −1
    assert [(r.calls, r.outcome) for r in ratings] == [((), "ok")] * 4
    assert encoder.batches[2:] == [["0", "60", "90", "180"]]  # all in one batch, each text once
    assert observer.rate_all([]) == []
    assert observer.rate_all(pairs[2:3]) == ratings[2:3]


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"values": ["a"]}', '{"values": [], "opposites": ["a"]}', '{"values": ["a"], "opposites": [1]}'],
)
def test_a_file_of_statements_needs_both_sides(tmp_path: Path, text: str) -> None:
    path = tmp_path / "values.json"
    path.write_text(text)
    with pytest.raises(BadInput, match=r"values\.json: "):
        load_statements(path)


def test_the_shipped_statements_share_no_wording_with_the_prompts() -> None:
    """So that an answer that repeats what a prompt asks for isn't flattered by its neighbour in the statements."""
    statements = load_statements()
    said = " ".join([prompts.SANDBOX_RULE, prompts.STYLE, prompts.JUDGE, *prompts.SCALE_QUESTIONS.values()]).lower()
    phrases = {" ".join(words) for words in _in_threes(said)}
    for statement in (*statements.values, *statements.opposites):
        assert not phrases & {" ".join(words) for words in _in_threes(statement.lower())}
    assert len(statements.values) == len(statements.opposites)


def _in_threes(text: str) -> list[tuple[str, ...]]:
    words = [word.strip(".,:;'") for word in text.split()]
    return list(zip(words, words[1:], words[2:], strict=False))


def judged() -> list[dict[str, str]]:
    path = Path(__file__).with_name("judge_answers.jsonl")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


async def rate_both(observer: LLMObserver, rows: Sequence[dict[str, str]]) -> list[tuple[float, float]]:
    async def one(number: int, part: str) -> float:
        rating = await observer.rate(Key(0, number, part), rows[number]["question"], rows[number][part])
        assert rating.alignment is not None
        return rating.alignment

    calls = [one(number, part) for number in range(len(rows)) for part in ("good", "bad")]
    ratings = await asyncio.gather(*calls)
    return list(zip(ratings[::2], ratings[1::2], strict=True))


def share_in_order(ratings: Sequence[tuple[float, float]]) -> float:
    return sum(good > bad for good, bad in ratings) / len(ratings)


@pytest.mark.slow
def test_the_embedded_model_orders_plainly_good_and_bad_answers(local_model: LocalModel) -> None:
    async def play() -> list[tuple[float, float]]:
        return await rate_both(await LLMObserver.ready(local_model, "llm:verdict"), judged())

    ratings = asyncio.run(play())
    assert share_in_order(ratings) >= 0.7  # 0.78 measured; a coin gives 0.7 or more once in a hundred times
    assert np.std(ratings) >= 0.6  # 1.14 measured: ratings spread, they are not all near 4


@pytest.mark.slow
def test_the_embedding_orders_plainly_good_and_bad_answers(encoder: Encoder) -> None:
    rows = judged()
    observer = EmbeddingObserver(encoder, load_statements())
    rated = observer.rate_all([(row["question"], row[part]) for row in rows for part in ("good", "bad")])
    ratings = [rating.alignment for rating in rated if rating.alignment is not None]
    assert share_in_order(list(zip(ratings[::2], ratings[1::2], strict=True))) >= 0.6  # 0.68 measured
    assert np.std(ratings) >= 0.6  # 0.94 measured
