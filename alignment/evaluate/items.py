"""Everything that was measured as plain data, so that one can look at every answer behind a number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from alignment.evaluate.answers import Spoken
from alignment.evaluate.duels import Duel, by_topic, win_rate
from alignment.evaluate.measures import Measure
from alignment.evaluate.rounds import Round
from alignment.harness import Score
from alignment.likelihood import Likelihoods
from sandbox.dataset import Group


def likelihood_section(
    measures: Sequence[Measure],
    groups: Sequence[Group],
    model: Sequence[Likelihoods | None],
    against: Sequence[Likelihoods | None] | None,
) -> dict[str, Any]:
    """`measures`, and per group its responses with scores and what each model's likelihoods of them are."""
    theirs = against if against is not None else [None] * len(groups)
    return {
        "measures": [asdict(measure) for measure in measures],
        "items": [
            {
                "query": [asdict(turn) for turn in group.query],
                "topic": group.topic,
                "responses": group.responses,
                "scores": group.scores,
                "model": ours and asdict(ours),
                "against": other and asdict(other),
            }
            for group, ours, other in zip(groups, model, theirs, strict=True)
        ],
    }


def task_section(
    measures: Sequence[Measure], model: Sequence[Score], against: Sequence[Score] | None = None
) -> dict[str, Any]:
    """`measures`, and per benchmark and metric what each model reached in every item."""
    theirs = [None] * len(model) if against is None else [score.values for score in against]
    return {
        "measures": [asdict(measure) for measure in measures],
        "items": [
            {"task": score.task, "metric": score.metric, "model": score.values, "against": other}
            for score, other in zip(model, theirs, strict=True)
        ],
    }


def round_section(measures: Sequence[Measure], held: Round) -> dict[str, Any]:
    """`measures` and win rates, per question both answers with their ratings, and what the judge said of them."""
    duels = {(duel.bout.question, duel.bout.model, duel.bout.against): duel for duel in held.duels}
    items = []
    for place, question in enumerate(held.questions):
        ours = _said(held.model, place)
        theirs = None if held.against is None else _said(held.against, place)
        duel = None if theirs is None else duels.get((question, ours["text"], theirs["text"]))
        told = {"question": question, "topic": held.topics[place], "model": ours, "against": theirs}
        items.append({**told, "duel": duel and _judged(duel)})
    return {
        "measures": [asdict(measure) for measure in measures],
        "win_rate": asdict(win_rate(held.duels)) if held.against is not None else None,
        "win_rate_by_topic": {topic: asdict(rate) for topic, rate in by_topic(held.duels).items()},
        "items": items,
    }


def _said(side: Spoken, place: int) -> dict[str, Any]:
    chat, answer, rating = side.chats[place], side.answers[place], side.ratings[place]
    return {
        "chat": chat and [asdict(turn) for turn in chat],
        **asdict(answer),
        "alignment": rating and rating.alignment,
        "engagement": rating and rating.engagement,
        "rating_outcome": rating and rating.outcome,
    }


def _judged(duel: Duel) -> dict[str, Any]:
    return {
        "as_first": duel.as_first,
        "as_second": duel.as_second,
        "win": duel.win,
        "verdict": duel.verdict,
        "outcome": duel.outcome,
    }
