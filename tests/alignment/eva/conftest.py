"""A small training by eva: a tiny model that can judge, twelve prompts, a creator on a server."""

from pathlib import Path

import pytest

from tests.alignment import iterated
from tests.alignment.iterated import PROMPTS, saved_model

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
    """The folder of a tiny model that can judge by its words."""
    return saved_model(tmp_path_factory.mktemp("judging"), [], 600)


def begun(folder: Path) -> Path:
    """`folder` with the files that SETTINGS name."""
    folder.mkdir(exist_ok=True)
    (folder / "prompts.txt").write_text("\n".join(PROMPTS) + "\n")
    (folder / "operators.toml").write_text(OPERATORS)
    return folder


def argv_of(*sources, **options):
    """The arguments of `align eva` by SETTINGS and `options`; None leaves one out, False denies it."""
    return iterated.argv_of("eva", sources, {**SETTINGS, **options})
