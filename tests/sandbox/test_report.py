"""The report: the data behind the page, and that whatever models wrote stays text."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from agents.errors import BadInput
from agents.records import Feedback, Rating
from sandbox.report.data import curves, failures, interaction_data, report_data
from sandbox.report.page import write_report
from sandbox.transcript import read
from tests.sandbox.examples import HEADER, heard, interaction, rated, step, write_run

EVIL = (
    "</script><script>alert(1)</script><!-- <b>bold</b> & \u2028 \"quoted\" 'single' {{ 7 * 7 }} <img src=x onerror=y>"
)


class Page(HTMLParser):
    """The elements of a page, in order, and the text in each script and style."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.raw: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        (self.raw if self.cdata_elem else self.words).append(data)

    @property
    def data(self) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(next(text for text in self.raw if text.startswith("{")))
        return parsed


def page_of(run: Path) -> Page:
    return Page(write_report(run).read_text("utf-8"))


def test_the_page_holds_the_data_of_the_run(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [[interaction(1, 0), interaction(1, 1)], [interaction(2, 0), interaction(2, 1)]])
    assert write_report(run) == run / "report.html"
    assert page_of(run).data == json.loads(json.dumps(report_data(read(run))))
    assert sorted(path.name for path in run.iterdir()) == ["report.html", "transcript.jsonl"]


def test_what_models_wrote_is_shown_as_text(tmp_path: Path) -> None:
    """The same page with harmless words has the same elements, so none came from the words."""
    pages = []
    for name, words in (("harmless", "harmless"), ("evil", EVIL)):
        said = interaction(draft=words, steps=[step(words, 6.0, [heard(1, 2.0, words)])], model=words)
        header = {**HEADER, "models": [{"name": words}], "speech": {"rule": words}}
        pages.append(page_of(write_run(tmp_path / name, [[said]], header)))
    harmless, evil = pages
    assert [tag for tag, _ in evil.tags] == [tag for tag, _ in harmless.tags]
    assert len(evil.raw) == len(harmless.raw) == 3  # style, data, script
    (said,) = evil.data["interactions"]
    assert [said["answers"][0]["text"], said["answers"][1]["text"], said["feedback"][0][0]["reason"]] == [EVIL] * 3
    assert "".join(evil.words).count(EVIL) == 2, "the model's name and the rule, unescaped again by the parser"


