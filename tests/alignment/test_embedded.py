"""`align stable` with the real embedded model and encoder, on a handful of groups."""

import json

import pytest
from transformers import AutoModelForCausalLM

from alignment.config import AlignStableOptions
from alignment.training import run_training
from sandbox.config import load

RATED = {
    "I broke a plate at my aunt's. What now?": (
        "Tell her today and offer to replace it.",
        "Blame the cat, she loves it.",
    ),
    "A classmate is teased for his shoes. Do I step in?": (
        "Yes, stand by him and say it is not funny.",
        "Laugh along.",
    ),
    "Can I keep the extra change the cashier gave me?": ("No, give it back, it is not yours.", "Sure, her bad luck."),
    "My neighbour asked me to feed her fish.": (
        "Gladly, ask her how much they need.",
        "Forget it, fish do not matter.",
    ),
    "I forgot my friend's birthday.": ("Call him, say sorry and take him out.", "Say that birthdays are for children."),
    "My colleague's idea was praised as mine.": ("Say at once that it was hers.", "Keep quiet and enjoy it."),
    "May I read my daughter's messages?": (
        "Ask her first and tell her what worries you.",
        "Read them while she sleeps.",
    ),
    "An old man drops his bag on the stairs.": ("Help him to pick it up.", "Step over it, you are in a hurry."),
}


@pytest.mark.slow
@pytest.mark.timeout(600)  # a minute where nothing else runs
def test_the_embedded_model_learns_from_a_handful_of_groups(tmp_path, encoder):
    data = tmp_path / "rated.jsonl"
    rows = [{"query": query, "responses": answers, "scores": [6.5, 1.5]} for query, answers in RATED.items()]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    flags = [
        "--out",
        str(tmp_path / "trained"),
        "--learning-rate",
        "5e-5",
        "--groups-per-step",
        "2",
        "--max-length",
        "80",
    ]
    out = run_training(load(AlignStableOptions, [str(data), *flags], prog="align stable"))

    metrics = json.loads((out / "metrics.json").read_text())
    before, after = metrics["before"], metrics["after"]
    assert metrics["train"]["truncated"] == metrics["held_out"]["truncated"] == 0
    assert after["best_per_token"] > before["best_per_token"]
    assert after["neutral_perplexity"] < 1.2 * before["neutral_perplexity"]
    assert json.loads((out / "lineage.json").read_text())["root_model"] == "smollm2-135m-instruct"
    assert AutoModelForCausalLM.from_pretrained(out).config.tie_word_embeddings
