"""Plays a run again from its transcript alone: no language model, no network, each reply as it was recorded.

Everything that the protocol makes of the replies is made anew (memories, recalls, draws, prompts, ratings, the
summaries of rounds) and compared with what the lines hold; a prompt that differs anywhere has another digest.
"""

from __future__ import annotations

import textwrap
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from agents import prompts
from agents.canonical import canonical_json
from agents.errors import BadInput
from agents.language_model import Completion, LanguageModel
from agents.observers import EmbeddingObserver, load_statements
from agents.recorded import Recorded
from agents.records import Answer, Feedback, ReadingCall
from memory.encoder import Encoder
from memory.memory import QuestionTable
from sandbox.chain import Line, bad_line, verified
from sandbox.header import Header, generations, question_texts
from sandbox.interaction import Interaction
from sandbox.lines import line_of
from sandbox.rounds import Lesson, Society, Tally, lessons, play_round, remember
from sandbox.society import memories_at_birth, society_of
from sandbox.transcript import Transcript, interaction_at

REPLAYED = 3  # the first schema whose header holds all that a run is played from
TOLERANCE = 1.01e-4  # of numbers: on another processor an encoder's differ, and what is rounded may round otherwise

# An interaction's fields in the order in which they come about: the first difference is where the others come from.
ORDER = (
    *("type", "round", "agent", "model", "stance", "question", "recalled", "draft", "before", "earlier", "feedback"),
    *("revision", "after", "peer", "digest", "calls", "logprobs", "reply", "text", "reason", "finish", "outcome"),
)

ENDLESS = {"rounds": 0, "max_failures": 1.0}  # when a society ends: not asked, its rounds are played one by one

Told = Callable[[Recorded], LanguageModel]


@dataclass(frozen=True, slots=True)
class Difference:
    """Where a transcript does not hold what playing it again gives; `...` stands for nothing at all."""

    line: int
    field: str
    expected: Any
    found: Any

    def __str__(self) -> str:
        """One line."""
        expected, found = (_shortened(value) for value in (self.expected, self.found))
        return f"line {self.line}: {self.field}: expected {expected}, found {found}"


class Differs(Exception):
    """Raised at the first difference."""

    def __init__(self, difference: Difference) -> None:
        super().__init__(str(difference))
        self.difference = difference


async def play_again(
    run: Transcript,
    encoder: Encoder,
    on_interactions: Callable[[int], None] = lambda count: None,
    model_of: Told = lambda recorded: recorded,
) -> int:
    """Play `run` again and compare; returns how many interactions there are, those of an unfinished round included.

    `on_interactions` is told how many more have been compared. `model_of` gives the model that stands in a recorded
    one's place and sees its prompts. Raises Differs at the first difference, BadInput where the chain is broken or
    the run's schema is too old to be played again.
    """
    require_replayable(run)
    replies: dict[str, Completion | str] = {}
    try:
        societies = societies_again(run.header, encoder, replies, model_of)
    except (KeyError, TypeError, ValueError) as error:
        raise bad_line(run.path, 1, f"is no header that a run can be played from ({error!r})") from error
    count = number = 0
    for played in rounds_of(run):
        if played.closing is not None and played.closing.body["type"] == "end":
            compare(played.closing, number, played.closing.body.get("rounds", ...), "rounds")
            continue
        number += 1
        society = next(society for society, last in societies if last is None or number <= last)
        replies.clear()
        for line in played.lines:
            replies.update(replies_of(interaction_at(run.path, line.number, line.body)))
        async for compared in compare_round(society, number, played):
            count += compared
            on_interactions(compared)
    return count


def require_replayable(run: Transcript) -> None:
    """Raises BadInput where the transcript's schema keeps digests of questions and priors only."""
    if run.header["schema"] < REPLAYED:
        raise BadInput(
            f"{run.path} has transcript schema {run.header['schema']}, which does not hold what a run is played from; "
            f"schema {REPLAYED} does (its chain alone: sandbox.transcript.verify_chain)"
        )


def societies_again(
    header: Header, encoder: Encoder, replies: Mapping[str, Completion | str], model_of: Told
) -> list[tuple[Society, int | None]]:
    """The society of each generation, with its last round; their agents are the same.

    Models say what `replies` holds by then. Raises Differs where this version's prompts or observers, or `encoder`,
    are not those that the run was made with.
    """
    embedding = None
    if any(told["kind"] == "embedding" for made_with, _ in generations(header) for told in made_with["observers"]):
        embedding = EmbeddingObserver(encoder, load_statements())
    for made_with, _ in generations(header):
        require_same_making(made_with, encoder, embedding)
    memories = memories_at_birth(header, QuestionTable(encoder, question_texts(header)))
    societies = []
    for made_with, last in generations(header):
        speakers = [(model["name"], model["digest"]) for model in made_with["models"]]
        judges = [(told["model"], told["digest"]) for told in made_with["observers"] if told["kind"] == "llm"]
        models = {(name, digest): model_of(Recorded(name, digest, replies)) for name, digest in (*speakers, *judges)}
        societies.append((society_of(made_with, models, embedding, memories, ENDLESS), last))
    return societies


