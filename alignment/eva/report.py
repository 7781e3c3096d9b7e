"""The page and the picture of a training by eva: how its prompts evolved, and what became of its answers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from math import ceil
from pathlib import Path
from statistics import fmean
from typing import Any

import jinja2
from markupsafe import Markup
from matplotlib.axes import Axes

from agents.rows import read_text
from alignment.eva.creator import weights_of
from alignment.eva.families import families, left_out
from alignment.eva.record import Record, read_record
from alignment.lineage import read_lineage
from alignment.report.curves import COLOURS, FAINT, INK, Panel, Series, element, inline, picture
from alignment.report.page import POLICY, estimate, flattened, source_told
from alignment.report.words import duration, how_many
from sandbox.folders import write_whole

Row = dict[str, Any]
Points = Iterable[tuple[int, Any]]  # (iteration or step, number | estimate | None)

OPTIMISERS = {"dpo": "DPO", "simpo": "SimPO", "sppo": "SPPO", "orpo": "ORPO"}
CURRICULA = {
    "evolve": "the later ones evolved from informative ones",
    "sample": "the later ones informative ones again",
    "static": "the same in each",
    "fresh": "others in each",
}
ENDS = 4  # a training's first and last part are one of so many


def write_report(folder: Path) -> None:
    """Write `report.html` and `curves.png` into the folder of a training by eva, from what else is there.

    Raises BadInput where that is not what a training writes.
    """
    lineage, metrics = read_lineage(folder), json.loads(read_text(folder / "metrics.json"))
    record = read_record(folder, len(metrics["iterations"]))
    data, panels, learning = page_data(record, metrics, lineage), panels_of(metrics), learning_panels(record)
    (folder / "curves.png").write_bytes(picture([*panels, *learning], f"{data['name']}: eva"))
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    page = environment.from_string((files("alignment.eva") / "page.html").read_text("utf-8"))
    pieces = page.generate(
        data=data,
        curves=[*map(_inline, panels), *boxes(informativeness_of(record), metrics["metric"])],
        learning=[*map(_inline, learning)],
        policy=POLICY,
        css=Markup((files("alignment.report") / "page.css").read_text("utf-8")),
    )
    write_whole(folder / "report.html", pieces)


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
        "sources": [(source["path"], source_told(source)) for source in lineage["sources"]],
        "digests": [("rows", lineage["rows_digest"]), ("model", lineage["model_digest"])],
    }


def sentence(metrics: Mapping[str, Any], lineage: Mapping[str, Any]) -> str:
    """What was trained on what."""
    config, own, sets = lineage["config"], metrics["iterations"], _by_set(metrics["answers"][0])
    sources = [_short(path) for path in config["sources"]]
    again = f", {CURRICULA[metrics['curriculum']]}" if len(own) > 1 else ""
    told = [
        f"{_short(lineage['base_model'])}, trained by eva: {how_many(len(own), 'iteration')} of "
        f"{how_many(own[0]['prompts'], 'prompt')} from {sources[0] if len(sources) == 1 else f'{len(sources)} sources'}"
        f"{again}; {OPTIMISERS[metrics['optimiser']]} on the best and the worst of "
        f"{how_many(config['responses'], 'response')} to each, as judge {metrics['judge']} rates them"
    ]
    if sets:
        counts = " and ".join(f"{numbers['answers']} {kind}" for kind, numbers in sets.items())
        told.append(f"{counts} prompts to measure on")
    return "; ".join(told) + "."


def facts(record: Record, metrics: Mapping[str, Any], lineage: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(term, value) of what the training was, and what it cost."""
    settings, cost = record.settings, cost_rows(metrics["cost"])[-1]
    found = [
        ("trained from", lineage["base_model"]),
        ("root of the model's line", lineage.get("root_model")),
        ("first prompts", ", ".join(map(str, lineage["config"]["sources"]))),
        ("curriculum", metrics["curriculum"]),
        ("informativeness", metrics["metric"]),
        ("creator of prompts", settings.get("creator_model")),
        ("judge", " ".join(filter(None, [metrics["judge"], settings.get("judge_model")]))),
        ("optimiser", OPTIMISERS[metrics["optimiser"]]),
        ("time of all phases", cost["time"]),
        ("tokens read", cost["read"]),
        ("tokens generated", cost["generated"]),
    ]
    return [(term, str(value)) for term, value in found if value]


def answers_rows(metrics: Mapping[str, Any]) -> list[dict[str, str]]:
    """By iteration and set of prompts: what answers were worth, with intervals; changes are those since the start."""
    return [
        {
            "iteration": str(row["iteration"]),
            "prompts": f"{told['answers']} {kind}",
            "unrated": "" if told["rated"] == told["answers"] else f"{told['answers'] - told['rated']} without reward",
            "reward": _told(told["reward"]),
            "change": _told(told.get("gain"), "+z.3f"),
            "worst": _told(told["worst"]),
            "worst_change": _told(told.get("worst_gain"), "+z.3f"),
            "tokens": _told(told["tokens"], ".1f"),
            "finished": _told(told["finished"], ".0%"),
        }
        for row in metrics["answers"]
        for kind, told in _by_set(row).items()
    ]


