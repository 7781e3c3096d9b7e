from __future__ import annotations

from agents.social_agent import SocialAgent, Speech
from memory.memory import Forget, Memory, QuestionTable
from tests.fakes.letters import Letters
from tests.fakes.scripted import ScriptedModel

ASKED = ["aab", "bba", "xyz", "xxy", "mmn"]


def kept(limit: int | None, forget: Forget, recall: int = 3) -> set[str]:
    """The answers left of an agent that remembered, in this order, what it was asked."""
    memory = Memory(QuestionTable(Letters(), ASKED), limit, forget)  # type: ignore[arg-type]
    agent = SocialAgent(0, "good", ScriptedModel(), memory, Speech(seed=0, recall=recall))
    for question in ASKED:
        agent.remember(question, question.upper())
    return {r.answer for question in ASKED for r in memory.recall(question, 9, 0.3)}


def test_an_agent_remembers_what_it_said() -> None:
    assert kept(None, "oldest") == {"AAB", "BBA", "XYZ", "XXY", "MMN"}


def test_what_it_recalls_for_a_question_counts_where_forgetting_goes_by_use() -> None:
    assert kept(3, "oldest") == {"XYZ", "XXY", "MMN"}
    # "bba" brings "aab" to mind, and "xxy" drives out "bba", whose "xyz" it has just recalled; "mmn" recalls nothing.
    assert kept(3, "least-recalled") == {"AAB", "XYZ", "MMN"}


def test_an_agent_that_recalls_nothing_forgets_by_age() -> None:
    assert kept(3, "least-recalled", recall=0) == {"XYZ", "XXY", "MMN"}
