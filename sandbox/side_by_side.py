"""What commands that put things side by side have in common: how they call them, and where they may write."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from agents.errors import BadInput

PICTURES = (".png", ".svg", ".pdf")
LONGEST = 24  # characters of a name in tables and pictures; the middle of longer ones is left out


def shown_names(names: Sequence[str]) -> list[str]:
    """What they are called beside each other: a letter each, since names may be long, or the same."""
    half = LONGEST // 2
    short = [name if len(name) <= LONGEST else f"{name[:half]}…{name[1 - half :]}" for name in names]
    return [f"{chr(ord('A') + number)} {name}" for number, name in enumerate(short)]


def require_writable(json_out: Path | None, plot: Path | None = None) -> None:
    """Raises BadInput where a file can't be written as it is named: before the work, not after it."""
    for path in (json_out, plot):
        if path is not None and not path.parent.is_dir():
            raise BadInput(f"{path}: No such file or folder to write to; make the folder first")
    if plot is not None and plot.suffix not in PICTURES:
        raise BadInput(f"--plot {plot}: no kind of picture; end it in one of {', '.join(PICTURES)}")
