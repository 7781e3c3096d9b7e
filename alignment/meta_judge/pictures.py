"""The pictures on the page of a training by Meta-Rewarding: curves, densities of scores, sweeps of ρ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from numpy.typing import NDArray
from scipy.stats import gaussian_kde

from alignment.iterative.measures import answers_numbers
from alignment.iterative.report import (
    Points,
    Row,
    learning_panels,
    of_sets,
    panels_by,
)
from alignment.meta_judge.learned import scores_of
from alignment.meta_judge.pairs import CLOSE
from alignment.meta_judge.record import Record
from alignment.report.curves import COLOURS, Panel, element

Pictures: TypeAlias = list[tuple[str, Markup]]  # (title, drawing)
Found: TypeAlias = list[tuple[str, str, Mapping[str, Points]]]  # (title, unit, points by name)
Floats: TypeAlias = NDArray[np.float64]

SHOWN = len(COLOURS)  # iterations that are drawn in one picture, or have examples
# A legend that covers no curve.
ABOVE = {"loc": "lower center", "bbox_to_anchor": (0.5, 1), "ncols": 4, "columnspacing": 1, "handlelength": 1}
POINTS = 200  # of the line of a density
TAIL = 3.0  # bandwidths that a density is drawn beyond its scores
SWEEPS: tuple[tuple[str, str, Mapping[str, str]], ...] = (  # title, unit, key by style of line
    ("actor pairs", "pairs", {"-": "pairs"}),
    ("length of both sides", "characters", {"-": "chosen_characters", ":": "rejected_characters"}),
    ("score of both sides", "mean score", {"-": "chosen_score", ":": "rejected_score"}),
)


def score_gains(metrics: Mapping[str, Any]) -> Points:
    """Mean score of an iteration's responses less that of the one before, whose prompts are others."""
    return [
        (new["iteration"], new["score"]["value"] - old["score"]["value"])
        for old, new in pairwise(metrics["iterations"])
        if old["score"] and new["score"]
    ]


def reward_gains(record: Record) -> dict[str, Points]:
    """By set of prompts: rewards of the answers after an iteration less those before it, paired by prompt."""
    found = [
        {"iteration": new.number, **answers_numbers(new.answers, old.answers)}
        for old, new in pairwise(record.iterations)
    ]
    return of_sets(found, "gain")


def panels_of(record: Record, metrics: Mapping[str, Any]) -> dict[str, list[Panel]]:
    """The curves by section of the page; a series without values is left out, and a panel without series."""
    own, answers, met = metrics["iterations"], metrics["answers"], met_in(metrics)

    def of(key: str) -> Points:
        return [(row["iteration"], row[key]) for row in own]

    def of_meta(key: str) -> Points:
        return [(number, row[key]) for number, row in met]

    def of_reference(key: str) -> Points:
        return [(row["iteration"], row[key]) for row in metrics["reference"]]

    unread = {
        "judgements": [(row["iteration"], _ratio(row["unread"], row["judgements"])) for row in own],
        "verdicts": [(number, _ratio(row["unread"], row["verdicts"])) for number, row in met],
    }
    by_worth = {"higher score": of_meta("higher_score"), "longer": of_meta("longer")}
    by_place = {"of all": of_meta("first"), "of equal scores": of_meta("first_of_equals")}
    in_order = {"ties as half": of_reference("in_order"), "ties dropped": of_reference("in_order_decided")}
    found: dict[str, Found] = {
        "curves": [
            ("reward of fresh answers", "mean reward", of_sets(answers, "reward")),
            ("worst tenth of fresh answers", "mean reward", of_sets(answers, "worst")),
            ("score of responses", "mean score", {"score": of("score")}),
            ("disagreement of judgements", "standard deviation", {"disagreement": of("disagreement")}),
            ("without score or winner", "share", unread),
            ("length of responses", "characters", {"sampled": of("characters")}),
            ("tokens of responses", "tokens", {"sampled": of("tokens"), **of_sets(answers, "tokens")}),
            ("correlation of scores with length", "Spearman's ρ", {"judge": of("length_bias")}),
            ("pairs", "pairs", {"actor": of("actor_pairs"), **({"judge": of("judge_pairs")} if met else {})}),
        ],
        "meta": [
            ("won by the higher score, by the longer judgement", "share", _beside_half(by_worth)),
            ("won by the judgement shown first", "share", _beside_half(by_place)),
        ],
        "reference": [
            ("pairs in the order of reference", "share", _beside_half(in_order)),
            ("rank correlation with the reference", "Spearman's ρ", {"judge": of_reference("spearman")}),
        ],
        "saturation": [
            ("gain in score", "mean score", {"score": score_gains(metrics)}),
            ("gain in reward of fresh answers", "mean reward", reward_gains(record)),
        ]
        if len(own) > 1
        else [],
    }
    drawn = {section: panels_by(each, "iteration") for section, each in found.items()}
    return {**drawn, "learning": learning_panels(record)}


