"""Writes the report of a run: one page with everything in it, which needs no network."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from sandbox.report.data import report_data
from sandbox.transcript import read


def write_report(run: Path) -> Path:
    """Write `report.html` into the folder of a run, in place of an earlier one, and return its path.

    Raises BadInput where there is no transcript to read.
    """
    transcript = read(run)
    path = transcript.path.parent / "report.html"
    fresh = path.with_suffix(".html.new")
    try:
        fresh.write_text(render(report_data(transcript)), encoding="utf-8")
        return fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def render(data: dict[str, Any]) -> str:
    """The page. What models wrote reaches it as escaped text only: in HTML by autoescape, in JSON by `tojson`."""
    folder = files("sandbox.report")
    template = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        (folder / "page.html").read_text("utf-8")
    )
    ours = {name: Markup((folder / f"page.{name}").read_text("utf-8")) for name in ("css", "js")}
    page: str = template.render(data=data, **ours)
    return page
