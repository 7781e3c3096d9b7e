"""Writes the page of a training: one file with everything in it, which needs neither network nor JavaScript."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from alignment.report.curves import Panel, inline
from alignment.report.distribution import Distribution, inline_of
from alignment.report.record import Record
from alignment.report.words import bytes_told, duration, how_many, label, with_interval

SOURCES = 3  # named in the sentence at the top; all stand further below
NAMED = 20  # rows of the data that are named for one reason; then it is said how many more there are

# Nothing is loaded and no script runs; styles stand in the page and in the pictures' elements.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def page(record: Record, panels: Sequence[Panel], distributions: Sequence[Distribution]) -> Iterator[str]:
    """The page, piece by piece. Names and questions reach it by autoescape, as text only."""
    return template().generate(
        data=page_data(record),
        curves=[(panel.title, Markup(inline(panel))) for panel in panels],
        distributions=[(each.caption, Markup(inline_of(each))) for each in distributions],
        policy=POLICY,
        css=Markup(_text("page.css")),
    )


def template(*packages: str) -> jinja2.Template:
    """The `page.html` of the first of `packages`, whose parts stand in any of them and here; it escapes all text."""
    loaders = [jinja2.PackageLoader(package, ".") for package in (*packages, "alignment.report")]
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(loaders),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("page.html")


def page_data(record: Record) -> dict[str, Any]:
    """What the page says, as plain data."""
    lineage, metrics = record.lineage, record.metrics
    return {
        "name": record.name,
        "sentence": sentence(record),
        "facts": facts(record),
        "quality": quality_rows(metrics),
        "measured_on": f"{how_many(metrics['after'].get('groups', 0), 'group')}, "
        f"{how_many(metrics['after'].get('pairs', 0), 'pair')} of differently rated answers",
        "counts": [
            (title, list(counted(metrics[part])))
            for title, part in (("read", "data"), ("trained on", "train"), ("held out", "held_out"))
        ],
        "sources": [(source["path"], source_told(source)) for source in lineage["sources"]],
        "digests": [("rows", lineage["rows_digest"]), ("model", lineage["model_digest"])],
        "options": list(flattened(record.settings)),
    }


def sentence(record: Record) -> str:
    """What was trained on what."""
    train, held_out = record.metrics["train"], record.metrics["held_out"]
    paths = [_short(source["path"]) for source in record.lineage["sources"]]
    told = [
        f"{_short(record.lineage['base_model'])}, trained by {record.method_name} "
        f"on {how_many(train['groups'], 'group')} of {how_many(train['responses'], 'rated answer')} "
        f"from {' and '.join(paths) if len(paths) <= SOURCES else how_many(len(paths), 'source')}"
    ]
    if "visits" in train and "steps" in train:
        told.append(f"in {how_many(train['steps'], 'step')} that met {how_many(train['visits'], 'group')}")
    if held_out["groups"]:
        told.append(f"with {how_many(held_out['groups'], 'further group')} held out to measure on")
    return ", ".join(told) + "."


def facts(record: Record) -> list[tuple[str, str]]:
    """(term, value) of what the training was, and what it cost."""
    cost = record.metrics["cost"]
    found = [
        ("method", record.method_name),
        ("trained from", record.lineage["base_model"]),
        ("root of the model's line", record.lineage.get("root_model")),
        ("judge of fresh answers", record.metrics.get("judge")),
        ("time of training", _told(cost.get("seconds"), duration)),
        ("tokens read", _told(cost.get("input_tokens"), "{:,}".format)),
        ("tokens generated", _told(cost.get("generated_tokens"), "{:,}".format)),
        ("peak memory", _told(cost.get("peak_memory_bytes"), bytes_told)),
        ("models held", ", ".join(cost.get("models") or [])),
        ("device", cost.get("device")),
        ("processes", cost.get("processes")),
    ]
    return [(term, str(value)) for term, value in found if value not in (None, "")]


def quality_rows(metrics: Mapping[str, Any]) -> list[dict[str, str]]:
    """The rows {what, before, after, change} of what both were measured on; intervals stand behind their number."""
    before, after = metrics["before"], metrics["after"]
    rows = []
    for name, new in after.items():
        old = before.get(name)
        if name in ("groups", "pairs") or old is None or new is None:
            continue
        change = f"{_value(new) - _value(old):+z.3f}"
        if name == "pair_accuracy" and metrics.get("accuracy_gain"):
            change = estimate(metrics["accuracy_gain"], "+z.3f")
        rows.append({"what": label(name), "before": estimate(old), "after": estimate(new), "change": change})
    return rows


def estimate(found: float | Mapping[str, float | None], form: str = ".3f") -> str:
    """A number, or one with its interval."""
    low, high = (found["low"], found["high"]) if isinstance(found, Mapping) else (None, None)
    return with_interval(_value(found), low, high, form)


def counted(counts: Mapping[str, Any], before: str = "") -> Iterator[dict[str, Any]]:
    """The rows {what, count, named, more} of nested counts; a list is counted, and its first entries are named."""
    for name, value in counts.items():
        what = f"{before}{label(name)}"
        if isinstance(value, Mapping):
            yield from counted(value, f"{what}: ")
        elif isinstance(value, list):
            named = [_named(entry) for entry in value[:NAMED]]
            yield {"what": what, "count": f"{len(value):,}", "named": named, "more": len(value) - len(named)}
        elif value is not None:
            told = f"{value:,g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value
            yield {"what": what, "count": told, "named": [], "more": 0}


def source_told(source: Mapping[str, Any]) -> str:
    """How far a run was read, or which version of a file."""
    if "heads" in source:
        return "; ".join(f"{head['transcript']} to line {head['line']} ({head['chain']})" for head in source["heads"])
    return f"digest {source.get('digest', '–')}"


def flattened(settings: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """(name, value) of every setting, those of tables by their dotted names."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from flattened(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _short(name: str) -> str:
    """A hub name or relative path as it is, of a whole path its end."""
    return Path(name).name if Path(name).is_absolute() else name


def _told(value: Any, form: Any) -> str | None:
    return None if value is None else form(value)


def _value(found: float | Mapping[str, float | None]) -> float:
    return float(found["value"] or 0.0) if isinstance(found, Mapping) else found


def _named(entry: object) -> str:
    """A row of the data in words, whatever is told of it."""
    if isinstance(entry, Mapping):
        return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in entry.items())
    return str(entry)


def _text(name: str) -> str:
    return (files("alignment.report") / name).read_text("utf-8")