def scores_by_iteration(record: Record) -> dict[int, list[float]]:
    """The scores of an iteration's responses."""
    return {
        each.number: [score for row in each.judgements for score in scores_of(row).values()]
        for each in record.iterations[1:]
    }


def density(scores: Sequence[float]) -> tuple[Floats, Floats] | None:
    """(x, density at x) of a Gaussian kernel with Scott's bandwidth; None where fewer than two scores differ."""
    if len(scores) < 2 or np.ptp(scores) < CLOSE:
        return None
    kernel = gaussian_kde(scores)
    tail = TAIL * float(np.sqrt(kernel.covariance.item()))
    x = np.linspace(min(scores) - tail, max(scores) + tail, POINTS)
    return x, kernel(x)


def densities(scores: Mapping[int, Sequence[float]]) -> Pictures:
    """The densities of all iterations that have one in one picture, with its title; none where none has."""
    found = {number: density(each) for number, each in scores.items()}
    lines = {number: line for number, line in found.items() if line is not None}
    title = "density of scores"

    def draw(axes: Axes) -> None:
        for colour, number in zip(COLOURS, shown([*lines]), strict=False):
            axes.plot(*lines[number], color=colour, label=f"iteration {number}")
        axes.set(xlabel="score of a response", ylabel="density", ylim=(0, None))
        axes.legend(**ABOVE)

    return [(title, Markup(element(title, f"{title} of responses, by iteration", draw)))] if lines else []


def sweeps(metrics: Mapping[str, Any]) -> Pictures:
    """What other values of ρ would have given: pictures with a colour for each iteration; none without any pair."""
    own = {row["iteration"]: row["sweep"] for row in metrics["iterations"] if any(s["pairs"] for s in row["sweep"])}

    def drawn(title: str, unit: str, keys: Mapping[str, str]) -> str:
        def draw(axes: Axes) -> None:
            for colour, number in zip(COLOURS, shown([*own]), strict=False):
                for line, key in keys.items():
                    known = [(row["rho"], row[key]) for row in own[number] if row[key] is not None]
                    label = f"iteration {number}" if line == "-" else None
                    axes.plot(*zip(*known, strict=True), line, marker=".", color=colour, label=label)
            axes.set(xlabel="ρ", ylabel=unit)
            axes.legend(**ABOVE)

        return element(f"sweep: {title}", f"{title}, {unit}, by ρ and iteration", draw)

    return [(title, Markup(drawn(title, unit, keys))) for title, unit, keys in SWEEPS] if own else []


def shown(numbers: Sequence[int]) -> list[int]:
    """At most SHOWN of the iterations, evenly, with the first and the last."""
    places = np.linspace(0, len(numbers) - 1, min(SHOWN, len(numbers))).round().astype(int)
    return [numbers[place] for place in places]


def met_in(metrics: Mapping[str, Any]) -> list[tuple[int, Row]]:
    """The iterations that had a meta-judge, with what it did."""
    return [(row["iteration"], row["meta_judge"]) for row in metrics["iterations"] if row["meta_judge"]]


def _beside_half(series: Mapping[str, Points]) -> dict[str, Points]:
    """Shares, and the half that they would be by chance."""
    known = sorted({at for points in series.values() for at, share in points if share is not None})
    return {**series, "½": [(at, 0.5) for at in known]}


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
