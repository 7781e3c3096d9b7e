"""run.toml: the settings of a run, every option with the value that it had, and what they were resolved to."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agents.errors import BadInput
from agents.server import KEY_VARIABLE
from sandbox.config import SimulateOptions, load, read_table
from sandbox.folders import write_whole
from sandbox.toml import toml_of

FILE = "run.toml"
# A run may come from someone else: it decides no folder, starts no program, and sends no key to an address of its own.
NOT_TAKEN = ("out", "vllm_command", "ray")
NOT_WITH_A_KEY = ("server",)
OF_A_CALL = ("config", "resume")  # these say how a command is called, not how a run is played
VERSIONED = ("social-sandbox", "mesa", "torch", "transformers", "sentence-transformers", "faiss-cpu", "numpy")


def resolved(options: SimulateOptions, header: Mapping[str, Any]) -> str:
    """The text of run.toml: every option, those left open as the header tells, then versions and model digests."""
    found = {
        "rounds": options.round_limit,
        "model": options.model or [model["name"] for model in header["models"]],
        "reading": header["speech"]["reading"],
        "observer": [observer["name"] for observer in header["observers"]],
    }
    digests = {model["name"]: model["digest"] for model in header["models"]}
    values = options.model_dump(mode="json", exclude={*OF_A_CALL})
    return toml_of({**values, **found, "versions": versions(), "digests": digests})


def write_settings(folder: Path, options: SimulateOptions, header: Mapping[str, Any]) -> None:
    """Write run.toml, whole or not at all."""
    write_whole(folder / FILE, resolved(options, header))


def settings_of(run: Path) -> dict[str, Any]:
    """What the run.toml in the folder `run` says of options, but for NOT_TAKEN; nothing where there is none.

    Raises BadInput where it can't be read.
    """
    path = run / FILE
    if not path.is_file():
        return {}
    left_out = NOT_TAKEN + NOT_WITH_A_KEY * bool(os.environ.get(KEY_VARIABLE))
    return {name: value for name, value in read_table(path, SimulateOptions).items() if name not in left_out}


def base_of(run: Path) -> dict[str, Any]:
    """What a command that goes on with a run begins with: its settings, and the defaults of what they don't name, which
    had none other (TOML can't say None), whatever the environment says now. Nothing where there is no run.toml.
    """
    if not (run / FILE).is_file():
        return {}
    ours = set(SimulateOptions.model_fields) - {*NOT_TAKEN, *NOT_WITH_A_KEY, *OF_A_CALL}
    return {**{name: SimulateOptions.model_fields[name].default for name in ours}, **settings_of(run)}


def options_of(run: Path) -> SimulateOptions:
    """All options that a run was played with. Raises BadInput where it has no run.toml, or one that says too little."""
    if not (run / FILE).is_file():
        raise BadInput(f"{run / FILE} does not exist: it says how the run was played; name the folder of a run")
    options = load(SimulateOptions, ["--out", str(run)], prog="simulate", base=base_of(run))
    if not options.model:
        raise BadInput(f'{run / FILE}: names no model; write the run\'s into it, as model = ["NAME"]')
    return options


def versions() -> dict[str, str]:
    """The versions of what decides the words of a run."""
    found = {"python": platform.python_version()}
    for name in VERSIONED:
        found[name] = importlib.metadata.version(name)
    return found
