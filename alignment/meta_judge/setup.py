"""What a training by Meta-Rewarding is made of, read from its options before any model is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agents.canonical import generator
from agents.errors import BadInput
from agents.models import encoder_folder
from agents.records import OK
from alignment.arguments import training_arguments
from alignment.config import AlignMetaJudgeOptions
from alignment.groups import has_contrast, is_run, read_sources
from alignment.iterative.course import OBSERVERS, Course, require_known, require_usable
from alignment.iterative.prompts import prompts_of
from alignment.meta_judge.eft import read_judged, require_room
from alignment.methods import sft
from alignment.report.words import how_many
from memory.encoder import Encoder
from sandbox.dataset import Group, groups_of
from sandbox.interaction import Question

Row = dict[str, Any]
OWN_JUDGES = ("text", "expected")  # readings of the model that is trained


@dataclass(frozen=True, slots=True)
class Turn:
    """What an iteration trains: pairs of responses, of judgements, or both; ρ; the longest judgement to learn from."""

    actor: bool = True
    judge: bool = True
    rho: float = 0.0
    max_judgement: int | None = None


@dataclass(frozen=True, slots=True)
class Meta:
    """A training: its prompts, `size` new ones an iteration, what runs logged to them, and a judge's `reference`.

    `judged` are the groups that the model is fine-tuned on first, if any.
    """

    options: AlignMetaJudgeOptions
    course: Course
    questions: Sequence[Question]
    size: int
    logged: Mapping[str, Sequence[Row]]
    judged: Sequence[Row]
    reference: Sequence[Group]
    encoder: Encoder

    @classmethod
    def of(cls, options: AlignMetaJudgeOptions) -> Meta:
        """The training that `options` describe, a new one or one to go on with. Raises BadInput."""
        require_known("--judge", options.judge, (*OWN_JUDGES, *OBSERVERS))
        require_known("--observer", options.observer)
        _require_lessons(options)
        require_usable(options)
        encoder = Encoder(encoder_folder(options.encoder))
        reference = _reference(options.reference, options.reference_prompts, options.seed)
        compared = {group.question for group in reference}
        there, measured = prompts_of(options, encoder)
        questions = [question for question in there if question.text not in compared]
        logged = _logged(options.sources) if options.logged else {}
        said = sum(question.text in logged for question in questions)
        size = _size(options, len(questions), said if options.logged else len(questions))
        never = {*(prompt for _, prompt in measured), *compared}
        given = read_judged(options.eft) if options.eft else []
        judged = [row for row in given if row["question"] not in never]
        if given:
            _require_lesson(options, judged)
        files = {"reference": [asdict(group) for group in reference], "eft": judged}
        read = [[asdict(question) for question in questions], logged]
        course = Course.of(options, "meta-judge", measured, read, {"prompts": size}, files)
        course.say(f"{len(questions)} prompts, {size} new ones an iteration; {course.measured_told}")
        if reference:
            course.say(f"{options.reference}: {how_many(len(reference), 'prompt')} to compare the judge on")
        if len(questions) < len(there):
            left_out = how_many(len(there) - len(questions), "prompt")
            course.say(f"{left_out} of the sources left out, on which the judge is compared")
        if len(judged) < len(given):
            left_out = how_many(len(given) - len(judged), "judged answer")
            course.say(f"{options.eft}: {left_out} left out, to prompts that are measured on")
        return cls(options, course, questions, size, logged, judged, reference, encoder)

    def turn(self, iteration: int) -> Turn:
        """What an iteration trains; behind the last row of the schedule all do as that one."""
        return _turn(self.options, iteration)


def tuning(options: AlignMetaJudgeOptions) -> AlignMetaJudgeOptions:
    """The options by which a model is fine-tuned on judged answers."""
    return options.model_copy(update={"epochs": options.eft_epochs, "learning_rate": options.eft_learning_rate})


def _turn(options: AlignMetaJudgeOptions, iteration: int) -> Turn:
    rows = [dict(row) for row in options.schedule]
    given: Any = rows[min(iteration, len(rows)) - 1]
    turn = Turn(**given)
    learns = turn.judge and options.meta and options.judge in OWN_JUDGES
    return Turn(turn.actor, learns, turn.rho, turn.max_judgement)


def _require_lessons(options: AlignMetaJudgeOptions) -> None:
    for iteration in range(1, options.iterations + 1):
        turn = _turn(options, iteration)
        if not (turn.actor or turn.judge):
            row = min(iteration, len(options.schedule))
            raise BadInput(
                f"[[schedule]] row {row}: iteration {iteration} would learn nothing; give it actor = true, or "
                "judge = true with --meta and a --judge that learns (text, expected)"
            )


def _require_lesson(options: AlignMetaJudgeOptions, judged: Sequence[Row]) -> None:
    """Raises BadInput where nothing could be learned from the judged answers."""
    if not judged:
        raise BadInput(f"--eft {options.eft}: has judged answers to prompts that are measured on only; give others")
    if round(len(judged) * options.eft_epochs) < 1:
        raise BadInput(f"--eft-epochs {options.eft_epochs:g}: comes to none of {len(judged)} judged answers; give more")
    training_arguments(tuning(options), sft(options.max_length))
    require_room(judged, options.model, options.max_length)


def _size(options: AlignMetaJudgeOptions, there: int, first: int) -> int:
    """How many prompts an iteration has of those that are `there`, of which the first one can have `first`."""
    size = options.prompts or min(there // options.iterations, first)
    if size > first:
        raise BadInput(
            f"--prompts {size}: the first iteration's responses are logged ones, and only {first} prompts that are not "
            "measured on have some; choose fewer, or leave --logged out"
        )
    if size < 1 or size * options.iterations > there:
        raise BadInput(
            f"--prompts {size}: {options.iterations} iterations need {max(1, size) * options.iterations} prompts, and "
            f"{there} are not measured on; give more, or choose fewer"
        )
    return size


def _logged(sources: Sequence[Path]) -> dict[str, list[Row]]:
    """What agents drafted and revised to each question, in the runs among the sources, as responses.

    How many tokens they had is not known. Raises BadInput.
    """
    runs = [source for source in sources if is_run(source)]
    if not runs:
        raise BadInput("--logged: no source is a run, and so none has responses; name one, or leave it out")
    said: dict[str, list[Row]] = {}
    for group in groups_of(runs):  # several of a question where runs differ in what stands before it
        said.setdefault(group.question, []).extend(
            {"text": text, "tokens": None, "finished": finished, "outcome": OK}
            for text, finished in zip(group.responses, group.finished, strict=True)
        )
    return said


def _reference(path: Path | None, most: int, seed: int) -> list[Group]:
    """Groups of answers that are rated differently, at most so many, drawn by seed. Raises BadInput."""
    if path is None:
        return []
    groups = [group for group in read_sources([path]).groups if has_contrast(group)]
    if not groups:
        raise BadInput(f"--reference {path}: rates no two answers to a prompt differently; name another")
    order = generator(seed, 0, 0, "reference").permutation(len(groups))[:most].tolist()
    return [groups[place] for place in sorted(order)]
