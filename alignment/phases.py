"""The phases of a training that samples its own data: each writes JSON Lines as it goes, and goes on from them.

A phase has a known number of rows. Rows are appended in order, durably; a phase that was killed keeps the whole rows
and makes the others.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from agents.canonical import valid_text
from agents.errors import BadInput
from sandbox.folders import write_whole
from sandbox.tasks import running

T = TypeVar("T")

# Rows that are asked for at once where text depends on what else is in a batch: then a phase that was killed goes on at
# a whole portion, and makes the batches that it would have made.
PORTION = 16


def whole_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a phase so far; a last line that was torn is none. Raises BadInput where another line is broken."""
    if not path.exists():
        return []
    *lines, _ = path.read_bytes().split(b"\n")
    try:
        return [json.loads(line) for line in lines]
    except ValueError as error:
        raise BadInput(
            f"{path}: holds a line that is not JSON ({error}); remove the file to have it made anew"
        ) from None


async def filled(
    path: Path,
    items: Sequence[T],
    ask: Callable[[T], Coroutine[Any, Any, dict[str, Any]]],
    *,
    failed: Callable[[T, Mapping[str, Any]], bool],
    batch_invariant: bool,
    told: Callable[[int], None],
) -> list[dict[str, Any]]:
    """The rows that `ask` gives for `items`, in their order, each appended to `path` as soon as those before it are.

    What is there is kept. All items are asked at once where the models are `batch_invariant`, else a PORTION at a
    time. Rows that `failed` in a phase that was broken off are asked for again where the models are batch-invariant:
    others are in this process, where what failed once fails again. `told` hears how many rows there are whenever some
    have been added. Raises BadInput where `path` has more rows than there are items.
    """
    rows = whole_rows(path)
    if len(rows) > len(items):
        raise BadInput(f"{path}: holds {len(rows)} rows of {len(items)}; remove the file to have it made anew")
    count = len(rows)
    if count < len(items):
        count = count if batch_invariant else count // PORTION * PORTION
        again = [place for place in range(count) if batch_invariant and failed(items[place], rows[place])]
        async with running(ask(items[place]) for place in again) as due:
            for place, row in zip(again, await asyncio.gather(*due), strict=True):
                rows[place] = row
        write_whole(path, map(json_line, rows[:count]))
    told(count)
    while count < len(items):
        portion = items[count:] if batch_invariant else items[count : count + PORTION]
        async with running(map(ask, portion)) as due:
            while due:
                made = [await due[0]] if batch_invariant else await asyncio.gather(*due)
                for _ in made:
                    due.popleft()
                append_rows(path, made)
                count += len(made)
                told(count)
    return whole_rows(path)


def written(path: Path, make: Callable[[], Iterable[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """The rows in `path`; where there is no file, those that `make` gives, which appear there whole."""
    if not path.exists():
        write_whole(path, map(json_line, make()))
    return whole_rows(path)


def json_line(row: Mapping[str, Any]) -> str:
    """A row as a line, with null for what is not a number, which JSON doesn't know, and half characters marked."""
    known = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in row.items()
    }
    return valid_text(json.dumps(known, ensure_ascii=False, allow_nan=False)) + "\n"


def append_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Append rows durably."""
    with path.open("a", encoding="utf-8", newline="\n") as file:
        file.writelines(map(json_line, rows))
        file.flush()
        os.fsync(file.fileno())
