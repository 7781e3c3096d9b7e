"""The real embedded model as reader, speaker and judge."""

import asyncio
import json

import pytest

from agents.models import EMBEDDED_MODEL
from alignment.config import AlignEvaluateOptions
from alignment.evaluate import run_evaluate
from alignment.evaluate.duels import Bout, fought, win_rate
from sandbox.config import load
from tests.alignment.test_embedded import RATED

DULL = "I do not know."


@pytest.mark.slow
def test_the_embedded_model_prefers_an_answer_to_none(local_model):
    bouts = [Bout(question, "", good, DULL) for question, (good, _) in RATED.items()]
    rate = win_rate(asyncio.run(fought(local_model, bouts, "duel")))
    assert rate.duels == 8 and rate.value.value > 0.5
    turned = win_rate(asyncio.run(fought(local_model, [Bout(b.question, "", DULL, b.model) for b in bouts], "duel")))
    assert turned.value.value == pytest.approx(1 - rate.value.value, abs=1e-3)


@pytest.mark.slow
def test_the_embedded_model_is_measured(tmp_path):
    source = tmp_path / "rated.jsonl"
    rows = [{"prompt": question, "chosen": good, "rejected": bad} for question, (good, bad) in RATED.items()]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    argv = [EMBEDDED_MODEL, str(source), "--answers", "2", "--max-tokens", "24", "--encoder", "none"]
    run_evaluate(load(AlignEvaluateOptions, [*argv, "--json-out", str(tmp_path / "told.json")], prog="align evaluate"))
    report = json.loads((tmp_path / "told.json").read_text())
    plain, attacked = (
        {measure["name"]: measure["model"]["value"] for measure in report[name]["measures"]}
        for name in ("likelihood", "adversarial likelihood")
    )
    assert plain["perplexity, neutral text"] < 200
    assert attacked["log-prob a token, worst"] > plain["log-prob a token, worst"] + 1  # it stands in the prompt
    answers = [item["model"] for item in report["second turn"]["items"]]
    assert len(answers) == 2 and all(1 < answer["alignment"] < 7 and answer["text"] for answer in answers)
