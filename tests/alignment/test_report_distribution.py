"""The rewards of a reward model on its page: which they are, what they are compared with, and how it is told."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from math import pi
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.image import imread

from agents.errors import BadInput
from alignment.report import write_report
from alignment.report.distribution import CELLS, distributions_of, inline_of, mixture
from alignment.reward_model import limit_distribution
from alignment.reward_model.limits import wasserstein_to
from tests.alignment.examples import write_trained

UTILITIES = ("x", "x^0.5", "log x", "-1/x", "logsigmoid(x)", "logsigmoid(4x)")
START = (0.5,) * 4
EVEN, ENDS = (1 / 8, 3 / 8, 5 / 8, 7 / 8), (0.0, 0.0, 1.0, 1.0)
OPEN = {"openness": 1.0, "before": START, "after": EVEN}
CLOSED = {"openness": 0.0, "before": START, "after": ENDS}


def write_reward_model(folder: Path, rows: Sequence[Mapping[str, Any]], utility: str = "prompt-aware") -> Path:
    """A reward model's folder as far as the report reads it."""
    write_trained(folder, metrics={"method": "reward-model"}, settings={"utility": utility})
    (folder / "held_out.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


@pytest.mark.parametrize(("utility", "far"), [("x", 1 / 2), ("log x", 1 / pi), ("-1/x", 1 / 4)])
def test_rewards_in_the_middle_are_as_far_from_the_law_as_its_mean_deviation(utility: str, far: float) -> None:
    law = mixture(utility, [(0.3, 2)])
    assert law.distance_to([0.5, 0.5]) == pytest.approx(far, abs=1 / CELLS)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.sampled_from(UTILITIES))
def test_the_distance_to_one_law_is_the_exact_one(rewards: list[float], utility: str) -> None:
    exact = wasserstein_to(rewards, limit_distribution(utility))
    assert mixture(utility, [(0.5, 1)]).distance_to(rewards) == pytest.approx(exact, abs=1 / CELLS)


def test_prompts_follow_together_what_each_follows_by_its_share_of_the_rewards() -> None:
    law = mixture("prompt-aware", [(0.0, 1), (1.0, 1), (0.0, 2)])
    assert len(law.parts) == 2
    assert law.at_each_end == 3 / 4 * 1 / 2
    assert law.cdf([0.25, 1.0]) == pytest.approx([3 / 4 * 1 / 2 + 1 / 4 * 1 / 4, 1])
    assert law.between(5) == pytest.approx([1 / 4 * 1 / 5] * 5)


@pytest.mark.parametrize("utility", UTILITIES)
def test_all_mass_lies_between_the_ends_or_at_them(utility: str) -> None:
    law = mixture(utility, [(0.5, 3)])
    masses = law.between(7)
    assert masses.sum() + 2 * law.at_each_end == pytest.approx(1) and masses == pytest.approx(masses[::-1], abs=1e-6)


def test_a_prompt_is_open_from_a_half() -> None:
    rows = [{**OPEN, "openness": openness} for openness in (0.49, 0.5, 0.51)]
    open_, closed = distributions_of(rows, "log x")
    assert (open_.kind, open_.prompts, len(open_.after)) == ("open", 2, 8)
    assert (closed.kind, closed.prompts, closed.before) == ("closed", 1, START)


def test_the_page_shows_both_kinds_of_prompts_and_tells_how_far_they_are_from_their_laws(tmp_path: Path) -> None:
    folder = write_reward_model(tmp_path / "rating", [OPEN, CLOSED, OPEN])
    write_report(folder)
    page = (folder / "report.html").read_text("utf-8")
    told = [
        f"2 open prompts, prompt-aware: W1 to the law {1 / 4:.3f} before, {1 / 16:.3f} after",
        f"1 closed prompt, prompt-aware: W1 to the law {1 / 2:.3f} before, {0:.3f} after",
    ]
    assert re.findall(r"<figcaption>(.*law.*)</figcaption>", page) == told
    assert [label in page for label in (f'with their limit law. {one}."' for one in told)] == [True, True]
    links, names = re.findall(r'(?:href="#|url\(#)([\w-]+)', page), re.findall(r'\bid="([^"]+)"', page)
    assert set(links) <= set(names) and len(names) == len(set(names))


def test_the_picture_has_a_panel_for_each_kind_with_its_rewards_and_its_law(tmp_path: Path) -> None:
    folder = write_reward_model(tmp_path / "rating", [OPEN, CLOSED])
    write_report(folder)
    image = imread(folder / "rewards.png")[..., :3]
    orange = np.isclose(image, [0xD5 / 255, 0x5E / 255, 0], atol=0.01).all(-1)
    blue = (image[..., 2] > 0.6) & (image[..., 0] < 0.4)
    assert all(half.any() for drawn in (orange, blue) for half in np.array_split(drawn, 2, axis=1))


def test_masses_at_the_ends_stand_out_of_the_law_where_it_has_them() -> None:
    parts = {}
    for utility in ("log x", "x"):
        (drawn,) = distributions_of([OPEN], utility)
        svg = inline_of(drawn)
        assert re.findall(r"(?:stroke|fill): #\w+", svg) == []
        assert {"var(--series-0)", "var(--series-1)", "var(--faint)"} <= set(re.findall(r"var\([\w-]+\)", svg))
        assert {"before (may go on above)", "after", "limit law", "reward"} <= set(re.findall(r">([^<]+)</text>", svg))
        parts[utility] = len(re.findall(r"(?:stroke|fill): var\(--series-1\)", svg))
    assert parts["x"] > parts["log x"], "two lines and two dots"


@pytest.mark.parametrize(("rows", "kinds"), [([], []), ([OPEN], ["open"]), ([CLOSED], ["closed"])])
def test_what_was_not_held_out_is_not_drawn(tmp_path: Path, rows: list[dict[str, Any]], kinds: list[str]) -> None:
    folder = write_reward_model(tmp_path / "rating", rows)
    write_report(folder)
    page = (folder / "report.html").read_text("utf-8")
    assert re.findall(r"<figcaption>1 (\w+) prompt,", page) == kinds
    assert ("Distribution of rewards" in page) == (folder / "rewards.png").exists() == bool(rows)


def test_other_trainings_have_no_rewards_on_their_page(tmp_path: Path) -> None:
    write_report(write_trained(tmp_path / "aligned"))
    assert "Distribution of rewards" not in (tmp_path / "aligned" / "report.html").read_text("utf-8")
    assert not (tmp_path / "aligned" / "rewards.png").exists()


def test_a_folder_that_lacks_its_rewards_or_names_no_utility_is_refused(tmp_path: Path) -> None:
    folder = write_reward_model(tmp_path / "rating", [OPEN], utility="cosh x")
    with pytest.raises(BadInput, match="unknown utility 'cosh x'"):
        write_report(folder)
    (folder / "held_out.jsonl").unlink()
    with pytest.raises(BadInput, match=r"held_out\.jsonl: no such file"):
        write_report(folder)
    assert not {"report.html", "curves.png", "rewards.png"} & {path.name for path in folder.iterdir()}
