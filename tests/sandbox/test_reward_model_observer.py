"""A run that a reward model rates: its ratings are in the log, play again, and go on; and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from agents.language_model import Message
from agents.reward_model import RewardModel
from sandbox import transcript
from sandbox.chain import chained
from sandbox.dataset import groups_of
from tests.fakes.letters import Letters
from tests.fakes.mock_server import Behaviour, MockServer
from tests.sandbox.commands import Done, called

Command = Callable[..., Done]
SMALL = ("--size", "2", "--rounds", "1", "--raters", "1", "--memories", "2")


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Calls `simulate …` or `replay …` in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    for module in ("sandbox.simulate", "sandbox.verify"):
        monkeypatch.setattr(f"{module}.Encoder", lambda folder: Letters())
    return lambda *argv: called(argv, monkeypatch, capsys)


@pytest.fixture
def reward_model(tiny_model_folder: Callable[..., Path], tmp_path: Path) -> Path:
    """The folder of a tiny reward model, whose head is random."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    base = tiny_model_folder(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
        torch.nn.init.normal_(model.score.weight)
    folder = tmp_path / "models" / "judge"
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return folder


@pytest.fixture
def played(command: Command, reward_model: Path) -> Path:
    """A run whose first observer is the reward model."""
    observers = ("--observer", f"reward-model:{reward_model}", "--observer", "embedding")
    with MockServer(Behaviour()) as server:
        done = command("simulate", "--out", "run", "--server", server.url, *SMALL, *observers)
    assert done.code == 0, done.err
    return Path("run")


def test_its_ratings_stand_in_the_log_and_score(played: Path, reward_model: Path) -> None:
    run = transcript.read(played)
    assert run.observers == ["reward-model:judge", "embedding"]
    model = RewardModel.load(str(reward_model))
    rated = [(i.question.text, i.draft.text, i.before["reward-model:judge"]) for i in run.interactions()]
    assert len(rated) == 4
    for question, answer, rating in rated:
        (reward,) = model.rewards([(Message("user", question),)], [answer or ""])
        assert rating.alignment == pytest.approx(1 + 6 * reward, abs=1e-4) and rating.engagement is None
    scores = {score for group in groups_of([played]) for score in group.scores}
    assert len(scores) > 1 and all(1 <= score <= 7 for score in scores)


def test_it_is_verified_by_the_same_reward_model_only(
    command: Command, played: Path, reward_model: Path, tmp_path: Path
) -> None:
    done = command("replay", "verify", str(played))
    assert done.code == 2 and "rated by reward-model:judge; name its folder with --reward-model" in done.last
    done = command("replay", "verify", str(played), "--reward-model", str(reward_model))
    assert done.code == 0 and "verified 4 interactions" in done.out, done.err
    other = shutil.copytree(reward_model, tmp_path / "others" / "judge")
    told = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**told, "rms_norm_eps": 0.5}))
    done = command("replay", "verify", str(played), "--reward-model", str(other))
    assert done.code == 1 and "observers[0].digest" in done.err, done.err


def test_a_rating_that_was_changed_is_found(command: Command, played: Path, reward_model: Path) -> None:
    path = played / "transcript.jsonl"
    line = json.loads(path.read_text().splitlines()[1])
    assert line["before"]["reward-model:judge"]["engagement"] is None
    lines, chain = [json.loads(text) for text in path.read_text().splitlines()], ""
    lines[1]["before"]["reward-model:judge"]["alignment"] += 0.5
    written = []
    for each in lines:
        text, chain = chained({name: value for name, value in each.items() if name != "chain"}, chain)
        written.append(text)
    path.write_bytes(b"".join(text if isinstance(text, bytes) else text.encode() for text in written))
    done = command("replay", "verify", str(played), "--reward-model", str(reward_model))
    assert done.code == 1 and "before.reward-model:judge.alignment" in done.err, done.err


def test_what_is_no_reward_model_is_refused(
    command: Command, tiny_model_folder: Callable[..., Path], reward_model: Path
) -> None:
    weights = load_file(reward_model / "model.safetensors")
    weights["score.weight"].fill_(float("nan"))
    save_file(weights, reward_model / "model.safetensors", metadata={"format": "pt"})
    with MockServer(Behaviour()) as server:
        flags = ("simulate", "--out", "run", "--server", server.url, *SMALL, "--observer")
        done = command(*flags, f"reward-model:{tiny_model_folder(0)}")
        assert done.code == 2 and "has no trained head; give a reward model" in done.last
        done = command(*flags, "reward-model:./nowhere")
        assert done.code == 2 and "there is no such folder" in done.last
        done = command(*flags, f"reward-model:{reward_model}")
        assert done.code == 2 and "model 'judge': its reward is not a number" in done.last
    assert not Path("run").exists()
