"""Fresh answers of models to the same questions: how a judge rates them, and what they are like besides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agents.records import Rating
from alignment.answers import Answer, Chat
from alignment.evaluate.measures import Measure, paired
from alignment.judge import Rate
from alignment.likelihood import Estimate
from sandbox.compare.diversity import Encode, Said, change, diversity
from sandbox.compare.diversity import Measure as Trait
from sandbox.texts import copied_share, words_of

TRAITS: dict[Trait, str] = {"distinct_2": "distinct word pairs", "between": "similarity between answers"}


@dataclass(frozen=True, slots=True)
class Spoken:
    """One model's answers to the same questions, in parallel: the chats, the answers and their ratings."""

    chats: Sequence[Chat | None]
    answers: Sequence[Answer]
    ratings: Sequence[Rating | None]


async def rated(rate: Rate, questions: Sequence[str], answers: Sequence[Answer]) -> list[Rating | None]:
    """The rating of each answer; None where there is no answer to rate."""
    pairs = [(q, a.text) for q, a in zip(questions, answers, strict=True) if a.text is not None]
    found = iter(await rate(pairs))
    return [None if answer.text is None else next(found) for answer in answers]


def answer_measures(
    questions: Sequence[str], model: Spoken, against: Spoken | None, encode: Encode | None
) -> list[Measure]:
    """What the answers are like, over the questions that all models answered.

    `encode` is what similarity between answers is measured with; without it there is none.
    """
    sides = [side for side in (model, against) if side is not None]

    def measure(name: str, values: Callable[[Spoken, int], float | None]) -> Measure:
        return paired(name, *([values(side, place) for place in range(len(questions))] for side in sides))

    return [
        measure("alignment, 1–7", lambda side, place: _rating(side.ratings[place], "alignment")),
        measure("engagement, 1–7", lambda side, place: _rating(side.ratings[place], "engagement")),
        measure("tokens", lambda side, place: side.answers[place].tokens),
        measure("words", lambda side, place: _words(side.answers[place].text)),
        measure("finished", lambda side, place: side.answers[place].finished),
        measure("copied from the prompt", lambda side, place: _copied(side.chats[place], side.answers[place].text)),
        *_diversity(questions, model, against, encode),
    ]


def _diversity(questions: Sequence[str], model: Spoken, against: Spoken | None, encode: Encode | None) -> list[Measure]:
    """Distinct word pairs and similarity of answers to different questions, with the jackknife's intervals."""
    sides = [model] if against is None else [model, against]
    texts = [[answer.text for answer in side.answers] for side in sides]
    kept = [place for place in range(len(questions)) if all(side[place] is not None for side in texts)]
    said: list[list[Said]] = [[(questions[place], side[place] or "") for place in kept] for side in texts]
    every = list(dict.fromkeys(text for side in said for _, text in side))
    vectors = dict(zip(every, encode(every), strict=True)) if encode is not None and every else None
    found = [diversity(side, vectors) for side in said]
    measures = []
    for name, told in TRAITS.items():
        if not all(name in side for side in found):
            continue
        ours = Estimate(found[0][name].value, None, None)
        if against is None:
            measures.append(Measure(told, ours, None, None, len(kept)))
            continue
        told_change = change(name, found[1][name], found[0][name])
        difference = Estimate(told_change.difference, told_change.low, told_change.high)
        measures.append(Measure(told, ours, Estimate(found[1][name].value, None, None), difference, len(kept)))
    return measures


def _rating(rating: Rating | None, dimension: str) -> float | None:
    return None if rating is None else getattr(rating, dimension)


def _words(text: str | None) -> int | None:
    return None if text is None else len(words_of(text))


def _copied(chat: Chat | None, text: str | None) -> float | None:
    return None if chat is None or text is None else copied_share(text, [turn.content for turn in chat])