def require_same_making(header: Header, encoder: Encoder, embedding: EmbeddingObserver | None) -> None:
    """Raises Differs where a digest in the header is not that of what there is now."""
    line = Line(1, 0, "", dict(header))
    compare(line, prompts.fingerprint(), header["prompts"], "prompts")
    compare(line, encoder.digest, header["encoder"], "encoder")
    for place, told in enumerate(header["observers"]):
        if told["kind"] == "embedding" and embedding is not None:
            compare(line, embedding.describe(), told, f"observers[{place}]")


@dataclass(frozen=True, slots=True)
class Played:
    """The lines of a round's interactions, and the line that closes it: None for a round that did not end.

    The end of a run is a round without interactions.
    """

    lines: tuple[Line, ...]
    closing: Line | None


def rounds_of(run: Transcript) -> Iterator[Played]:
    """What was played, round by round, with one round in memory at a time."""
    waiting: list[Line] = []
    for line in verified(run.path):
        if line.body["type"] == "interaction":
            waiting.append(line)
        elif line.body["type"] != "header":
            yield Played(tuple(waiting), line)
            waiting.clear()
    if waiting:
        yield Played(tuple(waiting), None)


async def compare_round(society: Society, number: int, played: Played) -> AsyncIterator[int]:
    """Play the round again, and yield how many interactions more have been found to be the same. Raises Differs."""
    tally = Tally(society.scorer, frozenset(probe.id for probe in society.probes))
    learned: list[Lesson] = []
    lines = list(played.lines)
    async with aclosing(play_round(society, number, lambda interaction: None)) as finals:
        async for final in finals:
            again = final[: len(lines)]
            for interaction in again:
                line = lines.pop(0)
                compare(line, line_of(interaction), line.body)
                tally.add(interaction)
            learned.extend(lessons(again))
            yield len(again)
            if not lines:
                break
    if lines:
        raise Differs(Difference(lines[0].number, "agent", ..., lines[0].body["agent"]))
    if played.closing is not None:
        compare(played.closing, len(society.world.people), len(played.lines), "interactions")
        closing = {"type": "round", "round": number, **tally.summary()}
        compare(played.closing, closing, played.closing.body)
    remember(society.world, learned)


def replies_of(said: Interaction) -> Iterator[tuple[str, Completion | str]]:
    """What was answered to each prompt of an interaction, by the prompt's digest; the outcome where the call failed."""
    for answer in said.answers:
        if answer.digest is not None:
            yield answer.digest, _answered(answer)
    for step in said.steps:
        for feedback in step.feedback:
            yield feedback.digest, _reviewed(feedback)
    for ratings in (said.before, *(step.after for step in said.steps)):
        for rating in ratings.values():
            for call in rating.calls:
                yield call.digest, _observed(call)


def compare(line: Line, expected: Any, found: Any, field: str = "") -> None:
    """Raises Differs at the first place in which two JSON values differ; numbers may by TOLERANCE."""
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        for name in sorted({*expected, *found}, key=_place):
            compare(line, expected.get(name, ...), found.get(name, ...), f"{field}.{name}" if field else name)
    elif isinstance(expected, list) and isinstance(found, list):
        for place in range(max(len(expected), len(found))):
            pair = [values[place] if place < len(values) else ... for values in (expected, found)]
            compare(line, pair[0], pair[1], f"{field}[{place}]")
    elif not _equal(expected, found):
        raise Differs(Difference(line.number, field, expected, found))


def _place(name: str) -> tuple[int, str]:
    return ORDER.index(name) if name in ORDER else len(ORDER), name


def _equal(expected: Any, found: Any) -> bool:
    numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in (expected, found))
    return abs(expected - found) <= TOLERANCE if numbers else type(expected) is type(found) and expected == found


def _answered(answer: Answer) -> Completion | str:
    if answer.finish is None:
        return answer.outcome
    return _completion(answer.text or "", answer.finish)


def _reviewed(feedback: Feedback) -> Completion | str:
    if feedback.finish is None:
        return feedback.outcome
    return _completion(feedback.reason or "", feedback.finish, feedback.logprobs)


def _observed(call: ReadingCall) -> Completion | str:
    if call.logprobs is None and call.reply is None:
        return call.outcome
    return _completion(call.reply or "", "length", call.logprobs)


def _completion(text: str, finish: Any, logprobs: tuple[float, ...] | None = None) -> Completion:
    """A reply as far as it was recorded: how many tokens it had is not among that."""
    return Completion(text, finish, prompt_tokens=0, completion_tokens=0, choice_logprobs=logprobs)


def _shortened(value: Any) -> str:
    return "nothing" if value is ... else textwrap.shorten(canonical_json(value), 80, placeholder=" …")
