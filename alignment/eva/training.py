"""`align eva`: iterations of a creator of prompts and a solver that learns from them (docs/eva.md).

An iteration is a folder of phases, each a file. What is there is kept, so a training that was killed goes on in the
middle of a phase, and a finished one with more iterations.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agents.engines import opened
from agents.errors import BadInput
from agents.metered import Metered
from agents.observers import REWARD_MODEL, LLMObserver
from alignment import lineage
from alignment.config import AlignEvaOptions
from alignment.eva import sampling
from alignment.eva.creator import evolved_rows, evolved_tasks, first_tasks, parents_of, repeated, weights_of
from alignment.eva.curriculum import Task, evolutions, next_tasks
from alignment.eva.record import answers_table, metrics_of, read_record
from alignment.eva.report import write_report
from alignment.eva.sampling import Judged, Quota
from alignment.eva.setup import MODEL, Eva
from alignment.eva.solver import Learned, learn, pairs_of
from alignment.groups import checked, read_sources
from alignment.judge import observer_of, rating_by
from alignment.phases import json_line, whole_rows, written
from alignment.progress import PhaseProgress
from alignment.trained import write_json
from sandbox.console import say, table_console
from sandbox.folders import write_whole

TELEMETRY = "telemetry.jsonl"
BESIDE = ("align.toml", "lineage.json", "learned.json", "stability.jsonl", "trainer_log.jsonl")  # a model's files


def run_eva(options: AlignEvaOptions) -> Path:
    """Train as `options` say, and write all of it to the folder `--out`, which holds the last model at its top.

    Raises BadInput before anything is written where options, prompts or models are not usable; TooManyFailures.
    """
    eva = Eva.of(options)
    for iteration in range(1, options.iterations + 1):
        folder = eva.folder(iteration)
        if (folder / MODEL).exists():
            continue
        if not (folder / "pairs.jsonl").exists():
            asyncio.run(_sampled(eva, iteration))
        _learned(eva, iteration)
    asyncio.run(_measured(eva, options.iterations))
    _finish(eva)
    return options.out


@dataclass(frozen=True, slots=True)
class Panel:
    """The models of an iteration, opened: who answers, who evolves prompts, who gives rewards."""

    solver: Metered
    creator: Metered
    judged: Judged
    quota: Quota


@asynccontextmanager
async def _panel(eva: Eva, iteration: int) -> AsyncIterator[Panel]:
    """The models that begin an iteration. Raises BadInput."""
    options, solver = eva.options, eva.solver(iteration - 1)
    creator = options.creator_model or solver
    names = dict.fromkeys([solver, creator, *([eva.judge] if eva.judge else [])])
    async with opened(eva.where, say) as engines:
        models = {name: Metered(model) for name, model in (await engines.models(list(names))).items()}
        observer = await observer_of(options.judge, models[eva.judge] if eva.judge else None, options.encoder)
        invariant = observer.model.batch_invariant if isinstance(observer, LLMObserver) else True
        by = "alignment" if options.judge.startswith(REWARD_MODEL) else options.score_by  # of which it has no other
        quota = Quota(list(models.values()), options.max_failures)
        yield Panel(models[solver], models[creator], Judged(rating_by(observer), by, invariant), quota)


async def _sampled(eva: Eva, iteration: int) -> None:
    """All phases of an iteration before its training: from the answers of its first model to the pairs."""
    options, folder = eva.options, eva.folder(iteration)
    async with _panel(eva, iteration) as panel:
        eva.begin()
        await _answers(eva, iteration - 1, panel)
        tasks = await _tasks(eva, iteration, panel)
        with _phase(eva, iteration, "responses", len(tasks), panel.quota) as told:
            responses = await sampling.responded(
                folder / "responses.jsonl",
                tasks,
                options.responses,
                panel.solver,
                eva.manner(options.max_tokens),
                eva.system,
                panel.quota,
                iteration,
                told,
            )
        with _phase(eva, iteration, "rewards", len(tasks), panel.quota) as told:
            path = folder / "rewards.jsonl"
            rewards = await sampling.rewarded(path, tasks, responses, panel.judged, panel.quota, told)
    made = list(pairs_of(tasks, responses, rewards, system=eva.system, delta=options.delta))
    if not made:
        raise BadInput(
            f"{folder}: no two responses to any of {len(tasks)} prompts differ in their rewards by more than "
            f"--delta {options.delta:g}; sample more of them, hotter or longer, or choose another --judge"
        )
    written(folder / "pairs.jsonl", lambda: made)


async def _tasks(eva: Eva, iteration: int, panel: Panel) -> list[Task]:
    """The prompts of an iteration."""
    path = eva.folder(iteration) / "prompts.jsonl"
    if path.exists():
        return tasks_in(path)
    options, seed = eva.options, eva.options.seed
    if iteration == 1 or options.curriculum in ("fresh", "static"):
        part = iteration if options.curriculum == "fresh" else 1
        tasks = first_tasks(eva.questions, eva.size, part, seed)
    else:
        earlier = [task for n in range(1, iteration) for task in tasks_in(eva.folder(n) / "prompts.jsonl")]
        buffer = list({task.id: task for task in earlier}.values())
        last = eva.folder(iteration - 1)
        before, rewards = tasks_in(last / "prompts.jsonl"), whole_rows(last / "rewards.jsonl")
        weights = weights_of(rewards, options.metric)
        parents = parents_of(before, weights, options.share, seed=seed, iteration=iteration, greedy=options.greedy)
        share = 1 - options.buffer
        if options.curriculum == "sample":
            tasks = repeated([task for task, _ in parents], buffer, eva.size, share, seed, iteration)
        else:
            rows = await _evolved(eva, iteration, parents, buffer, panel)
            evolved = evolved_tasks(rows, buffer, iteration)
            tasks = next_tasks(evolved, buffer, eva.size, share=share, seed=seed, iteration=iteration)
    written(path, lambda: map(asdict, tasks))
    return tasks


async def _evolved(
    eva: Eva, iteration: int, parents: Sequence[tuple[Task, float]], buffer: Sequence[Task], panel: Panel
) -> list[dict[str, Any]]:
    """What became of the parents: rows of evolved.jsonl, failed ones with their flaw. Raises BadInput: all failed."""
    options, folder = eva.options, eva.folder(iteration)
    kinds = {name: operator.needs_other for name, operator in eva.operators.items()}
    tasks = [task for task, _ in parents]
    asked = evolutions(tasks, buffer, kinds, options.evolutions, seed=options.seed, iteration=iteration)
    with _phase(eva, iteration, "evolving", len(asked), panel.quota) as told:
        replies = await sampling.evolved(
            folder / "replies.jsonl",
            asked,
            eva.operators,
            panel.creator,
            eva.manner(options.prompt_tokens),
            panel.quota,
            iteration,
            told,
        )
    known = [*(task.text for task in buffer), *(text for _, text in eva.measured)]
    by_id = {task.id: (task, weight) for task, weight in parents}
    made = list(
        evolved_rows(replies, by_id, eva.operators, eva.encoder.encode, known, iteration, options.prompt_tokens)
    )
    kept = sum(row["flaw"] is None for row in made)
    say(f"iteration {iteration}: {kept} of {len(made)} evolved prompts kept, {flaws_told(made)}")
    if not kept:
        raise BadInput(
            f"{folder}: none of {len(made)} evolved prompts can be used ({flaws_told(made)}); give a better "
            "--creator-model, or other --operators"
        )
    return written(folder / "evolved.jsonl", lambda: made)


def _learned(eva: Eva, iteration: int) -> Learned:
    folder = eva.folder(iteration)
    began = time.monotonic()
    learned = learn(folder / "pairs.jsonl", eva.solver(iteration - 1), folder / MODEL, eva.options)
    _note(eva, iteration, "learning", time.monotonic() - began, {"input_tokens": learned.input_tokens})
    return learned


async def _measured(eva: Eva, iteration: int) -> None:
    """The answers of the last model."""
    if len(whole_rows(_answers_path(eva, iteration))) < len(eva.measured):
        async with _panel(eva, iteration + 1) as panel:
            await _answers(eva, iteration, panel)


async def _answers(eva: Eva, iteration: int, panel: Panel) -> None:
    """What the model that came out of an iteration answers to the prompts that it is measured on."""
    with _phase(eva, iteration, "answers", len(eva.measured), panel.quota) as told:
        await sampling.measured(
            _answers_path(eva, iteration),
            eva.measured,
            panel.solver,
            eva.options.max_tokens,
            eva.system,
            panel.judged,
            panel.quota,
            told,
        )


def _answers_path(eva: Eva, iteration: int) -> Path:
    return eva.folder(iteration) / "answers.jsonl"


@contextmanager
def _phase(eva: Eva, iteration: int, name: str, rows: int, quota: Quota) -> Iterator[Callable[[int], None]]:
    """Shows a phase, and notes what it took, also where it was broken off."""
    before, began = quota.usage(), time.monotonic()
    progress = PhaseProgress(f"iteration {iteration} · {name}", rows)
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
            _note(eva, iteration, name, time.monotonic() - began, counts)


def _note(eva: Eva, iteration: int, phase: str, seconds: float, counts: dict[str, int]) -> None:
    row = {"iteration": iteration, "phase": phase, "seconds": round(seconds, 3), **counts}
    path = eva.options.out / TELEMETRY
    write_whole(path, map(json_line, [*whole_rows(path), row]))  # appending would go on with a line that was torn


def _finish(eva: Eva) -> None:
    """Put the last model at the folder's top, with what it was made of and what was measured."""
    options, out = eva.options, eva.options.out
    for path in (eva.folder(options.iterations) / MODEL).iterdir():
        if path.is_file() and path.name not in BESIDE:
            _link(path, out / path.name)
    pairs = [eva.folder(number) / "pairs.jsonl" for number in range(1, options.iterations + 1)]
    groups = read_sources(pairs).groups
    made_of = lineage.lineage_of(options, pairs, checked(groups, delta=options.delta), out, groups)
    write_json(out / lineage.FILE, made_of)
    record = read_record(out, options.iterations)
    metrics = metrics_of(record, eva.encoder.encode)
    write_json(out / "metrics.json", metrics)
    write_report(out)
    table_console().print(answers_table(metrics))
    say(f"model {out}")


def _link(path: Path, target: Path) -> None:
    """The file in another folder too, without a second copy of it where the file system can."""
    target.unlink(missing_ok=True)
    try:
        target.hardlink_to(path)
    except OSError:
        shutil.copy2(path, target)


def tasks_in(path: Path) -> list[Task]:
    """The tasks of an iteration's prompts.jsonl."""
    return [Task(**row) for row in whole_rows(path)]


def flaws_told(rows: Sequence[dict[str, Any]]) -> str:
    """How many evolutions were left out, by flaw."""
    flaws = [row["flaw"] for row in rows if row["flaw"] is not None]
    return ", ".join(f"{flaws.count(flaw)} {flaw}" for flaw in dict.fromkeys(flaws)) or "none left out"
