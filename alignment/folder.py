"""The folder that a training leaves behind: it appears whole or not at all."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agents.errors import BadInput


def refuse_used(out: Path) -> None:
    """Raises BadInput where `out` is there already and is not an empty folder."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadInput(f"--out {out}: is in use; name another folder")


@contextmanager
def appearing(out: Path) -> Iterator[Path]:
    """A temporary folder beside `out` that takes its place at the end, or vanishes where the block fails."""
    out.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        yield fresh
        fresh.chmod(0o755)  # mkdtemp makes it private
        refuse_used(out)
        fresh.replace(out)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


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
