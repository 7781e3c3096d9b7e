"""What tests of eva and of Meta-Rewarding share: prompts, a tiny model, calls of `align`, what a training leaves."""

import io
import json
import os
import signal
import subprocess
import sys
import tomllib
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from agents.rating import WORD_PAIRS
from alignment import cli
from tests.alignment.conftest import CHATML, make_model, make_tokenizer
from tests.fakes.words import Words

ROOT = Path(__file__).parents[2]
DEEDS = ("borrow bread", "paint tents", "sell lamps", "fix trains", "clean gardens", "hide letters", "plant bicycles",
         "lend windows", "keep kittens", "move coats", "copy rivers", "swap ladders")  # fmt: skip
PROMPTS = [f"Should you {deed}?" for deed in DEEDS]
METHODS = ("alignment.eva", "alignment.meta_judge")


def saved_model(folder: Path, texts, vocabulary: int) -> Path:
    """`folder` with a tiny random Llama whose tokenizer has a judge's words, and whose greedy answers vary."""
    words = [word for pairs in WORD_PAIRS.values() for pair in pairs for word in pair]
    texts = [*words, *PROMPTS, *texts] * 9
    tokenizer = make_tokenizer().train_new_from_iterator(texts, vocabulary, show_progress=False)
    tokenizer.chat_template = CHATML
    model = make_model(len(tokenizer))
    model.config.max_position_embeddings = 2048
    model.config.tie_word_embeddings = False
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model.lm_head.weight = torch.nn.Parameter(0.2 * torch.randn(len(tokenizer), model.config.hidden_size))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


# Calls.


def argv_of(method, sources, options):
    """The arguments of `align METHOD`; None leaves an option out, False denies it."""
    argv = [method, *map(str, sources or ["prompts.txt"])]
    for name, value in options.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            argv.append(f"--{flag}" if value else f"--no-{flag}")
        elif value is not None:
            argv += [f"--{flag}", str(value)]
    return argv


@dataclass
class Called:
    code: int
    out: str
    err: str

    @property
    def refused(self):
        """The one line that it was refused by."""
        assert self.code == 2 and "Traceback" not in self.err, self.err
        return self.err.splitlines()[-1]


def align(folder, *argv, report=False):
    """Calls `align` in `folder`, with an encoder that counts words; the page, which takes longest, is left out."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr("alignment.judge.Encoder", Words)
        for method in METHODS:
            patch.setattr(f"{method}.setup.Encoder", Words)
            if not report:
                patch.setattr(f"{method}.training.write_report", lambda *given: None)
        patch.setattr(sys, "argv", ["align", *map(str, argv)])
        patch.chdir(folder)
        with pytest.raises(SystemExit) as exit:
            cli.align()
    return Called(exit.value.code, out.getvalue(), err.getvalue())


def launched(folder, argv, killed=None):
    """`align` in a process of its own, which may be killed at that moment."""
    given = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | ({"KILLED": killed} if killed else {})
    command = [sys.executable, "-m", "tests.alignment.launched", *argv]
    return subprocess.run(command, cwd=folder, env=given, capture_output=True, text=True, timeout=250)


def ends_as_if_never_killed(folder, run, moments):
    """`run` begins in `folder`/cut, is killed at each moment and gone on with: all is as in `folder`/whole, not killed.

    `run` takes the name of the folder, the moment, and whether to resume; it trains to its subfolder "run".
    """
    done = run("whole")
    assert done.returncode == 0, done.stderr
    for number, moment in enumerate(moments):
        done = run("cut", killed=moment, resume=number > 0)
        assert done.returncode == -signal.SIGKILL, (moment, done.stderr)
        assert not (folder / "cut/run/model.safetensors").exists(), moment
    done = run("cut", resume=True)
    assert done.returncode == 0, done.stderr
    assert_same(kept(folder / "cut/run"), kept(folder / "whole/run"))
    assert not [path for path in (folder / "cut").rglob("*") if ".new" in path.name or "checkpoint" in path.name]


# What a training leaves.


def weights(folder):
    return load_file(folder / "model.safetensors")


def unmoved(before, after):
    """The parameters that are the same."""
    return [name for name in before if torch.equal(before[name], after[name])]


def rows(path: Path):
    """The rows of a file."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def assert_same(one, two):
    """Fails naming the first file that differs, of what is `kept`."""
    for name in two:
        assert one[name] == two[name], name
    assert one.keys() == two.keys()


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
