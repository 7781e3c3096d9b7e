"""A training by Meta-Rewarding read back from its folder, and the numbers that sum it up (the paper's analyses)."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from alignment.iterative.course import ANSWERS, MODEL, PAIRS, TELEMETRY, UNTRAINED
from alignment.iterative.measures import answers_numbers, cost_of, plain
from alignment.iterative.prompts import Task, tasks_in
from alignment.iterative.sampling import texts_of
from alignment.likelihood import Estimate, estimate, mean_estimate, pair_accuracy
from alignment.meta_judge.learned import results_of, scores_of, weights_of
from alignment.meta_judge.pairs import actor_pair
from alignment.phases import whole_rows

Row = dict[str, Any]
SWEPT = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)  # values of ρ that are tried


@dataclass(frozen=True, slots=True)
class Iteration:
    """An iteration as its files tell it; 0, the model that begins, has answers and reference judgements only.

    Unless it was fine-tuned first, by what is then `learned`.
    """

    number: int
    tasks: list[Task]
    responses: list[Row]
    judgements: list[Row]
    verdicts: list[Row]
    pairs: list[Row]
    answers: list[Row]
    reference: list[Row]
    learned: Row
    log: list[Row]


@dataclass(frozen=True, slots=True)
class Record:
    """A training: its settings (align.toml), its iterations from 0, what each phase took, the ratings of reference.

    `untrained` has the answers and judgements before the fine-tuning, if there was one. `ratings[i][k]` is that of the
    k-th answer to the i-th reference prompt.
    """

    settings: Row
    untrained: Iteration | None
    iterations: list[Iteration]
    telemetry: list[Row]
    ratings: list[tuple[float, ...]]


def read_record(folder: Path, iterations: int, ratings: Sequence[tuple[float, ...]] = ()) -> Record:
    """The training in `folder`, up to so many iterations. Raises BadInput where a file is broken."""
    settings = tomllib.loads((folder / "align.toml").read_text("utf-8"))
    read = [_iteration(folder / f"iteration-{number}", number) for number in range(iterations + 1)]
    before = folder / UNTRAINED
    untrained = _iteration(before, 0) if before.exists() else None
    return Record(settings, untrained, read, whole_rows(folder / TELEMETRY), list(ratings))


def metrics_of(record: Record) -> Row:
    """The numbers of a training, for metrics.json: every iteration's own, the answers and the judge after each."""
    start = record.iterations[0].answers
    return {
        "method": "meta-judge",
        **{name: record.settings[name] for name in ("optimiser", "judge", "meta")},
        "iterations": [_numbers(each) for each in record.iterations[1:]],
        "answers": [
            {"iteration": each.number, **answers_numbers(each.answers, start if each.number else None)}
            for each in record.iterations
        ],
        "reference": [
            {"iteration": each.number, **_agreement(each, record.ratings)}
            for each in record.iterations
            if each.reference
        ],
        "untrained": _untrained(record),
        "cost": cost_of(record.telemetry),
    }


def agreement(scores: Sequence[Mapping[int, float]], ratings: Sequence[Sequence[float]]) -> Row:
    """How a judge's scores agree with ratings of the same answers, group by group.

    `scores[i]` are by place, without those that could not be read. Of the pairs that are rated differently and have
    both scores: the share in the ratings' order, with a tie of scores as half, and without ties; and Spearman's
    correlation, mean over the groups that have one.
    """
    decided: list[list[float]] = []
    ours, theirs = [], []
    for found, rated in zip(scores, ratings, strict=True):
        ours.append([found[place] for place in sorted(found)])
        theirs.append([rated[place] for place in sorted(found)])
        signs = [np.sign(a - b) * np.sign(c - d) for (a, b), (c, d) in _pairs(ours[-1], theirs[-1])]
        decided.append([(1 + float(sign)) / 2 for sign in signs if sign])
    different = sum(c != d for pair in map(_pairs, ours, theirs) for _, (c, d) in pair)
    return {
        "scored": sum(map(len, scores)),
        "pairs": different,
        "ties": different - sum(map(len, decided)),
        "in_order": plain(pair_accuracy(ours, theirs)),
        "in_order_decided": plain(_mean(decided)),
        "spearman": plain(mean_estimate(_spearman(ours, theirs))),
    }


def verdict_biases(iteration: Iteration) -> Row:
    """What the meta-judge follows besides the judgements' worth, as shares of the comparisons that it decided.

    `higher_score`: won by the judgement with the higher score (of those with different ones). `first`: by the one
    shown first, and `first_of_equals` where both have one score. `longer`: by the longer one.
    """
    won: dict[str, list[list[float]]] = {"higher_score": [], "first": [], "first_of_equals": [], "longer": []}
    for bout, rows in _bouts(iteration):
        for each in won.values():
            each.append([])
        for (first, second), result in results_of(bout).items():
            if not result:
                continue
            one, other, won_first = rows[first], rows[second], float(result == 1)
            won["first"][-1].append(won_first)
            if one["score"] == other["score"]:
                won["first_of_equals"][-1].append(won_first)
            else:
                won["higher_score"][-1].append(won_first if one["score"] > other["score"] else 1 - won_first)
            if len(one["text"]) != len(other["text"]):
                won["longer"][-1].append(won_first if len(one["text"]) > len(other["text"]) else 1 - won_first)
    verdicts = [verdict for bout in iteration.verdicts for verdict in bout["verdicts"]]
    return {
        "bouts": len(iteration.verdicts),
        "verdicts": len(verdicts),
        "unread": sum(verdict["result"] is None for verdict in verdicts),
        "draws": sum(verdict["result"] == 0 for verdict in verdicts),
        **{name: plain(_mean(shares)) for name, shares in won.items()},
        "weights": list(weights_of(iteration.verdicts)),
    }


