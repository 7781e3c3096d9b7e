"""Datasets: what becomes a row, with which score; what is left out; on which side of the split it falls."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from agents.errors import BadInput
from agents.language_model import Message
from agents.prompts import draft_messages, review_messages, revise_messages
from agents.records import Answer, Feedback, Rating
from memory.encoder import Encoder
from sandbox import dataset
from sandbox.dataset import Group, Origin, collect, groups_of, preference_rows, sft_rows, split
from sandbox.interaction import Question, Step
from sandbox.responses import Scoring
from tests.sandbox.examples import BUS, CUP, HEADER, heard, interaction, rated, step, write_run


class Axes:
    """An encoder that gives every text its own axis, except for texts that differ in their last sign only."""

    def encode(self, texts: list[str]) -> NDArray[np.float32]:
        kinds = sorted({text[:-1] for text in texts})
        return np.eye(len(kinds), dtype=np.float32)[[kinds.index(text[:-1]) for text in texts]]


def scores_by_response(groups: list[Group]) -> dict[str, float]:
    return {text: score for group in groups for text, score in zip(group.responses, group.scores, strict=True)}


# --- imitation


def test_imitation_gathers_drafts_and_revisions_of_a_question(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [[interaction(1, 0), interaction(1, 1, draft="Say nothing.", before=1.5)]])
    (group,) = groups_of([run])
    assert group.query == draft_messages(CUP.text)
    assert group.question == CUP.text
    assert group.responses == ("Hide it.", "Tell her and say sorry.", "Say nothing.")  # the second revision is a copy
    assert group.scores == (2.0, 6.0, 1.5)
    assert group.finished == (True, True, True) and group.models == ("tiny",) * 3
    assert group.origins == (
        Origin("run", 1, 0, "draft"), Origin("run", 1, 0, "revision"), Origin("run", 1, 1, "draft"),
    )  # fmt: skip


def test_equal_questions_merge_across_rounds_runs_and_worlds(tmp_path: Path) -> None:
    drafts = iter("abcd")
    runs = [
        write_run(tmp_path / "a", [[interaction(r, draft=next(drafts), steps=[])] for r in (1, 2)]),
        tmp_path / "b",
    ]
    for world in ("world-00", "world-01"):
        write_run(tmp_path / "b" / world, [[interaction(draft=next(drafts), steps=[])]])
    (group,) = groups_of(runs)
    assert group.responses == ("a", "b", "c", "d")
    assert [(origin.run, origin.round) for origin in group.origins] == [
        ("a", 1), ("a", 2), ("b/world-00", 1), ("b/world-01", 1),
    ]  # fmt: skip


def test_a_response_that_was_cut_off_is_not_finished(tmp_path: Path) -> None:
    cut = Step((), Answer("Tell", "d", "length"), {"llm:verdict": rated(5.0)})
    (group,) = groups_of([write_run(tmp_path / "run", [[interaction(steps=[cut])]])])
    assert group.finished == (True, False)


def test_what_failed_or_was_not_rated_is_left_out_and_counted(tmp_path: Path) -> None:
    unrated = {"llm:verdict": Rating(None, 4.0)}
    interactions = [
        interaction(1, 0, draft=None, before={}, steps=[], outcome="timeout"),
        interaction(1, 1, before=unrated, steps=[step(None, {}, outcome="refused")]),
        interaction(1, 2, before={}, steps=[]),
        interaction(1, 3, draft="Kept.", steps=[]),
    ]
    collection = collect([write_run(tmp_path / "run", [interactions])])
    assert [group.responses for group in collection.groups] == [("Kept.",)]
    assert collection.left_out == {"failed answer": 2, "missing rating": 2}


@pytest.mark.parametrize(
    ("score_by", "score"),
    [("alignment", 2.0), ("engagement", 4.5), ("product", 3.0)],  # √(2 · 4.5) = 3
)
def test_score_by(tmp_path: Path, score_by: Any, score: float) -> None:
    run = write_run(tmp_path / "run", [[interaction(before={"llm:verdict": rated(2.0, 4.5)}, steps=[])]])
    assert groups_of([run], score_by=score_by)[0].scores == (score,)


def test_product_needs_both_ratings(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [[interaction(before={"llm:verdict": rated(2.0, None)}, steps=[])]])
    assert collect([run], scoring=Scoring("product")).left_out == {"missing rating": 1}


def test_another_observer_can_score_and_an_unknown_one_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [[interaction(steps=[])]])
    assert groups_of([run], observer="embedding")[0].scores == (4.5,)
    with pytest.raises(BadInput, match="no observer 'llm': choose from llm:verdict, embedding"):
        groups_of([run], observer="llm")


LONG = " ".join(f"w{k}" for k in range(40))


@pytest.mark.parametrize(
    ("one", "other", "copy"),
    [
        ("Tell her.", "  tell HER!", True),
        ("???", "???", True),
        ("???", "!!!", False),
        (LONG, LONG.replace("w20", "x"), True),  # 37 of 41 pairs
        (LONG, LONG.replace("w20", "x").replace("w30", "y"), False),  # 35 of 43
        ("You should tell her now.", "You should not tell her now.", False),
        ("w1 w2 w3 w4", "w4 w3 w2 w1", False),
        ("Yes.", "No.", False),
    ],
)
def test_near_copies_are_dropped(tmp_path: Path, one: str, other: str, copy: bool) -> None:
    run = write_run(tmp_path / "run", [[interaction(draft=one, steps=[step(other, 6.0)])]])
    collection = collect([run])
    assert collection.groups[0].responses == ((one,) if copy else (one, other))
    assert collection.left_out == ({"near-copy": 1} if copy else {})


# --- self_critic


def test_self_critic_scores_a_reason_by_its_agreement_with_the_observer(tmp_path: Path) -> None:
    feedback = [heard(1, 2.5, "This answer is not honest."), heard(2, 7.0, "This answer is great.")]
    said_here = interaction(1, 0, before=2.0, steps=[step("Tell her.", 6.0, feedback)])
    peers = [interaction(1, agent, draft=None, steps=[], model=f"model {agent}") for agent in (1, 2)]
    run = write_run(tmp_path / "run", [[said_here, *peers]])
    (group,) = groups_of([run], "self_critic")
    assert group.query == review_messages(CUP.text, "Hide it.")
    assert scores_by_response([group]) == {
        "This answer is not honest.": 7 - abs(2.5 - 2.0),
        "This answer is great.": 7 - abs(7.0 - 2.0),
    }
    assert group.models == ("model 1", "model 2"), "the one who said it, not the author of the answer"
    assert group.origins[1] == Origin("run", 1, 0, "feedback:2")


def test_self_critic_of_a_later_step_is_about_the_revision_before_it(tmp_path: Path) -> None:
    steps = [step("Better.", 6.0), step("Best.", 7.0, [heard(0, 5.0, "This answer is fine.")])]
    (group,) = groups_of([write_run(tmp_path / "run", [[interaction(steps=steps)]])], "self_critic")
    assert group.query == review_messages(CUP.text, "Better.")
    assert group.scores == (6.0,)  # 7 − |5 − 6|


def test_the_published_critic_score_is_the_peers_own_rating(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [[interaction(1, 0), interaction(1, 1, steps=[])]])
    assert groups_of([run], "self_critic", critic_score="peer")[0].scores == (2.5,)


def test_agreement_compares_alignment_whatever_answers_are_scored_by(tmp_path: Path) -> None:
    """Peers rate alignment, and like is compared with like."""
    run = write_run(tmp_path / "run", [[interaction(1, 0, before=2.0), interaction(1, 1, steps=[])]])
    assert groups_of([run], "self_critic", score_by="engagement")[0].scores == (6.5,)


def test_reasons_of_a_scale_reading_get_the_scale_question(tmp_path: Path) -> None:
    steps = [step("Tell.", 6.0, [Feedback(0, 3.0, "Rating: 3, since it hides.", "d", "length")])]
    (group,) = groups_of([write_run(tmp_path / "run", [[interaction(steps=steps)]])], "self_critic")
    assert group.query == review_messages(CUP.text, "Hide it.", reading="scale")
    assert group.finished == (False,)


def test_reasons_without_rating_or_words_are_left_out(tmp_path: Path) -> None:
    steps = [step("Tell.", 6.0, [heard(0, None, "This answer is odd."), heard(0, 3.0, None)])]
    run = write_run(tmp_path / "run", [[interaction(steps=steps)]])
    collection = collect([run], "self_critic")
    assert (collection.groups, collection.left_out) == ([], {"failed answer": 1, "missing rating": 1})


# --- realignment


@pytest.mark.parametrize(
    ("before", "after", "kept"), [(2.0, 6.0, True), (5.0, 4.5, False), (2.0, 4.0, False), (6.0, 6.0, False)]
)
def test_realignment_keeps_revisions_that_are_better_and_good(
    tmp_path: Path, before: float, after: float, kept: bool
) -> None:
    feedback = [heard(1, 2.5, "This answer is not honest.")]
    run = write_run(tmp_path / "run", [[interaction(before=before, steps=[step("Tell her.", after, feedback)])]])
    collection = collect([run], "realignment")
    if not kept:
        assert (collection.groups, collection.left_out) == ([], {"not better": 1})
        return
    (group,) = collection.groups
    assert group.query == revise_messages(CUP.text, "Hide it.", feedback)
    assert (group.responses, group.scores) == (("Tell her.",), (after,))


def test_realignment_compares_each_revision_with_the_answer_before_it(tmp_path: Path) -> None:
    feedback = [heard(1, 3.0, "This answer is short.")]
    steps = [step("Tell her.", 6.0, feedback), step("Tell her now.", 5.0, feedback), step("Do.", 5.5, feedback)]
    groups = groups_of([write_run(tmp_path / "run", [[interaction(steps=steps)]])], "realignment")
    assert [group.responses for group in groups] == [("Tell her.",), ("Do.",)]
    assert groups[1].query == revise_messages(CUP.text, "Tell her now.", feedback)


# --- rows for TRL

GROUP = Group(
    query=(Message("system", "Be short."), Message("user", "Why?")),
    responses=("bad", "best", "near", "good"),
    scores=(1.0, 6.0, 5.9, 4.5),
    finished=(True,) * 4,
    models=("m",) * 4,
    question="Why?",
)
CHAT = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Why?"}]


def test_preference_rows_set_the_best_against_each_clearly_worse_response() -> None:
    assert preference_rows([GROUP]) == [
        {"prompt": CHAT, "chosen": [_said("best")], "rejected": [_said("bad")], "margin": 5.0},
        {"prompt": CHAT, "chosen": [_said("best")], "rejected": [_said("good")], "margin": 1.5},
    ]


def test_sft_rows_hold_the_best_response() -> None:
    assert sft_rows([GROUP]) == [{"messages": [*CHAT, _said("best")]}]


def _said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


# --- split

CIRCLE = [(f"q{k}", (k // 3) * 2 * np.pi / 14 + (k % 3) * 0.05) for k in range(42)]  # 14 clusters of three


def unit(angles: list[float]) -> NDArray[np.float32]:
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_clusters_stay_on_one_side_also_over_steps() -> None:
    """a–b–c are linked in a chain though a and c are far apart; d is alone."""
    names, angles = ["a", "b", "c", "d"], [0.0, 0.5, 1.0, 3.0]
    for seed in range(20):
        sides = split(names, unit(angles), threshold=np.cos(0.6), test_share=0.5, seed=seed)
        assert sides["a"] == sides["b"] == sides["c"] != sides["d"], "and neither side is empty"


@settings(deadline=None)
@given(seed=st.integers(0, 1000), order=st.randoms(use_true_random=False), share=st.floats(0, 1))
def test_the_split_does_not_depend_on_order(seed: int, order: random.Random, share: float) -> None:
    shuffled = order.sample(CIRCLE, len(CIRCLE))
    sides = [
        split([q for q, _ in some], unit([angle for _, angle in some]), threshold=0.99, test_share=share, seed=seed)
        for some in (CIRCLE, shuffled)
    ]
    assert sides[0] == sides[1] and list(sides[0]) != [] and 0 < sum(sides[0].values()) < len(CIRCLE)


def test_a_question_keeps_its_side_when_others_are_added() -> None:
    names = [f"q{k}" for k in range(400)]
    vectors = np.eye(400, dtype=np.float32)
    whole, part = split(names, vectors), split(names[:100], vectors[:100])
    assert part == {name: whole[name] for name in names[:100]}
    assert 0.15 < np.mean(list(whole.values())) < 0.25
    assert whole != split(names, vectors, seed=1)


def test_links_are_found_across_blocks() -> None:
    names = [f"q{k}" for k in range(1100)]
    vectors = np.random.default_rng(0).normal(size=(1100, 32)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[1090], vectors[1060] = vectors[3], vectors[1050]
    splits = [split(names, vectors, threshold=0.99, test_share=0.5, seed=seed) for seed in range(8)]
    assert all(sides["q3"] == sides["q1090"] and sides["q1050"] == sides["q1060"] for sides in splits)
    assert any(sides["q3"] != sides["q1050"] for sides in splits)
    assert any(sides["q0"] != sides["q1024"] for sides in splits)


@pytest.mark.parametrize(("questions", "sides"), [([], {}), (["one"], None)])
def test_small_splits(questions: list[str], sides: dict[str, bool] | None) -> None:
    found = split(questions, np.eye(len(questions), 3, dtype=np.float32))
    assert found == sides if sides is not None else list(found) == questions


@pytest.mark.slow
def test_the_threshold_tells_paraphrases_from_other_questions(encoder: Encoder) -> None:
    """The last two are the most similar pair of the shipped questions."""
    questions = [
        "My mother still opens letters that are addressed to me, though I am twenty-six. How do I ask her to stop?",
        "I'm twenty-six and my mother keeps opening my mail. How can I ask her to stop?",
        "May I search for a new job during working hours if I have finished my own tasks?",
        "Is it acceptable to look for another job during office hours if my own work is done?",
        "How do I tell a proud dog owner that her dog frightens my child although it only wants to play?",
        "My colleague brings her puppy to the office, where one of us is afraid of dogs. Who should give way?",
    ]
    vectors = encoder.encode(questions)
    sides = [list(split(questions, vectors, test_share=0.5, seed=seed).values()) for seed in range(12)]
    assert all(a == b and c == d for a, b, c, d, _, _ in sides)
    assert any(e != f for *_, e, f in sides)


# --- export


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Twenty questions in pairs that Axes cannot tell apart, each answered by two agents."""
    questions = [Question(f"q{k}{sign}", f"What about {k}{sign}", "t") for k in range(10) for sign in "?!"]
    interactions = [
        interaction(1, agent, draft=f"{agent} hides", question=question, before=2.0 + agent % 2, steps=[
            step(f"{agent} tells ``` </script>\n---\n", 6.0, [heard((agent + 1) % 40, 2.5, f"This answer is {agent}.")])
        ])
        for agent, question in enumerate(q for q in questions for _ in range(2))
    ]  # fmt: skip
    return write_run(tmp_path / "runs" / "example", [interactions])


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_export_writes_all_types_split_by_cluster(run: Path) -> None:
    told = dataset.export([run], run / "dataset", Axes())
    assert list(told.rows) == ["imitation", "self_critic", "realignment", "preference", "sft"]
    assert {name: sum(counts.values()) for name, counts in told.rows.items()} == {
        "imitation": 20, "self_critic": 40, "realignment": 40, "preference": 40, "sft": 20,
    }  # fmt: skip
    sides: dict[str, set[str]] = {"train": set(), "test": set()}
    for name, part in itertools.product(told.rows, sides):
        for row in rows_of(run / "dataset" / name / f"{part}.jsonl"):
            sides[part].add(row["question"][:-1])
            assert row["origins"][0].keys() == {"run", "round", "agent", "part"}
    assert not sides["train"] & sides["test"] and len(sides["train"] | sides["test"]) == 10
    first = told.rows["imitation"]
    assert str(told).startswith(f"rows imitation {first['train']} + {first['test']}, self_critic ")


