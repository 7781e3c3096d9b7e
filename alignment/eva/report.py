"""The page and the picture of a training by eva: how its prompts evolved, and what became of its answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes

from agents.rows import read_text
from alignment.eva.creator import weights_of
from alignment.eva.families import families, left_out
from alignment.eva.record import Record, read_record
from alignment.iterative.report import (
    OPTIMISERS,
    Points,
    Row,
    answers_rows,
    cost_facts,
    cost_rows,
    counted,
    inlined,
    learned_rows,
    learning_panels,
    lineage_data,
    measured_told,
    of_sets,
    page,
    panels_by,
    prompts_told,
    short,
)
from alignment.lineage import read_lineage
from alignment.report.curves import COLOURS, FAINT, INK, Panel, element, picture
from alignment.report.page import flattened
from alignment.report.words import how_many
from sandbox.folders import write_whole

CURRICULA = {
    "evolve": "the later ones evolved from informative ones",
    "sample": "the later ones informative ones again",
    "static": "the same in each",
    "fresh": "others in each",
}


def write_report(folder: Path) -> None:
    """Write `report.html` and `curves.png` into the folder of a training by eva, from what else is there.

    Raises BadInput where that is not what a training writes.
    """
    lineage, metrics = read_lineage(folder), json.loads(read_text(folder / "metrics.json"))
    record = read_record(folder, len(metrics["iterations"]))
    data, panels, learning = page_data(record, metrics, lineage), panels_of(metrics), learning_panels(record)
    (folder / "curves.png").write_bytes(picture([*panels, *learning], f"{data['name']}: eva"))
    curves = [*inlined(panels), *boxes(informativeness_of(record), metrics["metric"])]
    write_whole(folder / "report.html", page("alignment.eva", data, curves=curves, learning=inlined(learning)))


def page_data(record: Record, metrics: Mapping[str, Any], lineage: Mapping[str, Any]) -> Row:
    """What the page says, as plain data."""
    return {
        "name": Path(str(lineage["config"].get("out", record.folder))).name,
        "sentence": sentence(metrics, lineage),
        "facts": facts(record, metrics, lineage),
        "answers": answers_rows(metrics),
        "operators": operators_rows(metrics),
        "curriculum": families(record) if any(iteration.evolved for iteration in record.iterations) else None,
        "left_out": left_out(record),
        "learning": learning_rows(record, metrics),
        "cost": cost_rows(metrics["cost"]),
        "options": list(flattened(record.settings)),
        **lineage_data(lineage),
    }


def sentence(metrics: Mapping[str, Any], lineage: Mapping[str, Any]) -> str:
    """What was trained on what."""
    again = f", {CURRICULA[metrics['curriculum']]}" if len(metrics["iterations"]) > 1 else ""
    told = (
        f"{short(lineage['base_model'])}, trained by eva: {prompts_told(metrics, lineage)}{again}; "
        f"{OPTIMISERS[metrics['optimiser']]} on the best and the worst of "
        f"{how_many(lineage['config']['responses'], 'response')} to each, as judge {metrics['judge']} rates them"
    )
    return "; ".join([told, *measured_told(metrics)]) + "."


def facts(record: Record, metrics: Mapping[str, Any], lineage: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(term, value) of what the training was, and what it cost."""
    settings = record.settings
    found = [
        ("trained from", lineage["base_model"]),
        ("root of the model's line", lineage.get("root_model")),
        ("first prompts", ", ".join(map(str, lineage["config"]["sources"]))),
        ("curriculum", metrics["curriculum"]),
        ("informativeness", metrics["metric"]),
        ("creator of prompts", settings.get("creator_model")),
        ("judge", " ".join(filter(None, [metrics["judge"], settings.get("judge_model")]))),
        ("optimiser", OPTIMISERS[metrics["optimiser"]]),
        *cost_facts(metrics["cost"]),
    ]
    return [(term, str(value)) for term, value in found if value]


