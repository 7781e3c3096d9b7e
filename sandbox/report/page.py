"""Writes the report of a run: one page with everything in it, which needs no network.

Where what was said outgrows the page, it lies in files beside it, and the page loads those that a reader asks for.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import chain
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from sandbox.folders import write_whole
from sandbox.report.data import report_data
from sandbox.report.parcels import PARCEL, parcels
from sandbox.transcript import read

LARGEST = 50_000_000  # bytes of a page
SCRIPTS = ("dom", "texts", "diff", "grid", "chain", "curves", "search", "page")  # in the order in which they run
TAG = 64  # bytes at most that the page puts around a parcel
BESIDE = "round-*.js"


@dataclass(frozen=True, slots=True)
class Said:
    """What was said: parcels in the page itself, or the names of the files beside it."""

    inside: Sequence[str] = ()
    beside: Sequence[str] = ()


def write_report(run: Path, *, largest: int = LARGEST) -> Path:
    """Write `report.html` into the folder of a run, in place of an earlier one, and return its path.

    Where it would take more than `largest` bytes, what was said is written to files in the folder `report` beside it.
    At any moment there is an old page or a new one, and the files that it needs. Raises BadInput where there is no
    transcript to read.
    """
    transcript = read(run)
    path = transcript.path.parent / "report.html"
    folder = path.with_suffix("")
    data = report_data(transcript)
    needed = set(folder.glob(BESIDE))
    try:
        room = largest - sum(len(piece.encode()) for piece in pieces(data, Said()))
        said = shelved(parcels(transcript), folder, room)
        write_whole(path, pieces(data, said))
        needed = {folder / name for name in said.beside}
        return path
    finally:
        _clear(folder, needed)


def pieces(data: dict[str, Any], said: Said) -> Iterator[str]:
    """The page, piece by piece.

    What models wrote reaches it as text only: in HTML by autoescape, in JSON by `tojson`, in parcels by base64.
    """
    template = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(_text("page.html"))
    style, script = _text("page.css"), "\n".join(_text(f"{name}.js") for name in SCRIPTS)
    return template.generate(
        data={**data, "parcel": PARCEL, "beside": said.beside},
        parcels=map(Markup, said.inside),
        policy=policy(style, script, beside=bool(said.beside)),
        css=Markup(style),
        js=Markup(script),
    )


def policy(style: str, script: str, *, beside: bool) -> str:
    """The Content-Security-Policy: this style and this script, nothing else, and no text is ever made into markup.

    With files beside the page, that script may load them: its own rule lets through their names only.
    """
    return "; ".join(
        [
            "default-src 'none'",
            f"style-src {_digest(style)}",
            f"script-src {_digest(script)}{' ' + repr('strict-dynamic') if beside else ''}",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            f"trusted-types {'beside' if beside else repr('none')}",
        ]
    )


def shelved(packed: Iterable[tuple[str, str]], folder: Path, room: int) -> Said:
    """`packed`, (name, parcel) in order, for the inside of a page with `room` bytes; else written to `folder`."""
    packed, inside = iter(packed), []
    for name, parcel in packed:
        inside.append((name, parcel))
        room -= len(parcel) + TAG
        if room < 0:
            break
    else:
        return Said(inside=[parcel for _, parcel in inside])
    folder.mkdir(exist_ok=True)
    together = enumerate(chain(inside, packed))
    return Said(beside=[_written(folder, number, name, parcel) for number, (name, parcel) in together])


def _written(folder: Path, number: int, name: str, parcel: str) -> str:
    """The name of a parcel's file: what it holds shows in it, so none that an older page needs is changed."""
    words = f'receive({number},"{parcel}");\n'.encode()
    path = folder / f"{name}-{hashlib.sha256(words).hexdigest()[:8]}.js"
    if not path.exists() or path.read_bytes() != words:
        path.write_bytes(words)
    return path.name


def _clear(folder: Path, needed: set[Path]) -> None:
    """Remove the files beside the page that it does not need, and the folder where nothing is left in it."""
    for path in set(folder.glob(BESIDE)) - needed:
        path.unlink()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _text(name: str) -> str:
    return (files("sandbox.report") / name).read_text("utf-8")


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
