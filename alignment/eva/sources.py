"""Where the first prompts come from, and which of them are held out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from agents.errors import BadInput
from alignment.config import AlignEvaOptions
from alignment.groups import is_run
from memory.encoder import Encoder
from sandbox.header import probes_of, questions_of
from sandbox.interaction import Question
from sandbox.questions import SHIPPED, load_questions
from sandbox.split import split
from sandbox.transcript import read_worlds


def first_prompts(sources: Sequence[Path]) -> list[Question]:
    """The questions of runs and of files, each text once. Raises BadInput."""
    found: dict[str, Question] = {}
    for source in sources:
        for question in _questions(source):
            found.setdefault(question.text, question)
    return list(found.values())


def divided(
    questions: Sequence[Question], options: AlignEvaOptions, encoder: Encoder
) -> tuple[list[Question], list[Question]]:
    """(to train on, held out), with paraphrases on one side. Raises BadInput where a side is empty."""
    if options.test_share == 0:
        return list(questions), []
    texts = [question.text for question in questions]
    vectors = encoder.encode(texts)
    is_test = split(texts, vectors, test_share=options.test_share, seed=options.seed)
    sides = [[question for question in questions if is_test[question.text] == held] for held in (False, True)]
    if not all(sides):
        raise BadInput(
            f"--test-share {options.test_share:g}: the {len(questions)} prompts are all alike and cannot be divided; "
            "give more, or set it to 0 to hold none out"
        )
    return sides[0], sides[1]


def _questions(source: Path) -> list[Question]:
    if not is_run(source):
        if not source.is_file() and str(source) not in SHIPPED:
            raise BadInput(f"{source}: no such file or run; shipped sets of prompts are {' and '.join(SHIPPED)}")
        return list(load_questions(str(source)))
    headers = [world.header for world in read_worlds(source)]
    return [question for header in headers for question in (*probes_of(header), *questions_of(header))]
