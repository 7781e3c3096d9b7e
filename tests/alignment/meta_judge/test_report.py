"""The page and the picture of a training by Meta-Rewarding, from folders that hold all but the models."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from math import exp, pi, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from agents.errors import BadInput
from alignment.iterative.prompts import tasks_in
from alignment.iterative.report import page
from alignment.meta_judge.learned import actor_pairs, judge_pairs, strengths_of
from alignment.meta_judge.pictures import densities, density, panels_of, scores_by_iteration, shown, sweeps
from alignment.meta_judge.record import Record, metrics_of, read_record
from alignment.meta_judge.report import page_data, write_report
from alignment.report.curves import inline
from sandbox.toml import toml_of

HOSTILE = "<script>alert('x')</script> \" onload=\"&amp; $x^2$ {{ 7 * 7 }} 後"
Row = dict[str, Any]

# By prompt and response the scores of its judgements. The first response has the bout.
JUDGED: Sequence[Sequence[Sequence[float | None]]] = (
    ([1, 3, 3, 5], [4, 4, 4, 4], [1, 1, 1, 1]),
    ([2, 2, 2, None], [2, 2, 2, 2], [5, 5, 5, 5]),
    ([3, 3, 3, 3], [2, 2, 2, 2], [3, 3, 3, 3]),
)
RESULTS = {(0, 1): 1, (1, 0): 1, (0, 2): 1, (2, 0): -1, (1, 2): -1, (2, 1): -1, (0, 3): 1, (3, 0): 0, (1, 3): 1,
           (3, 1): 1, (2, 3): 1, (3, 2): 1}  # fmt: skip
STRENGTHS = (1.29352, -0.20405, -0.56433, -0.52515)  # without a ridge
ANSWERS = ({"held-out": [2.0, 4.0], "hard": [1.0]}, {"held-out": [3.0, 4.0], "hard": [2.0]})
RATED = [(1.0, 2.0, 2.0), (1.0, 2.0, 3.0)]  # answers of reference


def write_meta(
    folder: Path,
    iterations: int = 2,
    *,
    judged: Sequence[Sequence[Sequence[float | None]]] = JUDGED,
    results: Mapping[tuple[int, int], int | None] | None = RESULTS,
    answers: Sequence[Mapping[str, Sequence[float | None]]] = ANSWERS,
    reference: bool = True,
    said: str = "",
    **settings: Any,
) -> Path:
    """Write such a folder; the judges of an iteration award half a point more than those of the one before.

    The meta-judge compares in the first iteration only. The last `answers` go for all models that follow.
    """
    own = {"optimiser": "dpo", "judge": "text", "meta": True, "logged": False, "observer": "llm", **settings}
    schedule = [{"rho": 0.0}, {"judge": False, "rho": 0.32}]
    folder.mkdir()
    (folder / "align.toml").write_text(toml_of({**own, "schedule": schedule, "trainer": {"weight_decay": 0.5}}))
    for number in range(iterations + 1):
        rows = [
            {"set": kind, "question": f"{kind} {place}?", **reply("Yes.", 4), "reward": reward}
            for kind, rewards in answers[min(number, len(answers) - 1)].items()
            for place, reward in enumerate(rewards)
        ]
        write_rows(folder / f"iteration-{number}" / "answers.jsonl", rows)
        if reference:
            scores = [[[1.0], [2.0], [number]], [[1.0], [1.0], [None]]]
            judgements = [judgements_row(str(n), each, said) for n, each in enumerate(scores)]
            write_rows(folder / f"iteration-{number}" / "reference.jsonl", judgements)
        if number:
            more = (number - 1) / 2
            scores = [[[s if s is None else s + more for s in each] for each in prompt] for prompt in judged]
            write_iteration(folder / f"iteration-{number}", scores, results if number == 1 else None, said)
    phases: list[Row] = [
        {"phase": "judgements", "seconds": 90.0, "calls": 12, "prompt_tokens": 1000, "completion_tokens": 96},
        {"phase": "learning", "seconds": 60.0, "input_tokens": 500},
    ]
    write_rows(folder / "telemetry.jsonl", [{"iteration": 1, **row} for row in phases])
    config = {"out": str(folder), "sources": ["runs/first"], "responses": 4, "judgements": 4, "logged": own["logged"]}
    lineage = {
        **{"base_model": "tiny", "root_model": "tiny", "model_digest": "ab12", "rows_digest": "d00d"},
        **{"sources": [{"path": "iteration-1/pairs.jsonl", "digest": "beef"}], "config": config, "trained_queries": []},
    }
    (folder / "lineage.json").write_text(json.dumps(lineage), encoding="utf-8")
    metrics = metrics_of(read_record(folder, iterations, RATED if reference else ()))
    (folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    return folder


def write_iteration(
    folder: Path, judged: Sequence[Any], results: Mapping[tuple[int, int], int | None] | None, said: str
) -> None:
    """Write its prompts, to each the responses that are judged and a copy, a bout, pairs and a log of eight steps."""
    number = folder.name.rpartition("-")[2]
    names = [f"{number}-{place}" for place in range(1, len(judged) + 1)]
    own = {"topic": "cups", "born": int(number), "parent": None, "other": None, "operator": None}
    prompts = [{"id": name, "text": f"{said}prompt {name}?", **own, "informativeness": None} for name in names]
    write_rows(folder / "prompts.jsonl", prompts)
    responses = [
        {"id": name, "responses": [reply(f"{said}response {n}" + "!" * n, 8) for n in [*range(len(each)), 0]]}
        for name, each in zip(names, judged, strict=True)
    ]
    write_rows(folder / "responses.jsonl", responses)
    judgements = [judgements_row(name, each, said) for name, each in zip(names, judged, strict=True)]
    write_rows(folder / "judgements.jsonl", judgements)
    bouts = []
    if results is not None:
        verdicts = [{"first": i, "second": j, "result": r, **reply("So.", 2)} for (i, j), r in results.items()]
        bouts = [{"id": names[0], "place": 0, "verdicts": verdicts}]
        write_rows(folder / "verdicts.jsonl", bouts)
    tasks = tasks_in(folder / "prompts.jsonl")
    made = [
        *actor_pairs(tasks, responses, judgements, system="", rho=0.0),
        *judge_pairs(tasks, responses, judgements, bouts, max_judgement=None),
    ]
    write_rows(folder / "pairs.jsonl", made)
    log = [{"step": step, "loss": 1.0 - step / 10, "rewards/accuracies": step / 8} for step in range(1, 9)]
    write_rows(folder / "model" / "trainer_log.jsonl", [*log, {"step": 8, "train_loss": 0.5}])
    (folder / "model" / "learned.json").write_text(json.dumps({"pairs": 4, "dropped": 0, "steps": 8}))


def judgements_row(name: str, scores: Sequence[Sequence[float | None]], said: str) -> Row:
    """A row of judgements.jsonl."""
    judgements = {
        str(place): [{**reply(f"{said}judgement {n}" + "." * n, 3), "score": score} for n, score in enumerate(each)]
        for place, each in enumerate(scores)
    }
    return {"id": name, "judgements": judgements}


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


def told(folder: Path) -> str:
    """The page without its pictures, which take long."""
    none = dict.fromkeys(("curves", "meta", "reference", "saturation", "learning", "distribution", "swept"), ())
    return "".join(page("alignment.meta_judge", data_of(folder), **none))


def reported(folder: Path) -> str:
    """The page."""
    write_report(folder)
    return (folder / "report.html").read_text("utf-8")


def headings(whole: str) -> list[str]:
    """What its sections are called."""
    return re.findall(r"<h2[^>]*>([^<]*)", whole)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of two iterations."""
    return write_meta(tmp_path_factory.mktemp("runs") / "aligned")


