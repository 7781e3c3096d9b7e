"""Examples on the page of a training by Meta-Rewarding: what a pair of responses, and a bout, were made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from alignment.iterative.report import (
    Row,
)
from alignment.iterative.sampling import texts_of
from alignment.meta_judge.learned import results_of, strengths_of, weights_of
from alignment.meta_judge.pairs import judge_pair
from alignment.meta_judge.pictures import shown
from alignment.meta_judge.record import Iteration, Record

ACTOR_PAIRS, BOUTS = 2, 1  # examples of an iteration


def examples(record: Record) -> list[Row]:
    """Of each of some iterations the first pairs of responses and bouts, and how many `more` there are."""
    found = []
    for number in shown([each.number for each in record.iterations[1:]]):
        iteration = record.iterations[number]
        pairs = [pair for pair in iteration.pairs if pair["kind"] == "actor"]
        learned = {pair["id"] for pair in iteration.pairs if pair["kind"] == "judge"}
        bouts = sorted(iteration.verdicts, key=lambda bout: bout["id"] not in learned)
        prompts = {task.id: task.text for task in iteration.tasks}
        found.append(
            {
                "iteration": number,
                "pairs": [_pair(pair, prompts[pair["id"]]) for pair in pairs[:ACTOR_PAIRS]],
                "more_pairs": len(pairs[ACTOR_PAIRS:]),
                "bouts": [_bout(iteration, bout, bout["id"] in learned) for bout in bouts[:BOUTS]],
                "more_bouts": len(bouts[BOUTS:]),
            }
        )
    return [each for each in found if each["pairs"] or each["bouts"]]


def _pair(pair: Mapping[str, Any], prompt: str) -> Row:
    sides = zip(("chosen", "rejected"), pair["scores"], pair["responses"], strict=True)
    return {
        "prompt": prompt,
        "sides": [
            {"side": side, "score": f"{score:.3f}", "characters": len(text), "text": text}
            for side, score, text in sides
        ],
    }


def _bout(iteration: Iteration, bout: Mapping[str, Any], learned: bool) -> Row:
    """A bout with its judgements, the strongest first; of those that were `learned` from it is told which."""
    number = next(n for n, row in enumerate(iteration.judgements) if row["id"] == bout["id"])
    rows = iteration.judgements[number]["judgements"][str(bout["place"])]
    strengths = strengths_of(bout, weights_of(iteration.verdicts))
    pair = judge_pair([*strengths.values()], [len(rows[place]["text"]) for place in strengths]) if learned else None
    sides = dict(zip([[*strengths][place] for place in pair], ("chosen", "rejected"), strict=True)) if pair else {}
    winners = Counter(i if result == 1 else j for (i, j), result in results_of(bout).items() if result)
    return {
        "prompt": iteration.tasks[number].text,
        "response": texts_of(iteration.responses[number])[bout["place"]] or "",
        "verdicts": len(bout["verdicts"]),
        "decided": winners.total(),
        "judgements": [
            {
                **{"place": place + 1, "side": sides.get(place, "")},
                **{"score": f"{rows[place]['score']:.3f}", "strength": f"{strength:+z.3f}"},
                "wins": winners[place],
                "text": rows[place]["text"],
            }
            for place, strength in sorted(strengths.items(), key=lambda item: -item[1])
        ],
    }