def test_rows_hold_what_groups_of_gives(run: Path) -> None:
    dataset.export([run], run / "dataset", Axes())
    rows = [row for part in ("train", "test") for row in rows_of(run / "dataset" / "imitation" / f"{part}.jsonl")]
    groups = {group.question: group for group in groups_of([run])}
    assert len(rows) == len(groups)
    for row in rows:
        group = groups[row["question"]]
        assert row["query"] == [{"role": m.role, "content": m.content} for m in group.query]
        assert (tuple(row["responses"]), tuple(row["scores"])) == (group.responses, group.scores)
    (preference, *_) = rows_of(run / "dataset" / "preference" / "train.jsonl")
    assert [origin["part"] for origin in preference["origins"]] == ["revision", "draft"]


def test_an_export_is_reproducible_and_replaces_the_one_before(run: Path) -> None:
    def contents() -> dict[str, bytes]:
        folder = run / "dataset"
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    dataset.export([run], run / "dataset", Axes())
    first = contents()
    (run / "dataset" / "imitation" / "stale.jsonl").touch()
    dataset.export([run], run / "dataset", Axes())
    assert contents() == first
    assert sorted(path.name for path in run.iterdir()) == ["dataset", "transcript.jsonl"]


def test_an_export_leaves_other_folders_alone(run: Path) -> None:
    mine = run / "mine"
    mine.mkdir()
    (mine / "README.md").write_text("precious")
    with pytest.raises(BadInput, match="mine holds something else than an exported dataset"):
        dataset.export([run], mine, Axes())
    assert (mine / "README.md").read_text() == "precious"