def panels_of(metrics: Mapping[str, Any]) -> list[Panel]:
    """The curves by iteration; a series without values is left out, and a panel without series."""
    own, answers = metrics["iterations"], metrics["answers"]

    def of(key: str) -> Points:
        return [(row["iteration"], row[key]) for row in own]

    kept = [(row["iteration"], _kept_share(row["operators"])) for row in own]
    found: list[tuple[str, str, Mapping[str, Points]]] = [
        ("reward of fresh answers", "mean reward", of_sets(answers, "reward")),
        ("worst tenth of fresh answers", "mean reward", of_sets(answers, "worst")),
        ("informativeness of prompts", metrics["metric"], {"mean": of("informativeness")}),
        ("best less worst reward of a prompt", "reward", {"max − min": of("max_min")}),
        (
            "reward of sampled responses",
            "mean reward",
            {"best": of("best"), "mean": of("reward"), "worst": of("worst")},
        ),
        ("length of prompts", "words", {"prompts": of("words")}),
        ("different word pairs of prompts", "share", {"prompts": of("distinct_2")}),
        ("spread of prompts", "mean of 1 − cosine", {"prompts": of("spread")}),
        ("length of responses", "tokens", {"sampled": of("tokens"), **of_sets(answers, "tokens")}),
        ("evolved prompts that were kept", "share", {"kept": kept}),
    ]
    if metrics["metric"] == "max-min":
        del found[3]  # the same as its informativeness
    return panels_by(found, "iteration")


def informativeness_of(record: Record) -> dict[int, list[float]]:
    """By iteration the informativeness of its prompts, as far as it is known."""
    return {
        iteration.number: [w for w in weights_of(iteration.rewards, record.settings["metric"]) if w is not None]
        for iteration in record.iterations[1:]
    }


def boxes(found: Mapping[int, Sequence[float]], metric: str) -> list[tuple[str, Markup]]:
    """A picture of a box for each iteration that has values, with its title; none where no iteration has."""
    title = "distribution of informativeness"
    drawn = {number: values for number, values in found.items() if values}

    def draw(axes: Axes) -> None:
        line, middle = {"color": FAINT}, {"color": INK, "linewidth": 2}
        box = {"facecolor": COLOURS[0], "alpha": 0.6, "edgecolor": FAINT}
        axes.boxplot(
            [*drawn.values()], positions=[*drawn], widths=0.5, whis=(0, 100), patch_artist=True, manage_ticks=False,
            boxprops=box, medianprops=middle, whiskerprops=line, capprops=line,
        )  # fmt: skip
        axes.set(xlabel="iteration", ylabel=metric, xticks=[*drawn])

    return [(title, Markup(element(title, f"boxes: {title}, {metric}, by iteration", draw)))] if drawn else []


def operators_rows(metrics: Mapping[str, Any]) -> list[Row]:
    """By iteration and operator: prompts evolved, kept and met, and the flaws of the others."""
    return [
        {
            "iteration": row["iteration"],
            "operator": name,
            **{what: told[what] for what in ("evolved", "kept", "met")},
            "flaws": counted(told["flaws"]),
        }
        for row in metrics["iterations"]
        for name, told in row["operators"].items()
    ]


def learning_rows(record: Record, metrics: Mapping[str, Any]) -> list[Row]:
    """By iteration the pairs that its training met, how loss and accuracy went, and which responses were missing."""
    return [
        {
            **learned,
            **{"pairs": own["pairs"], "without": own["without_pair"], "responses": own["responses"]},
            "missing": counted({**own["failed"], "without reward": own["unrated"]}),
        }
        for learned, own in zip(learned_rows(record), metrics["iterations"], strict=True)
    ]


def _kept_share(operators: Mapping[str, Mapping[str, int]]) -> float | None:
    evolved = sum(told["evolved"] for told in operators.values())
    return sum(told["kept"] for told in operators.values()) / evolved if evolved else None
