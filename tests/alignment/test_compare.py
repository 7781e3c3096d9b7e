"""`align compare` on folders that hold all but the models."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from matplotlib.image import imread

from alignment.cli import align
from alignment.likelihood import Estimate
from alignment.report.sides import Change, Comparison, Side
from tests.alignment.examples import SURE, UNSURE, write_trained
from tests.sandbox.commands import Done


@pytest.fixture
def compare(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    """`align compare …`, called."""

    def call(*argv: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["align", "compare", *map(str, argv)])
        with pytest.raises(SystemExit) as exit:
            align()
        captured = capsys.readouterr()
        return Done(int(exit.value.code or 0), captured.out, captured.err)

    return call


def cells(printed: str) -> dict[str, list[str]]:
    """The cells of each row of the table, by what stands at its left."""
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines() if line.startswith("│")]
    return {row[0]: row[1:] for row in rows}


def test_methods_stand_side_by_side(tmp_path: Path, compare: Any) -> None:
    ours = write_trained(tmp_path / "ours")
    theirs = write_trained(tmp_path / "theirs", "rloo", metrics={"accuracy_gain": None})
    done = compare(ours, theirs)
    assert done.code == 0 and done.err == ""
    assert "A ours" in done.out and "B theirs" in done.out
    rows = cells(done.out)
    assert rows["pair accuracy"] == ["0.250 → 0.750"] * 2
    assert rows["gain"] == ["+0.500 [+0.250, +0.750]", "–"]
    assert rows["log-probability a token, best answers"] == ["-2.500 → -2.000"] * 2
    assert rows["KL to the start, nats a token"] == ["0.5000"] * 2 and rows["highest"] == ["0.5556"] * 2
    assert rows["margin, nats a token"] == ["-0.750 → 0.250"] * 2
    assert (
        rows["reward of fresh answers"] == ["3.00 → 4.00"] * 2
        and rows["tokens of a fresh answer"] == ["40.0 → 32.0"] * 2
    )
    assert rows["loss, smallest and largest"] == ["1.800 … 2.900"] * 2
    assert rows["steps"] == ["12", "12"] and rows["groups met"] == ["20", "20"] and rows["time"] == ["13 min"] * 2
    assert "settings that differ" not in done.out


def test_each_is_paired_with_the_first_group_by_group(tmp_path: Path, compare: Any) -> None:
    first = write_trained(
        tmp_path / "first", held_out=[(UNSURE, UNSURE), (UNSURE, UNSURE), (SURE, SURE)]
    )  # 3 of 9 pairs
    other = write_trained(tmp_path / "other", held_out=[(UNSURE, SURE), (UNSURE, UNSURE), (SURE, SURE)])  # 6 of 9
    same = write_trained(tmp_path / "same", held_out=[(UNSURE, UNSURE), (UNSURE, UNSURE), (SURE, SURE)])
    done = compare(first, other, same, "--json-out", tmp_path / "all.json")
    row = cells(done.out)["against A"]
    assert row[0] == "–" and row[1].startswith("+0.333 [+0.000, ") and row[2] == "+0.000 [+0.000, +0.000]"
    sides = json.loads((tmp_path / "all.json").read_text("utf-8"))["sides"]
    assert sides[0]["against_first"] is None and sides[1]["against_first"]["value"] == pytest.approx(1 / 3)
    assert [side["name"] for side in sides] == ["A first", "B other", "C same"]
    assert sides[1]["quality"]["best_per_token"] == {"start": -2.5, "end": -2.0}
    assert sides[1]["losses"] == [1.8, 2.9] and sides[1]["cost"]["models"] == ["policy"]


def test_ratings_that_count_as_equal_make_no_pair_between_methods(tmp_path: Path, compare: Any) -> None:
    everything = {"data": {"delta": 5.5}}  # the ratings 6, 4 and 1 are all within it
    folders = [write_trained(tmp_path / name, metrics=everything) for name in "ab"]
    assert "against A" not in cells(compare(*folders).out)


def test_what_differs_in_the_settings_is_said_but_not_what_only_one_method_has(tmp_path: Path, compare: Any) -> None:
    a = write_trained(tmp_path / "a", settings={"margin": 1.0})
    b = write_trained(tmp_path / "b", "dpo", settings={"seed": 1, "judge": "[red]embedding", "beta": 0.1})
    done = compare(a, b)
    assert "settings that differ: seed (0, 1)" in " ".join(done.out.split())
    assert "beta" not in done.out


def test_what_nobody_measured_has_no_row(tmp_path: Path, compare: Any) -> None:
    nothing = {"reward": None, "answer_tokens": None, "margin": None}
    folders = [write_trained(tmp_path / name, point=nothing, held_out=[], metrics={"cost": {}}) for name in "ab"]
    rows = cells(compare(*folders).out)
    assert not {"reward of fresh answers", "margin, nats a token", "against A", "device", "time"} & rows.keys()
    assert rows["highest"] == ["0.5556"] * 2
    for folder in folders:
        (folder / "trainer_log.jsonl").write_text("")
        (folder / "stability.jsonl").write_text("")
    rows = cells(compare(*folders).out)
    assert rows["steps"] == ["12", "12"] and not {"highest", "loss, smallest and largest"} & rows.keys()


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"lineage": {"rows_digest": "other"}}, "a and .*/b: made of different rows; train both on the same data"),
        ({"lineage": {"base_model": "big"}}, "trained from tiny and big; compare trainings of one model"),
        ({"held_out": ((UNSURE, SURE),) * 2}, "measured on different groups; train both with the same --seed"),
    ],
)
def test_trainings_that_say_nothing_of_each_other_are_refused(
    tmp_path: Path, compare: Any, other: dict[str, Any], message: str
) -> None:
    folders = write_trained(tmp_path / "a"), write_trained(tmp_path / "b", **other)
    done = compare(*folders, "--json-out", tmp_path / "all.json", "--plot", tmp_path / "all.png")
    assert done.code == 2 and re.search(message, done.err) and done.err.count("\n") == 1 and done.out == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_folders_may_have_one_name_and_names_are_shown_as_they_are(tmp_path: Path, compare: Any) -> None:
    long = "a-very-long-name-of-a-training-that-has-an-end"
    folders = [write_trained(tmp_path / path) for path in ("one/[red]x:cat:", "two/[red]x:cat:", long)]
    printed = compare(*folders).out
    assert "A [red]x:cat:" in printed and "B [red]x:cat:" in printed and "C a-very-long-…-has-an-end" in printed


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_all_curves_are_drawn_side_by_side(tmp_path: Path, compare: Any, kind: str) -> None:
    folders = [write_trained(tmp_path / f"<{name}> & $x_y$ 後", name) for name in ("stable", "dpo", "rloo")]
    drawn = [tmp_path / f"{name}.{kind}" for name in ("first", "second")]
    for path in drawn:
        done = compare(*folders, "--plot", path)
        assert done.code == 0 and done.err == ""
    assert drawn[0].read_bytes() == drawn[1].read_bytes()
    if kind == "png":
        image = imread(drawn[0])
        assert image.shape[1] > 1200 and image.std() > 0.05
    if kind == "svg":
        text = drawn[0].read_text("utf-8")
        assert ">C &lt;rloo&gt; &amp; $x_y$ 後</text>" in text and "<rloo>" not in text
        for title in ("loss", "KL to the start", "active hinges", "training pairs in the right order", "step"):
            assert f">{title}</text>" in text
        assert "to held-out questions –, sampled in training ⋯" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--plot", "curves.gif"], "--plot curves.gif: no kind of picture; end it in one of .png, .svg, .pdf"),
        (["--plot", "no/curves.png"], "no/curves.png: No such file or folder"),
        (["--json-out", "no/where.json"], "no/where.json: No such file or folder"),
    ],
)
def test_what_cannot_be_written_is_refused_at_once(
    tmp_path: Path, compare: Any, options: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = compare("nowhere", "neither", *options)
    assert done.code == 2 and message in done.err


def test_one_folder_or_one_of_no_training_is_refused(tmp_path: Path, compare: Any) -> None:
    folder = write_trained(tmp_path / "a")
    assert "1 folder to compare: name two or more, the baseline first" in compare(folder).err
    (tmp_path / "b").mkdir()
    assert "b/lineage.json: no lineage to be read" in compare(folder, tmp_path / "b").err
    (folder / "held_out.jsonl").unlink()
    assert "held_out.jsonl: no such file" in compare(folder, write_trained(tmp_path / "c")).err


def test_the_docs_name_every_field_of_the_json() -> None:
    told = (Path(__file__).parents[2] / "docs" / "align.md").read_text("utf-8").split("## Side by side")[1]
    named = set(re.findall(r"`(\w+)`", told))
    assert {field.name for part in (Comparison, Side, Change, Estimate) for field in fields(part)} - named == set()
