"""`align meta-judge`: iterations of an actor, its judge and its meta-judge, who are one model (docs/meta-judge.md).

What is there of an iteration is kept, so a training that was killed goes on in the middle of a phase, and a finished
one with more iterations.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from agents.errors import BadInput
from agents.metered import Metered
from alignment.config import AlignMetaJudgeOptions
from alignment.iterative.course import FIRST, MODEL, PAIRS, Panel
from alignment.iterative.learning import fine_tune
from alignment.iterative.measures import answers_table
from alignment.iterative.prompts import Task, first_tasks
from alignment.iterative.sampling import responded
from alignment.meta_judge import sampling
from alignment.meta_judge.learned import actor_pairs, judge_pairs
from alignment.meta_judge.record import metrics_of, read_record
from alignment.meta_judge.report import write_report
from alignment.meta_judge.setup import OWN_JUDGES, Meta, Turn, tuning
from alignment.phases import whole_rows, written
from alignment.trained import write_json
from sandbox.console import say, table_console

Row = dict[str, Any]


def run_meta_judge(options: AlignMetaJudgeOptions) -> Path:
    """Train as `options` say, and write all of it to the folder `--out`, which holds the last model at its top.

    Raises BadInput before anything is written where options, prompts or models are not usable; TooManyFailures.
    """
    meta = Meta.of(options)
    course = meta.course
    _fine_tuned(meta)
    course.train(partial(_sampled, meta))
    if not course.is_first:
        return options.out
    asyncio.run(_measured(meta))
    course.finish()
    metrics = metrics_of(read_record(options.out, options.iterations, [group.scores for group in meta.reference]))
    write_json(options.out / "metrics.json", metrics)
    write_report(options.out)
    if course.measured:
        table_console().print(answers_table(metrics))
    say(f"model {options.out}")
    return options.out


def _fine_tuned(meta: Meta) -> None:
    """Have the model learn what a judgement looks like, where there are judged answers, before the first iteration."""
    course, folder = meta.course, meta.course.folder(0)
    if not meta.judged or (folder / MODEL).exists():
        return
    course.make(folder / FIRST, partial(_untrained, meta))
    course.learn(0, "fine-tuning", partial(fine_tune, folder / FIRST, meta.options.model, tuning(meta.options)))


async def _untrained(meta: Meta) -> None:
    """What the model answers, and how it judges, before it learns; and what it learns from."""
    async with _opened(meta, None) as panel:
        meta.course.begin()
        await _measure(meta, None, panel)
    written(meta.course.folder(0) / FIRST, lambda: meta.judged)


@asynccontextmanager
async def _opened(meta: Meta, iteration: int | None) -> AsyncIterator[Panel]:
    """The model that came out of an iteration, who measures it, and an observer who judges in its place, if any."""
    options = meta.options
    observers = [options.observer] * bool(meta.course.measured) + [options.judge] * (options.judge not in OWN_JUDGES)
    calls = meta.size * options.responses * options.judgements  # an expected score's second call waits for its first
    async with meta.course.panel([meta.course.solver(iteration)], observers, calls) as panel:
        if options.judge == "expected":
            await sampling.require_probabilities(_model(meta, iteration, panel))
        yield panel


async def _measured(meta: Meta) -> None:
    """What the last model answers, and how it judges."""
    last = meta.options.iterations
    if meta.course.has_answered(last) and len(whole_rows(_reference_path(meta, last))) == len(meta.reference):
        return
    async with _opened(meta, last) as panel:
        await _measure(meta, last, panel)


async def _measure(meta: Meta, iteration: int | None, panel: Panel) -> None:
    """What the model that came out of an iteration answers, and how it judges rated answers."""
    await meta.course.answer(iteration, panel, meta.options.observer)
    if meta.reference:
        groups = meta.reference
        rows = [
            {"id": str(n), "responses": [{"text": text} for text in group.responses]} for n, group in enumerate(groups)
        ]
        with meta.course.phase(iteration, "reference", len(rows), panel.quota) as told:
            await sampling.judged(
                _reference_path(meta, iteration),
                [group.question for group in groups],
                rows,
                _judge(meta, iteration, panel),
                panel.quota,
                calls=_judge_calls(meta),
                batch_invariant=_judge_invariant(meta, iteration, panel),
                told=told,
            )


async def _sampled(meta: Meta, iteration: int) -> None:
    """All phases of an iteration before its training: from the answers of its first model to the pairs."""
    course, folder, turn = meta.course, meta.course.folder(iteration), meta.turn(iteration)
    async with _opened(meta, iteration - 1) as panel:
        course.begin()
        await _measure(meta, iteration - 1, panel)
        tasks = first_tasks(meta.questions, meta.size, iteration, meta.options.seed, ahead=meta.logged)
        written(folder / "prompts.jsonl", lambda: map(asdict, tasks))
        responses = await _responses(meta, iteration, tasks, panel)
        with course.phase(iteration, "judgements", len(tasks), panel.quota) as told:
            judgements = await sampling.judged(
                folder / "judgements.jsonl",
                [task.text for task in tasks],
                responses,
                _judge(meta, iteration - 1, panel),
                panel.quota,
                calls=_judge_calls(meta),
                batch_invariant=_judge_invariant(meta, iteration - 1, panel),
                told=told,
            )
        verdicts = await _verdicts(meta, iteration, tasks, responses, judgements, panel) if turn.judge else []
    made: list[Row] = []
    if turn.actor:
        delta = meta.options.delta
        made += actor_pairs(tasks, responses, judgements, system=course.system, rho=turn.rho, delta=delta)
    made += judge_pairs(tasks, responses, judgements, verdicts, max_judgement=turn.max_judgement)
    if not made:
        raise BadInput(_no_pairs(folder, turn, judgements, meta.options.judge))
    written(folder / PAIRS, lambda: made)


async def _responses(meta: Meta, iteration: int, tasks: Sequence[Task], panel: Panel) -> list[Row]:
    """The responses to each prompt: in the first iteration what agents said, with --logged, else sampled."""
    course, options, path = meta.course, meta.options, meta.course.folder(iteration) / "responses.jsonl"
    if iteration == 1 and meta.logged:
        return written(path, lambda: ({"id": task.id, "responses": meta.logged[task.text]} for task in tasks))
    with course.phase(iteration, "responses", len(tasks), panel.quota) as told:
        return await responded(
            path,
            tasks,
            options.responses,
            _model(meta, iteration - 1, panel),
            course.manner(options.max_tokens),
            course.system,
            panel.quota,
            iteration,
            told,
        )


async def _verdicts(
    meta: Meta, iteration: int, tasks: Sequence[Task], responses: Sequence[Row], judgements: Sequence[Row], panel: Panel
) -> list[Row]:
    """What the meta-judge says of the judgements that disagree the most."""
    course, options = meta.course, meta.options
    asked = sampling.bouts([task.text for task in tasks], responses, judgements)
    with course.phase(iteration, "verdicts", len(asked), panel.quota) as told:
        return await sampling.met(
            course.folder(iteration) / "verdicts.jsonl",
            asked,
            _model(meta, iteration - 1, panel),
            course.manner(options.judge_tokens),
            panel.quota,
            iteration,
            by_text=options.judge == "text",
            told=told,
        )


def _model(meta: Meta, iteration: int | None, panel: Panel) -> Metered:
    return panel.models[meta.course.solver(iteration)]


def _judge(meta: Meta, iteration: int | None, panel: Panel) -> sampling.JudgeOf:
    """Who judges: the model that came out of an iteration, or an observer."""
    options = meta.options
    if options.judge not in OWN_JUDGES:
        return sampling.from_outside(panel.observers[options.judge])
    by = sampling.by_text if options.judge == "text" else sampling.by_expectation
    manner = meta.course.manner(options.judge_tokens)
    return by(_model(meta, iteration, panel), manner, options.judgements, iteration or 0)


def _judge_calls(meta: Meta) -> int:
    """How many calls judge a response: an expected score is read by another one behind the reasoning."""
    judge, count = meta.options.judge, meta.options.judgements
    return {"text": count, "expected": 2 * count}.get(judge, 1)


def _judge_invariant(meta: Meta, iteration: int | None, panel: Panel) -> bool:
    if meta.options.judge not in OWN_JUDGES:
        return panel.observers[meta.options.judge].batch_invariant
    return _model(meta, iteration, panel).batch_invariant


def _reference_path(meta: Meta, iteration: int | None) -> Path:
    return meta.course.folder(iteration) / "reference.jsonl"


def _no_pairs(folder: Path, turn: Turn, judgements: Sequence[Row], judge: str) -> str:
    """Why an iteration has nothing to learn from."""
    every = [each for row in judgements for rows in row["judgements"].values() for each in rows]
    unread = sum(each["score"] is None for each in every)
    distinct = sum(len(row["judgements"]) for row in judgements)
    others = {"text": "--judge expected, judged answers to learn from first (--eft), ", "expected": "--eft, "}
    remedy = others.get(judge, "") + "another --judge, or a stronger model"
    wanted = " and ".join(["responses"] * turn.actor + ["judgements"] * turn.judge) or "nothing, by its schedule"
    return (
        f"{folder}: no pair to learn from (wanted: {wanted}); no score could be read from {unread} of {len(every)} "
        f"judgements of {distinct} distinct responses to {len(judgements)} prompts; sample more, or choose {remedy}"
    )
