"""The report: the data behind the page, and that whatever models wrote stays text."""

from __future__ import annotations

import base64
import gc
import hashlib
import json
import re
import shutil
import tracemalloc
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from agents.errors import BadInput
from agents.records import Feedback, Rating
from sandbox.interaction import Interaction, Question
from sandbox.report.data import Summary, report_data
from sandbox.report.page import SCRIPTS, write_report
from sandbox.report.parcels import PARCEL, chain, parcels
from sandbox.texts import answered, describe
from sandbox.transcript import FILE, read
from tests.sandbox.examples import BUS, HEADER, heard, interaction, rated, step, write_run

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

    @property
    def policy(self) -> str:
        return next(attrs["content"] or "" for _, attrs in self.tags if "http-equiv" in attrs)


def page_of(run: Path, **how: int) -> Page:
    return Page(write_report(run, **how).read_text("utf-8"))


def unpacked(parcel: str) -> list[dict[str, Any]]:
    chains: list[dict[str, Any]] = json.loads(zlib.decompress(base64.b64decode(parcel, validate=True)))
    return chains


def summary(rounds: Sequence[Sequence[Interaction]], observers: Sequence[str] = ("llm:verdict",)) -> Summary:
    made = Summary(observers, "Be kind.")
    for played in rounds:
        made.add(played)
    return made


def two_rounds(folder: Path) -> Path:
    return write_run(folder, [[interaction(1, 0), interaction(1, 1)], [interaction(2, 0), interaction(2, 1)]])


def test_the_page_holds_the_data_of_the_run(tmp_path: Path) -> None:
    run = two_rounds(tmp_path / "run")
    assert write_report(run) == run / "report.html"
    page = page_of(run)
    assert page.data == json.loads(json.dumps({**report_data(read(run)), "parcel": PARCEL, "beside": []}))
    interactions = list(read(run).interactions())
    inside = [unpacked(text) for text in page.raw if re.fullmatch(r"[\w+/=]{20,}", text)]
    assert inside == [[chain(said, read(run).observers) for said in interactions if said.round == k] for k in (1, 2)]
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
    evil_texts, harmless_texts = (page.raw for page in pages[::-1])
    assert len(evil_texts) == len(harmless_texts) == 4  # style, data, parcel, script
    (said,) = unpacked(evil_texts[2])
    assert [said["answers"][0]["text"], said["answers"][1]["text"], said["feedback"][0][0]["reason"]] == [EVIL] * 3
    assert evil.data["models"] == [EVIL]
    assert "".join(evil.words).count(EVIL) == 2, "the model's name and the rule, unescaped again by the parser"


def test_the_data_is_safe_inside_a_script_element(tmp_path: Path) -> None:
    asked = interaction(model=EVIL, question=Question("q", EVIL, EVIL))
    text = write_report(write_run(tmp_path / "run", [[asked]])).read_text("utf-8")
    (block,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert not set("<>&'\u2028") & set(block)


def test_the_page_needs_no_network(tmp_path: Path) -> None:
    page = page_of(write_run(tmp_path / "run", [[interaction()]]))
    assert page.policy.startswith("default-src 'none';") and "unsafe" not in page.policy
    assert not [attrs for _, attrs in page.tags if {"src", "href", "action"} & attrs.keys()]
    assert not [tag for tag, _ in page.tags if tag in ("link", "iframe", "img", "object", "base")]


def test_only_its_own_style_and_script_may_run(tmp_path: Path) -> None:
    page = page_of(write_run(tmp_path / "run", [[interaction()]]))
    style, *_, script = page.raw
    for directive, text in (("style-src", style), ("script-src", script)):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"; {directive} 'sha256-{digest}';" in page.policy
    assert page.policy.endswith("; require-trusted-types-for 'script'; trusted-types 'none'")


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_script_parses_text_as_html(name: str) -> None:
    script = (Path(__file__).parents[2] / "sandbox" / "report" / f"{name}.js").read_text("utf-8")
    assert not re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", script)
    assert "</script" not in script.lower() and "<!--" not in script


def test_a_page_that_would_be_too_large_has_its_texts_beside_it(tmp_path: Path) -> None:
    run = two_rounds(tmp_path / "run")
    size = write_report(run).stat().st_size
    assert page_of(run, largest=size + 200).data["beside"] == []
    page = page_of(run, largest=size - 1)
    names = page.data["beside"]
    assert [name[:12] for name in names] == ["round-0001-0", "round-0002-0"]
    assert len(page.raw) == 3 and not [attrs for _, attrs in page.tags if "src" in attrs]
    assert "'strict-dynamic'; " in page.policy and page.policy.endswith("trusted-types beside")
    for number, name in enumerate(names):
        call = re.fullmatch(r'receive\((\d+),"([^"]+)"\);\n', (run / "report" / name).read_text("ascii"))
        assert call is not None and int(call[1]) == number
        assert [said["answers"][0]["text"] for said in unpacked(call[2])] == ["Hide it.", "Hide it."]


def test_files_beside_the_page_go_when_it_does_not_need_them(tmp_path: Path) -> None:
    run = two_rounds(tmp_path / "run")
    write_report(run, largest=0)
    first = {path.name for path in (run / "report").iterdir()}
    (run / "report" / "notes.txt").write_text("the reader's own")
    (run / "transcript.jsonl").unlink()
    write_run(run, [[interaction(draft="Another.")]])
    write_report(run, largest=0)
    left = {path.name for path in (run / "report").iterdir()}
    assert len(left) == 2 and "notes.txt" in left and not left & first
    (run / "report" / "notes.txt").unlink()
    write_report(run)
    assert sorted(path.name for path in run.iterdir()) == ["report.html", "transcript.jsonl"]


def test_a_page_that_cannot_be_written_leaves_the_old_one_and_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = two_rounds(tmp_path / "run")
    write_report(run, largest=0)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}

    def full(*_: object) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    (run / "transcript.jsonl").unlink()
    write_run(run, [[interaction(draft="Another.")]])
    with pytest.raises(OSError, match="No space"):
        write_report(run, largest=0)
    after = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    del before[run / "transcript.jsonl"], after[run / "transcript.jsonl"]
    assert after == before


