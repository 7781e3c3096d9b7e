"""The folder that a training leaves behind: it appears whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sandbox.folders import appearing as appearing
from sandbox.folders import refuse_used as refuse_used


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """`value` as indented JSON; raises ValueError on NaN."""
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def toml_of(values: Mapping[str, Any]) -> str:
    """Options as a TOML text that `--config` reads back; tables last, what is None left out."""
    told = {name: value for name, value in values.items() if value is not None}
    lines = [f"{name} = {_toml(value)}" for name, value in told.items() if not isinstance(value, dict)]
    for name, table in told.items():
        if isinstance(table, dict) and table:
            lines += ["", f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    # JSON's strings, numbers, booleans and arrays of them are TOML's.
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
