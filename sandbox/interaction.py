"""The social interaction: one question to one agent, from recall to the observers' last rating."""

from __future__ import annotations

from dataclasses import dataclass

from agents.records import OK, Answer, Feedback, Rating
from memory.memory import Recollection


@dataclass(frozen=True, slots=True)
class Question:
    """A question of the society. `id` is unique within its file."""

    id: str
    text: str
    topic: str


@dataclass(frozen=True, slots=True)
class Step:
    """One turn of feedback and revision, and how observers rated the revision."""

    feedback: tuple[Feedback, ...]
    revision: Answer
    after: dict[str, Rating]


@dataclass(frozen=True, slots=True)
class Interaction:
    """All of one question to one agent. `steps` holds one entry a revision, the last one being the final answer.

    With `--revisions 0` there are no steps: only the draft was asked for and rated.
    """

    round: int
    agent: int
    model: str
    stance: str
    question: Question
    recalled: tuple[Recollection, ...]
    draft: Answer
    before: dict[str, Rating]
    steps: tuple[Step, ...]
    outcome: str = OK

    @property
    def final(self) -> Answer:
        """The last answer there is: the last revision, or the draft."""
        return self.steps[-1].revision if self.steps else self.draft

    @property
    def final_ratings(self) -> dict[str, Rating]:
        """The observers' ratings of `final`."""
        return self.steps[-1].after if self.steps else self.before
