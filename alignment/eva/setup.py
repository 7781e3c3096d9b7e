"""What a training by eva is made of, read from its options before any model is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from agents.errors import BadInput
from agents.models import encoder_folder
from alignment.config import AlignEvaOptions
from alignment.eva.operators import SHIPPED, Operator, load_operators
from alignment.iterative.course import Course, require_known, require_usable
from alignment.iterative.prompts import prompts_of
from memory.encoder import Encoder
from sandbox.interaction import Question


@dataclass(frozen=True, slots=True)
class Eva:
    """A training: its prompts, `size` of them an iteration, and the operators that they evolve by."""

    options: AlignEvaOptions
    course: Course
    questions: Sequence[Question]
    size: int
    operators: dict[str, Operator]
    encoder: Encoder

    @classmethod
    def of(cls, options: AlignEvaOptions) -> Eva:
        """The training that `options` describe, a new one or one to go on with. Raises BadInput."""
        require_usable(options)
        require_known("--judge", options.judge)
        encoder = Encoder(encoder_folder(options.encoder))
        questions, measured = prompts_of(options, encoder)
        size = _size(options, len(questions))
        operators = load_operators(options.operators or SHIPPED)
        read = [[asdict(question) for question in questions]]
        files = {"operators": [asdict(operator) for operator in operators.values()]}
        course = Course.of(options, "eva", measured, read, {"prompts": size}, files)
        course.say(f"{len(questions)} prompts, {size} of them an iteration; {course.measured_told}")
        return cls(options, course, questions, size, operators, encoder)


def _size(options: AlignEvaOptions, there: int) -> int:
    """How many prompts an iteration has of those that are `there`."""
    parts = options.iterations if options.curriculum == "fresh" else 1
    size = options.prompts or there // parts
    if size < 2 or size * parts > there:
        raise BadInput(
            f"--prompts {size}: {options.iterations} iterations by --curriculum {options.curriculum} need "
            f"{max(2, size) * parts} prompts, and {there} are not held out; give more, or choose fewer"
        )
    return size
