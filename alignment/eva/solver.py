"""The solver's pairs: the best and the worst response to a prompt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from alignment.iterative.prompts import Task
from alignment.iterative.sampling import chat_of, texts_of


def pairs_of(
    tasks: Sequence[Task],
    responses: Sequence[Mapping[str, Any]],
    rewards: Sequence[Mapping[str, Any]],
    *,
    system: str,
    delta: float,
) -> Iterator[dict[str, Any]]:
    """A group of two for every task whose best and worst rewards differ by more than `delta`, the best one first.

    `align dpo` reads these rows too.
    """
    from alignment.preferences import best_worst  # with TRL, which takes seconds, and may be missing

    for task, said, rated in zip(tasks, responses, rewards, strict=True):
        places, texts = best_worst(rated["rewards"], tie=delta), texts_of(said)
        if places is None or texts[places[0]] == texts[places[1]]:  # a judge may rate the same words a little apart
            continue
        yield {
            "id": task.id,
            "query": [asdict(turn) for turn in chat_of(task.text, system)],
            "responses": [texts[place] for place in places],
            "scores": [rated["rewards"][place] for place in places],
            "finished": [said["responses"][place]["finished"] for place in places],
            "topic": task.topic,
        }
