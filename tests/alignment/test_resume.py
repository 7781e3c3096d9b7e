"""A training that goes on from a checkpoint ends bit by bit as one that was never stopped; and what is refused."""

import json
import shutil
from dataclasses import asdict, replace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import set_seed

from agents.errors import BadInput
from alignment.checkpoints import (
    FILE,
    Fingerprint,
    WholeLines,
    latest_checkpoint,
    refuse_begun,
    require_same,
    started,
)
from alignment.config import AlignStableOptions
from alignment.groups import checked
from alignment.stable import StableAlignmentConfig, StableAlignmentTrainer
from tests.alignment.conftest import make_model

TIMED = ("train_runtime", "train_samples_per_second", "train_steps_per_second")
NINE_STEPS = {"num_train_epochs": 3, "gradient_accumulation_steps": 2, "learning_rate": 1e-2, "responses": 2}


@pytest.fixture
def train(tmp_path, tokenizer, groups):
    """Trains the small model, with dropout, for nine steps and saves after every one; may go on from a checkpoint."""

    def train(out="whole", resume=None, *, lora=False, **settings):
        set_seed(1)
        model = make_model(len(tokenizer))
        for module in model.modules():
            if hasattr(module, "attention_dropout"):
                module.attention_dropout = 0.1
        if lora:
            model = get_peft_model(model, LoraConfig(target_modules="all-linear", lora_dropout=0.1, r=4))
        given = NINE_STEPS | {"max_length": 100, "disable_tqdm": True, "save_strategy": "steps", "save_steps": 1}
        args = StableAlignmentConfig(output_dir=str(tmp_path / out), **(given | settings))
        trainer = StableAlignmentTrainer(model, args, groups, tokenizer, callbacks=[WholeLines()])
        trainer.train(resume_from_checkpoint=resume and str(resume))
        return trainer

    return train


def log(trainer):
    """What was logged, without times and transformers' summary of one call."""
    lines = ({name: value for name, value in line.items() if name not in TIMED} for line in trainer.state.log_history)
    return [line for line in lines if "loss" in line]


def assert_same(trainer, whole):
    assert log(trainer) == log(whole)
    found, wanted = trainer.model.state_dict(), whole.model.state_dict()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


# Steps 1 and 2 lie within the first epoch of three, step 3 ends it, step 5 lies within the second.
@pytest.mark.parametrize("step", [1, 3, 5])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"gradient_accumulation_steps": 4},  # the last step of an epoch has fewer groups
        {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 1},
        {"logging_steps": 4, "save_steps": 5},
        {"shared_prefix": False},
        {"optim": "sgd", "lr_scheduler_type": "linear"},
    ],
    ids=lambda settings: ", ".join(settings) or "as it comes",
)
def test_it_goes_on_bit_by_bit(train, tmp_path, step, settings):
    step = settings.get("save_steps", step)
    whole = train(**settings)
    assert_same(train("again", tmp_path / "whole" / f"checkpoint-{step}", **settings), whole)


def test_random_numbers_would_show(train, tmp_path):
    """Otherwise the test above proved less than it says."""
    whole = train()
    (tmp_path / "whole" / "checkpoint-4" / "rng_state.pth").unlink()
    assert log(train("again", tmp_path / "whole" / "checkpoint-4"))[:4] == log(whole)[:4]
    assert log(train("again", tmp_path / "whole" / "checkpoint-4"))[4:] != log(whole)[4:]


# peft 0.21 asks transformers for a property under its old name.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_an_adapter_goes_on_bit_by_bit(train, tmp_path):
    whole = train(lora=True)
    assert_same(train("again", tmp_path / "whole" / "checkpoint-4", lora=True), whole)


def test_the_latest_whole_checkpoint_is_found(train, tmp_path):
    folder = tmp_path / "whole"
    assert latest_checkpoint(folder, 1) is None
    train(save_steps=1)
    assert latest_checkpoint(folder, 1) == folder / "checkpoint-9"
    assert latest_checkpoint(folder, 2) is None  # of one process only
    (folder / "checkpoint-9" / "trainer_state.json").unlink()
    (folder / "checkpoint-99").mkdir()
    (folder / "checkpoint-x").mkdir()
    assert latest_checkpoint(folder, 1) == folder / "checkpoint-8"
    shutil.copytree(folder / "checkpoint-8", folder / "checkpoint-10")  # the state of another step
    assert latest_checkpoint(folder, 1) == folder / "checkpoint-8"