@pytest.fixture(scope="module")
def data(folder: Path) -> Row:
    """What its page says."""
    return data_of(folder)


def test_the_page_says_what_was_trained_on_what_and_what_answers_are_worth(data: Row) -> None:
    assert data["name"] == "aligned"
    assert data["sentence"] == (
        "tiny, trained by Meta-Rewarding: 2 iterations of 3 prompts from runs/first; DPO on 6 pairs of responses, 4 to "
        "each prompt, which it judges 4 times each, and on 1 pair of judgements, which it compares as meta-judge; "
        "2 held-out and 1 hard prompts to measure on."
    )
    assert len(data["answers"]) == 3 * 2 and data["answers"][2]["change"] == "+0.500 [+0.000, +1.000]"
    told = dict(data["facts"])
    assert told["judge"] == "the model itself, by the score it writes" and told["meta-judge"] == "the model itself"
    assert told["time of all phases"] == "2 min" and told["tokens read"] == "1,500"
    assert {("schedule.2.rho", "0.32"), ("trainer.weight_decay", "0.5")} <= set(data["options"])
    assert ("model", "ab12") in data["digests"] and data["cost"][-1]["calls"] == "12"


def test_responses_and_judgements_are_told_by_iteration(data: Row) -> None:
    one, two = data["iterations"]
    assert (one["responses"], one["distinct"], one["unread"]) == (12, 9, "1 of 36")
    assert one["score"].startswith(f"{(3 + 4 + 1 + 2 + 2 + 5 + 3 + 2 + 3) / 9:.3f} [")
    assert two["score"].startswith(f"{25 / 9 + 0.5:.3f} [")
    assert one["disagreement"] == f"{sqrt(2) / 9:.3f}", "that of 1, 3, 3 and 5, and eight times 0"
    assert [row["missing"] for row in data["learning"]] == ["3 blank or a copy"] * 2
    assert [(row["actor"], row["judge"], row["without"]) for row in data["learning"]] == [(3, 1, 0), (3, 0, 0)]
    assert data["learning"][1]["loss"] == "0.850 → 0.250", "of eight steps the outer two"


