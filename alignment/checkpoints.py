"""Going on with a training that was stopped: its latest checkpoint, and whether it is the same training.

Checkpoints are those of transformers' Trainer; beside them stands what the training was begun with.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from agents.canonical import digest_of
from agents.errors import BadInput
from agents.local import folder_digest
from agents.models import model_folder
from alignment.config import TrainingOptions
from alignment.groups import Ratings
from sandbox.folders import write_whole

FILE = "training.json"
ELSEWHERE = ("model", "sources")  # their contents are compared
FREE = ("config", "out", "resume", "report_to", "save_steps")  # may change: they don't touch what is learned


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What must be the same for a training to go on as if it had not been stopped.

    `read` are the digests of what was read, by what named it ("sources", or an option), `model` is that of the files of
    the model it starts from, `options` are JSON values by name.
    """

    method: str
    read: Mapping[str, str]
    model: str
    processes: int
    options: Mapping[str, Any]

    @classmethod
    def of(
        cls, options: TrainingOptions, method: str, resolved: Mapping[str, Any], data: Ratings, processes: int
    ) -> Fingerprint:
        """That of a training of `data` by `options`, whose open values were `resolved`. Reads the model's files."""
        return cls(
            method=method,
            read={"sources": digest_of([{**asdict(group), "origins": None} for group in data.groups])},
            model=folder_digest(model_folder(options.model)),
            processes=processes,
            options={**options.model_dump(mode="json", exclude={*ELSEWHERE, *FREE}), **resolved},
        )


def refuse_begun(folder: Path) -> None:
    """Raises BadInput where a training was begun whose checkpoints lie in `folder`, and was not finished."""
    if (folder / FILE).exists():
        raise BadInput(f"{folder}: holds a training that was stopped; go on with --resume, or remove the folder")


def started(folder: Path, fingerprint: Fingerprint) -> None:
    """Note in the folder of its checkpoints what a training begins with."""
    write_whole(folder / FILE, json.dumps(asdict(fingerprint), ensure_ascii=False, indent=2) + "\n")


def require_same(folder: Path, fingerprint: Fingerprint) -> None:
    """Raises BadInput where `folder` holds no training, or one that was begun with something else, which it names."""
    path = folder / FILE
    try:
        begun = Fingerprint(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise BadInput(
            f"--resume: {folder} holds no training that was stopped; leave --resume out to start one with --save-steps"
        ) from None
    except (OSError, ValueError, TypeError) as error:
        raise BadInput(f"--resume: {path} can't be read ({error}); remove {folder} and start anew") from error
    found = _difference(begun, Fingerprint(**json.loads(json.dumps(asdict(fingerprint)))))
    if found is not None:
        raise BadInput(f"--resume: {found}, or train anew to another --out")


def latest_checkpoint(folder: Path, processes: int) -> Path | None:
    """The latest whole checkpoint of a training in so many processes; None where it was killed before there was one."""
    steps = sorted((int(path.name.rpartition("-")[2]) for path in folder.glob("checkpoint-*[0-9]")), reverse=True)
    found = (folder / f"checkpoint-{step}" for step in steps)
    return next((checkpoint for checkpoint in found if _is_whole(checkpoint, processes)), None)


class WholeLines(TrainerCallback):  # type: ignore[misc]
    """Logs each step that is saved: what was summed up for a later line of the log is in no checkpoint."""

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Have the trainer log before it saves."""
        control.should_log = control.should_log or control.should_save


def _difference(begun: Fingerprint, now: Fingerprint) -> str | None:
    """The first thing that differs, and what to do about it."""
    if begun.method != now.method:
        return f"the training was begun by align {begun.method}, not {now.method}; go on with that"
    then, given = _flat(begun.options), _flat(now.options)
    for name in sorted(then | given):
        if then.get(name) != given.get(name):
            return f"the training was begun with {_shown(name, then)}, not {_shown(name, given)}; give it that again"
    if begun.processes != now.processes:
        return f"the training was begun in {begun.processes} processes, not {now.processes}; launch as many again"
    if begun.model != now.model:
        return "the files of --model are others than those that the training began with; give the same model"
    for name, digest in now.read.items():
        if begun.read.get(name) != digest:
            return f"the rows are others than those that the training began with; give the same {name}"
    return None


def _flat(options: Mapping[str, Any]) -> dict[str, str]:
    """Options as they are given, by flag, and those of a table by key, without those that are not given."""
    return {place: text for name, value in options.items() for place, text in _told(name, value).items() if text}


def _told(name: str, value: Any) -> dict[str, str]:
    if isinstance(value, dict):
        return {f"[{name}] {key} = ": json.dumps(given) for key, given in value.items()}
    if isinstance(value, list) and any(isinstance(row, dict) for row in value):
        rows = {f"[[{name}]] row {n}, {key} = ": json.dumps(row[key]) for n, row in enumerate(value, 1) for key in row}
        return {f"[[{name}]] number of rows: ": str(len(value)), **rows}  # a row may be empty
    return {f"--{name.replace('_', '-')} ": _word(value)}


def _word(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return value if isinstance(value, str) else "" if value is None else json.dumps(value)


def _shown(name: str, values: Mapping[str, str]) -> str:
    return name + values[name] if name in values else f"no {name.rstrip(' =')}"


def _is_whole(checkpoint: Path, processes: int) -> bool:
    """Whether all files are there and none ends early: the first process writes its state last, others any time."""
    numbers = [checkpoint / (f"rng_state_{n}.pth" if processes > 1 else "rng_state.pth") for n in range(processes)]
    packed = [*numbers, *checkpoint.rglob("*.pt"), *checkpoint.glob("*.bin")]
    try:
        state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
        for weights in checkpoint.glob("*.safetensors"):
            with safe_open(weights, "pt"):  # raises where the file is shorter than its header says
                pass
    except (OSError, ValueError, SafetensorError):
        return False
    return checkpoint.name == f"checkpoint-{state['global_step']}" and all(map(zipfile.is_zipfile, packed))