def test_a_large_round_comes_in_several_parcels(tmp_path: Path) -> None:
    played = [interaction(1, agent) for agent in range(PARCEL + 1)]
    header = {**HEADER, "world": {**HEADER["world"], "size": 23}}
    packed = dict(parcels(read(write_run(tmp_path / "run", [played], header))))
    assert {name: len(unpacked(parcel)) for name, parcel in packed.items()} == {
        "round-0001-01": PARCEL, "round-0001-02": 1,
    }  # fmt: skip


def test_a_long_run_is_not_held_in_memory(tmp_path: Path) -> None:
    """More rounds of the same size take as much memory; 30 of their texts alone would take six times as much."""
    words = "x" * 500_000
    peaks = []
    for rounds in (2, 2, 30):  # the first also loads what stays loaded
        run = write_run(tmp_path / f"{len(peaks)}", [[interaction(k, draft=words)] for k in range(1, rounds + 1)])
        gc.collect()
        tracemalloc.start()
        write_report(run, largest=0)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.3 * peaks[1], peaks


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
    assert facts["Interactions"] == "4 about 1 question" and facts["Stances"] == "2 good"
    assert facts["Alignment, first drafts → last answers"] == "3.00 → 6.00"
    assert facts["Failures"] == "1"
    open_end = report_data(read(write_run(tmp_path / "open", rounds[:1], end=False)))
    assert dict(open_end["facts"])["Rounds"] == "1, not finished"


def test_a_fork_tells_where_it_branched_off(tmp_path: Path) -> None:
    parent = {"run": "first", "round": 3, "chain": "00"}
    for header, told in (({"parent": parent}, "first after round 3"), ({"parent": None}, None), ({}, None)):
        run = write_run(tmp_path / str(told) / str(len(header)), [[interaction(4)]], {**HEADER, **header})
        assert dict(report_data(read(run))["facts"]).get("Branched from") == told


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
    facts = dict(data["facts"])
    assert (data["rounds"], facts["Interactions"]) == ([], "0 about 0 questions")
    assert (facts["Alignment, first drafts → last answers"], facts["Observers' agreement (alpha)"]) == (
        "–", "alignment –, engagement –",
    )  # fmt: skip


def test_only_complete_rounds_of_an_interrupted_run_are_shown(tmp_path: Path) -> None:
    run = two_rounds(tmp_path / "run")
    log = run / "transcript.jsonl"
    whole = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(whole[:-2]) + whole[-2][:20])  # torn in the line of the last round
    assert [played["round"] for played in page_of(run).data["rounds"]] == [1]


