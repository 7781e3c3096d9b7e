"""The page and the picture of a training, from folders that hold all but the model."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from agents.errors import BadInput
from alignment.report import write_report
from alignment.report.curves import Panel, Series, inline, panels_of
from alignment.report.page import page_data
from alignment.report.record import read_record
from alignment.report.words import bytes_told, duration, how_many
from tests.alignment.examples import QUALITY, STEPS, WATCHED, write_trained

HOSTILE = "<script>alert('x')</script> \" onload=\"&amp; $x^2$ {{ 7 * 7 }} 後"


def reported(folder: Path) -> str:
    """The page of a training."""
    write_report(folder)
    return (folder / "report.html").read_text("utf-8")


def words_of(svg: str) -> list[str]:
    """The text in a picture."""
    return re.findall(r"<text [^>]*>([^<]*)</text>", svg)


def titles(folder: Path) -> dict[str, list[str]]:
    """The names of a training's curves, by panel."""
    return {panel.title: [series.name for series in panel.series] for panel in panels_of(read_record(folder))}


def test_the_page_says_what_was_trained_on_what_and_what_became_of_it(tmp_path: Path) -> None:
    data = page_data(read_record(write_trained(tmp_path / "aligned")))
    assert data["name"] == "aligned"
    assert data["sentence"] == (
        "tiny, trained by Stable Alignment on 10 groups of 30 rated answers from runs/first and rated.jsonl, in "
        "12 steps that met 20 groups, with 3 further groups held out to measure on."
    )
    first, second = data["quality"][:2]
    assert first == {
        "what": "pair accuracy",
        "before": "0.250 [0.125, 0.500]",
        "after": "0.750 [0.500, 1.000]",
        "change": "+0.500 [+0.250, +0.750]",
    }
    assert second["before"] == "-2.500" and second["after"] == "-2.000" and second["change"] == "+0.500"
    told = dict(data["facts"])
    assert (
        told["time of training"] == "13 min" and told["peak memory"] == "3.70 GB" and told["tokens read"] == "123,456"
    )
    assert told["tokens generated"] == "0" and told["judge of fresh answers"] == "llm:verdict"
    assert ("trainer.weight_decay", "0.5") in data["options"]
    assert ("runs/first", "runs/first/transcript.jsonl to line 9 (c0ffee)") in data["sources"]


def test_what_the_data_says_is_on_the_page_and_no_script_but_text(tmp_path: Path) -> None:
    dropped = [f"{HOSTILE} {number}" for number in range(30)]
    flawed = {"flawed": [{"row": HOSTILE, "reason": "empty"}]}
    folder = write_trained(
        tmp_path / "<b>bold",
        metrics={"train": {"groups": 1, "responses": 2, "dropped": dropped}, "data": flawed, "judge": HOSTILE},
        lineage={"base_model": HOSTILE, "sources": [{"path": HOSTILE, "digest": HOSTILE}]},
        settings={"model": HOSTILE, HOSTILE: HOSTILE},
    )
    page = reported(folder)
    assert (
        "<script" not in page and "<b>" not in page and ' onload="' not in page and "49" not in page.split("<main>")[0]
    )
    text = html.unescape(re.sub(r"<svg.*?</svg>|<[^>]*>", "", page, flags=re.DOTALL))
    assert text.count(f"{HOSTILE} 1") == 11, "1 and 10 to 19: twenty are named"
    assert "and 10 more" in text and f"row {HOSTILE}, reason empty" in text and text.count(HOSTILE) > 25


def test_the_page_is_whole_and_loads_nothing(tmp_path: Path) -> None:
    page = reported(write_trained(tmp_path / "aligned"))
    assert "default-src &#39;none&#39;" in page
    assert re.findall(r'(?:src|href)="[^#]', page) == [] and "@import" not in page
    links = re.findall(r'(?:href="#|url\(#)([\w-]+)', page)
    names = re.findall(r'\bid="([^"]+)"', page)
    assert links and set(links) <= set(names) and len(names) == len(set(names))


