"""What a trained model was made of, and whether that is so: from its folder back to the lines of transcripts."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from agents.canonical import digest_of
from agents.errors import BadInput
from agents.language_model import Message
from agents.local import folder_digest
from agents.models import root_model
from alignment.config import AlignVerifyOptions, IteratedOptions, TrainingOptions
from alignment.formats import is_dataset
from alignment.groups import Ratings, is_run, ratings_of, read_file, read_sources
from alignment.plan import types_of
from sandbox.chain import verified
from sandbox.dataset import Group
from sandbox.responses import Scoring
from sandbox.transcript import Transcript, read_worlds

FILE = "lineage.json"


@dataclass(frozen=True, slots=True)
class Head:
    """How far a transcript was read: its last complete round's line, from 1, and that line's chain value."""

    transcript: str
    line: int
    chain: str


class Differs(Exception):
    """Something is not what the model was made of."""


def lineage_of(
    options: TrainingOptions | IteratedOptions,
    sources: Sequence[Path],
    data: Ratings,
    folder: Path,
    trained: Sequence[Group],
) -> dict[str, Any]:
    """What the model in `folder` was made of: its base, the root of its line, its data and the settings.

    `data` was read from `sources`; `trained` are the groups of it that were not held out.
    """
    base = str(Path(options.model).resolve()) if Path(options.model).is_dir() else options.model
    return {
        "base_model": base,
        "root_model": root_model(base),
        "model_digest": folder_digest(folder),
        "sources": [source_of(source) for source in sources],
        "rows_digest": rows_digest(data),
        "trained_queries": [query_digest(group.query) for group in trained],
        "config": options.model_dump(mode="json"),
    }


def source_of(source: Path) -> dict[str, Any]:
    """A source as it was when it was read: the heads of a run's transcripts, or the digest of a file or dataset."""
    if is_dataset(source):
        return {"path": str(source), "digest": digest_of([_digested(group) for group in read_file(source).groups])}
    if not is_run(source):
        with source.open("rb") as file:
            return {"path": str(source), "digest": hashlib.file_digest(file, "blake2b").hexdigest()}
    return {"path": str(source), "heads": [asdict(head_of(world)) for world in read_worlds(source)]}


def head_of(run: Transcript) -> Head:
    """How far `run` counts. Raises BadInput naming a line that does not verify."""
    last = None
    for line in verified(run.path):
        if line.body["type"] in ("header", "round"):
            last = line
    if last is None:
        raise BadInput(f"{run.path} has no header: go on with simulate --resume")
    return Head(str(run.path), last.number, last.chain)


def rows_digest(data: Ratings) -> str:
    """The digest of all rows, trained on or held out.

    Where a run's folder lies, and its name, are not in it, nor is what older folders don't tell.
    """
    return digest_of([_digested(group) for group in data.groups])


def run_verify(options: AlignVerifyOptions) -> int:
    """Print what is verified, or what is not; returns the exit code. Raises BadInput where nothing can be checked."""
    told = read_lineage(options.model)
    settings = TrainingOptions.model_construct(**told["config"])
    sources = options.sources or [Path(source["path"]) for source in told["sources"]]
    if len(sources) != len(told["sources"]):
        raise BadInput(
            f"{options.model} was made of {len(told['sources'])} sources, got {len(sources)}: name each, in order"
        )
    try:
        require(f"the files of {options.model}", folder_digest(options.model), told["model_digest"])
        read = [as_it_was(path, source) for path, source in zip(sources, told["sources"], strict=True)]
        scoring = Scoring(settings.score_by, settings.observer, settings.critic_score)
        found = read_sources([part for parts in read for part in parts], types_of(settings), scoring)
        data = ratings_of(found.groups, scale=settings.rating_scale, delta=settings.delta)
        require("the rows made of the sources", rows_digest(data), told["rows_digest"])
    except Differs as error:
        print(f"align verify: {error}", file=sys.stderr)
        return 1
    for source, parts in zip(told["sources"], read, strict=True):
        print(f"{source['path']}: " + "; ".join(_told(part) for part in parts))
    responses = sum(len(group.responses) for group in data.groups)
    print(f"verified {len(data.groups)} groups of {responses} responses; trained from {told['base_model']}")
    return 0


def require(what: str, found: str, told: str) -> None:
    """Raises Differs where two digests are not the same."""
    if found != told:
        raise Differs(f"{what} have the digest {found}, not {told}: they were changed, or are others")


def read_lineage(model: Path) -> dict[str, Any]:
    """The lineage in a model's folder. Raises BadInput where there is none, or it is of a version that told less."""
    path = model / FILE
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        missing = [name for name in ("model_digest", "sources", "rows_digest", "config") if name not in told]
    except (OSError, ValueError, TypeError) as error:
        raise BadInput(f"{path}: no lineage to be read ({error}); name a folder that align wrote") from error
    if missing:
        raise BadInput(f"{path}: tells no {missing[0]!r}, an older version wrote it; train again to have it verified")
    return dict(told)


def as_it_was(path: Path, told: dict[str, Any]) -> list[Path | Transcript]:
    """The source at `path` as far as it was read then. Raises Differs where it is another, or was changed since."""
    if "digest" in told:
        if is_run(path) or source_of(path)["digest"] != told["digest"]:
            raise Differs(f"{path}: is not the file that was read, or was changed since")
        return [path]
    worlds = read_worlds(path)
    if len(worlds) != len(told["heads"]):
        raise Differs(f"{path}: holds {len(worlds)} worlds, not {len(told['heads'])}")
    return [until(world, Head(**head)) for world, head in zip(worlds, told["heads"], strict=True)]


def until(run: Transcript, head: Head) -> Transcript:
    """`run` up to `head`, its chain checked that far; rounds that were played later are left out. Raises Differs."""
    try:
        for line in verified(run.path):
            if line.number == head.line and line.chain == head.chain:
                return replace(run, size=line.end)
    except BadInput as error:
        raise Differs(str(error)) from error
    raise Differs(f"{run.path}: no line {head.line} with the chain value {head.chain}: another run, or changed since")


def query_digest(query: Sequence[Message]) -> str:
    """The digest of a group's query, by which a question that was trained on is known again."""
    return digest_of([asdict(turn) for turn in query])


def _digested(group: Group) -> dict[str, Any]:
    fields = {**asdict(group), "origins": None}
    return {name: value for name, value in fields.items() if name not in ("type", "topic", "rated", "openness")}


def _told(part: Path | Transcript) -> str:
    if isinstance(part, Path):
        return "as it was"
    return f"{sum(1 for _ in part.interactions())} interactions of {len(part.rounds())} rounds, chain verified"
