"""The pairs of an iteration: of responses for the actor, of judgements for the judge. Lengths are in characters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

from alignment.iterative.prompts import Task
from alignment.iterative.sampling import chat_of, texts_of
from alignment.meta_judge.battles import battle_matrix, elo_scores, position_weights
from alignment.meta_judge.judging import judge_messages
from alignment.meta_judge.pairs import actor_pair, judge_pair

Row = dict[str, Any]


def scores_of(judgements: Mapping[str, Any]) -> dict[int, float]:
    """The score of each response, the mean over those of its judgements that have one; without any it has none."""
    known = {
        int(place): [each["score"] for each in rows if each["score"] is not None]
        for place, rows in judgements["judgements"].items()
    }
    return {place: fmean(scores) for place, scores in known.items() if scores}


def actor_pairs(
    tasks: Sequence[Task],
    responses: Sequence[Row],
    judgements: Sequence[Row],
    *,
    system: str,
    rho: float,
    delta: float = 0.0,
) -> Iterator[Row]:
    """A group of two responses for each task that has a pair, the chosen one first, as `align dpo` reads them.

    Two whose scores are within `delta` of each other are none.
    """
    for task, said, judged in zip(tasks, responses, judgements, strict=True):
        scores = scores_of(judged)
        places = list(scores)
        texts = texts_of(said)
        pair = actor_pair([scores[place] for place in places], [len(texts[place] or "") for place in places], rho)
        if pair is None:
            continue
        chosen = [places[place] for place in pair]
        if scores[chosen[0]] - scores[chosen[1]] <= delta:
            continue
        yield {
            "id": task.id,
            "kind": "actor",
            "query": [asdict(turn) for turn in chat_of(task.text, system)],
            "responses": [texts[place] for place in chosen],
            "scores": [scores[place] for place in chosen],
            "finished": [said["responses"][place]["finished"] for place in chosen],
        }


def judge_pairs(
    tasks: Sequence[Task],
    responses: Sequence[Row],
    judgements: Sequence[Row],
    verdicts: Sequence[Row],
    *,
    max_judgement: int | None,
) -> Iterator[Row]:
    """A group of two judgements for each bout that has a pair, the chosen one first; scores are their strengths.

    A win counts by its position over all bouts of the iteration.
    """
    by_id = {task.id: (task, said, judged) for task, said, judged in zip(tasks, responses, judgements, strict=True)}
    weights = weights_of(verdicts)
    for bout in verdicts:
        task, said, judged = by_id[bout["id"]]
        rows = judged["judgements"][str(bout["place"])]
        strengths = strengths_of(bout, weights)
        places, elo = list(strengths), list(strengths.values())
        pair = judge_pair(elo, [len(rows[place]["text"]) for place in places], max_judgement)
        if pair is None:
            continue
        chosen = [rows[places[place]] for place in pair]
        yield {
            "id": task.id,
            "kind": "judge",
            "query": [asdict(turn) for turn in judge_messages(task.text, texts_of(said)[bout["place"]] or "")],
            "responses": [each["text"] for each in chosen],
            "scores": [elo[place] for place in pair],
            "finished": [each["finished"] for each in chosen],
        }


def results_of(bout: Mapping[str, Any]) -> dict[tuple[int, int], int]:
    """The verdicts of a bout that could be read, by (shown first, shown second)."""
    return {
        (verdict["first"], verdict["second"]): verdict["result"]
        for verdict in bout["verdicts"]
        if verdict["result"] is not None
    }


def strengths_of(bout: Mapping[str, Any], weights: tuple[float, float]) -> dict[int, float]:
    """The strength of each judgement of a bout by its place, where a win counts `weights` by its position."""
    places = sorted({place for verdict in bout["verdicts"] for place in (verdict["first"], verdict["second"])})
    results = {(places.index(i), places.index(j)): result for (i, j), result in results_of(bout).items()}
    return dict(zip(places, elo_scores(battle_matrix(results, weights, len(places))).tolist(), strict=True))


def weights_of(bouts: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """(ω1, ω2) over all bouts of an iteration: in a single one, chance could take all of a win's weight."""
    results = [[*results_of(bout).values()] for bout in bouts]
    return position_weights({(i, j): result for i, found in enumerate(results) for j, result in enumerate(found)})
