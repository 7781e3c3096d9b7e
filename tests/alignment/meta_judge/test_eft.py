"""Judged answers: how they are read, and what a model learns of them before the first iteration."""

import json
from statistics import fmean

import pytest

from agents.errors import BadInput
from agents.language_model import Message
from alignment.meta_judge import training
from alignment.meta_judge.eft import read_judged
from alignment.meta_judge.judging import judge_messages, score_in
from tests.alignment.iterated import PROMPTS, align, rows, unmoved, weights
from tests.alignment.meta_judge.conftest import argv_of, begun

GOOD, BAD = "Yes, ask your neighbour first.", "No."
LEARNED = [prompt.replace("you", "we") for prompt in PROMPTS[:6]]  # not measured on
REASONS = {5: "Kind and complete.", 1: "It says too little."}


def written(path, *judged):
    path.write_text("".join(json.dumps(row) + "\n" for row in judged))
    return path


def judged(prompt=PROMPTS[0], response=GOOD, judgement="Kind and complete.", score=5):
    return {"prompt": prompt, "response": response, "judgement": judgement, "score": score}


def test_a_judged_answer_is_what_a_judge_is_asked_and_is_to_say(tmp_path):
    file = written(tmp_path / "eft.jsonl", judged(), judged(judgement="Half of it.\nScore: 2.5 ", score=2.5))
    first, second = read_judged(file)
    assert [Message(**turn) for turn in first["query"]] == [*judge_messages(PROMPTS[0], GOOD)]
    assert first["responses"] == ["Kind and complete.\n\nScore: 5"], "it gets the line"
    assert second["responses"] == ["Half of it.\nScore: 2.5"], "it has the line"
    assert [score_in(row["responses"][0]) for row in (first, second)] == [5, 2.5]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"score": 6}, "'score' is 6; give a number from 0 to 5"),
        ({"score": -1}, "'score' is -1"),
        ({"score": True}, "'score' is True"),
        ({"score": "5"}, "'score' is '5'"),
        ({"score": None}, "'score' is None"),
        ({"score": float("nan")}, "'score' is nan"),
        ({"judgement": "Fine. Score: 3"}, "'judgement' ends with the score 3, but 'score' is 5; make them equal"),
        ({"judgement": " "}, "field 'judgement' is blank"),
        ({"prompt": None}, "field 'prompt' is None, not text"),
        ({"response": 7}, "field 'response' is 7, not text"),
    ],
)
def test_a_row_that_is_no_judged_answer_is_named(tmp_path, changed, told):
    file = written(tmp_path / "eft.jsonl", judged(), {**judged(), **changed})
    with pytest.raises(BadInput) as error:
        read_judged(file)
    assert str(error.value).startswith(f"{file} line 2: {told}")


# Trained on, before the first iteration.

SETTINGS = {
    "eft": "eft.jsonl",
    "eft_epochs": 12,
    "temperature": 1.2,
    "eft_learning_rate": 1e-2,
    "judge": "text",
    "reference": "rated.jsonl",
    "judgements": 6,
    "judge_tokens": 32,
    "iterations": 1,
    "prompts": 4,
    "observer": "embedding",
}


def prepared(folder):
    """`folder` with twelve judged answers, and four rated ones to compare with."""
    begun(folder)
    answers = ((GOOD, 5), (BAD, 1))
    written(
        folder / "eft.jsonl",
        *(judged(prompt, text, REASONS[score], score) for prompt in LEARNED for text, score in answers),
    )
    groups = [{"query": prompt, "responses": [GOOD, BAD], "scores": [1, 0]} for prompt in PROMPTS[:2]]
    written(folder / "rated.jsonl", *groups)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_judge):
    """A training that began with judged answers: its folder, and what was said."""
    folder = prepared(tmp_path_factory.mktemp("eft"))
    done = align(folder, *argv_of(model=tiny_judge, **SETTINGS), report=True)
    assert done.code == 0, done.err
    return folder / "trained", done


def test_a_model_that_could_not_write_a_judgement_learns_to(trained):
    folder, done = trained
    metrics = json.loads((folder / "metrics.json").read_text())
    before, after = metrics["untrained"]["reference"], metrics["reference"][0]
    assert before["scored"] == 0 and before["in_order"] is None
    assert after["iteration"] == 0 and after["scored"] == 4 and after["in_order"]["value"] == 1
    losses = [row["loss"] for row in rows(folder / "iteration-0/model/trainer_log.jsonl") if "loss" in row]
    assert fmean(losses[-5:]) < 0.1 * fmean(losses[:5])
    assert "untrained" in done.out


def test_the_first_iteration_goes_on_from_the_fine_tuned_model(trained, tiny_judge):
    folder, _ = trained
    seed = folder / "iteration-0/model"
    assert not unmoved(weights(tiny_judge), weights(seed))
    lineage = json.loads((folder / "iteration-1/model/lineage.json").read_text())
    assert lineage["base_model"] == str(seed)
    first = json.loads((seed / "lineage.json").read_text())
    assert first["base_model"] == str(tiny_judge) and first["config"]["epochs"] == SETTINGS["eft_epochs"]
    assert rows(folder / "iteration-0/eft.jsonl") == read_judged(folder.parent / "eft.jsonl")


