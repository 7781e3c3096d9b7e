"""An interaction as one line of the transcript, and back. The fields are described in docs/transcript.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agents.records import Answer, Feedback, Rating, ReadingCall
from memory.memory import Recollection
from sandbox.chain import storable
from sandbox.interaction import Interaction, Question, Step

# A rating is read from log-probabilities, so it keeps fewer digits than they do: recomputed from the log it agrees.
RATING_FIELDS = frozenset({"rating", "alignment", "engagement"})
RATING_DIGITS = 4


def line_of(interaction: Interaction) -> dict[str, Any]:
    """The fields of an interaction, storable: its last step flat (feedback, revision, after), others in `earlier`."""
    body = _fields(interaction)
    *earlier, last = body.pop("steps") or [{"feedback": [], "revision": None, "after": {}}]
    return {"type": "interaction", **body, "earlier": earlier, **last}


def interaction_of(line: Mapping[str, Any]) -> Interaction:
    """The interaction of a parsed line. Raises KeyError or TypeError where a field is missing or unknown."""
    steps = [*line["earlier"], *([line] if line["revision"] is not None else [])]
    return Interaction(
        round=line["round"],
        agent=line["agent"],
        model=line["model"],
        stance=line["stance"],
        question=Question(**line["question"]),
        recalled=tuple(Recollection(**recalled) for recalled in line["recalled"]),
        draft=Answer(**line["draft"]),
        before=_ratings_of(line["before"]),
        steps=tuple(_step_of(step) for step in steps),
        outcome=line["outcome"],
    )


def _fields(record: Any) -> dict[str, Any]:
    """The fields of a record, records inside it too: dataclasses.asdict, which copies leaves as well, takes four times
    as long, and it is the end of a round that waits for it."""
    return {
        name: round(value, RATING_DIGITS) if name in RATING_FIELDS and value is not None else _plain(value)
        for name in record.__slots__
        for value in [getattr(record, name)]
    }


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return _fields(value) if hasattr(value, "__slots__") else storable(value)


def _step_of(step: Mapping[str, Any]) -> Step:
    feedback = tuple(Feedback(**{**given, "logprobs": _tuple(given["logprobs"])}) for given in step["feedback"])
    return Step(feedback, Answer(**step["revision"]), _ratings_of(step["after"]))


def _ratings_of(ratings: Mapping[str, Any]) -> dict[str, Rating]:
    return {
        observer: Rating(**{**rating, "calls": tuple(_call_of(call) for call in rating["calls"])})
        for observer, rating in ratings.items()
    }


def _call_of(call: Mapping[str, Any]) -> ReadingCall:
    return ReadingCall(**{**call, "dimensions": tuple(call["dimensions"]), "logprobs": _tuple(call["logprobs"])})


def _tuple(values: Sequence[float] | None) -> tuple[float, ...] | None:
    return None if values is None else tuple(values)
