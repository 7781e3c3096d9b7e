"""Trainings by iterations in two processes: one of them samples, both learn, and it comes to the same."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.alignment.eva import conftest as eva
from tests.alignment.iterated import launched, rows
from tests.alignment.meta_judge import conftest as meta_judge
from tests.alignment.test_processes import launch


@pytest.mark.slow
@pytest.mark.parametrize("method", [eva, meta_judge], ids=["eva", "meta-judge"])
def test_two_processes_sample_once_and_learn_as_one(tmp_path, tiny_judge, method):
    options = {"model": tiny_judge, "iterations": 1, "groups_per_step": 2, "learning_rate": 1e-3}
    eft = {"eft": "eft.jsonl", "eft_learning_rate": 1e-3}
    options |= eft if method is meta_judge else {"creator_model": None}
    folder = method.begun(tmp_path / "work")
    done = launched(folder, method.argv_of(**options, out="one"))
    assert done.returncode == 0, done.stderr
    said = launch("cpu", folder, method.argv_of(**options, out="two"))
    one, two = folder / "one", folder / "two"
    assert said.count("model two\n") == said.count(" an iteration; measured on ") == 1
    for name in ("prompts", "responses", "pairs"):
        path = Path(f"iteration-1/{name}.jsonl")
        assert (one / path).read_text() == (two / path).read_text(), name
    trained, other = (load_file(each / "model.safetensors") for each in (one, two))
    assert all(torch.allclose(trained[name], other[name], rtol=0, atol=1e-5) for name in trained)
    begun = load_file(tiny_judge / "model.safetensors")
    assert max(float((trained[name] - begun[name]).abs().max()) for name in trained) > 5e-4, "it did not learn"
    assert [json.loads((each / "training.json").read_text())["processes"] for each in (one, two)] == [1, 2]
    assert len(rows(two / "telemetry.jsonl")) == len(rows(one / "telemetry.jsonl"))