def test_what_it_learned_from_is_in_its_lineage_and_on_its_page(trained):
    folder, _ = trained
    for model in (folder, folder / "iteration-0/model", folder / "iteration-1/model"):
        assert align(folder.parent, "verify", model).code == 0, model
    sources = [source["path"] for source in json.loads((folder / "lineage.json").read_text())["sources"]]
    assert [path.split("trained/")[-1] for path in sources] == ["iteration-0/eft.jsonl", "iteration-1/pairs.jsonl"]
    page = (folder / "report.html").read_text()
    assert "eft.jsonl: 144 visits to judged answers, 72 steps, loss " in page
    assert page.count('<th scope="row">untrained</th>') == 2, "its answers, and how it judges"
    assert [row["phase"] for row in rows(folder / "telemetry.jsonl")][:3] == ["answers", "reference", "fine-tuning"]


def test_judged_answers_to_prompts_that_are_measured_on_are_left_out_and_counted(tmp_path, tiny_judge):
    prepared(tmp_path)
    with (tmp_path / "eft.jsonl").open("a") as file:
        file.writelines(json.dumps(judged(prompt)) + "\n" for prompt in PROMPTS)
    options = {**SETTINGS, "eft_epochs": 1, "judge": "expected"}
    done = align(tmp_path, *argv_of(model=tiny_judge, **options))
    assert done.code == 0, done.err
    learned = {row["question"] for row in rows(tmp_path / "trained/iteration-0/eft.jsonl")}
    answered = {row["question"] for row in rows(tmp_path / "trained/iteration-0/answers.jsonl")}
    never = {*PROMPTS[:2], *answered}
    assert learned == {*LEARNED, *PROMPTS} - never and len(answered) == 2
    assert f"eft.jsonl: {len(never)} judged answers left out, to prompts that are measured on" in done.err


def test_a_training_killed_in_its_fine_tuning_goes_on_though_nothing_is_measured(tmp_path, tiny_judge, monkeypatch):
    prepared(tmp_path)
    options = {**SETTINGS, "eft_epochs": 1, "judge": "expected", "reference": None, "answers": 0}
    with monkeypatch.context() as patch:
        patch.setattr(training, "fine_tune", lambda *given: exec("raise KeyboardInterrupt"))
        assert align(tmp_path, *argv_of(model=tiny_judge, **options)).code == 130
    done = align(tmp_path, *argv_of(model=tiny_judge, **options, resume=True), report=True)
    assert done.code == 0, done.err
    assert "eft.jsonl: 12 visits to judged answers, 6 steps" in (tmp_path / "trained/report.html").read_text()


def test_a_judgement_without_room_is_left_out_and_counted(tmp_path, tiny_judge):
    prepared(tmp_path)
    with (tmp_path / "eft.jsonl").open("a") as file:
        file.write(json.dumps(judged(judgement="On and on. " * 200)) + "\n")
    options = {**SETTINGS, "eft_epochs": 1, "judge": "expected", "reference": None, "answers": 0}
    done = align(tmp_path, *argv_of(model=tiny_judge, **options))
    assert done.code == 0, done.err
    assert "iteration 0 · fine-tuning: 1 row left out, for which --max-length has no room" in done.err
    learned = json.loads((tmp_path / "trained/iteration-0/model/learned.json").read_text())
    assert (learned["rows"], learned["dropped"], learned["steps"]) == (12, 1, 6)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"eft": "none.jsonl"}, "none.jsonl: no such file"),
        ({"eft_epochs": 0}, "--eft-epochs: input should be greater than 0, got '0'"),
        ({"eft_learning_rate": -1}, "--eft-learning-rate: input should be greater than 0"),
        ({"eft": "measured.jsonl"}, "--eft measured.jsonl: has judged answers to prompts that are measured on only"),
        ({"eft_epochs": 0.01}, "--eft-epochs 0.01: comes to none of 12 judged answers; give more"),
        ({"max_length": 40}, "--max-length 40: every prompt is at least that long"),
        ({"max_length": 210}, "--max-length 210: would cut all of 12 judged answers; choose more"),
    ],
)
def test_what_can_not_be_learned_from_is_one_line(tmp_path, tiny_judge, changed, told):
    prepared(tmp_path)
    written(tmp_path / "measured.jsonl", judged(PROMPTS[0]), judged(PROMPTS[1]))
    options = {**SETTINGS, "answers": 0, **changed}
    assert told in align(tmp_path, *argv_of(model=tiny_judge, **options)).refused
    assert not list(tmp_path.glob("*trained*"))


def test_a_training_goes_on_only_with_the_judged_answers_that_it_began_with(trained, tiny_judge):
    folder, _ = trained
    file = folder.parent / "eft.jsonl"
    kept = file.read_text()
    try:
        written(file, judged(LEARNED[0]))
        done = align(folder.parent, *argv_of(model=tiny_judge, resume=True, **SETTINGS))
    finally:
        file.write_text(kept)
    assert "the rows are others than those that the training began with; give the same --eft, or" in done.refused