def test_the_data_is_safe_inside_a_script_element(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [[interaction(draft=EVIL)]])
    text = write_report(run).read_text("utf-8")
    (block,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert not set("<>&'\u2028") & set(block)


def test_the_page_needs_no_network(tmp_path: Path) -> None:
    page = page_of(write_run(tmp_path / "run", [[interaction()]]))
    policy = next(attrs["content"] for _, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and policy.startswith("default-src 'none';")
    assert not [attrs for _, attrs in page.tags if {"src", "href", "action"} & attrs.keys()]
    assert not [tag for tag, _ in page.tags if tag in ("link", "iframe", "img", "object", "base")]


def test_the_script_never_parses_text_as_html() -> None:
    script = (Path(__file__).parents[2] / "sandbox" / "report" / "page.js").read_text("utf-8")
    assert not re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", script)
    assert "</script" not in script.lower() and "<!--" not in script


def test_an_old_page_is_replaced(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [[interaction()]])
    (run / "report.html").write_text("old")
    assert page_of(run).data["name"] == "run"


def test_without_a_transcript_there_is_no_page(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="does not exist: name the folder of a run"):
        write_report(tmp_path)
    assert not list(tmp_path.iterdir())


def test_facts(tmp_path: Path) -> None:
    rounds = [
        [interaction(1, 0, before=2.0), interaction(1, 1, before=4.0)],
        [interaction(2, 0, before=5.0), interaction(2, 1, draft=None, before={}, steps=[], outcome="timeout")],
    ]
    facts = dict(report_data(read(write_run(tmp_path / "run", rounds)))["facts"])
    assert facts["Grid"] == "2 × 2 agents" and facts["Rounds"] == "2"
    assert facts["Interactions"] == "4 about 1 questions" and facts["Stances"] == "2 good"
    assert facts["Alignment, first drafts → last answers"] == "3.00 → 6.00"
    assert facts["Failures"] == "1"
    open_end = report_data(read(write_run(tmp_path / "open", rounds[:1], end=False)))
    assert dict(open_end["facts"])["Rounds"] == "1, not finished"


def test_the_page_tells_how_observers_agree_and_what_answers_are_like(tmp_path: Path) -> None:
    """By hand: the observers agree on alignment; of the draft's two triples one is the question's."""
    before = {"llm:verdict": rated(2.0, 4.0), "embedding": rated(2.2, 4.0)}
    after = {"llm:verdict": rated(6.0, 4.0), "embedding": rated(6.1, 4.0)}
    steps = [step("Be kind, be kind.", after, [heard(1, 2.0, "It is rude.")])]
    page = page_of(write_run(tmp_path / "run", [[interaction(draft="I broke her plate", before=before, steps=steps)]]))
    assert dict(page.data["facts"])["Observers' agreement (alpha)"] == "alignment 1.00, engagement –"
    assert page.data["texts"] == {
        "draft": {"answers": 1, "words": 4.0, "distinct_2": 1.0, "copied": 1 / 2},
        "final": {"answers": 1, "words": 4.0, "distinct_2": 2 / 3, "copied": 0.0},
    }
    cells = [word.strip() for word in page.words if word.strip()]
    place = cells.index("distinct word pairs")
    assert cells[place : place + 6] == [
        "distinct word pairs", "1.00", "0.67", "copied from what the author was shown", "0.50", "0.00",
    ]  # fmt: skip


def test_a_run_without_rounds_has_a_page(tmp_path: Path) -> None:
    data = page_of(write_run(tmp_path / "run", [])).data
    assert (data["rounds"], data["interactions"], dict(data["facts"])["Alignment, first drafts → last answers"]) == (
        [], [], "–",
    )  # fmt: skip


def test_curves_are_means_by_round_of_what_is_rated() -> None:
    said = [
        interaction(1, 0, before=2.0, steps=[step("a", 3.0), step("b", 5.0)]),
        interaction(1, 1, before=3.0, steps=[step(None, {}, outcome="timeout")]),
        interaction(2, 0, before={}, draft=None, steps=[]),
        interaction(3, 0, before=4.0, steps=[]),
    ]
    assert curves(said, "llm:verdict")["alignment"] == {"before": [2.5, None, 4.0], "after": [5.0, None, 4.0]}
    assert curves(said, "llm:verdict")["engagement"]["before"] == [4.0, None, 4.0]
    assert curves(said, "nobody")["alignment"]["before"] == [None, None, None]


def test_failures_are_counted_by_part_and_outcome() -> None:
    unheard = Feedback(1, None, None, "d", None, outcome="timeout")
    said = [
        interaction(steps=[step("a", {"llm:verdict": Rating(None, None, outcome="refused")}, [unheard, unheard])]),
        interaction(steps=[step(None, {}, outcome="blank")]),
        interaction(draft=None, before={}, steps=[], outcome="timeout"),
    ]
    assert failures(said) == [
        {"part": "feedback", "outcome": "timeout", "count": 2},
        {"part": "rating by llm:verdict", "outcome": "refused", "count": 1},
        {"part": "revision", "outcome": "blank", "count": 1},
        {"part": "draft", "outcome": "timeout", "count": 1},
    ]


def test_an_interaction_lists_its_answers_and_ratings_in_the_order_of_observers() -> None:
    before = {"b": rated(2.0, 3.0), "a": rated(4.0, None)}
    data = interaction_data(interaction(before=before, steps=[step("One.", {}, [heard(3, 2.5, None)])]), ["a", "b"])
    assert [answer["ratings"] for answer in data["answers"]] == [[[4.0, None], [2.0, 3.0]], [[None, None]] * 2]
    assert data["feedback"] == [[{"peer": 3, "rating": 2.5, "reason": None, "outcome": "ok"}]]
    assert data["recalled"] == [{"question": "Who ate the cake?", "answer": "I did.", "similarity": 0.5}]
