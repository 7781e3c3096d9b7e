"""The phases of an iteration in which the judge and the meta-judge speak, each a file of an iteration's folder."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import permutations
from pathlib import Path
from typing import Any, TypeAlias

from agents.errors import BadInput
from agents.language_model import Key, Message, ModelError, Prompt
from agents.metered import Metered
from agents.rating import label_mass
from agents.records import OK
from alignment.answers import Manner, answer
from alignment.iterative.sampling import Judged, Quota, Told, is_said, texts_of
from alignment.meta_judge.judging import (
    POINTS,
    SCORE_END,
    SIDES,
    WINNER_END,
    expected_score,
    judge_messages,
    meta_messages,
    reasoning,
    score_in,
    verdicts_of,
    winner_in,
)
from alignment.meta_judge.pairs import most_uncertain
from alignment.phases import filled

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """A response that is judged: its prompt, the prompt's number in the iteration, the response's place there."""

    number: int
    place: int
    prompt: str
    response: str


JudgeOf: TypeAlias = Callable[[Call], Awaitable[list[Row]]]  # the judgements of a response: score, outcome, and more


@dataclass(frozen=True, slots=True)
class Bout:
    """A response to a prompt, and its judgements by place, that the meta-judge is to compare."""

    id: str
    prompt: str
    place: int
    response: str
    judgements: Mapping[int, str]


def distinct(row: Mapping[str, Any]) -> list[int]:
    """The places of a row's responses without blank ones, failed ones, and repetitions of an earlier one."""
    first: dict[str, int] = {}
    for place, text in enumerate(texts_of(row)):
        if text is not None and is_said(text):
            first.setdefault(text.strip(), place)
    return list(first.values())


def by_text(judge: Metered, manner: Manner, count: int, iteration: int) -> JudgeOf:
    """`count` judgements in words, each with the score that could be read from it."""

    async def judgements(call: Call) -> list[Row]:
        messages = judge_messages(call.prompt, call.response)
        keys = [Key(iteration, call.number, "judge", f"{call.place}:{turn}") for turn in range(count)]
        replies = await asyncio.gather(*(answer(judge, messages, manner, key) for key in keys))
        return [{**asdict(reply), "score": None if reply.text is None else score_in(reply.text)} for reply in replies]

    return judgements


def by_expectation(judge: Metered, manner: Manner, count: int, iteration: int) -> JudgeOf:
    """`count` judgements in words, each with the expected value of the token behind its "Score: "."""

    async def judgement(call: Call, turn: int) -> Row:
        messages = judge_messages(call.prompt, call.response)
        key = Key(iteration, call.number, "judge", f"{call.place}:{turn}")
        said, logprobs = await _read_behind(judge, messages, manner, key, SCORE_END, POINTS)
        if logprobs is None:
            return {**said, "score": None}
        score = expected_score(logprobs)
        text = f"{said['text']}{round(score)}"
        return {**said, "text": text, "score": score, "label_mass": label_mass(logprobs)}

    async def judgements(call: Call) -> list[Row]:
        return await asyncio.gather(*(judgement(call, turn) for turn in range(count)))

    return judgements


async def require_probabilities(judge: Metered) -> None:
    """Raises BadInput where a model, or its server, tells no probabilities of points."""
    asked = (Message("user", "Name a number from 0 to 5."),)
    try:
        reply = await judge.complete(Prompt(Key(0, 0, "probe"), asked, 1, 1.0, 1.0, 0, SCORE_END, POINTS))
    except ModelError as error:
        raise BadInput(
            f"--judge expected: {judge.name} can't be asked ({error}); mend that, or name another"
        ) from error
    if reply.choice_logprobs is None:
        raise BadInput(
            f"--judge expected: {judge.name} tells no probabilities of a score's tokens; choose --judge text, or a "
            "server that does"
        )


def from_outside(judged: Judged) -> JudgeOf:
    """One score by an observer, who does not learn."""

    async def judgements(call: Call) -> list[Row]:
        (score,) = await judged.rewards(call.prompt, [call.response])
        return [{"score": score, "outcome": OK}]

    return judgements


async def judged(
    path: Path,
    prompts: Sequence[str],
    responses: Sequence[Row],
    judge_of: JudgeOf,
    quota: Quota,
    *,
    calls: int,
    batch_invariant: bool,
    told: Told,
) -> list[Row]:
    """The judgements of every distinct response, by its place, each response by so many `calls`."""
    expected = calls * sum(len(distinct(row)) for row in responses)

    async def ask(numbered: tuple[int, tuple[str, Row]]) -> Row:
        number, (prompt, row) = numbered
        texts, places = texts_of(row), distinct(row)
        found = await asyncio.gather(*(judge_of(Call(number, place, prompt, texts[place] or "")) for place in places))
        quota.require(expected)
        return {"id": row["id"], "judgements": {str(place): each for place, each in zip(places, found, strict=True)}}

    def failed(_: object, row: Mapping[str, Any]) -> bool:
        return any(map(_has_failed, (each for judgements in row["judgements"].values() for each in judgements)))

    items = [*enumerate(zip(prompts, responses, strict=True))]
    return await filled(path, items, ask, failed=failed, batch_invariant=batch_invariant, told=told)


