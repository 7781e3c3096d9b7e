"""Responses that nothing can be learned from: left out, counted and named, and too many of them refused."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agents.canonical import valid_text
from agents.errors import BadInput

PARALLEL = ("responses", "scores", "finished", "models")
NAMED = 5  # flaws that a message names by place


@dataclass(frozen=True, slots=True)
class Flaw:
    """What is wrong with a response, and in which row it stands."""

    place: str
    what: str


def sound(row: Mapping[str, Any], place: str) -> tuple[dict[str, Any] | None, list[Flaw]]:
    """A group's fields without its flawed responses, and these; None where no response is left.

    Flawed are responses that are empty or no text, and scores that are no finite number. Of a pair that isn't rated
    nothing is left then: what remains may be the worse answer. A row whose lists don't match is left as it is: that
    is for `group_of` to refuse.
    """
    columns = {name: row[name] for name in PARALLEL if isinstance(row.get(name), list)}
    if not {"responses", "scores"} <= columns.keys() or len({*map(len, columns.values())}) > 1:
        return dict(row), []
    columns["scores"] = [_number(score) for score in row["scores"]]
    found = [_flaw(*pair) for pair in zip(row["responses"], columns["scores"], strict=True)]
    flaws = [Flaw(place, what) for what in found if what is not None]
    kept = [number for number, what in enumerate(found) if what is None]
    if flaws and (not kept or row.get("pair")):
        return None, flaws
    return {**row, **{name: [column[number] for number in kept] for name, column in columns.items()}}, flaws


def require_few(flaws: Sequence[Flaw], responses: int, limit: float) -> None:
    """Raises BadInput where more than the share `limit` of the responses is flawed; it names the first."""
    if len(flaws) > limit * responses:
        first = ", ".join(f"{flaw.place} ({flaw.what})" for flaw in flaws[:NAMED])
        raise BadInput(
            f"{len(flaws)} of {responses} responses are flawed, more than --max-flawed {limit:g}: {first}"
            f"{', …' if len(flaws) > NAMED else ''}; mend the rows, or raise the limit"
        )


def counted(flaws: Sequence[Flaw]) -> dict[str, int]:
    """How many flaws of each kind."""
    return dict(Counter(flaw.what for flaw in flaws))


def _number(score: Any) -> Any:
    """The score; where it is a number written as text, as in some published data, that number."""
    try:
        return float(score) if isinstance(score, str) else score
    except ValueError:
        return score


def _flaw(response: Any, score: Any) -> str | None:
    if not isinstance(response, str) or valid_text(response) != response:  # half a character is in no vocabulary
        return "response is no text"
    if not response.strip():
        return "response is empty"
    if isinstance(score, bool) or not isinstance(score, (int, float)) or not math.isfinite(score):
        return "score is no finite number"
    return None
