"""`align eva`: iterations of a creator of prompts and a solver that learns from them (docs/eva.md).

What is there of an iteration is kept, so a training that was killed goes on in the middle of a phase, and a finished
one with more iterations.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from agents.errors import BadInput
from alignment.config import AlignEvaOptions
from alignment.eva import sampling
from alignment.eva.creator import evolved_rows, evolved_tasks, parents_of, repeated, weights_of
from alignment.eva.curriculum import evolutions, next_tasks
from alignment.eva.operators import SHIPPED
from alignment.eva.record import metrics_of, read_record
from alignment.eva.report import write_report
from alignment.eva.setup import Eva
from alignment.eva.solver import pairs_of
from alignment.iterative.course import PAIRS, Panel
from alignment.iterative.measures import answers_table
from alignment.iterative.prompts import Task, first_tasks, tasks_in
from alignment.iterative.sampling import responded
from alignment.phases import whole_rows, written
from alignment.trained import write_json
from sandbox.console import say, table_console
from sandbox.folders import write_whole


def run_eva(options: AlignEvaOptions) -> Path:
    """Train as `options` say, and write all of it to the folder `--out`, which holds the last model at its top.

    Raises BadInput before anything is written where options, prompts or models are not usable; TooManyFailures.
    """
    eva = Eva.of(options)
    course = eva.course
    course.train(partial(_sampled, eva))
    if not course.is_first:
        return options.out
    if not course.has_answered(options.iterations):
        asyncio.run(_answered(eva))
    course.finish()
    metrics = metrics_of(read_record(options.out, options.iterations), eva.encoder.encode)
    write_json(options.out / "metrics.json", metrics)
    write_report(options.out)
    if course.measured:
        table_console().print(answers_table(metrics))
    say(f"model {options.out}")
    return options.out


def _opened(eva: Eva, iteration: int) -> AbstractAsyncContextManager[Panel]:
    """The models that begin an iteration."""
    solver = eva.course.solver(iteration - 1)
    names = [solver, eva.options.creator_model or solver]
    return eva.course.panel(names, [eva.options.judge], calls=eva.options.responses * eva.size)


async def _answered(eva: Eva) -> None:
    """The last model answers what it is measured on."""
    last = eva.options.iterations
    async with _opened(eva, last + 1) as panel:
        await eva.course.answer(last, panel, eva.options.judge)


async def _sampled(eva: Eva, iteration: int) -> None:
    """All phases of an iteration before its training: from the answers of its first model to the pairs."""
    options, course, folder = eva.options, eva.course, eva.course.folder(iteration)
    async with _opened(eva, iteration) as panel:
        course.begin()
        write_whole(options.out / "operators.toml", (options.operators or SHIPPED).read_text("utf-8"))
        solver = panel.models[course.solver(iteration - 1)]
        await course.answer(iteration - 1, panel, options.judge)
        tasks = await _tasks(eva, iteration, panel)
        with course.phase(iteration, "responses", len(tasks), panel.quota) as told:
            responses = await responded(
                folder / "responses.jsonl",
                tasks,
                options.responses,
                solver,
                course.manner(options.max_tokens),
                course.system,
                panel.quota,
                iteration,
                told,
            )
        with course.phase(iteration, "rewards", len(tasks), panel.quota) as told:
            path = folder / "rewards.jsonl"
            rewards = await sampling.rewarded(path, tasks, responses, panel.observers[options.judge], panel.quota, told)
    made = list(pairs_of(tasks, responses, rewards, system=course.system, delta=options.delta))
    if not made:
        raise BadInput(
            f"{folder}: no two responses to any of {len(tasks)} prompts differ in their rewards by more than "
            f"--delta {options.delta:g}; sample more of them, hotter or longer, or choose another --judge"
        )
    written(folder / PAIRS, lambda: made)


async def _tasks(eva: Eva, iteration: int, panel: Panel) -> list[Task]:
    """The prompts of an iteration."""
    path = eva.course.folder(iteration) / "prompts.jsonl"
    if path.exists():
        return tasks_in(path)
    options, seed = eva.options, eva.options.seed
    if iteration == 1 or options.curriculum in ("fresh", "static"):
        part = iteration if options.curriculum == "fresh" else 1
        tasks = first_tasks(eva.questions, eva.size, part, seed)
    else:
        earlier = [task for n in range(1, iteration) for task in tasks_in(eva.course.folder(n) / "prompts.jsonl")]
        buffer = list({task.id: task for task in earlier}.values())
        last = eva.course.folder(iteration - 1)
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
    options, folder = eva.options, eva.course.folder(iteration)
    kinds = {name: operator.needs_other for name, operator in eva.operators.items()}
    tasks = [task for task, _ in parents]
    asked = evolutions(tasks, buffer, kinds, options.evolutions, seed=options.seed, iteration=iteration)
    creator = panel.models[options.creator_model or eva.course.solver(iteration - 1)]
    with eva.course.phase(iteration, "evolving", len(asked), panel.quota) as told:
        replies = await sampling.evolved(
            folder / "replies.jsonl",
            asked,
            eva.operators,
            creator,
            eva.course.manner(options.prompt_tokens),
            panel.quota,
            iteration,
            told,
        )
    known = [*(task.text for task in buffer), *(text for _, text in eva.course.measured)]
    by_id = {task.id: (task, weight) for task, weight in parents}
    made = list(
        evolved_rows(replies, by_id, eva.operators, eva.encoder.encode, known, iteration, options.prompt_tokens)
    )
    kept = sum(row["flaw"] is None for row in made)
    say(f"iteration {iteration}: {kept} of {len(made)} evolved prompts kept, {flaws_told(made)}")
    if not kept:
        raise BadInput(
            f"{folder}: none of {len(made)} evolved prompts can be used ({flaws_told(made)}); begin anew, to another "
            "--out, with a better --creator-model or other --operators"
        )
    return written(folder / "evolved.jsonl", lambda: made)


def flaws_told(rows: Sequence[dict[str, Any]]) -> str:
    """How many evolutions were left out, by flaw."""
    flaws = [row["flaw"] for row in rows if row["flaw"] is not None]
    return ", ".join(f"{flaws.count(flaw)} {flaw}" for flaw in dict.fromkeys(flaws)) or "none left out"