def _has_failed(judgement: Row) -> bool:
    """Whether a call failed; an observer, who says nothing, fails where there is no score."""
    return judgement["outcome"] != OK or ("text" not in judgement and judgement["score"] is None)


def bouts(prompts: Sequence[str], responses: Sequence[Row], judgements: Sequence[Row]) -> list[Bout]:
    """The response to each prompt that its judgements disagree on the most, with those that have a score.

    Of judgements in the same words the first, for none of them is the better one.
    """
    found = []
    for prompt, said, row in zip(prompts, responses, judgements, strict=True):
        places = [int(place) for place in row["judgements"]]
        scores = [[each["score"] for each in row["judgements"][str(place)]] for place in places]
        uncertain = most_uncertain(scores)
        if uncertain is None:
            continue
        place = places[uncertain]
        first: dict[str, int] = {}
        for n, each in enumerate(row["judgements"][str(place)]):
            if each["score"] is not None:
                first.setdefault(each["text"], n)
        if len(first) > 1:
            texts = {n: text for text, n in first.items()}
            found.append(Bout(row["id"], prompt, place, texts_of(said)[place] or "", texts))
    return found


async def met(
    path: Path,
    asked: Sequence[Bout],
    judge: Metered,
    manner: Manner,
    quota: Quota,
    iteration: int,
    *,
    by_text: bool,
    told: Told,
) -> list[Row]:
    """The meta-judge's verdicts on every two judgements of a bout, in both orders: as written, or as expected."""
    calls = 1 if by_text else 2  # where a verdict is expected, it is read by another one behind the reasoning
    expected = calls * sum(len(bout.judgements) * (len(bout.judgements) - 1) for bout in asked)

    async def ask(numbered: tuple[int, Bout]) -> Row:
        number, bout = numbered
        pairs = list(permutations(bout.judgements, 2))

        async def verdict(pair: tuple[int, int]) -> Row:
            first, second = (bout.judgements[place] for place in pair)
            messages = meta_messages(bout.prompt, bout.response, first, second)
            key = Key(iteration, number, "meta-judge", f"{pair[0]}:{pair[1]}")
            if by_text:
                reply = asdict(await answer(judge, messages, manner, key))
                read: Row = {"result": None if reply["text"] is None else winner_in(reply["text"])}
            else:
                reply, logprobs = await _read_behind(judge, messages, manner, key, WINNER_END, SIDES)
                read = {"lead": None if logprobs is None else logprobs[0] - logprobs[1]}
            return {"first": pair[0], "second": pair[1], **read, **reply}

        verdicts = await asyncio.gather(*map(verdict, pairs))
        quota.require(expected)
        if not by_text:
            results = verdicts_of([each["lead"] for each in verdicts])
            verdicts = [{**each, "result": result} for each, result in zip(verdicts, results, strict=True)]
        return {"id": bout.id, "place": bout.place, "verdicts": verdicts}

    def failed(_: object, row: Mapping[str, Any]) -> bool:
        return any(verdict["outcome"] != OK for verdict in row["verdicts"])

    invariant = judge.batch_invariant
    return await filled(path, [*enumerate(asked)], ask, failed=failed, batch_invariant=invariant, told=told)


async def _read_behind(
    model: Metered, messages: Sequence[Message], manner: Manner, key: Key, end: str, choices: tuple[str, ...]
) -> tuple[Row, tuple[float, ...] | None]:
    """What the model reasons, with `end` behind it, and the log-probabilities of `choices` there, if it tells any."""
    said = await answer(model, tuple(messages), manner, key)
    if said.text is None:
        return asdict(said), None
    start = f"{reasoning(said.text, end)}\n\n{end}".lstrip()  # who begins with the end has no reasoning
    prompt = Prompt(replace(key, other=f"{key.other}:end"), tuple(messages), 1, 1.0, 1.0, 0, start, choices)
    try:
        reply = await model.complete(prompt)
    except ModelError as error:
        return {**asdict(said), "text": None, "outcome": error.outcome}, None
    return {**asdict(said), "text": start, "finished": True}, reply.choice_logprobs  # of the whole, which ends there
