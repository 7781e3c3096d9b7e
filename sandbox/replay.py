"""Plays a run again from its transcript alone: no language model, no network, each reply as it was recorded.

Everything that the protocol makes of the replies is made anew (memories, recalls, draws, prompts, ratings, the
summaries of rounds) and compared with what the lines hold; a prompt that differs anywhere has another digest.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import islice
from typing import Any, get_args

from agents import prompts
from agents.endpoint import Outcome
from agents.errors import BadInput
from agents.language_model import Completion, Finish, LanguageModel
from agents.observers import BatchObserver, EmbeddingObserver, load_statements
from agents.recorded import UNRECORDED, Recorded
from agents.records import Answer, Feedback, ReadingCall
from memory.encoder import Encoder
from memory.memory import QuestionTable
from sandbox.chain import Line, chained, verified
from sandbox.header import Header, generations, question_texts
from sandbox.header_fields import require_header
from sandbox.interaction import Interaction
from sandbox.lines import line_of
from sandbox.rounds import Lesson, Society, Tally, lessons, play_round, remember
from sandbox.society import memories_at_birth, society_of
from sandbox.transcript import Transcript, first_rounds, interaction_at, shortened

REPLAYED = 3  # the first schema whose header holds all that a run is played from
TOLERANCE = 1.01e-4  # of floats: on another processor an encoder's differ, and what is rounded may round otherwise

# An interaction's fields in the order in which they come about: the first difference is where the others come from.
ORDER = (
    *("type", "round", "agent", "model", "stance", "question", "recalled", "draft", "before", "earlier", "feedback"),
    *("revision", "after", "peer", "digest", "calls", "logprobs", "reply", "text", "reason", "finish", "outcome"),
)

BORN = ("size", "memories", "memory_limit", "forget")  # of a world: no branch has others than its parent
HEADER_LINE = Line(1, 0, "", {})  # named by differences
FINISHES, OUTCOMES = get_args(Finish), get_args(Outcome)

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
        expected, found = map(_told, (self.expected, self.found))
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
    reward_models: Sequence[BatchObserver] = (),
) -> int:
    """Play `run` again and compare; returns how many interactions there are, those of an unfinished round included.

    `on_interactions` is told how many more have been compared. `model_of` gives the model that stands in a recorded
    one's place and sees its prompts; `reward_models` are the observers of that kind. Raises
    Differs at the first difference, BadInput where the chain is broken, one of these is missing, or the run's schema is
    too old to be played again.
    """
    require_replayable(run)
    require_header(run.path, run.header)
    require_same_branches(run)
    replies: dict[str, Completion | str] = {}
    societies = societies_again(run.header, encoder, replies, model_of, reward_models)
    count = number = 0
    for played in rounds_of(run):
        if played.closing is not None and played.closing.body["type"] == "end" and not played.lines:
            compare_end(run.header, number, played.closing)
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


def require_same_branches(run: Transcript) -> None:
    """Raises Differs where the first rounds are not those of the runs that `run` says it branched off, by their chain,
    or where its agents are said to have been born otherwise.
    """
    header, field = run.header, ""
    while (parent := header["parent"]) is not None:
        chain = ""
        for line in first_rounds(run.path, parent["round"]):
            _, chain = chained(line.body if line.number > 1 else parent["header"], chain)
        compare(HEADER_LINE, chain, parent["chain"], f"{field}parent.chain")
        compare(HEADER_LINE, parent["header"]["stances"], header["stances"], f"{field}stances")
        for name in BORN:
            compare(HEADER_LINE, parent["header"]["world"][name], header["world"][name], f"{field}world.{name}")
        header, field = parent["header"], f"{field}parent.header."


def societies_again(
    header: Header,
    encoder: Encoder,
    replies: Mapping[str, Completion | str],
    model_of: Told,
    reward_models: Sequence[BatchObserver],
) -> list[tuple[Society, int | None]]:
    """The society of each generation, with its last round; their agents are the same.

    Models say what `replies` holds by then. Raises Differs where this version's prompts or observers, or `encoder`,
    are not those that the run was made with.
    """
    observers = [told for made_with, _ in generations(header) for told in made_with["observers"]]
    batch: dict[str, BatchObserver] = {observer.name: observer for observer in reward_models}
    if any(told["kind"] == "embedding" for told in observers):
        batch[EmbeddingObserver.name] = EmbeddingObserver(encoder, load_statements())
    for told in observers:
        if told["kind"] == "reward-model" and told["name"] not in batch:
            raise BadInput(f"the run was rated by {told['name']}; name its folder with --reward-model")
    for made_with, _ in generations(header):
        compare(HEADER_LINE, prompts.fingerprint(), made_with["prompts"], "prompts")
        compare(HEADER_LINE, encoder.digest, made_with["encoder"], "encoder")
    memories = memories_at_birth(header, QuestionTable(encoder, question_texts(header)))
    societies = []
    for made_with, last in generations(header):
        speakers = [(model["name"], model["digest"]) for model in made_with["models"]]
        judges = [(told["model"], told["digest"]) for told in made_with["observers"] if told["kind"] == "llm"]
        models = {(name, digest): model_of(Recorded(name, digest, replies)) for name, digest in (*speakers, *judges)}
        society = society_of(made_with, models, batch, memories, ENDLESS)
        described = [observer.describe() for observer in society.observers]
        described += [observer.describe() for observer in society.batch_observers]
        by_name = {told["name"]: told for told in described}
        again = [by_name.get(told["name"], ...) for told in made_with["observers"]]
        compare(HEADER_LINE, again, made_with["observers"], "observers")
        societies.append((society, last))
    return societies


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
    ended = False
    for line in islice(verified(run.path, run.size), 1, None):
        if ended or line.body["type"] == "header":
            raise Differs(Difference(line.number, "type", ..., line.body["type"]))
        if line.body["type"] == "interaction":
            waiting.append(line)
            continue
        yield Played(tuple(waiting), line)
        waiting.clear()
        ended = line.body["type"] == "end"
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


def compare_end(header: Header, rounds: int, line: Line) -> None:
    """Raises Differs where the line does not end a run of so many rounds; only one with probes stops at a plateau."""
    plateau = header["probes"] and line.body.get("stopped") == "plateau"
    compare(line, {"type": "end", "rounds": rounds, "stopped": "plateau" if plateau else "rounds"}, line.body)


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
    """Raises Differs at the first place in which two JSON values differ; floats may by TOLERANCE."""
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
    if isinstance(expected, float) and isinstance(found, float):
        return abs(expected - found) <= TOLERANCE
    return type(expected) is type(found) and expected == found


def _answered(answer: Answer) -> Completion | str:
    return _recorded(answer.outcome, answer.text, answer.finish)


def _reviewed(feedback: Feedback) -> Completion | str:
    return _recorded(feedback.outcome, feedback.reason, feedback.finish, feedback.logprobs)


def _observed(call: ReadingCall) -> Completion | str:
    nothing = call.logprobs is None and call.reply is None
    return _recorded(call.outcome, call.reply, None if nothing else "length", call.logprobs)


def _recorded(
    outcome: str, text: str | None, finish: Any, logprobs: tuple[float, ...] | None = None
) -> Completion | str:
    """A reply as far as it was recorded (how many tokens it had is not among that), or how the call failed."""
    if finish in FINISHES:
        return Completion(text or "", finish, prompt_tokens=0, completion_tokens=0, choice_logprobs=logprobs)
    return outcome if outcome in OUTCOMES else UNRECORDED


def _told(value: Any) -> str:
    return "nothing" if value is ... else shortened(value, 80)
