"""Where rows of rated answers come from, and what they look like: our own groups, and what others write.

| fields of a row | is |
|---|---|
| query, responses, scores | a group, the original Stable Alignment JSON included |
| prompt, chosen, rejected | a TRL preference pair: texts, or messages |
| chosen, rejected | the same with the prompt inside both: messages, or texts with "Human:" and "Assistant:" |
| messages; or prompt, completion | a TRL fine-tuning row: a group with one response |
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agents.errors import BadInput
from agents.rows import read_rows

HUB = "hub:"  # before a dataset's name on the hub; behind it :CONFIGURATION, and @SPLIT where it is not "train"
BETTER, WORSE = 1.0, 0.0  # the scores of a pair that has none
KNOWN = "{query, responses, scores}, {prompt, chosen, rejected}, {chosen, rejected}, {messages} or {prompt, completion}"

Row = dict[str, Any]


def is_dataset(source: Path) -> bool:
    """Whether `source` is read by the datasets library: on the hub, a folder that it saved, or a parquet file."""
    if str(source).startswith(HUB) or source.suffix == ".parquet":
        return True
    return any((source / name).is_file() for name in ("state.json", "dataset_dict.json"))


def read_source(source: Path) -> list[tuple[str, Row]]:
    """(place, row) of every row of a file or dataset, as a group's fields: see `group_fields`. Raises BadInput."""
    rows = _read_dataset(source) if is_dataset(source) else read_rows(source)
    return [(place, group_fields(row, place)) for place, row in rows]


def group_fields(row: Mapping[str, Any], place: str) -> Row:
    """`row` with the fields query, responses and scores, whatever format it has.

    A pair without scores is marked by `pair`: its scores, 1 and 0, say only which of the two is better. Other fields
    stay. Raises BadInput naming `place` where the format is none of the known ones.
    """
    has = {name for name, value in row.items() if value is not None}
    if {"query", "responses", "scores"} & has:
        return dict(row)
    if {"chosen", "rejected"} <= has:
        return {**row, **_pair(row, place)}
    if "label" in has and "completion" in has:
        raise BadInput(f"{place}: rates one answer alone (unpaired preference), which is no contrast; give {KNOWN}")
    if "messages" in has or {"prompt", "completion"} <= has:
        return {**row, **_fine_tuning(row, place)}
    raise BadInput(f"{place}: found the fields {', '.join(sorted(row)) or 'none'}; a row has {KNOWN}")


def _pair(row: Mapping[str, Any], place: str) -> Row:
    sides = [_dialogue(row[name], place, name) for name in ("chosen", "rejected")]
    if row.get("prompt") is not None and any(len(side) == 1 for side in sides):
        prompt, replies = _prompt(row["prompt"], place), sides
    else:  # the prompt is inside both, whether it is told once more or not
        shared = _shared([side[:-1] for side in sides])
        prompt, replies = sides[0][:shared], [side[shared:] for side in sides]
    if not prompt:
        raise BadInput(f"{place}: 'chosen' and 'rejected' share no prompt; give it in 'prompt', or inside both")
    scores = [row.get("score_chosen"), row.get("score_rejected")]
    rated = all(score is not None for score in scores)
    return {
        "query": prompt,
        "responses": [_reply(reply) for reply in replies],
        "scores": scores if rated else [BETTER, WORSE],
        "pair": not rated,
    }


def _fine_tuning(row: Mapping[str, Any], place: str) -> Row:
    if row.get("messages") is not None:
        turns = _dialogue(row["messages"], place, "messages")
    else:
        turns = _prompt(row["prompt"], place) + _dialogue(row["completion"], place, "completion")
    if turns[-1]["role"] != "assistant":
        raise BadInput(f"{place}: ends with a message of {turns[-1]['role']}; the last must be the assistant's")
    return {"query": turns[:-1], "responses": [turns[-1]["content"]], "scores": [BETTER], "pair": True}


def _prompt(value: Any, place: str) -> list[dict[str, str]]:
    """`value` as messages; the "Assistant:" that a text may end with is where the answer begins, no turn."""
    turns = _dialogue(value, place, "prompt", role="user")
    return turns[:-1] if isinstance(value, str) and turns[-1] == {"role": "assistant", "content": ""} else turns


def _reply(turns: Sequence[Mapping[str, str]]) -> Any:
    """The text of an answer; what is several turns, or another's, stays as it is: a response that is no text."""
    return turns[0]["content"] if len(turns) == 1 and turns[0]["role"] == "assistant" else list(turns)


def _dialogue(value: Any, place: str, name: str, role: str = "assistant") -> list[dict[str, str]]:
    """`value` as messages: a list of them, a text with "Human:" and "Assistant:", or one message of `role`."""
    if isinstance(value, str):
        parts = re.split(r"(?:^|\n\n)(Human|Assistant):", value)
        if len(parts) > 1 and not parts[0].strip():
            said = zip(parts[1::2], parts[2::2], strict=True)
            return [{"role": "user" if who == "Human" else "assistant", "content": text.strip()} for who, text in said]
        return [{"role": role, "content": value}]
    turns = list(value) if isinstance(value, Sequence) else []
    if not turns or not all(isinstance(turn, Mapping) and {"role", "content"} <= turn.keys() for turn in turns):
        raise BadInput(f"{place}: {name!r} is neither a text nor a list of {{role, content}}; give one of them")
    return [{"role": turn["role"], "content": turn["content"]} for turn in turns]


def _shared(sides: Sequence[Sequence[Any]]) -> int:
    """How many messages the sides have in common from their beginning."""
    pairs = list(zip(*sides, strict=False))
    return next((place for place, (one, other) in enumerate(pairs) if one != other), len(pairs))


def _read_dataset(source: Path) -> list[tuple[str, Row]]:
    import datasets

    named = str(source)
    try:
        if named.startswith(HUB):
            place, _, split = named.removeprefix(HUB).partition("@")
            name, _, configuration = place.partition(":")
            rows = datasets.load_dataset(name, configuration or None, split=split or "train")
        elif source.is_dir():
            rows = datasets.load_from_disk(named)
        else:
            rows = datasets.Dataset.from_parquet(named)
    except Exception as error:  # whatever the hub, its cache or the file raise
        reason = " ".join(str(error).split())[:160]
        raise BadInput(f"{named}: can't be read as a dataset ({type(error).__name__}: {reason})") from error
    if isinstance(rows, datasets.DatasetDict):
        raise BadInput(f"{named}: holds the splits {', '.join(rows)}; name one's folder")
    if not len(rows):
        raise BadInput(f"{named}: holds no rows")
    return [(f"{named} row {number}", row) for number, row in enumerate(rows, start=1)]
