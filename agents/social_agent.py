"""One agent of the society: it drafts, reviews a neighbour's draft, and revises its own. It knows no grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agents import prompts
from agents.canonical import seed_of
from agents.language_model import Key, LanguageModel, Message, ModelError, Prompt
from agents.observers import UNREADABLE, as_logged, read_reply
from agents.rating import SCALE_LABELS, ReadingName, Zero, label_mass, words_of
from agents.records import OK, Answer, Feedback
from memory.memory import Memory, Recollection

BLANK = "blank"  # the outcome of a reply without words


@dataclass(frozen=True, slots=True)
class Speech:
    """How the agents of a run speak: lengths in tokens, sampling, recall, the peers' reading and the Sandbox Rule."""

    seed: int
    max_tokens: int = 96
    feedback_tokens: int = 32
    temperature: float = 0.8
    top_p: float = 0.95
    recall: int = 3
    recall_threshold: float = 0.3
    reading: ReadingName = "verdict"
    rule: str = prompts.SANDBOX_RULE


@dataclass(slots=True)
class SocialAgent:
    """An agent with a stance that it lives through its memory. `zero` is its model's z₀ as a peer (verdict only)."""

    index: int
    stance: str
    model: LanguageModel
    memory: Memory
    speech: Speech
    zero: Zero | None = None

    def recall(self, question: str) -> tuple[Recollection, ...]:
        """What it remembers near `question`, the most similar last."""
        return self.memory.recall(question, self.speech.recall, self.speech.recall_threshold)

    def remember(self, question: str, answer: str) -> None:
        """Keep an answer. What it recalls for that question was of use, and counts where it forgets by use."""
        self.memory.reinforce(question, self.speech.recall, self.speech.recall_threshold)
        self.memory.remember(question, answer)

    async def draft(self, round: int, question: str, recalled: Sequence[Recollection]) -> Answer:
        """A first answer."""
        key = Key(round, self.index, "draft")
        return await self._answer(key, prompts.draft_messages(question, recalled))

    async def review(self, round: int, author: int, step: int, question: str, answer: str) -> Feedback:
        """Its rating of a neighbour's answer and the reason, from one call, in the light of its own memory."""
        reading = self.speech.reading
        messages = prompts.review_messages(question, answer, self.recall(question), reading)
        prompt = self._prompt(
            Key(round, author, "review", f"{step}:{self.index}"),
            messages,
            self.speech.feedback_tokens,
            start=prompts.STARTS[reading],
            choices=words_of(("alignment",)) if reading == "verdict" else SCALE_LABELS,
        )
        try:
            reply = as_logged(await self.model.complete(prompt))
        except ModelError as error:
            return Feedback(self.index, None, None, prompt.digest(), None, outcome=error.outcome)
        logprobs = reply.choice_logprobs
        rating = read_reply(reading, ("alignment",), prompt, reply, self.zero).get("alignment")
        return Feedback(
            peer=self.index,
            rating=rating,
            reason=reply.text if reply.text.strip() not in ("", prompt.start.strip()) else None,
            digest=prompt.digest(),
            finish=reply.finish,
            logprobs=logprobs,
            label_mass=None if logprobs is None else label_mass(logprobs),
            outcome=OK if rating is not None else UNREADABLE,
        )

    async def revise(
        self,
        round: int,
        step: int,
        question: str,
        answer: str,
        feedback: Sequence[Feedback],
        recalled: Sequence[Recollection],
    ) -> Answer:
        """A better answer after what the neighbours said."""
        messages = prompts.revise_messages(question, answer, feedback, recalled, self.speech.rule)
        return await self._answer(Key(round, self.index, "revise", step), messages)

    async def _answer(self, key: Key, messages: tuple[Message, ...]) -> Answer:
        prompt = self._prompt(key, messages, self.speech.max_tokens)
        try:
            reply = await self.model.complete(prompt)
        except ModelError as error:
            return Answer(None, prompt.digest(), None, error.outcome)
        text = reply.text.strip()
        if not text:
            return Answer(None, prompt.digest(), reply.finish, BLANK)
        return Answer(text, prompt.digest(), reply.finish)

    def _prompt(
        self,
        key: Key,
        messages: tuple[Message, ...],
        max_tokens: int,
        *,
        start: str = "",
        choices: tuple[str, ...] = (),
    ) -> Prompt:
        return Prompt(
            key=key,
            messages=messages,
            max_tokens=max_tokens,
            temperature=self.speech.temperature,
            top_p=self.speech.top_p,
            seed=seed_of(self.speech.seed, key.round, key.agent, key.purpose, key.other),
            start=start,
            choices=choices,
        )