@pytest.mark.parametrize(
    "name", ["trainer_state.json", "rng_state.pth", "optimizer.pt", "scheduler.pt", "model.safetensors"]
)
def test_a_file_that_was_cut_off_makes_no_checkpoint(train, tmp_path, name):
    train(num_train_epochs=1)
    folder = tmp_path / "whole"
    path = folder / "checkpoint-3" / name
    for size in (path.stat().st_size - 3, 0):
        with path.open("rb+") as file:
            file.truncate(size)
        assert latest_checkpoint(folder, 1) == folder / "checkpoint-2"


def fingerprint(small_model, groups, processes=1, method="stable", **options):
    given = AlignStableOptions(sources=["a.jsonl"], model=str(small_model), out="x", **options)
    return Fingerprint.of(given, method, {"learning_rate": 2e-5}, checked(groups), processes)


def test_the_same_training_goes_on(tmp_path, small_model, groups):
    folder = tmp_path / "x.checkpoints"
    refuse_begun(folder)
    begun = fingerprint(small_model, groups, trainer={"weight_decay": 0.5}, type=["imitation=0.5"], save_steps=5)
    started(folder, begun)
    again = AlignStableOptions(
        sources=["moved.jsonl"], model=str(small_model), out="y", trainer={"weight_decay": 0.5},
        type=["imitation=0.5"], resume=True, report_to=["tensorboard"], save_steps=7,
    )  # fmt: skip
    require_same(folder, Fingerprint.of(again, "stable", {"learning_rate": 2e-5}, checked(groups), 1))
    with pytest.raises(BadInput, match="holds a training that was stopped; go on with --resume, or remove the folder"):
        refuse_begun(folder)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"weight": 0.3}, "begun with --weight 0.2, not --weight 0.3; give it that again"),
        ({"groups_per_step": 4}, "begun with --groups-per-step 8, not --groups-per-step 4; give it that again"),
        ({"stages": ["imitation=2"]}, "begun with no --stages, not --stages imitation=2; give it that again"),
        (
            {"trainer": {"optim": "sgd"}},
            r"begun with no \[trainer\] optim, not \[trainer\] optim = \"sgd\"; give it that again",
        ),
        ({"lora": True}, "begun with --lora false, not --lora true; give it that again"),
        ({"processes": 2}, "begun in 1 processes, not 2; launch as many again"),
        ({"method": "sft"}, "begun by align stable, not sft; go on with that"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_another_training_is_refused(tmp_path, small_model, groups, changed, told):
    started(tmp_path, fingerprint(small_model, groups))
    with pytest.raises(BadInput, match=f"--resume: the training was {told}, or train anew to another --out") as found:
        require_same(tmp_path, fingerprint(small_model, groups, **changed))
    assert "\n" not in str(found.value)


def test_other_data_and_another_model_are_refused(tmp_path, small_model, groups):
    started(tmp_path, fingerprint(small_model, groups))
    for other in (
        [*groups[:-1], replace(groups[-1], scores=(6.0, 4.0, 1.0))],
        [replace(g, type="self_critic") for g in groups],
    ):
        with pytest.raises(BadInput, match="--resume: the rows are others than .* give the same sources, or"):
            require_same(tmp_path, fingerprint(small_model, other))
    model = tmp_path / "model"
    shutil.copytree(small_model, model)
    require_same(tmp_path, fingerprint(model, groups))
    (model / "config.json").write_text((model / "config.json").read_text() + "\n")
    with pytest.raises(BadInput, match="--resume: the files of --model are others than .* give the same model, or"):
        require_same(tmp_path, fingerprint(model, groups))


def test_nothing_to_go_on_from_is_told(tmp_path, small_model, groups):
    now = fingerprint(small_model, groups)
    with pytest.raises(BadInput, match="--resume: .* holds no training that was stopped; leave --resume out to start"):
        require_same(tmp_path, now)
    older = {**asdict(now), "rows": "digest of all"}
    del older["read"]
    for text in ("{", "[]", json.dumps({"method": "stable"}), json.dumps(older)):
        (tmp_path / FILE).write_text(text)
        with pytest.raises(BadInput, match=rf"--resume: .*{FILE} can't be read .*; remove .* and start anew"):
            require_same(tmp_path, now)
