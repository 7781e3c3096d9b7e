"""An interaction as one line of the transcript, and back. The fields are described in docs/transcript.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from sandbox.chain import storable
from sandbox.interaction import Interaction

# A rating is read from log-probabilities, so it keeps fewer digits than they do: recomputed from the log it agrees.
RATING_FIELDS = frozenset({"rating", "alignment", "engagement"})
RATING_DIGITS = 4
INTERACTION = TypeAdapter(Interaction)


def line_of(interaction: Interaction) -> dict[str, Any]:
    """The fields of an interaction, storable: its last step flat (feedback, revision, after), others in `earlier`."""
    body = _fields(interaction)
    *earlier, last = body.pop("steps") or [{"feedback": [], "revision": None, "after": {}}]
    return {"type": "interaction", **body, "earlier": earlier, **last}


def interaction_of(line: Mapping[str, Any]) -> Interaction:
    """The interaction of a parsed line. Raises KeyError, TypeError or ValidationError where it holds none."""
    steps = [*line["earlier"], *([line] if line["revision"] is not None else [])]
    return INTERACTION.validate_python({**line, "steps": steps})


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
