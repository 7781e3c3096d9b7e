"""The page and the pictures of a training: what became of the model, on what data, at what cost."""

from __future__ import annotations

from pathlib import Path

from alignment.report.curves import panels_of, picture
from alignment.report.distribution import picture_of, read_distributions
from alignment.report.page import page
from alignment.report.record import read_record
from sandbox.folders import write_whole


def write_report(folder: Path) -> None:
    """Write `report.html` and, where anything was logged, `curves.png` into a trained folder, from what else is there.

    Of a reward model that was measured on held-out answers also `rewards.png`.

    Raises BadInput where that is not what a training writes.
    """
    record = read_record(folder)
    panels, distributions = panels_of(record), read_distributions(folder, record)
    title = f"{record.name}: {record.method_name}"
    if panels:
        (folder / "curves.png").write_bytes(picture(panels, title))
    if distributions:
        (folder / "rewards.png").write_bytes(picture_of(distributions, title))
    write_whole(folder / "report.html", page(record, panels, distributions))
