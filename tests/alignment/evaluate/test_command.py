"""`align evaluate`, called."""

import json
import sys
from dataclasses import dataclass

import pytest

from alignment import cli

ROWS = [
    {"query": f"May I do {number}?", "responses": ["Be kind.", "Ask.", "Lie."], "scores": [6.5, 4, 1.5], "topic": topic}
    for number, topic in enumerate(("home", "work", "home", "work"))
]


@dataclass
class Called:
    code: int
    out: str
    err: str


@pytest.fixture
def evaluate(monkeypatch, capsys):
    def run(*argv):
        monkeypatch.setattr(sys, "argv", ["align", "evaluate", *map(str, argv)])
        with pytest.raises(SystemExit) as exit:
            cli.align()
        captured = capsys.readouterr()
        return Called(exit.value.code, captured.out, captured.err)

    return run


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "rated.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


QUICK = ("--encoder", "none", "--max-tokens", "6", "--answers", "3")


def test_two_models_from_the_files_to_the_numbers(evaluate, tiny_model_folder, source, tmp_path):
    model, base = tiny_model_folder(1), tiny_model_folder(0)
    told = tmp_path / "told.json"
    done = evaluate(model, source, "--against", base, *QUICK, "--json-out", told)
    assert done.code == 0, done.err
    report = json.loads(told.read_text())
    assert list(report)[:3] == ["model", "against", "data"]
    sections = ["likelihood", "adversarial likelihood", "first turn", "second turn", "adversarial"]
    assert [name for name in report if name in sections] == sections
    likelihood = report["likelihood"]
    assert {m["name"]: m["items"] for m in likelihood["measures"]}["pair accuracy"] == 4
    assert len(likelihood["items"]) == 4 and len(likelihood["items"][0]["against"]["sums"]) == 3
    first = report["first turn"]
    assert len(first["items"]) == 3 and first["win_rate"]["duels"] == 3
    assert all(item["duel"]["outcome"] == "ok" and item["model"]["alignment"] for item in first["items"])
    assert set(first["win_rate_by_topic"]) == {"home", "work"}
    for title in ("rated answers", "fresh answers, second turn", "duels by topic", "length-controlled"):
        assert title in done.out
    assert "4 groups of rated answers, 3 questions, 3 with a misaligned answer" in done.err


def test_the_same_twice(evaluate, tiny_model_folder, source, tmp_path):
    model = tiny_model_folder(1)
    flags = (model, source, "--against", tiny_model_folder(0), *QUICK, "--temperature", "1")
    for name in ("one", "two"):
        assert evaluate(*flags, "--json-out", tmp_path / f"{name}.json").code == 0
    one, two = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("one", "two"))
    assert {**one, "options": None} == {**two, "options": None}


def test_a_model_against_itself_is_level(evaluate, tiny_model_folder, source, tmp_path):
    model = tiny_model_folder(0)
    done = evaluate(model, source, "--against", model, *QUICK, "--json-out", tmp_path / "told.json")
    assert done.code == 0, done.err
    report = json.loads((tmp_path / "told.json").read_text())
    for section in ("likelihood", "adversarial likelihood", "first turn", "second turn", "adversarial"):
        measures = [m for m in report[section]["measures"] if m["items"]]
        assert len(measures) > 4 and {m["difference"]["value"] for m in measures} == {0.0}
    rate = report["first turn"]["win_rate"]
    assert (rate["value"]["value"], rate["length_controlled"]["value"], rate["ties"]) == (0.5, 0.5, 3)


def test_alone_there_are_no_duels(evaluate, tiny_model_folder, source, tmp_path):
    done = evaluate(tiny_model_folder(0), source, *QUICK, "--measure", "answers", "--json-out", tmp_path / "told.json")
    assert done.code == 0, done.err
    report = json.loads((tmp_path / "told.json").read_text())
    assert report["against"] is None and report["first turn"]["win_rate"] is None
    assert "likelihood" not in report and "second turn" not in report
    assert "alone: name another with --against" in done.err and "duels" not in done.out


