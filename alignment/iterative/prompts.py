"""The prompts of a training: where the first ones come from, which are held out, and how they are kept."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path

from agents.canonical import generator
from agents.errors import BadInput
from alignment.config import IteratedOptions
from alignment.groups import is_run
from alignment.phases import whole_rows
from memory.encoder import Encoder
from sandbox.header import probes_of, questions_of
from sandbox.interaction import Question
from sandbox.questions import SHIPPED, load_questions
from sandbox.split import split
from sandbox.transcript import read_worlds


@dataclass(frozen=True, slots=True)
class Task:
    """A prompt of the curriculum, from iteration `born` on (the first ones: 1).

    An evolved one has a `parent`, for some operators an `other` beside it (ids of tasks), the `operator` that made it
    and the `informativeness` of the parent, by which that was chosen.
    """

    id: str
    text: str
    topic: str
    born: int
    parent: str | None = None
    other: str | None = None
    operator: str | None = None
    informativeness: float | None = None


def first_prompts(sources: Sequence[Path]) -> list[Question]:
    """The questions of runs and of files, each text once. Raises BadInput."""
    found: dict[str, Question] = {}
    for source in sources:
        for question in _questions(source):
            found.setdefault(question.text, question)
    return list(found.values())


def prompts_of(options: IteratedOptions, encoder: Encoder) -> tuple[list[Question], list[tuple[str, str]]]:
    """(to train on, to measure on): the latter with the name of its set, "held-out" or "hard". Raises BadInput."""
    hard = first_prompts([options.hard]) if options.hard else []
    never = {question.text for question in hard}
    given = [question for question in first_prompts(options.sources) if question.text not in never]
    questions, held = divided(given, options, encoder)
    measured = [("held-out", question.text) for question in held[: options.answers]]
    return questions, [*measured, *(("hard", question.text) for question in hard[: options.answers])]


def divided(
    questions: Sequence[Question], options: IteratedOptions, encoder: Encoder
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


def first_tasks(
    questions: Sequence[Question], size: int, iteration: int, seed: int, ahead: Container[str] = ()
) -> list[Task]:
    """`size` questions as tasks, in an order drawn by seed; those behind them for a later `iteration`.

    Those whose text is in `ahead` come before all others.
    """
    order = generator(seed, 0, 0, "first prompts").permutation(len(questions)).tolist()
    order.sort(key=lambda place: questions[place].text not in ahead)
    places = order[(iteration - 1) * size : iteration * size]
    return [
        Task(f"{iteration}-{number}", questions[place].text, questions[place].topic, iteration)
        for number, place in enumerate(places, start=1)
    ]


def tasks_in(path: Path) -> list[Task]:
    """The tasks of an iteration's prompts.jsonl."""
    return [Task(**row) for row in whole_rows(path)]


def _questions(source: Path) -> list[Question]:
    if not is_run(source):
        if not source.is_file() and str(source) not in SHIPPED:
            raise BadInput(f"{source}: no such file or run; shipped sets of prompts are {' and '.join(SHIPPED)}")
        return list(load_questions(str(source)))
    headers = [world.header for world in read_worlds(source)]
    return [question for header in headers for question in (*probes_of(header), *questions_of(header))]
