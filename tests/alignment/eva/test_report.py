"""The page and the picture of a training by eva, from folders that hold all but the models."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from matplotlib.image import imread

from agents.errors import BadInput
from alignment.eva.families import families, left_out
from alignment.eva.record import Record, metrics_of, read_record
from alignment.eva.report import (
    boxes,
    cost_rows,
    informativeness_of,
    learning_panels,
    page_data,
    panels_of,
    write_report,
)
from alignment.report.curves import inline
from sandbox.toml import toml_of
from tests.fakes.words import Words

HOSTILE = "<script>alert('x')</script> \" onload=\"&amp; $x^2$ {{ 7 * 7 }} 後"
Row = dict[str, Any]
Prompt = tuple[str, str | None, str | None, Sequence[float | None]]  # id, parent, operator, rewards

CUP: Prompt = ("1-1", None, None, [5.0, 2.0])
TEA: Prompt = ("1-2", None, None, [4.0, 3.5])
BUS: Prompt = ("1-3", None, None, [3.0, 1.0])
EVOLVED: Sequence[Sequence[Prompt]] = (
    (CUP, TEA, BUS),
    (("2-1", "1-1", "persona", [6.0, 5.0]), ("2-2", "1-1", "mix", [6.0, 2.0]), ("1-1", None, None, [7.0, 1.0])),
    (("3-1", "2-1", "shift", [4.0, 3.0]), ("2-2", "1-1", "mix", [3.0, 3.0]), ("1-2", None, None, [2.0, None])),
)
FLAWED = {2: ("copy", "copy", "off topic"), 3: ("copy", "timeout")}
ANSWERS = ({"held-out": [2.0, 4.0], "hard": [1.0]}, {"held-out": [3.0, 4.0], "hard": [2.0]})


def write_eva(
    folder: Path,
    iterations: Sequence[Sequence[Prompt]] = EVOLVED,
    *,
    flawed: Mapping[int, Sequence[str]] = FLAWED,
    answers: Sequence[Mapping[str, Sequence[float | None]]] = (*ANSWERS, ANSWERS[1], ANSWERS[1]),
    said: str = "",
    **settings: Any,
) -> Path:
    """Write such a folder: of each iteration the prompts, of each model the rewards of its answers by set."""
    own = {"model": "tiny", "optimiser": "dpo", "curriculum": "evolve", "metric": "max-min", "judge": "llm", **settings}
    folder.mkdir()
    (folder / "align.toml").write_text(toml_of({**own, "trainer": {"weight_decay": 0.5}}), encoding="utf-8")
    for number, measured in enumerate(answers[: len(iterations) + 1]):
        rated = [(kind, place, reward) for kind, rewards in measured.items() for place, reward in enumerate(rewards)]
        rows = [
            {"set": kind, "question": f"{kind} {place}?", **reply("Yes.", 4), "reward": reward}
            for kind, place, reward in rated
        ]
        write_rows(folder / f"iteration-{number}" / "answers.jsonl", rows)
    met: set[str] = set()
    for number, prompts in enumerate(iterations, start=1):
        fresh = [prompt for prompt in prompts if prompt[0] not in met]
        write_iteration(folder / f"iteration-{number}", prompts, said)
        write_evolved(folder / f"iteration-{number}", fresh, flawed.get(number, ()), said)
        met.update(prompt[0] for prompt in fresh)
    phases: list[Row] = [
        {"phase": "responses", "seconds": 90.0, "calls": 12, "prompt_tokens": 1000, "completion_tokens": 96},
        {"phase": "learning", "seconds": 60.0, "input_tokens": 500},
    ]
    write_rows(folder / "telemetry.jsonl", [{"iteration": 1, **row} for row in phases])
    config = {"out": str(folder), "sources": ["runs/first"], "responses": 2}
    lineage = {
        **{"base_model": "tiny", "root_model": "tiny", "model_digest": "ab12", "rows_digest": "d00d"},
        **{"sources": [{"path": "iteration-1/pairs.jsonl", "digest": "beef"}], "config": config, "trained_queries": []},
    }
    (folder / "lineage.json").write_text(json.dumps(lineage), encoding="utf-8")
    metrics = metrics_of(read_record(folder, len(iterations)), Words().encode)
    (folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    return folder


def write_iteration(folder: Path, prompts: Sequence[Prompt], said: str) -> None:
    """Write prompts, responses that tell their reward, a pair, and a log of eight steps."""
    write_rows(folder / "prompts.jsonl", [task(prompt, said) for prompt in prompts])
    responses = [
        {"id": name, "responses": [reply(f"{said}response worth {reward}", 8) for reward in rewards]}
        for name, *_, rewards in prompts
    ]
    write_rows(folder / "responses.jsonl", responses)
    write_rows(folder / "rewards.jsonl", [{"id": name, "rewards": rewards} for name, *_, rewards in prompts])
    write_rows(folder / "pairs.jsonl", [{"id": prompts[0][0]}])
    log = [{"step": step, "loss": 1.0 - step / 10, "rewards/accuracies": step / 8} for step in range(1, 9)]
    write_rows(folder / "model" / "trainer_log.jsonl", [*log, {"step": 8, "train_loss": 0.5}])
    (folder / "model" / "learned.json").write_text(json.dumps({"pairs": 1, "dropped": 0, "steps": 8}))


def write_evolved(folder: Path, fresh: Sequence[Prompt], flaws: Sequence[str], said: str) -> None:
    """Write what evolved, where anything did; flawed ones are of 1-1, and one of a call that failed has no text."""
    failed = {"id": None, "parent": "1-1", "operator": "shift"}
    rows = [{**task(prompt, said), "flaw": None} for prompt in fresh if prompt[1] is not None]
    rows += [
        {**failed, "text": None if flaw == "timeout" else f"{said}no {place}", "flaw": flaw}
        for place, flaw in enumerate(flaws)
    ]
    if rows:
        write_rows(folder / "evolved.jsonl", rows)


def task(prompt: Prompt, said: str) -> Row:
    """A row of prompts.jsonl."""
    name, parent, operator, _ = prompt
    own = {"text": f"{said}prompt {name} about a cup?", "topic": "cups", "born": int(name[0]), "informativeness": None}
    return {"id": name, **own, "parent": parent, "operator": operator, "other": "1-3" if operator == "mix" else None}


def reply(text: str, tokens: int) -> Row:
    """What a model said."""
    return {"text": text, "tokens": tokens, "finished": True, "outcome": "ok"}


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write JSON Lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def read(folder: Path) -> tuple[Record, Row]:
    """What the page is made of."""
    metrics = json.loads((folder / "metrics.json").read_text("utf-8"))
    return read_record(folder, len(metrics["iterations"])), metrics


def data_of(folder: Path) -> Row:
    """What the page says."""
    return page_data(*read(folder), json.loads((folder / "lineage.json").read_text("utf-8")))


def reported(folder: Path) -> str:
    """The page."""
    write_report(folder)
    return (folder / "report.html").read_text("utf-8")


def lines_of(node: Row) -> list[str]:
    """The prompts of a family from the top, indented."""
    return [node["id"], *(f" {line}" for child in node["children"] for line in lines_of(child))]


def words_of(svg: str) -> list[str]:
    """The text in a picture."""
    return re.findall(r"<text [^>]*>([^<]*)</text>", svg)


def test_the_page_says_what_was_trained_on_what_and_what_answers_are_worth(tmp_path: Path) -> None:
    data = data_of(write_eva(tmp_path / "aligned"))
    assert data["name"] == "aligned"
    assert data["sentence"] == (
        "tiny, trained by eva: 3 iterations of 3 prompts from runs/first, the later ones evolved from informative "
        "ones; DPO on the best and the worst of 2 responses to each, as judge llm rates them; 2 held-out and 1 hard "
        "prompts to measure on."
    )
    start, hard, one = data["answers"][:3]
    assert len(data["answers"]) == 4 * 2
    assert start["prompts"] == "2 held-out" and start["reward"] == "3.000 [2.000, 4.000]" and start["change"] == "–"
    assert hard["reward"] == hard["worst"] == "1.000", "one prompt has no interval"
    assert one["change"] == "+0.500 [+0.000, +1.000]", "2 → 3 and 4 → 4"
    assert one["worst"].startswith("3.000") and one["worst_change"].startswith("+1.000")
    assert one["tokens"] == "4.0" and one["finished"] == "100%" and one["unrated"] == ""
    told = dict(data["facts"])
    assert told["time of all phases"] == "2 min" and told["tokens read"] == "1,500" and told["optimiser"] == "DPO"
    assert ("trainer.weight_decay", "0.5") in data["options"] and ("model", "ab12") in data["digests"]


def test_families_begin_with_the_longest_line_and_show_the_most_informative_meeting(tmp_path: Path) -> None:
    found = families(read(write_eva(tmp_path / "aligned"))[0])
    assert [lines_of(each["first"]) for each in found["families"]] == [
        ["1-1", " 2-1", "  3-1", " 2-2"],  # 2-2 is more informative, but nothing evolved from it
        ["1-3"],
        ["1-2"],
    ]
    assert found["more"] == 0
    cup = found["families"][0]["first"]
    assert cup["informativeness"] == "6.000" and cup["iterations"] == [1, 2]
    assert [(each["which"], each["reward"], each["text"]) for each in cup["responses"]] == [
        ("best", "7.000", "response worth 7.0"),
        ("worst", "1.000", "response worth 1.0"),
    ]
    assert [child["operator"] for child in cup["children"]] == ["persona", "mix with 1-3"]
    assert cup["children"][1]["informativeness"] == "4.000", "of both iterations the more informative one"


def test_a_prompt_with_one_known_reward_has_no_best_and_worst(tmp_path: Path) -> None:
    prompts = ((*TEA[:3], [None, 4.0]), CUP)
    folder = write_eva(tmp_path / "aligned", [prompts, (("2-1", "1-2", "shift", [1.0, 2.0]),)])
    tea = families(read(folder)[0])["families"][0]["first"]
    assert tea["id"] == "1-2" and tea["informativeness"] == "–" and tea["responses"] == []


def test_families_are_bounded_and_what_is_not_shown_is_counted(tmp_path: Path) -> None:
    first = [(f"1-{n}", None, None, [float(n), 0.0]) for n in range(1, 14)]
    second = [(f"2-{n}", "1-1", "shift", [float(n), 0.0]) for n in range(1, 16)]
    data = data_of(write_eva(tmp_path / "aligned", [first, [*second, ("2-99", "1-2", "mix", [1.0, 1.0])]]))
    found = data["curriculum"]
    assert lines_of(found["families"][0]["first"]) == ["1-1", *(f" 2-{n}" for n in range(15, 4, -1))]
    assert found["families"][0]["more"] == 4
    assert [each["first"]["id"] for each in found["families"][1:]] == ["1-2", *(f"1-{n}" for n in range(13, 5, -1))]
    assert found["more"] == 3 == found["alone"]
    page = html.unescape(reported(tmp_path / "aligned"))
    assert "and 4 more that evolved from it" in page and "And 3 more first prompts, 3 of which did not evolve" in page


def test_long_texts_are_cut(tmp_path: Path) -> None:
    folder = write_eva(tmp_path / "aligned", said="後" * 2000)
    text = families(read(folder)[0])["families"][0]["first"]["text"]
    assert text == "後" * 600 + " …"


def test_what_was_left_out_is_counted_by_flaw_with_examples(tmp_path: Path) -> None:
    folder = write_eva(tmp_path / "aligned", flawed={2: ["off topic", *["copy"] * 7], 3: ["timeout"]})
    copies, *others = left_out(read(folder)[0])
    assert (copies["flaw"], copies["count"], len(copies["examples"]), copies["more"]) == ("copy", 7, 5, 2)
    assert copies["examples"][0] == {
        "iteration": 2,
        "operator": "shift",
        "parent": "prompt 1-1 about a cup?",
        "text": "no 1",
    }
    assert [(each["flaw"], each["count"], each["more"]) for each in others] == [("off topic", 1, 0), ("timeout", 1, 0)]
    assert others[1]["examples"][0]["text"] == ""


def test_operators_are_told_by_iteration(tmp_path: Path) -> None:
    rows = data_of(write_eva(tmp_path / "aligned"))["operators"]
    assert [(row["iteration"], row["operator"], row["evolved"], row["kept"], row["met"]) for row in rows] == [
        (2, "persona", 1, 1, 1),
        (2, "mix", 1, 1, 1),
        (2, "shift", 3, 0, 0),
        (3, "shift", 3, 1, 1),
    ]
    assert [row["flaws"] for row in rows] == ["", "", "2 copy, 1 off topic", "1 copy, 1 timeout"]


def test_curves_hold_the_numbers_by_iteration(tmp_path: Path) -> None:
    panels = {panel.title: panel for panel in panels_of(read(write_eva(tmp_path / "aligned"))[1])}
    reward = panels["reward of fresh answers"]
    assert [(each.name, each.steps, each.values) for each in reward.series] == [
        ("held-out", (0, 1, 2, 3), (3.0, 3.5, 3.5, 3.5)),
        ("hard", (0, 1, 2, 3), (1.0, 2.0, 2.0, 2.0)),
    ]
    (informative,) = panels["informativeness of prompts"].series
    assert informative.values == pytest.approx(((3 + 0.5 + 2) / 3, (1 + 4 + 6) / 3, (1 + 0) / 2))
    best, mean, worst = panels["reward of sampled responses"].series
    assert best.values[0] == pytest.approx((5 + 4 + 3) / 3) and worst.values[0] == pytest.approx((2 + 3.5 + 1) / 3)
    assert mean.values[0] == pytest.approx((best.values[0] + worst.values[0]) / 2)
    (kept,) = panels["evolved prompts that were kept"].series
    assert kept.steps == (2, 3) and kept.values == pytest.approx((2 / 5, 1 / 3))
    assert "best less worst reward of a prompt" not in panels, "it is the metric"
    words = words_of(inline(reward))
    assert "iteration" in words and "step" not in words and "by iteration" in inline(reward)


def test_another_metric_stands_beside_the_difference_of_rewards(tmp_path: Path) -> None:
    panels = {panel.title: panel for panel in panels_of(read(write_eva(tmp_path / "a", metric="variance"))[1])}
    assert panels["informativeness of prompts"].unit == "variance"
    assert panels["best less worst reward of a prompt"].series[0].values[0] == pytest.approx((3 + 0.5 + 2) / 3)


def test_boxes_are_drawn_of_all_that_is_known(tmp_path: Path) -> None:
    record, _ = read(write_eva(tmp_path / "aligned"))
    found = informativeness_of(record)
    assert found == {1: [3.0, 0.5, 2.0], 2: [1.0, 4.0, 6.0], 3: [1.0, 0.0]}
    ((_, svg),) = boxes(found, "max-min")
    assert svg.count("fill: var(--series-0)") == 3 and re.findall(r"(?:stroke|fill): #\w+", svg) == []
    ((_, fewer),) = boxes({1: [1.0], 2: []}, "max-min")
    assert fewer.count("fill: var(--series-0)") == 1 and boxes({1: []}, "max-min") == []


def test_trainings_are_told_one_behind_the_other(tmp_path: Path) -> None:
    folder = write_eva(tmp_path / "aligned")
    loss, order = learning_panels(read(folder)[0])
    assert loss.series[0].steps == tuple(range(1, 25)) and loss.by == "step of all iterations"
    assert loss.series[0].values[7:9] == pytest.approx((0.2, 0.9)) and order.series[0].values[7] == 1.0
    row = data_of(folder)["learning"][2]
    assert row["loss"] == "0.850 → 0.250" and row["accuracy"] == "0.188 → 0.938", "of eight steps the outer two"
    assert (row["pairs"], row["without"], row["steps"], row["missing"]) == (1, 2, 8, "1 without reward")


def test_costs_are_told_by_phase_and_together() -> None:
    rows = cost_rows({"responses": {"seconds": 90.0, "calls": 12, "prompt_tokens": 1000, "completion_tokens": 96,
                                    "failures": 2}, "learning": {"seconds": 60.0, "input_tokens": 500}})  # fmt: skip
    assert [row["phase"] for row in rows] == ["responses", "learning", "all"]
    assert rows[1]["calls"] == "0" and rows[1]["read"] == "500" and rows[1]["time"] == "60.0 s"
    assert rows[2] == {
        "phase": "all",
        "time": "2 min",
        "calls": "12",
        "failures": "2",
        "read": "1,500",
        "generated": "96",
    }


def test_what_models_said_is_on_the_page_as_text_only(tmp_path: Path) -> None:
    folder = write_eva(tmp_path / "<b>bold", said=HOSTILE + " ", judge=HOSTILE)
    page = reported(folder)
    assert (
        "<script" not in page and "<b>" not in page and ' onload="' not in page and "49" not in page.split("<main>")[0]
    )
    text = html.unescape(re.sub(r"<svg.*?</svg>|<[^>]*>", "", page, flags=re.DOTALL))
    for said in ("prompt 3-1 about a cup?", "response worth 7.0", "no 0"):
        assert f"{HOSTILE} {said}" in text


def test_the_page_is_whole_and_loads_nothing(tmp_path: Path) -> None:
    page = reported(write_eva(tmp_path / "aligned"))
    assert page.startswith("<!doctype html>") and "default-src &#39;none&#39;" in page
    assert re.findall(r'(?:src|href)="[^#]', page) == [] and "@import" not in page
    links = re.findall(r'(?:href="#|url\(#|aria-labelledby=")([\w-]+)', page)
    names = re.findall(r'\bid="([^"]+)"', page)
    assert links and set(links) <= set(names) and len(names) == len(set(names))
    assert page == reported(tmp_path / "aligned"), "equal trainings have equal pages"
    high, wide, _ = imread(tmp_path / "aligned" / "curves.png").shape
    assert wide > 1200 and high > 1000


@pytest.mark.parametrize("curriculum", ["static", "sample", "fresh"])
def test_without_evolution_the_page_tells_none(tmp_path: Path, curriculum: str) -> None:
    again = [(CUP, CUP, TEA)] * 2  # a sampled prompt may be there twice
    folder = write_eva(tmp_path / "aligned", again, flawed={}, curriculum=curriculum)
    data, page = data_of(folder), reported(folder)
    assert data["operators"] == [] == data["left_out"] and data["curriculum"] is None
    headings = re.findall(r"<h2[^>]*>([^<]*)", page)
    assert headings == [
        "Fresh answers after each iteration",
        "Curves by iteration",
        "Training on pairs",
        "Cost",
        "Made of",
    ]
    assert "evolved prompts that were kept" not in page


def test_without_prompts_to_measure_on_a_sentence_says_so(tmp_path: Path) -> None:
    folder = write_eva(tmp_path / "aligned", answers=[{}] * 4)
    assert data_of(folder)["answers"] == [] and "to measure on" not in data_of(folder)["sentence"]
    page = reported(folder)
    assert (
        "No answers were measured" in page and "reward of fresh answers" not in page and "after iteration" not in page
    )


def test_answers_without_reward_are_counted(tmp_path: Path) -> None:
    answers = [{"hard": [1.0, None, 2.0]}, {"hard": [None, None, 3.0]}]
    folder = write_eva(tmp_path / "aligned", [(CUP, TEA)], answers=answers, flawed={})
    start, after = data_of(folder)["answers"]
    assert start["unrated"] == "1 without reward" and after["unrated"] == "2 without reward"
    assert after["change"] == "+1.000"
    assert "3 hard, 2 without reward" in reported(folder)


def test_one_iteration_is_drawn_as_dots(tmp_path: Path) -> None:
    folder = write_eva(tmp_path / "aligned", [(CUP, TEA)], flawed={})
    record, metrics = read(folder)
    words = next(panel for panel in panels_of(metrics) if panel.title == "length of prompts")
    assert words.series[0].steps == (1,)
    drawn = inline(words)
    assert "<use " in drawn, "a marker"
    assert words_of(drawn)[:2] == ["1", "iteration"]
    assert "1 iteration of 2 prompts from runs/first; DPO" in data_of(folder)["sentence"]
    assert families(record)["more"] == 0 and "<svg" in reported(folder)


@pytest.mark.parametrize("name", ["lineage.json", "metrics.json"])
def test_a_folder_that_no_training_left_is_refused(tmp_path: Path, name: str) -> None:
    folder = write_eva(tmp_path / "aligned")
    (folder / name).unlink()
    with pytest.raises(BadInput, match=name):
        write_report(folder)
    assert not (folder / "report.html").exists() and not (folder / "curves.png").exists()
