"""What answers are like besides their ratings: length, diversity, and how much they copy from what they were shown."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import regex

from sandbox.interaction import Interaction

Part = Literal["draft", "final"]

UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"  # scripts
WORD = regex.compile(rf"[\w--[{UNSPACED}]]+|[{UNSPACED}]\p{{M}}*", regex.V1)
ASCII_WORD = re.compile(r"\w+", re.ASCII)  # the same words of such texts, three times as fast
COPIED_RUN = 3  # words in a row; two are shared by chance too often


@dataclass(frozen=True, slots=True)
class Texts:
    """A set of answers. All but `answers` are None where there is nothing to measure them on.

    `words`: mean length. `distinct_2`: different word pairs per word pair, over all answers. `copied`: the share of an
    answer's word triples that stand in what its author was shown, averaged over answers.
    """

    answers: int
    words: float | None
    distinct_2: float | None
    copied: float | None


class Wording:
    """The measures of all answers added so far, whose texts need not be held in memory."""

    def __init__(self) -> None:
        self._answers = self._words = self._pairs = self._measured = 0
        self._copied = 0.0
        self._distinct: set[tuple[str, ...]] = set()

    def add(self, answers: Iterable[tuple[str, Sequence[str]]]) -> None:
        """Add answers, each given with the texts that its author was shown."""
        for text, shown in answers:
            words = list(map(sys.intern, words_of(text)))  # one copy of each word, however many pairs have it
            pairs = runs_of(words, 2)
            self._answers += 1
            self._words += len(words)
            self._pairs += len(pairs)
            self._distinct.update(pairs)
            if (share := copied_share(text, shown)) is not None:
                self._measured += 1
                self._copied += share

    def measures(self) -> Texts:
        """What they are like."""
        return Texts(
            answers=self._answers,
            words=self._words / self._answers if self._answers else None,
            distinct_2=len(self._distinct) / self._pairs if self._pairs else None,
            copied=self._copied / self._measured if self._measured else None,
        )


def answered(interactions: Iterable[Interaction], part: Part, rule: str) -> Iterator[tuple[str, list[str]]]:
    """The drafts or final answers that have a text, each with the texts that its author was shown."""
    chosen = ((said, said.draft if part == "draft" else said.final) for said in interactions)
    return ((answer.text, _shown(said, part, rule)) for said, answer in chosen if answer.text is not None)


def describe(answers: Iterable[tuple[str, Sequence[str]]]) -> Texts:
    """The measures of answers, each given with the texts that its author was shown."""
    wording = Wording()
    wording.add(answers)
    return wording.measures()


def copied_share(text: str, shown: Sequence[str]) -> float | None:
    """The share of the word triples of `text` that stand in one of the texts `shown`; None where it has none."""
    triples = runs_of(words_of(text), COPIED_RUN)
    known = {triple for other in shown for triple in runs_of(words_of(other), COPIED_RUN)}
    return sum(triple in known for triple in triples) / len(triples) if triples else None


def words_of(text: str) -> list[str]:
    """The words of a text, without case and punctuation; where words are written without spaces, its letters."""
    found: list[str] = (ASCII_WORD if text.isascii() else WORD).findall(text.casefold())
    return found


def runs_of(words: Sequence[str], length: int) -> list[tuple[str, ...]]:
    """All runs of `length` neighbouring words."""
    return [tuple(words[start : start + length]) for start in range(len(words) - length + 1)]


def _shown(said: Interaction, part: Part, rule: str) -> list[str]:
    """Question and memories, and for a revision the feedback and the rule too; not the draft, which it may keep."""
    texts = [said.question.text]
    texts += [text for memory in said.recalled for text in (memory.question, memory.answer)]
    if part == "final" and said.steps:
        texts += [given.reason for step in said.steps for given in step.feedback if given.reason]
        texts.append(rule)
    return texts
