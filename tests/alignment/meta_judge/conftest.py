"""A small training by Meta-Rewarding: a tiny model that can answer, judge and rate, and twelve prompts."""

import json
from pathlib import Path

import pytest

from alignment.meta_judge.judging import JUDGE, META_JUDGE, POINTS, RUBRIC, SCORE_END, SIDES, WINNER_END
from tests.alignment import iterated
from tests.alignment.iterated import PROMPTS, saved_model

# The judge learns in the first iteration alone.
SCHEDULE = """
[[schedule]]
actor = true
judge = true
rho = 0.2

[[schedule]]
actor = true
judge = false
rho = 0.4
"""
SETTINGS = {
    "out": "trained",
    "config": "schedule.toml",
    "iterations": 2,
    "judge": "expected",
    "observer": "llm:verdict",
    "responses": 3,
    "judgements": 3,
    "max_tokens": 6,
    "judge_tokens": 8,
    "answers": 2,
    "max_length": 640,
    "learning_rate": 1e-2,
    "groups_per_step": 2,
}


@pytest.fixture(scope="session")
def tiny_judge(tmp_path_factory):
    """The folder of a tiny model to which the ends of judgements are single tokens, too."""
    ends = [SCORE_END + point for point in POINTS] + [WINNER_END + side for side in SIDES]
    return saved_model(tmp_path_factory.mktemp("judge"), [*ends, RUBRIC, JUDGE, META_JUDGE], 900)


def begun(folder: Path) -> Path:
    """`folder` with the files that SETTINGS name."""
    folder.mkdir(exist_ok=True)
    (folder / "prompts.txt").write_text("\n".join(PROMPTS) + "\n")
    (folder / "hard.txt").write_text("Prove that 1 is odd.\nProve that 3 is odd.\n")
    judged = [{"prompt": prompt, "response": "Ask.", "judgement": "Kind.", "score": 4} for prompt in PROMPTS]
    (folder / "eft.jsonl").write_text("".join(json.dumps(row) + "\n" for row in judged))
    (folder / "schedule.toml").write_text(SCHEDULE)
    return folder


def argv_of(*sources, **options):
    """The arguments of `align meta-judge` by SETTINGS and `options`; None leaves one out, False denies it."""
    return iterated.argv_of("meta-judge", sources, {**SETTINGS, **options})
