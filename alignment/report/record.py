"""What a training wrote beside its model, read back."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.errors import BadInput
from agents.rows import read_rows, read_text
from alignment.lineage import read_lineage

NAMES = {
    "stable": "Stable Alignment",
    "sft": "fine-tuning on the best answers (SFT)",
    "dpo": "direct preference optimization (DPO)",
    "ipo": "identity preference optimization (IPO)",
    "rloo": "reinforcement on its own answers (RLOO)",
    "reward-model": "ranking of answers (reward model)",
}
PARTS = ("method", "data", "train", "held_out", "before", "after", "cost")  # of metrics.json


@dataclass(frozen=True, slots=True)
class Record:
    """A training: `name` is that of the folder it was written to, the rest as the files of that folder tell it.

    `log` are the lines of trainer_log.jsonl, `points` those of stability.jsonl, `settings` is align.toml.
    """

    name: str
    metrics: Mapping[str, Any]
    lineage: Mapping[str, Any]
    settings: Mapping[str, Any]
    log: Sequence[Mapping[str, Any]]
    points: Sequence[Mapping[str, Any]]

    @property
    def method(self) -> str:
        """stable, sft, dpo, ipo, rloo or reward-model."""
        return str(self.metrics["method"])

    @property
    def method_name(self) -> str:
        """The method in words."""
        return NAMES.get(self.method, self.method)


def read_record(folder: Path) -> Record:
    """The training that wrote `folder`.

    Raises BadInput where it is none, of a version that told less, or one that made its own data.
    """
    lineage = read_lineage(folder)
    path = folder / "metrics.json"
    try:
        metrics = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise BadInput(f"{path} line {error.lineno}: not valid JSON ({error.msg}); train again") from error
    if "method" in metrics and metrics["method"] not in NAMES:
        raise BadInput(
            f"{folder}: trained by {metrics['method']} on data that it made itself, which no other training has; look "
            "at its report.html, or compare models by align evaluate MODEL --against MODEL"
        )
    missing = [part for part in PARTS if part not in metrics]
    if missing:
        raise BadInput(f"{path}: tells no {missing[0]!r}; an older version wrote it; train again")
    settings = folder / "align.toml"
    try:
        read = tomllib.loads(read_text(settings))
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{settings}: not valid TOML ({error}); train again") from error
    return Record(
        name=Path(str(lineage["config"].get("out", folder))).name,
        metrics=metrics,
        lineage=lineage,
        settings=read,
        log=rows_of(folder / "trainer_log.jsonl"),
        points=rows_of(folder / "stability.jsonl"),
    )


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON Lines file, which may be empty. Raises BadInput."""
    if path.is_file() and path.stat().st_size == 0:
        return []
    return [row for _, row in read_rows(path)]
