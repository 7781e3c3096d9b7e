"""What a training by eva is made of, read from its options before any model is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path

from agents.canonical import digest_of
from agents.engines import Where
from agents.errors import BadInput
from agents.local import folder_digest
from agents.models import encoder_folder, model_folder, root_model
from agents.observers import REWARD_MODEL
from agents.prompts import STYLE
from alignment.answers import Manner
from alignment.arguments import training_arguments
from alignment.checkpoints import FREE, Fingerprint, refuse_begun, require_same, started
from alignment.config import AlignEvaOptions
from alignment.eva.operators import SHIPPED, Operator, load_operators
from alignment.eva.solver import method_of
from alignment.eva.sources import divided, first_prompts
from memory.encoder import Encoder
from sandbox.console import say
from sandbox.folders import refuse_used, write_whole
from sandbox.interaction import Question
from sandbox.toml import toml_of

MODEL = "model"  # in an iteration's folder
JUDGES = ("llm", "llm:verdict", "llm:scale", "embedding", "reward-model:DIR")
ELSEWHERE = ("model", "sources", "hard", "operators")  # their contents are compared
LATER = ("iterations", "server", "engine", "vllm_command", "max_failures")  # may change when a training goes on


@dataclass(frozen=True, slots=True)
class Eva:
    """A training: its prompts, those that it is measured on (the set's name and the prompt), and its operators.

    `size` is the number of an iteration's prompts.
    """

    options: AlignEvaOptions
    questions: Sequence[Question]
    measured: Sequence[tuple[str, str]]
    operators: dict[str, Operator]
    size: int
    encoder: Encoder
    begun: Fingerprint

    @classmethod
    def of(cls, options: AlignEvaOptions) -> Eva:
        """The training that `options` describe, a new one or one to go on with. Raises BadInput."""
        _require(options)
        encoder = Encoder(encoder_folder(options.encoder))
        hard = first_prompts([options.hard]) if options.hard else []
        never = {question.text for question in hard}
        given = [question for question in first_prompts(options.sources) if question.text not in never]
        questions, held = divided(given, options, encoder)
        size = _size(options, len(questions))
        measured = [("held-out", q.text) for q in held[: options.answers]]
        measured += [("hard", q.text) for q in hard[: options.answers]]
        operators = load_operators(options.operators or SHIPPED)
        begun = Fingerprint(
            method="eva",
            rows=digest_of([[asdict(q) for q in questions], measured, [asdict(o) for o in operators.values()]]),
            model=folder_digest(model_folder(options.model)),
            processes=1,
            options={
                **options.model_dump(mode="json", exclude={*ELSEWHERE, *FREE, *LATER}),
                "prompts": size,
            },
        )
        if options.resume:
            require_same(options.out, begun)
            _require_none_further(options)
        say(f"{len(questions)} prompts, {size} of them an iteration; {len(held)} held out, {len(hard)} hard ones")
        return cls(options, questions, measured, operators, size, encoder, begun)

    def begin(self) -> None:
        """Note in the folder what the training is."""
        self.options.out.mkdir(parents=True, exist_ok=True)
        started(self.options.out, self.begun)
        values = self.options.model_dump(mode="json", exclude={"config", "out", "sources", "resume"})
        write_whole(self.options.out / "align.toml", toml_of({**values, "prompts": self.size}))

    def folder(self, iteration: int) -> Path:
        """The folder of an iteration, from 1; 0 is the untrained model's."""
        return self.options.out / f"iteration-{iteration}"

    def solver(self, iteration: int) -> str:
        """The model that came out of an iteration."""
        return str(self.folder(iteration) / MODEL) if iteration else self.options.model

    @property
    def judge(self) -> str | None:
        """The model of an llm judge."""
        named = self.options.judge_model or root_model(self.options.model)
        return named if self.options.judge.startswith("llm") else None

    @property
    def system(self) -> str:
        """The system message before every prompt, "" for none."""
        return STYLE if self.options.system is None else self.options.system

    @property
    def where(self) -> Where:
        """Where models are looked for."""
        options = self.options
        calls = options.responses * self.size
        return Where(tuple(options.server), options.engine, options.vllm_command, calls_at_once=calls)

    def manner(self, max_tokens: int) -> Manner:
        """How responses and evolved prompts are sampled."""
        return Manner(max_tokens, self.options.temperature, self.options.seed, self.options.top_p)


def _require(options: AlignEvaOptions) -> None:
    for package in ["accelerate", "trl"] + ["peft"] * options.lora:
        try:
            import_module(package)
        except ImportError as error:
            raise BadInput(f"training needs {package}: pip install 'social-sandbox[align]'") from error
    if not options.resume:
        refuse_begun(options.out)
        refuse_used(options.out)
    training_arguments(options, method_of(options, options.model))
    if options.judge not in JUDGES and not options.judge.startswith(REWARD_MODEL):
        raise BadInput(f"--judge {options.judge}: unknown judge; known: {', '.join(JUDGES)}")


def _require_none_further(options: AlignEvaOptions) -> None:
    """Raises BadInput where a training is to end before an iteration that it has begun."""
    begun = max((int(path.name.rpartition("-")[2]) for path in options.out.glob("iteration-*[0-9]")), default=0)
    if begun > options.iterations:
        raise BadInput(f"--iterations {options.iterations}: {options.out} has begun {begun}; name as many, or more")


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
