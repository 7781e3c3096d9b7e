"""Folders that appear whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agents.errors import BadInput


def refuse_used(out: Path) -> None:
    """Raises BadInput where `out` is there already and is not an empty folder."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadInput(f"--out {out}: is in use; name another folder")


@contextmanager
def appearing(out: Path, *, replacing: bool = False) -> Iterator[Path]:
    """A new folder that becomes `out` at the end of the block, or vanishes where the block fails.

    Raises BadInput at the end where `out` is in use by then. With `replacing` it gives way instead, and is back where
    it was if the new folder could not take its place.
    """
    out = out.resolve()
    out.parent.mkdir(parents=True, exist_ok=True)
    room = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))  # beside `out`: renaming must not copy
    fresh, old = room / "new", room / "old"
    try:
        fresh.mkdir()
        yield fresh
        if not replacing:
            refuse_used(out)
        elif out.exists():
            out.rename(old)
        fresh.rename(out)
    finally:
        if old.exists() and not out.exists():
            old.rename(out)
        shutil.rmtree(room, ignore_errors=True)