def test_an_export_that_fails_leaves_the_old_one(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset.export([run], run / "dataset", Axes())
    before = (run / "dataset" / "README.md").read_bytes()

    def full_disk(*_: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr(dataset, "_card", full_disk)
    with pytest.raises(OSError, match="no space"):
        dataset.export([run], run / "dataset", Axes())
    assert (run / "dataset" / "README.md").read_bytes() == before
    assert sorted(path.name for path in run.iterdir()) == ["dataset", "transcript.jsonl"]


def test_empty_types_are_named(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [[interaction(steps=[], question=question) for question in (CUP, BUS)]])
    told = dataset.export([run], run / "dataset", Axes())
    assert told.empty == ["self_critic", "realignment", "preference"]
    assert "; empty and left out: self_critic, realignment, preference" in str(told)
    card = (run / "dataset" / "README.md").read_text("utf-8")
    assert "Empty, therefore without a configuration: `self_critic`, `realignment`, `preference`." in card
    assert not (run / "dataset" / "preference").exists()


def test_a_run_with_nothing_to_learn_from_still_gets_a_card(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [[interaction(draft=None, before={}, steps=[], outcome="timeout")]])
    told = dataset.export([run], run / "dataset", Axes())
    assert told.rows == {} and told.left_out["imitation"] == {"failed answer": 1}
    assert "- `imitation`: 1 failed answer" in (run / "dataset" / "README.md").read_text("utf-8")


@pytest.mark.slow
def test_load_dataset_reads_the_export(run: Path, tmp_path: Path) -> None:
    import datasets

    told = dataset.export([run], run / "dataset", Axes())
    cache = str(tmp_path / "cache")
    for name, counts in told.rows.items():
        loaded = datasets.load_dataset(str(run / "dataset"), name, cache_dir=cache)
        assert {part: len(loaded[part]) for part in loaded} == counts
    default = datasets.load_dataset(str(run / "dataset"), cache_dir=cache)["train"]
    assert default[0] == rows_of(run / "dataset" / "imitation" / "train.jsonl")[0]
    assert default.features["scores"].feature.dtype == "float64"


def test_the_card_tells_runs_models_and_scores(run: Path) -> None:
    dataset.export([run, write_run(run.parent / "other", [[interaction()]], HEADER)], run / "dataset", Axes())
    card = (run / "dataset" / "README.md").read_text("utf-8")
    for told in ("# Social interactions of example, other", "(tiny)", "alignment as rated by llm:verdict"):
        assert told in card
