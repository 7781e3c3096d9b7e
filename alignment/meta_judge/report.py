"""The page and the picture of a training by Meta-Rewarding: what became of the actor, the judge and the meta-judge."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agents.records import OK
from agents.rows import read_text
from alignment.iterative.measures import by_model
from alignment.iterative.report import (
    OPTIMISERS,
    Row,
    answers_rows,
    cost_facts,
    cost_rows,
    counted,
    ends,
    inlined,
    learned_rows,
    lineage_data,
    measured_told,
    page,
    prompts_told,
    short,
    told,
)
from alignment.lineage import read_lineage
from alignment.meta_judge.examples import examples
from alignment.meta_judge.pictures import (
    densities,
    met_in,
    panels_of,
    reward_gains,
    score_gains,
    scores_by_iteration,
    sweeps,
)
from alignment.meta_judge.record import Iteration, Record, read_record
from alignment.report.curves import picture
from alignment.report.page import flattened
from alignment.report.words import how_many
from sandbox.folders import write_whole

OWN = {"text": "the model itself, by the score it writes", "expected": "the model itself, by its expected score"}


def write_report(folder: Path) -> None:
    """Write `report.html` and `curves.png` into the folder of a training by Meta-Rewarding, from what else is there.

    Raises BadInput where that is not what a training writes.
    """
    lineage, metrics = read_lineage(folder), json.loads(read_text(folder / "metrics.json"))
    record = read_record(folder, len(metrics["iterations"]))
    data, panels = page_data(record, metrics, lineage), panels_of(record, metrics)
    every = [panel for section in panels.values() for panel in section]
    (folder / "curves.png").write_bytes(picture(every, f"{data['name']}: {data['method']}"))
    pictures = {section: inlined(each) for section, each in panels.items()}
    distribution, swept = densities(scores_by_iteration(record)), sweeps(metrics)
    write_whole(
        folder / "report.html", page("alignment.meta_judge", data, **pictures, distribution=distribution, swept=swept)
    )


def page_data(record: Record, metrics: Mapping[str, Any], lineage: Mapping[str, Any]) -> Row:
    """What the page says, as plain data."""
    schedule = {str(number): row for number, row in enumerate(record.settings["schedule"], start=1)}
    return {
        "name": Path(str(lineage["config"]["out"])).name,
        "method": method(metrics),
        "sentence": sentence(metrics, lineage),
        "facts": facts(record, metrics, lineage),
        "answers": answers_rows(metrics),
        "iterations": iterations_rows(metrics),
        "meta": meta_rows(metrics),
        "reference": reference_rows(metrics),
        "sweep": sweep_rows(metrics),
        "saturation": saturation_rows(record, metrics),
        "examples": examples(record),
        "learning": learning_rows(record, metrics),
        "cost": cost_rows(metrics["cost"]),
        "options": list(flattened({**record.settings, "schedule": schedule})),
        **lineage_data(lineage),
    }


def method(metrics: Mapping[str, Any]) -> str:
    """What such a training is called."""
    if metrics["judge"] not in OWN:
        return "an outside judge's scores"
    return "Meta-Rewarding" if metrics["meta"] else "self-rewarding"


def sentence(metrics: Mapping[str, Any], lineage: Mapping[str, Any]) -> str:
    """What was trained on what."""
    config, own = lineage["config"], metrics["iterations"]
    actor, judge = (how_many(sum(row[f"{kind}_pairs"] for row in own), "pair") for kind in ("actor", "judge"))
    first = "logged ones first" if config["logged"] else f"{config['responses']} to each prompt"
    times = how_many(config["judgements"], "time")
    judged = f"it judges {times} each" if metrics["judge"] in OWN else f"judge {metrics['judge']} scores"
    compared = f", and on {judge} of judgements, which it compares as meta-judge" if met_in(metrics) else ""
    said = (
        f"{short(lineage['base_model'])}, trained by {method(metrics)}: {prompts_told(metrics, lineage)}; "
        f"{OPTIMISERS[metrics['optimiser']]} on {actor} of responses, {first}, which {judged}{compared}"
    )
    return "; ".join([said, *measured_told(metrics)]) + "."


def facts(record: Record, metrics: Mapping[str, Any], lineage: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(term, value) of what the training was, and what it cost."""
    settings, judge = record.settings, metrics["judge"]
    found = [
        ("trained from", lineage["base_model"]),
        ("root of the model's line", lineage.get("root_model")),
        ("prompts", ", ".join(map(str, lineage["config"]["sources"]))),
        ("first responses", "what agents drafted and revised" if settings.get("logged") else None),
        ("fine-tuned first on", _fine_tuned(record)),
        ("judge", OWN.get(judge, judge)),
        ("meta-judge", "the model itself" if judge in OWN and metrics["meta"] else None),
        ("who rates fresh answers", " ".join(filter(None, [settings["observer"], settings.get("judge_model")]))),
        ("ratings of reference", settings.get("reference")),
        ("optimiser", OPTIMISERS[metrics["optimiser"]]),
        *cost_facts(metrics["cost"]),
    ]
    return [(term, str(value)) for term, value in found if value]