def test_curves_in_the_page_wear_its_colours_and_keep_their_words(tmp_path: Path) -> None:
    record = read_record(write_trained(tmp_path / "aligned"))
    loss, logprob, *_ = (inline(panel) for panel in panels_of(record))
    assert logprob.startswith('<svg role="img" aria-label="log-probability of held-out answers, nats a token, by step"')
    assert {"step", "nats a token", "best", "worst"} <= set(words_of(logprob))
    assert {"var(--series-0)", "var(--series-1)", "var(--ink)", "var(--faint)"} <= set(
        re.findall(r"var\([\w-]+\)", loss)
    )
    assert re.findall(r"(?:stroke|fill): #\w+", loss + logprob) == []
    css = reported(tmp_path / "aligned").split("<style>")[1].split("</style>")[0]
    light, dark = css.split("@media (prefers-color-scheme: dark)")[:2]
    for variable in ("--series-0", "--series-1", "--series-2", "--ink", "--faint", "--line"):
        assert f"{variable}:" in light and f"{variable}:" in dark


def test_the_picture_shows_something_in_every_panel(tmp_path: Path) -> None:
    write_report(write_trained(tmp_path / "$a_b 後"))
    image = imread(tmp_path / "$a_b 後" / "curves.png")
    high, wide, _ = image.shape
    assert wide > 1200 and high > 1000
    panels = [cell for across in np.array_split(image[..., :3], 4) for cell in np.array_split(across, 3, axis=1)]
    shows_blue = [bool(np.isclose(cell, [0, 0x72 / 255, 0xB2 / 255], atol=0.01).all(-1).any()) for cell in panels]
    assert shows_blue == [True] * 11 + [False], "eleven panels: the last place is empty"


def test_a_training_that_logged_nothing_has_a_page_without_curves(tmp_path: Path) -> None:
    folder = write_trained(tmp_path / "aligned")
    (folder / "trainer_log.jsonl").write_text("")
    (folder / "stability.jsonl").write_text("")
    assert "<svg" not in reported(folder) and not (folder / "curves.png").exists()


def test_each_method_has_the_curves_that_it_logs(tmp_path: Path) -> None:
    found = {method: titles(write_trained(tmp_path / method, method)) for method in ("stable", "sft", "dpo", "rloo")}
    common = {
        "loss", "log-probability of held-out answers", "margin of best over worst", "held-out pairs in the right order",
        "KL to the start", "perplexity on neutral text", "reward of fresh answers", "length of fresh answers",
        "gradient norm", "learning rate",
    }  # fmt: skip
    assert found["sft"].keys() == common == found["rloo"].keys()
    assert found["stable"].keys() - common == {"active hinges"}
    assert found["dpo"].keys() - common == {"training pairs in the right order"}
    assert found["sft"]["reward of fresh answers"] == ["to held-out questions"]
    assert found["rloo"]["reward of fresh answers"] == ["to held-out questions", "sampled in training"]


def test_curves_hold_the_numbers_of_their_files(tmp_path: Path) -> None:
    panels = {panel.title: panel.series for panel in panels_of(read_record(write_trained(tmp_path / "aligned")))}
    (loss, _), (kl,) = panels["loss"], panels["KL to the start"]
    assert loss.steps == tuple(range(1, STEPS + 1)) and loss.values[0] == 2.9  # the summary line has no loss
    assert kl.steps == WATCHED and kl.values == pytest.approx((0, 7 / 18, 5 / 9, 1 / 2))


