"""Folders as a training leaves them, without the model: what the report and `align compare` read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sandbox.toml import toml_of

STEPS = 12
WATCHED = (0, 4, 8, 12)
QUESTIONS = ("May I keep the cup?", "May I lie?", "May I go?")
SCORES = (6.0, 4.0, 1.0)
UNSURE = (-2.5, -2.0, -1.5)  # mean token log-probabilities of a group's answers: its three pairs are in the wrong order
SURE = (-1.0, -2.0, -3.0)  # all three in the right one

QUALITY: dict[str, Any] = {
    "groups": 3,
    "pairs": 9,
    "pair_accuracy": {"value": 0.25, "low": 0.125, "high": 0.5},
    "best_per_token": -2.5,
    "best_sum": -157.75,
    "worst_per_token": -1.75,
    "worst_sum": -92.0,
    "best_perplexity": 11.5,
    "neutral_perplexity": 93.0,
}
OWN: dict[str, dict[str, float]] = {  # what each method logs besides
    "stable": {"nll_best": 1.5, "active_hinges": 0.75},
    "sft": {},
    "dpo": {"rewards/accuracies": 0.5, "rewards/margins": 0.1},
    "rloo": {"reward": 3.5, "kl": 0.01, "completions/mean_length": 40.0},
}


def write_trained(
    folder: Path,
    method: str = "stable",
    *,
    held_out: Sequence[tuple[Sequence[float], Sequence[float]]] = ((UNSURE, SURE), (UNSURE, UNSURE), (SURE, SURE)),
    metrics: Mapping[str, Any] | None = None,
    lineage: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    point: Mapping[str, Any] | None = None,
    log: Mapping[str, Any] | None = None,
) -> Path:
    """Write such a folder: `held_out` by group (before, after), the rest in place of what would stand there."""
    folder.mkdir(parents=True)
    for name, value in (
        ("metrics", {**_metrics(method), **(metrics or {})}),
        ("lineage", {**_lineage(folder), **(lineage or {})}),
    ):
        (folder / f"{name}.json").write_text(json.dumps(value), encoding="utf-8")
    (folder / "align.toml").write_text(
        toml_of({"model": "tiny", "seed": 0, "epochs": 2.0, "trainer": {"weight_decay": 0.5}, **(settings or {})}),
        encoding="utf-8",
    )
    steps = [{**_line(step, OWN[method]), **(log or {})} for step in range(1, STEPS + 1)]
    _write_rows(folder / "trainer_log.jsonl", [*steps, {"step": STEPS, "train_loss": 2.0, "train_runtime": 5.0}])
    _write_rows(folder / "stability.jsonl", [{**_point(step), **(point or {})} for step in WATCHED])
    rows = zip(QUESTIONS, held_out, strict=False)  # fewer may have been held out
    _write_rows(
        folder / "held_out.jsonl",
        [{"question": q, "scores": SCORES, "before": before, "after": after} for q, (before, after) in rows],
    )
    return folder


def _metrics(method: str) -> dict[str, Any]:
    counts = {"groups": 3, "responses": 9, "truncated": 1, "dropped": []}
    after = {"pair_accuracy": {"value": 0.75, "low": 0.5, "high": 1.0}, "best_per_token": -2.0, "best_perplexity": 8.25}
    return {
        "method": method,
        "data": {"read": 14, "merged": 1, "copies": 0, "left_out": {"failed": 2}, "scale": 7.0, "delta": 0.25},
        "train": {**counts, "groups": 10, "responses": 30, "visits": 20, "steps": STEPS, "unshared": None},
        "held_out": counts,
        "before": QUALITY,
        "after": {**QUALITY, **after},
        "accuracy_gain": {"value": 0.5, "low": 0.25, "high": 0.75},
        "cost": {
            "seconds": 754.0,
            "input_tokens": 123_456,
            "generated_tokens": 0,
            "peak_memory_bytes": 3_700_000_000,
            "device": "cpu",
            "processes": 1,
            "models": ["policy", "reference"] if method == "dpo" else ["policy"],
        },
        "judge": "llm:verdict",
    }


def _lineage(folder: Path) -> dict[str, Any]:
    return {
        "base_model": "tiny",
        "root_model": "tiny",
        "model_digest": "ab12",
        "sources": [
            {
                "path": "runs/first",
                "heads": [{"transcript": "runs/first/transcript.jsonl", "line": 9, "chain": "c0ffee"}],
            },
            {"path": "rated.jsonl", "digest": "beef"},
        ],
        "rows_digest": "d00d",
        "config": {"out": str(folder), "seed": 0},
    }


def _line(step: int, own: Mapping[str, float]) -> dict[str, Any]:
    rate = 1e-5 * (STEPS - step)
    return {"step": step, "epoch": step / 6, "loss": 3.0 - step / 10, "grad_norm": 2.0, "learning_rate": rate, **own}


def _point(step: int) -> dict[str, Any]:
    far = step / STEPS
    return {
        "step": step,
        "pair_accuracy": 0.25 + far / 2,
        "margin": -0.75 + far,
        "best_per_token": -2.5 + far / 2,
        "worst_per_token": -1.75 - far / 2,
        "kl": far * (1.5 - far),  # highest at three quarters
        "neutral_perplexity": 93.0 + far,
        "reward": 3.0 + far,
        "answer_tokens": 40.0 - 8 * far,
    }


def _write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