def test_the_meta_judge_is_told_where_it_compared(data: Row) -> None:
    (row,) = data["meta"]
    assert (row["iteration"], row["bouts"], row["verdicts"], row["unread"], row["draws"]) == (1, 1, 12, "0 of 12", 1)
    assert row["first"] == f"{8 / 11:.3f}" and row["first_of_equals"] == "0.000"
    assert row["higher_score"] == f"{3 / 9:.3f}", "in (1, 0), (3, 1) and (3, 2); 1 and 2 have one score"
    assert row["longer"] == f"{4 / 11:.3f}", "in those, and in (1, 2)"
    assert row["weights"] == [f"{3 / 11:.3f}", f"{8 / 11:.3f}"]


def test_agreement_with_the_reference_is_told_after_each_iteration(data: Row) -> None:
    start, *_, last = data["reference"]
    assert (start["scored"], start["pairs"], start["ties"]) == (5, 3, 1), "of 1 < 2, 1 < 2 and 1 < 2, which ties"
    assert start["in_order"].startswith(f"{(1 + 0 + 0.5) / 3:.3f}"), "0 where 2 is to be"
    assert start["in_order_decided"].startswith("0.500")
    assert last["iteration"] == 2 and last["in_order"].startswith(f"{2.5 / 3:.3f}")


def test_gains_are_over_the_iteration_before(folder: Path, data: Row) -> None:
    one, two = data["saturation"]
    assert one["score"] == "–" and two["score"] == "+0.500"
    assert one["rewards"] == {"held-out": "+0.500 [+0.000, +1.000]", "hard": "+1.000"}
    assert two["rewards"] == {"held-out": "+0.000 [+0.000, +0.000]", "hard": "+0.000"}, "not over the start"
    score, reward = panels_of(*read(folder))["saturation"]
    assert score.series[0].steps == (2,) and score.series[0].values == pytest.approx((0.5,))
    assert [(each.name, each.steps, each.values) for each in reward.series] == [
        ("held-out", (1, 2), (0.5, 0.0)),
        ("hard", (1, 2), (1.0, 0.0)),
    ]


def test_curves_hold_the_numbers_by_iteration_with_the_half_beside_biases(folder: Path) -> None:
    sections = panels_of(*read(folder))
    panels = {panel.title: panel for panel in sections["curves"]}
    assert panels["score of responses"].series[0].values == pytest.approx((25 / 9, 25 / 9 + 0.5))
    unread, verdicts = panels["without score or winner"].series
    assert unread.values == pytest.approx((1 / 36, 1 / 36)) and (verdicts.steps, verdicts.values) == ((1,), (0.0,))
    assert [(each.name, each.values) for each in panels["pairs"].series] == [
        ("actor", (3.0, 3.0)),
        ("judge", (1.0, 0.0)),
    ]
    worth, place = sections["meta"]
    assert [each.name for each in worth.series] == ["higher score", "longer", "½"]
    assert [(each.name, each.steps) for each in place.series] == [
        ("of all", (1,)),
        ("of equal scores", (1,)),
        ("½", (1,)),
    ]
    assert place.series[0].values == pytest.approx((8 / 11,)) and place.series[2].values == (0.5,)
    half = sections["reference"][0].series[-1]
    assert half.name == "½" and half.steps == (0, 1, 2)
    assert "by iteration" in inline(place)
    loss = sections["learning"][0].series[0]
    assert loss.steps == tuple(range(1, 17))


def test_strengths_are_of_the_judgements_that_were_compared() -> None:
    verdicts = [{"first": 2 * i, "second": 2 * j, "result": result} for (i, j), result in RESULTS.items()]
    found = strengths_of({"verdicts": [*verdicts, {"first": 0, "second": 2, "result": None}]}, (3 / 11, 8 / 11))
    assert [*found] == [0, 2, 4, 6] and [*found.values()] == pytest.approx(STRENGTHS, abs=0.01)