def panels_of(metrics: Mapping[str, Any]) -> list[Panel]:
    """The curves by iteration; a series without values is left out, and a panel without series."""
    own, answers = metrics["iterations"], metrics["answers"]

    def of(key: str) -> Points:
        return [(row["iteration"], row[key]) for row in own]

    def of_sets(key: str) -> dict[str, Points]:
        kinds = dict.fromkeys(kind for row in answers for kind in _by_set(row))
        return {kind: [(row["iteration"], row[kind][key]) for row in answers if kind in row] for kind in kinds}

    kept = [(row["iteration"], _kept_share(row["operators"])) for row in own]
    found: list[tuple[str, str, Mapping[str, Points]]] = [
        ("reward of fresh answers", "mean reward", of_sets("reward")),
        ("worst tenth of fresh answers", "mean reward", of_sets("worst")),
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
        ("length of responses", "tokens", {"sampled": of("tokens"), **of_sets("tokens")}),
        ("evolved prompts that were kept", "share", {"kept": kept}),
    ]
    if metrics["metric"] == "max-min":
        del found[3]  # the same as its informativeness
    return [*_panels(found, "iteration")]


def learning_panels(record: Record) -> list[Panel]:
    """Loss and accuracy of the trainings of all iterations, one behind the other."""
    lines: list[tuple[int, Row]] = []
    steps = 0
    for iteration in record.iterations[1:]:
        lines += [(steps + line["step"], line) for line in iteration.log]
        steps += iteration.learned.get("steps", 0)
    found = [
        (title, unit, {title: [(step, line.get(key)) for step, line in lines]})
        for title, unit, key in (
            ("loss", "loss", "loss"),
            ("training pairs in the right order", "share", "rewards/accuracies"),
        )
    ]
    return [*_panels(found, "step of all iterations")]


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
            "flaws": _counted(told["flaws"]),
        }
        for row in metrics["iterations"]
        for name, told in row["operators"].items()
    ]


def learning_rows(record: Record, metrics: Mapping[str, Any]) -> list[Row]:
    """By iteration the pairs that its training met, how loss and accuracy went, and which responses were missing."""
    return [
        {
            "iteration": each.number,
            "pairs": own["pairs"],
            "without": own["without_pair"],
            "dropped": each.learned.get("dropped", "–"),
            "steps": each.learned.get("steps", "–"),
            "loss": _ends(each.log, "loss"),
            "accuracy": _ends(each.log, "rewards/accuracies"),
            "responses": own["responses"],
            "missing": _counted({**own["failed"], "without reward": own["unrated"]}),
        }
        for each, own in zip(record.iterations[1:], metrics["iterations"], strict=True)
    ]


def cost_rows(cost: Mapping[str, Mapping[str, float]]) -> list[dict[str, str]]:
    """By phase, and at the end of all phases: time, calls and tokens."""
    total: Counter[str] = Counter()
    for counts in cost.values():
        total.update(counts)
    return [_cost(phase, counts) for phase, counts in [*cost.items(), ("all", total)]]


def _cost(phase: str, counts: Mapping[str, float]) -> dict[str, str]:
    def told(*names: str) -> str:
        return f"{sum(counts.get(name, 0) for name in names):,.0f}"

    return {
        "phase": phase,
        "time": duration(counts.get("seconds", 0.0)),
        "calls": told("calls"),
        "failures": told("failures"),
        "read": told("prompt_tokens", "input_tokens"),
        "generated": told("completion_tokens"),
    }


def _inline(panel: Panel) -> tuple[str, Markup]:
    return panel.title, Markup(inline(panel))


def _by_set(row: Mapping[str, Any]) -> dict[str, Row]:
    """The numbers of an iteration's answers by the set of prompts."""
    return {kind: numbers for kind, numbers in row.items() if kind != "iteration"}


def _kept_share(operators: Mapping[str, Mapping[str, int]]) -> float | None:
    evolved = sum(told["evolved"] for told in operators.values())
    return sum(told["kept"] for told in operators.values()) / evolved if evolved else None


def _panels(found: Iterable[tuple[str, str, Mapping[str, Points]]], by: str) -> Iterator[Panel]:
    for title, unit, series in found:
        drawn = tuple(each for name, points in series.items() for each in _series(name, points))
        if drawn:
            yield Panel(title, unit, drawn, by)


def _series(name: str, points: Points) -> Iterator[Series]:
    """The curve of what is known, where anything is."""
    known = [(at, value) for at, value in points if value is not None]
    if known:
        yield Series(name, tuple(at for at, _ in known), tuple(_number(value) for _, value in known))


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in counts.items() if count)


def _ends(log: Sequence[Mapping[str, Any]], key: str) -> str:
    """A number's mean in the first and in the last part of a training."""
    values = [line[key] for line in log if line.get(key) is not None]
    part = ceil(len(values) / ENDS)
    return f"{fmean(values[:part]):.3f} → {fmean(values[-part:]):.3f}" if values else "–"


def _number(found: Any) -> float:
    return float(found["value"] or 0.0) if isinstance(found, Mapping) else float(found)


def _told(found: Any, form: str = ".3f") -> str:
    return "–" if found is None else estimate(found, form)


def _short(name: str) -> str:
    """A hub name or relative path as it is, of a whole path its end."""
    return Path(name).name if Path(name).is_absolute() else name
