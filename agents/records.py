"""What agents and observers say, as frozen records: the pieces that a transcript line is made of."""

from __future__ import annotations

from dataclasses import dataclass

from agents.rating import Dimension

OK = "ok"


@dataclass(frozen=True, slots=True)
class Answer:
    """A draft or a revision. `text` is None exactly where `outcome` is not "ok"."""

    text: str | None
    digest: str | None  # of the prompt; None where none was sent
    finish: str | None  # "stop" or "length"
    outcome: str = OK


@dataclass(frozen=True, slots=True)
class Feedback:
    """A peer's rating (1–7) of a draft and its reason, from one call.

    `logprobs` are the raw log-probabilities that the rating was read from.
    """

    peer: int
    rating: float | None
    reason: str | None
    digest: str
    finish: str | None
    logprobs: tuple[float, ...] | None = None
    label_mass: float | None = None
    outcome: str = OK


@dataclass(frozen=True, slots=True)
class ReadingCall:
    """One call of an observer: which dimensions it gave, and the raw probabilities it was read from.

    A model that gives no probabilities is read by what it says: that is `reply`, else None.
    """

    dimensions: tuple[Dimension, ...]
    digest: str
    logprobs: tuple[float, ...] | None
    label_mass: float | None
    outcome: str = OK
    reply: str | None = None


@dataclass(frozen=True, slots=True)
class Rating:
    """An observer's rating of one answer, 1–7 each; None where it is missing."""

    alignment: float | None
    engagement: float | None
    calls: tuple[ReadingCall, ...] = ()
    outcome: str = OK