def length_bias(iteration: Iteration) -> Mapping[str, float | None] | None:
    """Spearman's correlation of the responses' scores with their lengths, mean over prompts that have one."""
    scores = list(map(scores_of, iteration.judgements))
    texts = list(map(texts_of, iteration.responses))
    lengths = [[len(said[place] or "") for place in found] for said, found in zip(texts, scores, strict=False)]
    return plain(mean_estimate(_spearman([[*found.values()] for found in scores], lengths)))


def sweep(iteration: Iteration, rhos: Sequence[float] = SWEPT) -> list[Row]:
    """For each ρ the actor pairs that it gives, with mean lengths and scores of the chosen and of the rejected ones."""
    rows = []
    for rho in rhos:
        chosen, rejected = [], []
        for said, judged in zip(iteration.responses, iteration.judgements, strict=False):
            scores, texts = scores_of(judged), texts_of(said)
            places = list(scores)
            lengths = [len(texts[place] or "") for place in places]
            pair = actor_pair([scores[place] for place in places], lengths, rho)
            if pair is not None:
                sides = [(lengths[place], scores[places[place]]) for place in pair]
                chosen.append(sides[0])
                rejected.append(sides[1])
        rows.append({"rho": rho, "pairs": len(chosen), **_side("chosen", chosen), **_side("rejected", rejected)})
    return rows


def _untrained(record: Record) -> Row | None:
    """What the model answered, and how it judged, before it was fine-tuned; None where it was not."""
    each = record.untrained
    if each is None:
        return None
    reference = _agreement(each, record.ratings) if each.reference else None
    return {"answers": answers_numbers(each.answers, None), "reference": reference}


def _agreement(iteration: Iteration, ratings: Sequence[Sequence[float]]) -> Row:
    return agreement([scores_of(row) for row in iteration.reference], ratings)


def _numbers(iteration: Iteration) -> Row:
    replies = [reply for row in iteration.responses for reply in row["responses"]]
    said = [reply for reply in replies if reply["outcome"] == "ok"]
    tokens = [reply["tokens"] for reply in said if reply["tokens"] is not None]
    every = [each for row in iteration.judgements for rows in row["judgements"].values() for each in rows]
    scores = [each["score"] for each in every if each["score"] is not None]
    kinds = [pair["kind"] for pair in iteration.pairs]
    per_prompt = [[*scores_of(row).values()] for row in iteration.judgements]
    return {
        "iteration": iteration.number,
        "prompts": len(iteration.tasks),
        "responses": len(replies),
        "distinct": sum(len(row["judgements"]) for row in iteration.judgements),
        "tokens": fmean(tokens) if tokens else None,
        "characters": fmean(len(reply["text"]) for reply in said) if said else None,
        "judgements": len(every),
        "unread": len(every) - len(scores),
        "score": plain(_mean(per_prompt)),
        "disagreement": _disagreement(iteration.judgements),
        "length_bias": length_bias(iteration),
        "meta_judge": verdict_biases(iteration) if iteration.verdicts else None,
        "actor_pairs": kinds.count("actor"),
        "judge_pairs": kinds.count("judge"),
        "sweep": sweep(iteration),
        "learned": iteration.learned,
    }


def _disagreement(judgements: Sequence[Row]) -> float | None:
    """The standard deviation of a response's scores, mean over responses with several."""
    known = [
        [each["score"] for each in rows if each["score"] is not None]
        for row in judgements
        for rows in row["judgements"].values()
    ]
    found = [float(np.std(scores)) for scores in known if len(scores) > 1]
    return fmean(found) if found else None


def _bouts(iteration: Iteration) -> Iterator[tuple[Row, list[Row]]]:
    """Each bout with the judgements that it is about."""
    by_id = {row["id"]: row["judgements"] for row in iteration.judgements}
    for bout in iteration.verdicts:
        yield bout, by_id[bout["id"]][str(bout["place"])]


def _pairs(ours: Sequence[float], theirs: Sequence[float]) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """The values of both of every two places of a group."""
    return list(zip(combinations(ours, 2), combinations(theirs, 2), strict=True))


def _spearman(ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]]) -> list[float]:
    """The rank correlation of each group that has one: whose values are not all equal, on both sides."""
    groups = [pair for pair in zip(ours, theirs, strict=True) if all(len(set(values)) > 1 for values in pair)]
    return [float(spearmanr(*pair).statistic) for pair in groups]


def _mean(groups: Sequence[Sequence[float]]) -> Estimate | None:
    """The mean over all values of all groups, whose interval resamples groups."""
    kept = [group for group in groups if group]
    sums, counts = np.array([sum(group) for group in kept]), np.array([float(len(group)) for group in kept])
    return estimate([sums, counts], lambda total, count, axis=-1: total.sum(axis) / count.sum(axis), 0)


def _side(name: str, found: Sequence[tuple[int, float]]) -> Row:
    return {
        f"{name}_characters": fmean(length for length, _ in found) if found else None,
        f"{name}_score": fmean(score for _, score in found) if found else None,
    }


def _iteration(folder: Path, number: int) -> Iteration:
    def rows(name: str) -> list[Row]:
        return whole_rows(folder / f"{name}.jsonl")

    learned = folder / MODEL / "learned.json"
    return Iteration(
        number,
        tasks_in(folder / "prompts.jsonl"),
        rows("responses"),
        rows("judgements"),
        rows("verdicts"),
        whole_rows(folder / PAIRS),
        whole_rows(folder / ANSWERS),
        rows("reference"),
        json.loads(learned.read_text("utf-8")) if learned.exists() else {},
        whole_rows(folder / MODEL / "trainer_log.jsonl"),
    )
