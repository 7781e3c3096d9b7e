"""Trainings side by side: whether they can be compared, and what a user picks one by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.errors import BadInput
from alignment.likelihood import Estimate, accuracy_gain
from alignment.report.curves import Panel, panels_of
from alignment.report.record import Record, read_record, rows_of


@dataclass(frozen=True, slots=True)
class Training:
    """What a folder tells of its training; `held_out`: the groups measured on, with both likelihoods of each answer."""

    folder: Path
    record: Record
    panels: Sequence[Panel]
    held_out: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Change:
    """A number at the start and at the end of a training; None where there was nothing to measure it on."""

    start: float | None
    end: float | None


@dataclass(frozen=True, slots=True)
class Side:
    """One training of a comparison.

    `quality`: what `metrics.json` tells of all held-out groups, before and after, by its names there. `gain` is that of
    pair accuracy, `against_first` its value after training minus the first side's; with 95 % intervals over groups.
    `watched` is measured on a few held-out groups: margin of best over worst, reward and length of fresh answers; with
    it KL(now‖start), nats a token, `kl` at the end and `highest_kl`. `losses`: the smallest and the largest that was
    logged, comparable within a method only. `cost` is that of `alignment.cost.Cost`.
    """

    name: str
    method: str
    quality: Mapping[str, Change]
    gain: Estimate | None
    against_first: Estimate | None
    watched: Mapping[str, Change]
    kl: float | None
    highest_kl: float | None
    losses: tuple[float, float] | None
    steps: int | None
    visits: int | None
    cost: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Trainings of one model on the same rows.

    `differing`: the values, in the order of `sides`, of settings that all have and not all have alike.
    """

    sides: list[Side]
    differing: dict[str, list[Any]]


def read_training(folder: Path) -> Training:
    """What a training left in `folder`. Raises BadInput where it is none."""
    record = read_record(folder)
    return Training(folder, record, panels_of(record), rows_of(folder / "held_out.jsonl"))


def compared(trainings: Mapping[str, Training]) -> Comparison:
    """The trainings, by shown name, the first one being the baseline.

    Raises BadInput where another one is of another model, was made of other rows or measured on others.
    """
    first, *others = trainings.values()
    for other in others:
        _require_same(first, other)
    delta = first.record.metrics["data"].get("delta", 0.0)
    return Comparison(
        [_side(name, each, _against(first, each, delta)) for name, each in trainings.items()],
        _differing([each.record.settings for each in trainings.values()]),
    )


def _require_same(first: Training, other: Training) -> None:
    one, two = first.record.lineage, other.record.lineage
    both = f"{first.folder} and {other.folder}"
    if one["base_model"] != two["base_model"]:
        raise BadInput(
            f"{both}: trained from {one['base_model']} and {two['base_model']}; compare trainings of one model"
        )
    if one["rows_digest"] != two["rows_digest"]:
        raise BadInput(f"{both}: made of different rows; train both on the same data, read with the same options")
    if _groups(first) != _groups(other):
        raise BadInput(
            f"{both}: measured on different groups; train both with the same --seed, --test-share and --max-length"
        )


def _side(name: str, training: Training, against_first: Estimate | None) -> Side:
    record = training.record
    metrics, points = record.metrics, record.points
    first, last = (points[0], points[-1]) if points else ({}, {})
    before, after = metrics["before"], metrics["after"]
    losses = [line["loss"] for line in record.log if line.get("loss") is not None]
    divergences = [point["kl"] for point in points if point.get("kl") is not None]
    gain = metrics.get("accuracy_gain")
    return Side(
        name=name,
        method=record.method,
        quality={
            key: Change(_value(before.get(key)), _value(after[key])) for key in after if key not in ("groups", "pairs")
        },
        gain=gain and Estimate(**gain),
        against_first=against_first,
        watched={key: Change(first.get(key), last.get(key)) for key in ("margin", "reward", "answer_tokens")},
        kl=last.get("kl"),
        highest_kl=max(divergences, default=None),
        losses=(min(losses), max(losses)) if losses else None,
        steps=metrics["train"].get("steps"),
        visits=metrics["train"].get("visits"),
        cost=metrics["cost"],
    )


def _against(first: Training, other: Training, delta: float) -> Estimate | None:
    """Pair accuracy of `other` after its training minus that of `first`; None for the first itself."""
    if other is first:
        return None
    ours, theirs = ([row["after"] for row in each.held_out] for each in (first, other))
    return accuracy_gain(ours, theirs, [row["scores"] for row in first.held_out], delta=delta)


def _groups(training: Training) -> list[tuple[str, list[float]]]:
    return [(row["question"], row["scores"]) for row in training.held_out]


def _differing(settings: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    common = [name for name in settings[0] if all(name in other for other in settings)]
    values = {name: [each[name] for each in settings] for name in common}
    return {name: found for name, found in values.items() if any(value != found[0] for value in found)}


def _value(found: float | Mapping[str, float] | None) -> float | None:
    return found["value"] if isinstance(found, Mapping) else found