def test_what_was_not_measured_is_left_out_and_not_drawn_as_zero(tmp_path: Path) -> None:
    nothing = dict.fromkeys(("pair_accuracy", "margin", "best_per_token", "worst_per_token", "reward", "answer_tokens"))
    quality: dict[str, Any] = {**dict.fromkeys(QUALITY), "groups": 0, "pairs": 0, "neutral_perplexity": 90.0}
    folder = write_trained(
        tmp_path / "aligned",
        point=nothing,
        log={"grad_norm": None, "loss": float("nan")},
        metrics={
            "before": quality,
            "after": quality,
            "accuracy_gain": None,
            "judge": None,
            "held_out": {"groups": 0, "responses": 0},
            "cost": {"seconds": 1.0},
        },
    )
    drawn = titles(folder)
    assert drawn.keys() == {
        "loss", "KL to the start", "perplexity on neutral text", "active hinges", "learning rate",
    }  # fmt: skip
    assert drawn["loss"] == ["of the best answers alone"]
    page = reported(folder)
    data = page_data(read_record(folder))
    assert [row["what"] for row in data["quality"]] == ["perplexity, neutral text"]
    assert "held out to measure" not in page and "peak memory" not in page and "None" not in page and "nan" not in page


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ((1.0, 2.0, 5000.0), ["1", "10", "100", "1000"]),
        ((1.0, 2.0, 50.0), ["0", "10", "20", "30", "40", "50"]),
        ((0.0, 2.0, 5000.0), ["0", "1000", "2000", "3000", "4000", "5000"]),
    ],
)
def test_axes_are_logarithmic_only_where_values_span_orders(values: tuple[float, ...], ticks: list[str]) -> None:
    drawn = inline(Panel("gradient norm", "Euclidean norm", (Series("gradient norm", (1, 2, 3), values),)))
    assert words_of(drawn) == ["1", "2", "3", "step", *ticks, "Euclidean norm"]


def test_intervals_are_bands_and_a_value_may_have_none() -> None:
    steps, values, none = (0, 1, 2), (0.5, 0.6, 0.4), (float("nan"), float("nan"))

    def bands(*intervals: tuple[float, float]) -> int:
        drawn = inline(Panel("order", "share", (Series("in order", steps, values, intervals),)))
        return len(re.findall(r"fill: var\(--series-0\); fill-opacity: 0.12", drawn))

    assert bands() == 0
    assert bands((0.4, 0.6), (0.5, 0.7), (0.3, 0.5)) == bands((0.4, 0.6), (0.5, 0.7), none) == 1


@pytest.mark.parametrize(("count", "lines"), [(250, 1), (251, 2)])
def test_long_curves_are_pale_below_their_means(count: int, lines: int) -> None:
    series = Series("loss", tuple(range(count)), tuple(float(step % 7) for step in range(count)))
    drawn = inline(Panel("loss", "loss", (series,)))
    assert len(re.findall(r"stroke: var\(--series-0\)", drawn)) == lines
    assert ("stroke-opacity: 0.3" in drawn) == (lines == 2)


def test_equal_trainings_have_equal_pages(tmp_path: Path) -> None:
    folder = write_trained(tmp_path / "aligned")
    assert reported(folder) == reported(folder)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("lineage.json", None, "lineage.json: no lineage to be read .*name a folder that align wrote"),
        ("metrics.json", None, "metrics.json: no such file"),
        ("metrics.json", '{"data": {}}', "metrics.json: tells no 'method'; an older version wrote it; train again"),
        ("metrics.json", "{", "metrics.json line 1: not valid JSON"),
        ("metrics.json", '{"method": "eva"}', "aligned: trained by eva on data that it made itself"),
        ("align.toml", "a =", "align.toml: not valid TOML"),
        ("trainer_log.jsonl", "{\n", "trainer_log.jsonl line 1: not valid JSON"),
        ("stability.jsonl", None, "stability.jsonl: no such file"),
    ],
)
def test_a_folder_that_no_training_left_is_refused(tmp_path: Path, name: str, text: str | None, message: str) -> None:
    folder = write_trained(tmp_path / "aligned")
    (folder / name).unlink() if text is None else (folder / name).write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match=message):
        write_report(folder)
    assert not (folder / "report.html").exists() and not (folder / "curves.png").exists()


def test_numbers_in_words() -> None:
    assert [how_many(n, "group") for n in (0, 1, 1200)] == ["0 groups", "1 group", "1,200 groups"]
    assert [duration(s) for s in (2.54, 99.9, 754, 5999, 11_100)] == [
        "2.5 s",
        "99.9 s",
        "13 min",
        "1 h 40 min",
        "3 h 05 min",
    ]
    assert [bytes_told(n) for n in (850e6, 3.7e9)] == ["850 MB", "3.70 GB"]
