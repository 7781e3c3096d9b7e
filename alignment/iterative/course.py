"""A training by iterations: the folder it is written to, its phases, the models it opens, and how it ends.

The folder has one folder an iteration, whose files are its phases; `iteration-0` has the answers of the model that
begins. That may have been fine-tuned first: then `untrained` has those before it. At the top lies the last model, with
what it was made of.

Of several processes the first one samples, while the others wait for its files; all of them train.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from agents.canonical import digest_of
from agents.engines import Where, opened, vllm_command
from agents.errors import BadInput
from agents.local import folder_digest
from agents.metered import Metered
from agents.models import model_folder, root_model
from agents.observers import REWARD_MODEL, LLMObserver
from agents.prompts import STYLE
from agents.vllm import require_program
from alignment import lineage
from alignment.answers import Manner
from alignment.arguments import training_arguments
from alignment.checkpoints import FILE, FREE, Fingerprint, require_same, started
from alignment.config import IteratedOptions
from alignment.groups import ratings_of, read_sources
from alignment.iterative import sampling
from alignment.iterative.learning import Learned, learn, method_of
from alignment.iterative.sampling import Judged, Quota
from alignment.judge import observer_of, rating_by, scored_by
from alignment.phases import json_line, whole_rows
from alignment.progress import PhaseProgress
from alignment.report.words import how_many
from alignment.trained import write_json
from sandbox.console import say
from sandbox.folders import refuse_used, write_whole
from sandbox.toml import toml_of

MODEL, PAIRS, ANSWERS = "model", "pairs.jsonl", "answers.jsonl"  # in an iteration's folder
FIRST = "eft.jsonl"  # in that of iteration 0: what the model was fine-tuned on, if it was
UNTRAINED = "untrained"
TELEMETRY = "telemetry.jsonl"
BESIDE = ("align.toml", "lineage.json", "learned.json", "stability.jsonl", "trainer_log.jsonl")  # a model's files
OBSERVERS = ("llm", "llm:verdict", "llm:scale", "embedding", "reward-model:DIR")
ELSEWHERE = ("model", "sources", "hard")  # their contents are compared
WAIT_S = 0.2  # between looks for a file of the first process
LATER = ("iterations", "server", "engine", "vllm_command", "max_failures")  # may change when a training goes on


@dataclass(frozen=True, slots=True)
class Panel:
    """The models and the observers that an iteration opens, by name, and how many calls may fail."""

    models: Mapping[str, Metered]
    observers: Mapping[str, Judged]
    quota: Quota


@dataclass(frozen=True, slots=True)
class Course:
    """A training's settings, and what it is measured on: the set's name and the prompt.

    `resolved` are the values of options that were left open, `begun` is what must be the same for it to go on.
    """

    options: IteratedOptions
    measured: Sequence[tuple[str, str]]
    resolved: Mapping[str, Any]
    begun: Fingerprint

    @classmethod
    def of(
        cls,
        options: IteratedOptions,
        method: str,
        measured: Sequence[tuple[str, str]],
        sources: Sequence[Any],
        resolved: Mapping[str, Any],
        files: Mapping[str, Any],
    ) -> Course:
        """A training by `method`, a new one or one to go on with.

        Then all that was read must be the same: plain values of the `sources`, and of the method's own `files` by the
        option that names each. Raises BadInput.
        """
        settings = options.model_dump(mode="json", exclude={*ELSEWHERE, *files, *FREE, *LATER})
        held_out, hard = ([text for name, text in measured if name == part] for part in ("held-out", "hard"))
        read = {f"--{name}": held for name, held in {**files, "hard": hard}.items()}
        read["sources"] = [*sources, held_out]  # last: without the prompts that stand in a file too
        begun = Fingerprint(
            method=method,
            read={name: digest_of(held) for name, held in read.items()},
            model=folder_digest(model_folder(options.model)),
            processes=_processes().num_processes,
            options={**settings, **resolved},
        )
        if options.resume:
            if not (options.out / FILE).exists():
                raise BadInput(f"--resume: {options.out} holds no training; leave --resume out to start one")
            require_same(options.out, begun)
            _require_none_further(options)
        _processes().wait_for_everyone()  # who looked at the folder later would find it in use
        return cls(options, measured, resolved, begun)

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that samples, speaks and writes."""
        return bool(_processes().is_main_process)

    def say(self, line: str) -> None:
        """Tell the person who watches, once."""
        if self.is_first:
            say(line)

    def begin(self) -> None:
        """Note in the folder what the training is."""
        self.options.out.mkdir(parents=True, exist_ok=True)
        started(self.options.out, self.begun)
        values = self.options.model_dump(mode="json", exclude={"config", "out", "sources", "resume"})
        write_whole(self.options.out / "align.toml", toml_of({**values, **self.resolved}))

    def folder(self, iteration: int | None) -> Path:
        """The folder of an iteration, from 1; 0 is that of the model which begins, None of the untrained one."""
        return self.options.out / (UNTRAINED if iteration is None else f"iteration-{iteration}")

    def solver(self, iteration: int | None) -> str:
        """The model that came out of an iteration; that of 0 is the untrained one unless it was fine-tuned."""
        own = self.folder(iteration) / MODEL
        return str(own) if iteration or (iteration == 0 and own.exists()) else self.options.model

    @property
    def system(self) -> str:
        """The system message before every prompt, "" for none."""
        return STYLE if self.options.system is None else self.options.system

    def manner(self, max_tokens: int) -> Manner:
        """How responses, and what else is learned from, are sampled."""
        return Manner(max_tokens, self.options.temperature, self.options.seed, self.options.top_p)

    @asynccontextmanager
    async def panel(self, names: Sequence[str], observers: Sequence[str], calls: int) -> AsyncIterator[Panel]:
        """The models and the observers of these names; `calls` can be ready together. Raises BadInput."""
        options = self.options
        speaks = any(name.startswith("llm") for name in observers)
        judge = (options.judge_model or root_model(options.model)) if speaks else None
        where = replace(_where(options), calls_at_once=calls)
        async with opened(where, say) as engines:
            needed = dict.fromkeys([*names, *([judge] if judge else [])])
            models = {name: Metered(model) for name, model in (await engines.models(list(needed))).items()}
            opinion = models[judge] if judge else None
            judged = {name: await self._judged(name, opinion) for name in dict.fromkeys(observers)}
            yield Panel(models, judged, Quota(list(models.values()), options.max_failures))

    async def _judged(self, name: str, judge: Metered | None) -> Judged:
        observer = await observer_of(name, judge, self.options.encoder)
        invariant = observer.model.batch_invariant if isinstance(observer, LLMObserver) else True
        return Judged(rating_by(observer), scored_by(name, self.options.score_by), invariant)

    @contextmanager
    def phase(self, iteration: int | None, name: str, rows: int, quota: Quota) -> Iterator[Callable[[int], None]]:
        """Shows a phase, and notes what it took, also where it was broken off."""
        before, began = quota.usage(), time.monotonic()
        progress = PhaseProgress(f"{_named(iteration)} · {name}", rows)
        try:
            yield progress.told
        finally:
            progress.close()
            after = quota.usage()
            counts = {
                field: getattr(after, field) - getattr(before, field)
                for field in ("calls", "prompt_tokens", "completion_tokens", "retries")
            }
            counts["failures"] = after.failures.total() - before.failures.total()
            if progress.made:
                self.note(iteration, name, time.monotonic() - began, counts)

    def note(self, iteration: int | None, phase: str, seconds: float, counts: Mapping[str, int]) -> None:
        """Note what a phase took."""
        row = {"iteration": iteration, "phase": phase, "seconds": round(seconds, 3), **counts}
        path = self.options.out / TELEMETRY
        write_whole(path, map(json_line, [*whole_rows(path), row]))  # appending would go on with a line that was torn

    async def answer(self, iteration: int | None, panel: Panel, observer: str) -> None:
        """Have the model that came out of an iteration answer what it is measured on, rated by `observer`."""
        if not self.measured:
            return
        with self.phase(iteration, "answers", len(self.measured), panel.quota) as told:
            await sampling.measured(
                self.folder(iteration) / ANSWERS,
                self.measured,
                panel.models[self.solver(iteration)],
                self.options.max_tokens,
                self.system,
                panel.observers[observer],
                panel.quota,
                told,
            )

    def has_answered(self, iteration: int) -> bool:
        """Whether all answers of that model are there."""
        return len(whole_rows(self.folder(iteration) / ANSWERS)) == len(self.measured)

    @property
    def measured_told(self) -> str:
        """What it is measured on, in words."""
        sets = [kind for kind, _ in self.measured]
        return f"measured on {sets.count('held-out')} held-out and {sets.count('hard')} hard ones"

    def train(self, sample: Callable[[int], Coroutine[Any, Any, None]]) -> None:
        """All iterations that are not there yet: `sample` makes the pairs of one, which are then learned from."""
        for iteration in range(1, self.options.iterations + 1):
            if (self.folder(iteration) / MODEL).exists():
                continue
            pairs = self.folder(iteration) / PAIRS
            self.make(pairs, partial(sample, iteration))
            self.learn(iteration, "learning", partial(learn, pairs, self.solver(iteration - 1), self.options))

    def make(self, path: Path, sample: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Have `sample` write a file that is not there yet, which in the end appears whole."""
        if self.is_first and not path.exists():
            asyncio.run(sample())
        while not path.exists():  # no barrier, which would not wait for hours
            time.sleep(WAIT_S)

    def learn(self, iteration: int, phase: str, learner: Callable[[Path], Learned]) -> None:
        """Have `learner` make the model that comes out of an iteration."""
        from accelerate.utils.memory import clear_device_cache

        began = time.monotonic()
        learned = learner(self.folder(iteration) / MODEL)
        clear_device_cache(garbage_collection=True)  # who answers next, a server perhaps, needs the room
        if not self.is_first:
            return
        self.note(iteration, phase, time.monotonic() - began, {"input_tokens": learned.input_tokens})
        if learned.dropped:
            what = how_many(learned.dropped, "row")
            say(f"{_named(iteration)} · {phase}: {what} left out, for which --max-length has no room")

    def finish(self) -> None:
        """Put the last model at the folder's top, with what it was made of."""
        options, out = self.options, self.options.out
        for path in (self.folder(options.iterations) / MODEL).iterdir():
            if path.is_file() and path.name not in BESIDE:
                _link(path, out / path.name)
        first = self.folder(0) / FIRST
        data = [first] * first.exists()
        data += [self.folder(number) / PAIRS for number in range(1, options.iterations + 1)]
        groups = read_sources(data).groups
        made_of = lineage.lineage_of(options, data, ratings_of(groups, delta=options.delta), out, groups)
        write_json(out / lineage.FILE, made_of)


def require_known(flag: str, name: str, known: Sequence[str] = OBSERVERS) -> None:
    """Raises BadInput where a judge is none of the `known` ones."""
    if name not in known and not name.startswith(REWARD_MODEL):
        raise BadInput(f"{flag} {name}: unknown judge; known: {', '.join(known)}")


def require_usable(options: IteratedOptions) -> None:
    """Raises BadInput where a package is missing, the folder is in use, or settings don't fit each other."""
    for package in ["accelerate", "trl"] + ["peft"] * options.lora:
        try:
            import_module(package)
        except ImportError as error:
            raise BadInput(f"training needs {package}: pip install 'social-sandbox[align]'") from error
    if not options.resume:
        if (options.out / FILE).exists():
            raise BadInput(f"{options.out}: holds a training; go on with --resume, or name another folder")
        refuse_used(options.out)
    training_arguments(options, method_of(options, options.model))
    command = vllm_command(_where(options))  # which answers for what the model becomes, hours later
    if command is not None:
        require_program(command)


def _where(options: IteratedOptions) -> Where:
    return Where(tuple(options.server), options.engine, options.vllm_command)


def _processes() -> Any:
    from accelerate import PartialState  # of an extra: `require_usable` tells where it is missing

    return PartialState()


def _named(iteration: int | None) -> str:
    return UNTRAINED if iteration is None else f"iteration {iteration}"


def _require_none_further(options: IteratedOptions) -> None:
    """Raises BadInput where a training is to end before an iteration that it has begun."""
    begun = max((int(path.name.rpartition("-")[2]) for path in options.out.glob("iteration-*[0-9]")), default=0)
    if begun > options.iterations:
        raise BadInput(f"--iterations {options.iterations}: {options.out} has begun {begun}; name as many, or more")


def _link(path: Path, target: Path) -> None:
    """The file in another folder too, without a second copy of it where the file system can."""
    target.unlink(missing_ok=True)
    try:
        target.hardlink_to(path)
    except OSError:
        shutil.copy2(path, target)
