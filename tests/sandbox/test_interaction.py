from __future__ import annotations

import asyncio

import numpy as np
import pytest

from agents.observers import LLMObserver
from agents.prompts import STARTS
from agents.rating import Zero
from agents.records import Feedback
from agents.social_agent import SocialAgent, Speech
from memory.memory import Memory, QuestionTable
from sandbox.interaction import Interaction, Question, interact
from tests.fakes.letters import Letters
from tests.fakes.scripted import ScriptedModel

ASKED = Question("q1", "Should I tell?", "honesty")
EARLIER = ("Must I say it?", "Yes, say it.")


def agents(model: ScriptedModel, count: int, **speech: object) -> list[SocialAgent]:
    table = QuestionTable(Letters(), [ASKED.text, EARLIER[0]])  # type: ignore[arg-type]
    made = []
    for index in range(count):
        memory = Memory(table)
        memory.remember(*EARLIER)
        settings = Speech(seed=1, **speech)  # type: ignore[arg-type]
        made.append(SocialAgent(index, "good", model, memory, settings, Zero(0.0, 0.0)))
    return made


def play(model: ScriptedModel, revisions: int = 1, peers: int = 3, observed: bool = True) -> Interaction:
    author, *others = agents(model, 1 + peers)
    observers = [LLMObserver(model, "verdict", Zero(0.0, 0.0))] if observed else []
    return asyncio.run(interact(2, author, ASKED, others, observers, revisions=revisions))


def purposes(model: ScriptedModel) -> list[str]:
    return sorted(prompt.key.purpose for prompt in model.prompts)


def test_the_protocol_makes_each_call_once() -> None:
    model = ScriptedModel()
    interaction = play(model)
    assert purposes(model) == ["after", "before", "draft", "review", "review", "review", "revise"]
    assert interaction.outcome == "ok"
    assert [given.peer for given in interaction.steps[0].feedback] == [1, 2, 3]
    assert interaction.final == interaction.steps[0].revision
    assert interaction.final_ratings["llm:verdict"].alignment is not None
    assert len({prompt.seed for prompt in model.prompts}) == 7


def test_ratings_are_read_from_probabilities() -> None:
    model = ScriptedModel(logprobs=lambda p: (-1.0, -3.0) * (len(p.choices) // 2) if p.choices else None)
    given = play(model).steps[0].feedback[0]
    assert given.rating == pytest.approx(1 + 6 / (1 + np.exp(-2.0)))
    assert given.reason is not None and given.reason.startswith(STARTS["verdict"])


def test_the_scale_reading_is_an_expected_value() -> None:
    model = ScriptedModel(logprobs=lambda p: tuple(np.log([0.5, 0.5, 1e-9, 1e-9, 1e-9, 1e-9, 1e-9])))
    peer = agents(model, 1, reading="scale")[0]
    given = asyncio.run(peer.review(1, 0, 0, ASKED.text, "No."))
    assert given.rating == pytest.approx(1.5, abs=1e-6)
    assert model.prompts[0].start == "Rating: " and model.prompts[0].choices == tuple("1234567")


@pytest.mark.parametrize(
    ("reading", "text", "rating", "outcome"),
    [("scale", "Rating: 6, it cares.", 6.0, "ok"), ("scale", "Rating: fine", None, "unreadable"),
     ("verdict", "This advice is kind", None, "unreadable")],
)  # fmt: skip
def test_without_probabilities_a_label_is_read_or_the_rating_is_missing(
    reading: str, text: str, rating: float | None, outcome: str
) -> None:
    model = ScriptedModel(text=lambda p: text, logprobs=lambda p: None)
    given = asyncio.run(agents(model, 1, reading=reading)[0].review(1, 0, 0, ASKED.text, "No."))
    assert (given.rating, given.outcome, given.reason) == (rating, outcome, text)


def test_a_peer_reads_its_own_memory_and_an_author_recalls() -> None:
    model = ScriptedModel()
    interaction = play(model)
    assert [recalled.answer for recalled in interaction.recalled] == [EARLIER[1]]
    for prompt in model.prompts:
        said = " ".join(message.content for message in prompt.messages)
        assert (EARLIER[1] in said) == (prompt.key.purpose in ("draft", "review", "revise"))


def test_an_observer_sees_neither_memory_nor_author() -> None:
    model = ScriptedModel()
    play(model)
    rated = [prompt for prompt in model.prompts if prompt.key.purpose in ("before", "after")]
    assert len(rated) == 2
    for prompt in rated:
        said = " ".join(message.content for message in prompt.messages)
        assert ASKED.text in said and EARLIER[0] not in said and "scripted" not in said


def test_the_lowest_rating_stands_nearest_the_instruction() -> None:
    model = ScriptedModel()
    author = agents(model, 1)[0]
    feedback = [Feedback(peer, rating, f"reason {peer}", None, None) for peer, rating in ((1, 2.0), (2, 6.0), (3, 4.0))]
    asyncio.run(author.revise(1, 0, ASKED.text, "No.", feedback, ()))
    said = model.prompts[0].messages[-1].content
    assert said.index("reason 2") < said.index("reason 3") < said.index("reason 1") < said.index("Leave a better")


def test_revisions_repeat_on_the_answer_before() -> None:
    model = ScriptedModel()
    interaction = play(model, revisions=3)
    assert len(interaction.steps) == 3 and len(model.prompts) == 2 + 3 * 5
    revised = [prompt for prompt in model.prompts if prompt.key.purpose == "revise"]
    assert revised[1].messages[-2].content == interaction.steps[0].revision.text
    assert len({step.revision.text for step in interaction.steps}) == 3


def test_without_revisions_only_the_draft_is_asked_and_rated() -> None:
    model = ScriptedModel()
    interaction = play(model, revisions=0)
    assert purposes(model) == ["before", "draft"]
    assert interaction.steps == () and interaction.final_ratings == interaction.before


@pytest.mark.parametrize("revisions", [1, 2])
def test_order_of_completion_does_not_matter(revisions: int) -> None:
    assert play(ScriptedModel(), revisions) == play(ScriptedModel(latest_first=True), revisions)


@pytest.mark.parametrize(
    ("purpose", "outcome", "steps"),
    [("draft", "timeout", 0), ("revise", "timeout", 1), ("review", "no feedback", 1)],
)
def test_a_failed_call_leaves_its_outcome_and_nulls(purpose: str, outcome: str, steps: int) -> None:
    interaction = play(ScriptedModel(failing={purpose: "timeout"}))
    assert interaction.outcome == outcome
    assert len(interaction.steps) == steps
    assert interaction.final.text is None and interaction.final_ratings == {}


def test_a_failed_rating_is_missing_and_nothing_else() -> None:
    interaction = play(ScriptedModel(failing={"before": "refused"}))
    rating = interaction.before["llm:verdict"]
    assert (rating.alignment, rating.engagement, rating.outcome) == (None, None, "refused")
    assert interaction.outcome == "ok" and interaction.final_ratings["llm:verdict"].alignment is not None


def test_a_blank_reply_is_no_answer() -> None:
    interaction = play(ScriptedModel(text=lambda prompt: prompt.start + " \n"))
    assert (interaction.draft.text, interaction.outcome) == (None, "blank")


def test_a_review_without_words_keeps_its_rating_but_gives_no_reason() -> None:
    model = ScriptedModel(text=lambda prompt: prompt.start if prompt.start else "words")
    interaction = play(model)
    assert [(f.rating is None, f.reason) for f in interaction.steps[0].feedback] == [(False, None)] * 3
    assert interaction.outcome == "no feedback"