def _fine_tuned(record: Record) -> str | None:
    """What the model that begins had learned from judged answers, if from any."""
    first = record.iterations[0]
    if not first.learned:
        return None
    dropped = f", {first.learned['dropped']} without room" if first.learned["dropped"] else ""
    return (
        f"{short(record.settings['eft'])}: {first.learned['rows']} visits to judged answers{dropped}, "
        f"{how_many(first.learned['steps'], 'step')}, loss {ends(first.log, 'loss')}"
    )


def iterations_rows(metrics: Mapping[str, Any]) -> list[Row]:
    """By iteration: its responses, how long they are, how they are judged, and how many judgements have no score."""
    return [
        {
            "iteration": row["iteration"],
            **{"responses": row["responses"], "distinct": row["distinct"]},
            **{"characters": told(row["characters"], ".0f"), "tokens": told(row["tokens"], ".1f")},
            **{name: told(row[name]) for name in ("score", "disagreement")},
            "length_bias": told(row["length_bias"], "+z.3f"),
            "unread": f"{row['unread']} of {row['judgements']}",
        }
        for row in metrics["iterations"]
    ]


def meta_rows(metrics: Mapping[str, Any]) -> list[Row]:
    """By iteration that had a meta-judge: its verdicts, what they follow, and what a win counts in either position."""
    return [
        {
            "iteration": number,
            **{"bouts": row["bouts"], "verdicts": row["verdicts"], "draws": row["draws"]},
            "unread": f"{row['unread']} of {row['verdicts']}",
            **{name: told(row[name]) for name in ("higher_score", "longer", "first", "first_of_equals")},
            "weights": [f"{weight:.3f}" for weight in row["weights"]],
        }
        for number, row in met_in(metrics)
    ]


def reference_rows(metrics: Mapping[str, Any]) -> list[Row]:
    """After each iteration how the judge agrees with ratings of reference; before a fine-tuning too."""
    return [
        {
            **{name: row[name] for name in ("iteration", "scored", "pairs", "ties")},
            **{name: told(row[name]) for name in ("in_order", "in_order_decided", "spearman")},
        }
        for row in by_model(metrics, "reference")
    ]


def sweep_rows(metrics: Mapping[str, Any]) -> list[Row]:
    """By iteration and ρ: the actor pairs there would be, with mean length and score of both sides."""
    return [
        {
            "iteration": own["iteration"],
            **{"rho": f"{row['rho']:g}", "pairs": row["pairs"]},
            **{name: told(row[name], ".0f") for name in ("chosen_characters", "rejected_characters")},
            **{name: told(row[name]) for name in ("chosen_score", "rejected_score")},
        }
        for own in metrics["iterations"]
        for row in own["sweep"]
    ]


def saturation_rows(record: Record, metrics: Mapping[str, Any]) -> list[Row]:
    """By iteration what it gained over the one before; none where there is no second one."""
    scores, sets = dict(score_gains(metrics)), reward_gains(record)
    numbers = [row["iteration"] for row in metrics["iterations"]]
    return [
        {
            "iteration": number,
            "score": told(scores.get(number), "+z.3f"),
            "rewards": {kind: told(dict(points).get(number), "+z.3f") for kind, points in sets.items()},
        }
        for number in (numbers if len(numbers) > 1 else [])
    ]


def learning_rows(record: Record, metrics: Mapping[str, Any]) -> list[Row]:
    """By iteration its pairs, how loss and accuracy went, and which of the responses were not judged."""
    return [
        {
            **learned,
            **{"actor": own["actor_pairs"], "without": own["prompts"] - own["actor_pairs"]},
            "judge": own["judge_pairs"],
            "missing": counted(_unjudged(each)),
        }
        for learned, each, own in zip(learned_rows(record), record.iterations[1:], metrics["iterations"], strict=True)
    ]


def _unjudged(iteration: Iteration) -> Counter[str]:
    """The responses that nobody judged, by why."""
    outcomes = Counter(reply["outcome"] for row in iteration.responses for reply in row["responses"])
    copies = outcomes.pop(OK, 0) - sum(len(row["judgements"]) for row in iteration.judgements)
    return Counter({**outcomes, "blank or a copy": copies})
