"""A small training by eva: a tiny model that can judge, twelve prompts, a creator on a server."""

import json
import tomllib
from pathlib import Path

import pytest
import torch

from agents.rating import WORD_PAIRS
from tests.alignment.conftest import CHATML, make_model, make_tokenizer

DEEDS = ("borrow bread", "paint tents", "sell lamps", "fix trains", "clean gardens", "hide letters", "plant bicycles",
         "lend windows", "keep kittens", "move coats", "copy rivers", "swap ladders")  # fmt: skip
PROMPTS = [f"Should you {deed}?" for deed in DEEDS]
OPERATORS = """
[more]
kind = "depth"
ask = "Make it harder: {prompt}"
start = '"{prompt} Mind that'

[mix]
kind = "breadth"
ask = "Make one of {prompt} and {other}"
start = '"{prompt} And'

[free]
kind = "depth"
ask = "Make it harder: {prompt}"
"""
SETTINGS = {
    "out": "trained",
    "creator_model": "mock",
    "operators": "operators.toml",
    "judge": "llm:verdict",
    "share": 0.5,
    "evolutions": 3,
    "prompt_tokens": 40,
    "responses": 3,
    "max_tokens": 6,
    "answers": 2,
    "learning_rate": 1e-2,
    "groups_per_step": 4,
}


@pytest.fixture(scope="session")
def judging_model(tmp_path_factory):
    """The folder of a tiny random Llama whose tokenizer has a judge's words, and whose greedy answers vary."""
    words = [word for pairs in WORD_PAIRS.values() for pair in pairs for word in pair]
    tokenizer = make_tokenizer().train_new_from_iterator([*words, *PROMPTS] * 9, 600, show_progress=False)
    tokenizer.chat_template = CHATML
    model = make_model(len(tokenizer))
    model.config.max_position_embeddings = 2048
    model.config.tie_word_embeddings = False
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model.lm_head.weight = torch.nn.Parameter(0.2 * torch.randn(len(tokenizer), model.config.hidden_size))
    folder = tmp_path_factory.mktemp("judging")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def begun(folder: Path) -> Path:
    """`folder` with the files that SETTINGS name."""
    folder.mkdir(exist_ok=True)
    (folder / "prompts.txt").write_text("\n".join(PROMPTS) + "\n")
    (folder / "operators.toml").write_text(OPERATORS)
    return folder


def argv_of(*sources, **options):
    """The arguments of `align eva` by SETTINGS and `options`; None leaves one out."""
    argv = ["eva", *map(str, sources or ["prompts.txt"])]
    for name, value in {**SETTINGS, **options}.items():
        if value is not None and value is not False:
            argv += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    return argv


def rows(path: Path):
    """The rows of a file."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def kept(folder: Path):
    """All files of a training by name, without times and what may change when it goes on; of pictures only the names.

    Where the folder lies is left out too.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "telemetry.jsonl")
    return {path.relative_to(folder).as_posix(): _kept(path, bytes(folder.resolve())) for path in paths}


CHANGING = ("iterations", "max_failures", "server", "resume", "out", "seconds", "cost", "path", "model",
            "num_tokens")  # which TRL counts since it was last begun  # fmt: skip


def _kept(path, folder):
    if path.suffix in (".html", ".png"):
        return None
    content = path.read_bytes().replace(folder, b"DIR")
    if path.suffix == ".json":
        return _lasting(json.loads(content))
    if path.suffix == ".toml":
        return _lasting(tomllib.loads(content.decode()))
    if path.name == "trainer_log.jsonl":
        return [_lasting(json.loads(line)) for line in content.splitlines()]
    return content


def _lasting(value):
    if isinstance(value, dict):
        return {name: _lasting(inner) for name, inner in value.items() if name not in CHANGING}
    return [*map(_lasting, value)] if isinstance(value, list) else value
