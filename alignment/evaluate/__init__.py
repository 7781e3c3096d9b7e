"""`align evaluate`: a model beside another, on what neither was trained on (docs/evaluate.md)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agents.errors import BadInput
from agents.models import EMBEDDED_MODEL, encoder_folder, root_model
from agents.observers import REWARD_MODEL
from alignment.benchmarks import BENCHMARKS
from alignment.config import AlignEvaluateOptions
from alignment.evaluate.abilities import ability_groups, ability_measures
from alignment.evaluate.answers import answer_measures
from alignment.evaluate.duels import WinRate, by_topic, win_rate
from alignment.evaluate.items import likelihood_section, round_section, task_section
from alignment.evaluate.likelihoods import Reader, attacked, likelihood_measures, neutral_measure, task_measures
from alignment.evaluate.material import Material, read_material, record_of
from alignment.evaluate.pair import Pair
from alignment.evaluate.speaking import rounds_of
from alignment.evaluate.tables import duel_table, measure_table
from alignment.harness import require_tasks
from alignment.safety import counted
from memory.encoder import Encoder
from sandbox.console import say, table_console
from sandbox.folders import write_whole
from sandbox.side_by_side import require_writable

PARTS = ("likelihood", "abilities", "tasks", "answers", "second-turn", "adversarial")
TITLES = {
    "likelihood": "rated answers",
    "abilities": "general ability, share of right answers",
    "tasks": "benchmarks",
    "adversarial likelihood": "rated answers, a misaligned one in the prompt",
    "first turn": "fresh answers",
    "second turn": "fresh answers, second turn",
    "adversarial": "fresh answers, a misaligned one in the prompt",
}
JUDGES = ("llm", "llm:verdict", "llm:scale", "embedding", "reward-model:DIR")


def run_evaluate(options: AlignEvaluateOptions) -> None:
    """Print what is measured, and write it where `--json-out` says.

    Raises BadInput where models, data or options are not usable.
    """
    parts = _parts(options)
    pair = Pair(options.model, options.against or record_of(options.model).base)
    trained = frozenset[str]()
    if not options.include_trained:
        trained = trained.union(*(record_of(name).queries for name in pair.names))
    material = read_material(options, trained)
    for line in _told(material, pair):
        say(line)
    sections: dict[str, Any] = {}
    if parts & {"likelihood", "abilities", "tasks", "adversarial"}:
        sections |= _read(parts, material, pair, options)
    if parts & {"answers", "second-turn", "adversarial"}:
        sections |= _spoken(parts, material, pair, options)
    if options.json_out is not None:
        counts = {"trained": material.trained, "left_out": material.left_out, "flaws": counted(material.flaws)}
        told = {"model": pair.model, "against": pair.against, "data": counts, **sections}
        settings = {"options": options.model_dump(mode="json")}
        write_whole(options.json_out, json.dumps(told | settings, ensure_ascii=False, allow_nan=False, indent=1) + "\n")


def _parts(options: AlignEvaluateOptions) -> set[str]:
    judge = "reward-model:DIR" if options.judge.startswith(REWARD_MODEL) else options.judge
    for what, given, known in (("measure", options.measure, PARTS), ("judge", [judge], JUDGES)):
        unknown = [name for name in given if name not in known]
        if unknown:
            raise BadInput(f"--{what} {unknown[0]}: unknown; known: {', '.join(known)}")
    require_writable(options.json_out)
    parts = set(options.measure or PARTS)
    if options.task and "tasks" not in parts:
        raise BadInput(f"--task {options.task[0]}: --measure leaves it out; add --measure tasks")
    if options.task:
        require_tasks(options.task, options.task_data)
    elif "tasks" in options.measure:
        raise BadInput(f"--measure tasks: name them with --task: {', '.join(BENCHMARKS)}")
    return parts if options.task else parts - {"tasks"}


def _told(material: Material, pair: Pair) -> Iterator[str]:
    beside = f"beside {pair.against}" if pair.against is not None else "alone: name another with --against"
    yield f"{pair.model} {beside}"
    yield (
        f"{len(material.groups)} groups of rated answers, {len(material.asked)} questions, "
        f"{len(material.attacked)} with a misaligned answer"
    )
    if material.trained:
        yield f"{material.trained} left out, for a model was trained on their queries (--include-trained keeps them)"
    left_out = {**material.left_out, **counted(material.flaws)}
    if left_out:
        yield "left out of the sources: " + ", ".join(f"{count} {reason}" for reason, count in left_out.items())


def _read(parts: set[str], material: Material, pair: Pair, options: AlignEvaluateOptions) -> dict[str, Any]:
    """The sections of likelihoods, whose tables are printed."""
    unreadable = [name for name in pair.names if not _is_here(name, options)]
    if unreadable:
        say(f"{unreadable[0]} is on a server, which does not tell likelihoods of given answers: they are left out")
        return {}
    sets = {
        "likelihood": material.groups if "likelihood" in parts else (),
        "abilities": ability_groups() if "abilities" in parts else (),
        "adversarial likelihood": attacked(material.groups) if "adversarial" in parts else (),
    }
    found, neutral, scores = [], [], []
    for name in pair.names:
        reader = Reader.of(name, options.max_length)
        if any(sets.values()):
            say(f"{name} reads {sum(map(len, sets.values()))} groups")
        found.append({title: reader.read(groups) for title, groups in sets.items()})
        if "likelihood" in parts:
            neutral.append(reader.neutral())
        if "tasks" in parts:
            say(f"{name} chooses in {', '.join(options.task)}")
            scores.append(reader.scores(options.task, options.task_data, options.task_items))
        del reader  # before the next one is loaded
    sections = {}
    for title, groups in sets.items():
        if not groups:
            continue
        sides = [each[title] for each in found]
        against = sides[1] if len(sides) > 1 else None
        if title == "abilities":
            measures = ability_measures(groups, sides[0], against)
        else:
            measures = likelihood_measures(groups, sides[0], against, delta=material.delta)
        if title == "likelihood":
            measures.append(neutral_measure(neutral[0], neutral[1] if len(neutral) > 1 else None))
        table_console().print(measure_table(TITLES[title], measures, *pair.shown, "groups"))
        sections[title] = likelihood_section(measures, groups, sides[0], against)
    if scores:
        measures = task_measures(*scores)
        table_console().print(measure_table(TITLES["tasks"], measures, *pair.shown, "items"))
        sections["tasks"] = task_section(measures, *scores)
    return sections


def _is_here(name: str, options: AlignEvaluateOptions) -> bool:
    """Whether the model's weights can be read: with a server, what is no folder is a name of the server's."""
    return not options.server or name == EMBEDDED_MODEL or Path(name).expanduser().is_dir()


def _spoken(parts: set[str], material: Material, pair: Pair, options: AlignEvaluateOptions) -> dict[str, Any]:
    """The sections of fresh answers, whose tables are printed."""
    judge = options.judge_model or root_model(options.model)
    rounds = asyncio.run(rounds_of(parts, material, pair, judge, options))
    encode = None if options.encoder == "none" else Encoder(encoder_folder(options.encoder)).encode
    sections: dict[str, Any] = {}
    for kind, held in rounds.items():
        measures = answer_measures(held.questions, held.model, held.against, encode)
        table_console().print(measure_table(TITLES[kind], measures, *pair.shown, "answers"))
        sections[kind] = round_section(measures, held)
    model, against = pair.shown
    if against is not None:
        rates: dict[str, WinRate] = {kind: win_rate(held.duels) for kind, held in rounds.items()}
        table_console().print(duel_table("duels", rates, model, against, judge))
        topics = by_topic([duel for held in rounds.values() for duel in held.duels])
        if topics:
            table_console().print(duel_table("duels by topic", topics, model, against, judge))
    return sections
