"""A file of chained JSON lines: appended durably, and any changed byte is found and named by its line.

A line is canonical JSON with one field more, `chain`: the blake2b (128 bits) of the chain value before it (as text,
empty for the first line) followed by the line's own canonical JSON without `chain`, both in UTF-8.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.canonical import canonical_json, valid_text
from agents.errors import BadInput

DIGITS = 6  # of every float


@dataclass(frozen=True, slots=True)
class Line:
    """A line that verified: its number from 1, the offset behind its newline, its chain value and its fields."""

    number: int
    end: int
    chain: str
    body: dict[str, Any]


def verified(path: Path, size: int | None = None) -> Iterator[Line]:
    """The whole lines of a file, or of its first `size` bytes, each checked; a torn last line is not among them.

    Raises BadInput naming the line.
    """
    chain = ""
    for number, end, raw in whole_lines(path, path.stat().st_size if size is None else size):
        body = parsed(path, number, raw)
        body.pop("chain", None)
        try:
            expected, chain = chained(body, chain)
        except ValueError as error:
            raise bad_line(path, number, f"is not canonical JSON ({error})") from error
        if raw != expected:
            raise bad_line(path, number, "does not verify: it or the line before it was changed after it was written")
        yield Line(number, end, chain, body)


def whole_lines(path: Path, size: int) -> Iterator[tuple[int, int, bytes]]:
    """(number from 1, offset behind it, line) of each line within the first `size` bytes that ends in a newline."""
    end = 0
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            end += len(raw)
            if end > size or not raw.endswith(b"\n"):
                return
            yield number, end, raw


def parsed(path: Path, number: int, raw: bytes) -> dict[str, Any]:
    """The fields of a line. Raises BadInput naming it."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise bad_line(path, number, f"is not JSON ({error})") from error
    if not isinstance(body, dict) or "type" not in body:
        raise bad_line(path, number, 'is not an object with a "type"')
    return body


def chained(body: Mapping[str, Any], previous: str) -> tuple[bytes, str]:
    """A line behind the chain value `previous`, and its own chain value."""
    before = canonical_json({name: value for name, value in body.items() if name < "chain"})[1:-1]
    behind = canonical_json({name: value for name, value in body.items() if name > "chain"})[1:-1]
    words = "{" + ",".join(filter(None, (before, behind))) + "}"
    chain = hashlib.blake2b((previous + words).encode(), digest_size=16).hexdigest()
    line = "{" + ",".join(filter(None, (before, f'"chain":"{chain}"', behind))) + "}\n"
    return line.encode(), chain


def storable(value: Any) -> Any:
    """`value` as a file keeps it: floats rounded, tuples as lists, every text valid."""
    if isinstance(value, str):
        return valid_text(value)
    if isinstance(value, float):
        return round(value, DIGITS)
    if isinstance(value, (list, tuple)):
        return [storable(inner) for inner in value]
    if isinstance(value, dict):
        return {storable(key): storable(inner) for key, inner in value.items()}
    return value


def append(path: Path, lines: Sequence[bytes], *, sync: bool) -> None:
    """Append, without a buffer that could write on after a failure; `sync` brings the file to disk. Raises OSError."""
    rest = memoryview(b"".join(lines))
    with path.open("ab", buffering=0) as file:
        while rest:
            rest = rest[file.write(rest) or 0 :]
        if sync:
            os.fsync(file.fileno())


def bad_line(path: Path, number: int, what: str) -> BadInput:
    """The error of one line."""
    return BadInput(f"{path} line {number} {what}")
