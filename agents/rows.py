"""Rows of a user's JSON or JSONL file, each with its place, so that an error can name it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from agents.errors import BadInput


def read_text(path: Path) -> str:
    """The text of a user's file, without a byte order mark. Raises BadInput: no such file, not UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: cannot be read as UTF-8 text ({error})") from error


def read_rows(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """(place, object) of every row of a JSON array or a JSON Lines file; the place reads "FILE line 3" or "FILE row 3".

    Raises BadInput: no such file, not UTF-8, not JSON, not objects, no rows.
    """
    text = read_text(path)
    places = _array(path, text) if text.lstrip().startswith("[") else _lines(path, text)
    for place, row in places:
        if not isinstance(row, dict):
            raise BadInput(f"{place}: expected a JSON object, found {type(row).__name__}")
    if not places:
        raise BadInput(f"{path}: holds no rows")
    return places


def text_field(place: str, row: dict[str, Any], name: str) -> str:
    """The text in field `name`; raises BadInput where it is missing, not text, or blank."""
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        found = "is missing" if name not in row else "is blank" if isinstance(value, str) else f"is {value!r}, not text"
        raise BadInput(f"{place}: field {name!r} {found}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise BadInput(f"{place}: field {name!r} holds half a character (a lone surrogate); write it whole") from error
    return value


def _array(path: Path, text: str) -> list[tuple[str, Any]]:
    return [(f"{path} row {number}", row) for number, row in enumerate(_parsed(path, 1, text), start=1)]


def _lines(path: Path, text: str) -> list[tuple[str, Any]]:
    numbered = enumerate(text.split("\n"), start=1)
    return [(f"{path} line {number}", _parsed(path, number, line)) for number, line in numbered if line.strip()]


def _parsed(path: Path, number: int, text: str) -> Any:
    """The JSON value of `text`, which begins in that line of the file."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise BadInput(f"{path} line {number + error.lineno - 1}: not valid JSON ({error.msg})") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, thousands of brackets
        raise BadInput(f"{path} line {number}: JSON that can't be read ({error})") from error
