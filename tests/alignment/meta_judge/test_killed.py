"""Trainings by Meta-Rewarding in processes of their own, killed for real: what --resume makes of them."""

import pytest

from tests.alignment.iterated import ends_as_if_never_killed, launched
from tests.alignment.meta_judge.conftest import argv_of, begun

MOMENTS = (
    "untrained/answers 1",
    "before iteration-0/eft",
    "step 3",  # of the fine-tuning
    "iteration-1/judgements 3",
    "iteration-1/verdicts 2",
    "before iteration-1/pairs",
    "iteration-2/judgements 1",
)


@pytest.mark.slow
@pytest.mark.timeout(900)  # nine processes, each of which loads PyTorch and TRL
def test_a_training_that_is_killed_again_and_again_ends_as_one_that_was_not(tmp_path, tiny_judge):
    def run(folder, killed=None, **options):
        argv = argv_of(model=tiny_judge, out="run", prompts=4, eft="eft.jsonl", save_steps=2, **options)
        return launched(begun(tmp_path / folder), argv, killed)

    ends_as_if_never_killed(tmp_path, run, MOMENTS)