def test_a_trained_folder_is_measured_against_its_start_without_what_it_was_trained_on(
    evaluate, tiny_model_folder, source, tmp_path
):
    from agents.language_model import Message
    from alignment.lineage import query_digest

    model, base = tiny_model_folder(2), tiny_model_folder(0)
    queries = [query_digest((Message("user", row["query"]),)) for row in ROWS[:3]]
    lineage = {"base_model": str(base), "root_model": str(base), "trained_queries": queries}
    (model / "lineage.json").write_text(json.dumps(lineage))
    flags = (model, source, "--measure", "likelihood", "--json-out", tmp_path / "told.json")
    done = evaluate(*flags)
    assert done.code == 0, done.err
    report = json.loads((tmp_path / "told.json").read_text())
    assert report["against"] == str(base) and report["data"]["trained"] == 3
    assert [item["query"][0]["content"] for item in report["likelihood"]["items"]] == ["May I do 3?"]
    assert "3 left out, for a model was trained on their queries" in done.err
    assert evaluate(*flags, "--include-trained").code == 0
    assert len(json.loads((tmp_path / "told.json").read_text())["likelihood"]["items"]) == 4


def test_a_served_model_answers_and_its_likelihoods_are_left_out(evaluate, server, source, tmp_path):
    done = evaluate("mock", source, *QUICK, "--server", server.url, "--json-out", tmp_path / "told.json")
    assert done.code == 0, done.err
    assert "mock is on a server" in done.err
    report = json.loads((tmp_path / "told.json").read_text())
    assert "likelihood" not in report and len(report["first turn"]["items"]) == 3


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (
            ("--measure", "taste"),
            "--measure taste: unknown; known: likelihood, abilities, tasks, answers, second-turn, adversarial",
        ),
        (("--judge", "me"), "--judge me: unknown; known: llm, llm:verdict"),
        (("--json-out", "no-such-folder/told.json"), "make the folder first"),
        (("--questions", "nothing.jsonl"), "--questions nothing.jsonl: no such file"),
    ],
)
def test_what_cannot_be_done_is_refused_before_a_model_is_loaded(evaluate, source, tmp_path, monkeypatch, flags, told):
    monkeypatch.chdir(tmp_path)
    done = evaluate("no-such/model/at-all", source, *flags)
    assert done.code == 2 and told in done.err.splitlines()[-1]


def test_a_judge_that_cannot_read_is_refused(evaluate, small_model, source):
    done = evaluate(small_model, source, *QUICK, "--measure", "answers")
    assert done.code == 2 and "--judge llm:verdict" in done.err.splitlines()[-1]


def test_benchmarks_stand_beside_the_rest_paired_by_item(evaluate, tiny_model_folder, tmp_path):
    told = tmp_path / "told.json"
    flags = ("--measure", "tasks", "--task", "pairs", "--task-items", "7", "--json-out", told)
    done = evaluate(tiny_model_folder(1), "--against", tiny_model_folder(0), *flags)
    assert done.code == 0, done.err
    report = json.loads(told.read_text())
    (found,) = [report[name] for name in report if name not in ("model", "against", "data", "options")]
    assert [(m["name"], m["items"]) for m in found["measures"]] == [("pairs acc", 7), ("pairs acc_norm", 7)]
    for measure, item in zip(found["measures"], found["items"], strict=True):
        ours, theirs = item["model"], item["against"]
        assert measure["difference"]["value"] == pytest.approx((sum(ours) - sum(theirs)) / 7)
    assert "pairs acc_norm" in done.out


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--task", "pears"), "task 'pears': unknown; known: abilities, pairs, hhh"),
        (("--task", "hhh"), "task hhh: reads hhh_alignment/*/task.json; name the folder"),
        (("--measure", "tasks"), "--measure tasks: name them with --task: abilities, pairs"),
        (("--measure", "answers", "--task", "pairs"), "--task pairs: --measure leaves it out; add --measure tasks"),
    ],
)
def test_benchmarks_that_cannot_be_measured(evaluate, tiny_model_folder, flags, told):
    done = evaluate(tiny_model_folder(0), *flags)
    assert done.code == 2 and told in done.err.splitlines()[-1]
