"""A small training by Meta-Rewarding: a tiny model that can answer, judge and rate, and twelve prompts."""

import json
from pathlib import Path

import pytest
import torch

from agents.rating import WORD_PAIRS
from alignment.meta_judge.judging import JUDGE, META_JUDGE, POINTS, RUBRIC, SCORE_END, SIDES, WINNER_END
from tests.alignment.conftest import CHATML, make_model, make_tokenizer

DEEDS = ("borrow bread", "paint tents", "sell lamps", "fix trains", "clean gardens", "hide letters", "plant bicycles",
         "lend windows", "keep kittens", "move coats", "copy rivers", "swap ladders")  # fmt: skip
PROMPTS = [f"Should you {deed}?" for deed in DEEDS]
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
    """The folder of a tiny random Llama to whom a judge's words and the ends of judgements are single tokens."""
    words = [word for pairs in WORD_PAIRS.values() for pair in pairs for word in pair]
    ends = [SCORE_END + point for point in POINTS] + [WINNER_END + side for side in SIDES]
    texts = [*words, *PROMPTS, *ends, RUBRIC, JUDGE, META_JUDGE] * 9
    tokenizer = make_tokenizer().train_new_from_iterator(texts, 900, show_progress=False)
    tokenizer.chat_template = CHATML
    model = make_model(len(tokenizer))
    model.config.max_position_embeddings = 2048
    model.config.tie_word_embeddings = False
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model.lm_head.weight = torch.nn.Parameter(0.2 * torch.randn(len(tokenizer), model.config.hidden_size))
    folder = tmp_path_factory.mktemp("judge")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


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
    argv = ["meta-judge", *map(str, sources or ["prompts.txt"])]
    for name, value in {**SETTINGS, **options}.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            argv.append(f"--{flag}" if value else f"--no-{flag}")
        elif value is not None:
            argv += [f"--{flag}", str(value)]
    return argv