def test_examples_are_bounded_and_what_is_not_shown_is_counted(data: Row) -> None:
    one, two = data["examples"]
    assert (len(one["pairs"]), one["more_pairs"], len(one["bouts"]), one["more_bouts"]) == (2, 1, 1, 0)
    assert [(each["side"], each["score"], each["text"]) for each in one["pairs"][0]["sides"]] == [
        ("chosen", "4.000", "response 1!"),
        ("rejected", "1.000", "response 2!!"),
    ]
    assert one["pairs"][0]["prompt"] == "prompt 1-1?" and one["pairs"][0]["sides"][1]["characters"] == 12
    (bout,) = one["bouts"]
    assert (bout["prompt"], bout["response"], bout["verdicts"], bout["decided"]) == (
        "prompt 1-1?",
        "response 0",
        12,
        11,
    )
    judgements = [(each["place"], each["side"], each["score"], each["wins"]) for each in bout["judgements"]]
    assert judgements == [
        (1, "chosen", "1.000", 4),
        (2, "", "3.000", 3),
        (4, "", "5.000", 2),
        (3, "rejected", "3.000", 2),
    ]
    assert bout["judgements"][0]["strength"].startswith("+1.2")
    assert two["bouts"] == [] and two["more_bouts"] == 0


def test_a_bout_without_a_pair_says_so(tmp_path: Path) -> None:
    folder = write_meta(tmp_path / "aligned", 1, results={(0, 1): 1, (1, 0): 1, (0, 2): None})
    (bout,) = data_of(folder)["examples"][0]["bouts"]
    assert [(each["place"], each["side"], each["wins"]) for each in bout["judgements"]] == [
        (1, "", 1),
        (2, "", 1),
        (3, "", 0),
    ]
    assert "No pair was made of it" in told(folder)


def test_many_iterations_are_shown_evenly() -> None:
    assert shown([]) == [] and shown([1, 2, 3]) == [1, 2, 3]
    assert shown(range(1, 14)) == [1, 3, 5, 7, 9, 11, 13]


def test_a_density_is_a_mean_of_normal_densities() -> None:
    found = density([1.0, 3.0])
    assert found is not None
    x, y = found
    width = sqrt(2) * 2 ** (-1 / 5)  # Scott: standard deviation × n^(−1/5)
    assert x[0] == pytest.approx(1 - 3 * width) and x[-1] == pytest.approx(3 + 3 * width)
    for at in (0, 60, 199):
        normal = [exp(-(((x[at] - mean) / width) ** 2) / 2) / (width * sqrt(2 * pi)) for mean in (1, 3)]
        assert y[at] == pytest.approx(sum(normal) / 2)
    assert np.trapezoid(y, x) == pytest.approx(1, abs=0.01)
    assert density([]) is None and density([2.0]) is None and density([2.0] * 9) is None
    assert density([0.1 + 0.2, 0.3]) is None, "all are equal"


def test_densities_are_drawn_in_one_picture(folder: Path) -> None:
    found = scores_by_iteration(read(folder)[0])
    assert sorted(found[1]) == [1, 2, 2, 2, 3, 3, 3, 4, 5]
    ((_, svg),) = densities(found)
    assert all(svg.count(f"stroke: var(--series-{number})") == 2 for number in (0, 1)), "a line and its key"
    assert re.findall(r"(?:stroke|fill): #\w+", svg) == []
    ((_, fewer),) = densities({1: [2.0, 2.0], 2: [1.0, 2.0]})
    assert "iteration 2" in fewer and "iteration 1" not in fewer
    assert densities({1: [2.0, 2.0], 2: []}) == []


def test_other_values_of_rho_are_told_and_drawn(folder: Path, data: Row) -> None:
    none, *_, half = data["sweep"][:6]
    assert (none["rho"], none["pairs"], none["chosen_score"], none["rejected_score"]) == ("0", 3, "4.000", "1.667")
    assert (half["rho"], half["pairs"]) == ("0.5", 3)
    pictures = sweeps(read(folder)[1])
    assert [title for title, _ in pictures] == ["actor pairs", "length of both sides", "score of both sides"]
    assert all("iteration 1" in svg and "iteration 2" in svg for _, svg in pictures)