def test_curves_are_means_by_round_of_what_is_rated() -> None:
    rounds = [
        [
            interaction(1, 0, before=2.0, steps=[step("a", 3.0), step("b", 5.0)]),
            interaction(1, 1, before=3.0, steps=[step(None, {}, outcome="timeout")]),
        ],
        [interaction(2, 0, before={}, draft=None, steps=[])],
        [interaction(3, 0, before=4.0, steps=[])],
    ]
    curves = summary(rounds, ["llm:verdict", "nobody"]).curves
    assert curves["llm:verdict"]["alignment"] == {"before": [2.5, None, 4.0], "after": [5.0, None, 4.0]}
    assert curves["llm:verdict"]["engagement"]["before"] == [4.0, None, 4.0]
    assert curves["nobody"]["alignment"]["before"] == [None, None, None]


def test_failures_are_counted_by_part_and_outcome() -> None:
    unheard = Feedback(1, None, None, "d", None, outcome="timeout")
    first = interaction(steps=[step("a", {"llm:verdict": Rating(None, None, outcome="refused")}, [unheard, unheard])])
    second = [
        interaction(steps=[step(None, {}, outcome="blank")]),
        interaction(draft=None, before={}, steps=[], outcome="timeout"),
    ]
    assert summary([[first], second]).failures() == [
        {"part": "feedback", "outcome": "timeout", "count": 2},
        {"part": "rating by llm:verdict", "outcome": "refused", "count": 1},
        {"part": "revision", "outcome": "blank", "count": 1},
        {"part": "draft", "outcome": "timeout", "count": 1},
    ]


def test_the_columns_of_a_round() -> None:
    """`ratings[moment][observer][dimension][place]`, "after" being the last answer's; names are numbers of tables."""
    before = {"b": rated(2.0, 3.004), "a": rated(4.0, None)}
    steps = [
        step("One.", 1.0, [heard(3, 2.5, None), heard(1, 2.0, "No.")]),
        step("Two.", {"a": rated(7.0, 1.0)}, [heard(2, 3.0, "")]),
    ]
    said = [
        interaction(3, 4, before=before, steps=steps, question=BUS),
        interaction(3, 7, draft=None, before={}, steps=[], outcome="timeout", model="other"),
    ]
    data = summary([said], ["a", "b"]).data()
    assert data["rounds"] == [
        {
            "round": 3,
            "agents": [4, 7],
            "models": [0, 1],
            "stances": [0, 0],
            "questions": [0, 1],
            "outcomes": [0, 1],
            "peers": [[3, 1, 2], []],
            "ratings": {
                "before": [[[4.0, None], [None, None]], [[2.0, None], [3.0, None]]],
                "after": [[[7.0, None], [1.0, None]], [[None, None], [None, None]]],
            },
        }
    ]
    assert (data["models"], data["outcomes"], data["stances"]) == (["tiny", "other"], ["ok", "timeout"], ["good"])
    assert [question["topic"] for question in data["questions"]] == ["property", "honesty"]


def test_a_chain_lists_its_answers_and_ratings_in_the_order_of_observers() -> None:
    before = {"b": rated(2.0, 3.0), "a": rated(4.0, None)}
    data = chain(interaction(before=before, steps=[step("One.", {}, [heard(3, 2.5, None)])]), ["a", "b"])
    assert [answer["ratings"] for answer in data["answers"]] == [[[4.0, None], [2.0, 3.0]], [[None, None]] * 2]
    assert data["feedback"] == [[{"peer": 3, "rating": 2.5, "reason": None, "outcome": "ok"}]]
    assert data["recalled"] == [{"question": "Who ate the cake?", "answer": "I did.", "similarity": 0.5}]


def test_wording_measured_round_by_round_is_that_of_all_answers_together() -> None:
    texts = ["I broke her cup and I hide it.", None, "I hide it.", "No.", "I broke her cup."]
    rounds = [[interaction(k, 0, draft=text, before=2.0 if text else {})] for k, text in enumerate(texts, start=1)]
    together = describe(answered([said for played in rounds for said in played], "draft", "Be kind."))
    measured = summary(rounds).data()["texts"]["draft"]
    assert measured == pytest.approx({name: asdict(together)[name] for name in measured})


def test_the_page_of_the_shipped_example_is_what_is_written_now(tmp_path: Path) -> None:
    shipped = Path(__file__).parents[2] / "runs" / "example" / "society"
    run = tmp_path / shipped.name
    run.mkdir()
    shutil.copy(shipped / FILE, run)
    assert write_report(run).read_bytes() == (shipped / "report.html").read_bytes(), "run `replay show` there again"