def test_without_any_pair_of_responses_nothing_is_swept(tmp_path: Path) -> None:
    level = [[[1, 3, 3, 5], [3, 3, 3, 3]]]
    folder = write_meta(tmp_path / "aligned", judged=level)
    assert sweeps(read(folder)[1]) == []
    assert data_of(folder)["examples"][0]["pairs"] == [] and densities(scores_by_iteration(read(folder)[0])) == []


def test_what_models_said_is_on_the_page_as_text_only(tmp_path: Path) -> None:
    folder = write_meta(tmp_path / "<b>bold", 1, said=HOSTILE + " ", observer=HOSTILE)
    whole = reported(folder)
    assert "<script" not in whole and "<b>" not in whole and ' onload="' not in whole
    text = html.unescape(re.sub(r"<svg.*?</svg>|<[^>]*>", "", whole, flags=re.DOTALL))
    for said in ("prompt 1-1?", "response 1!", "judgement 3"):
        assert f"{HOSTILE} {said}" in text


def test_long_texts_are_cut(tmp_path: Path) -> None:
    said = told(write_meta(tmp_path / "aligned", 1, said="後" * 2000))
    assert max(map(len, re.findall("後+", said))) == 600 and "後 …" in said


def test_the_page_is_whole_and_loads_nothing(folder: Path) -> None:
    whole = reported(folder)
    assert whole.startswith("<!doctype html>") and "default-src &#39;none&#39;" in whole
    assert re.findall(r'(?:src|href)="[^#]', whole) == [] and "@import" not in whole
    links = re.findall(r'(?:href="#|url\(#|aria-labelledby=")([\w-]+)', whole)
    names = re.findall(r'\bid="([^"]+)"', whole)
    assert links and set(links) <= set(names) and len(names) == len(set(names))
    assert headings(whole) == [
        "Fresh answers after each iteration",
        "Responses and judgements of each iteration",
        "Meta-judge",
        "Agreement of the judge with the reference",
        "Gain of each iteration over the one before",
        "What other values of ρ would have given",
        "Examples",
        "Training on pairs",
        "Cost",
        "Made of",
    ]
    used = set(re.findall(r"var\((--[\w-]+)\)", whole))
    assert used <= set(re.findall(r"(--[\w-]+):", whole)), "a colour that no rule gives"
    high, wide, _ = imread(folder / "curves.png").shape
    assert wide > 1200 and high > 1500
    assert whole == reported(folder), "equal trainings have equal pages"


def test_what_is_not_there_has_no_section(tmp_path: Path) -> None:
    folder = write_meta(tmp_path / "aligned", 1, results=None, reference=False, answers=[{}], meta=False)
    data, whole = data_of(folder), reported(folder)
    assert data["meta"] == [] == data["reference"] and data["saturation"] == []
    assert data["sentence"] == (
        "tiny, trained by self-rewarding: 1 iteration of 3 prompts from runs/first; DPO on 3 pairs of responses, 4 to "
        "each prompt, which it judges 4 times each."
    )
    assert headings(whole)[2:4] == ["What other values of ρ would have given", "Examples"]
    assert "No answers were measured" in whole and "verdicts" not in whole and "meta-judge" not in whole.lower()


def test_a_judge_from_outside_has_scores_alone(tmp_path: Path) -> None:
    folder = write_meta(tmp_path / "aligned", 1, results=None, judge="reward-model:runs/reward")
    path = folder / "iteration-1" / "judgements.jsonl"
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    for row in rows:
        row["judgements"] = {
            place: [{"score": each[0]["score"], "outcome": "ok"}] for place, each in row["judgements"].items()
        }
    write_rows(path, rows)
    (folder / "metrics.json").write_text(json.dumps(metrics_of(read_record(folder, 1, RATED))))
    data = data_of(folder)
    assert "trained by an outside judge's scores: " in data["sentence"]
    assert "which judge reward-model:runs/reward scores;" in data["sentence"] and data["meta"] == []
    assert data["iterations"][0]["disagreement"] == "–"
    titles = [panel.title for panel in panels_of(*read(folder))["curves"]]
    assert "score of responses" in titles and "disagreement of judgements" not in titles
    assert "Meta-judge" not in headings(told(folder))


@pytest.mark.parametrize("name", ["lineage.json", "metrics.json"])
def test_a_folder_that_no_training_left_is_refused(tmp_path: Path, name: str) -> None:
    folder = write_meta(tmp_path / "aligned", 1)
    (folder / name).unlink()
    with pytest.raises(BadInput, match=name):
        write_report(folder)
    assert not (folder / "report.html").exists() and not (folder / "curves.png").exists()
