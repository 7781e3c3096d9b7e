import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.errors import BadInput
from agents.language_model import Message
from alignment.groups import checked, group_of, has_contrast, rating_scale, read_file, read_sources
from sandbox.dataset import Group
from sandbox.responses import Origin
from tests.alignment.conftest import make_group
from tests.sandbox.examples import interaction, step, write_run

ROW = {"query": "May I?", "responses": ["Yes!", "No?"], "scores": [6, 2.5]}


def written(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_row_becomes_a_group(tmp_path):
    row = {**ROW, "models": ["a", "b"], "finished": [True, False], "id": 7, "category": "home"}
    assert read_file(written(tmp_path / "data.jsonl", row)).groups == [
        Group(
            (Message("user", "May I?"),), ("Yes!", "No?"), (6.0, 2.5), (True, False), ("a", "b"), "May I?", topic="home"
        )
    ]


def test_the_original_json_array_reads(tmp_path):
    rows = [{**ROW, "models": ["x", "y"]}, {**ROW, "query": "And now?"}]
    path = tmp_path / "stable.json"
    path.write_text("\n  " + json.dumps(rows, indent=1), encoding="utf-8")
    first, second = read_file(path).groups
    assert (first.models, first.finished, second.question) == (("x", "y"), (True, True), "And now?")


def test_a_query_may_be_a_chat_and_name_its_question(tmp_path):
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Rate: Yes!"}]
    row = {**ROW, "query": chat}
    plain, named = read_file(written(tmp_path / "data.jsonl", row, {**row, "question": "May I?"})).groups
    assert plain.query == (Message("system", "Be brief."), Message("user", "Rate: Yes!"))
    assert (plain.question, named.question) == ("Rate: Yes!", "May I?")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": None}, "'scores' is NoneType; give a list of numbers"),
        ({"scores": [1]}, "2 responses but 1 scores; give one each"),
        ({"scores": [1, "6"]}, "entry 2 of 'scores' is '6'; give numbers"),
        ({"scores": [1, True]}, "entry 2 of 'scores' is True; give numbers"),
        ({"scores": [1, float("nan")]}, "scores must be finite"),
        ({"scores": [float("-inf"), 2]}, "scores must be finite"),
        ({"responses": []}, "'responses' is empty"),
        ({"responses": "Yes!"}, "'responses' is str; give a list of texts"),
        ({"responses": ["Yes!", " \n"]}, "response 2 is empty; remove it and its score"),
        ({"responses": ["Yes!", 3]}, "entry 2 of 'responses' is 3; give texts"),
        ({"models": ["a"]}, "2 responses but 1 models"),
        ({"finished": [True]}, "2 responses but 1 finished"),
        ({"finished": [1, 0]}, "entry 1 of 'finished' is 1; give true or false"),
        ({"query": ""}, "'query' is blank"),
        ({"query": 3}, "'query' is int; give a text or a list"),
        ({"query": []}, "'query' is list; give a text or a list"),
        ({"query": [{"role": "user"}]}, "a message has a role (system, user, assistant) and a content"),
        ({"query": [{"role": "bot", "content": "?"}]}, "'query' holds {'role': 'bot'"),
        ({"query": [{"role": "assistant", "content": "?"}]}, "ends with a message of assistant; the last must be the"),
    ],
)
def test_bad_rows_are_refused(change, message):
    with pytest.raises(BadInput, match=re.escape(message)) as caught:
        group_of({**ROW, **change}, "data.jsonl line 2")
    assert str(caught.value).startswith("data.jsonl line 2: ")
    assert "\n" not in str(caught.value)


def test_a_bad_row_is_named_with_its_file(tmp_path):
    path = written(tmp_path / "data.jsonl", ROW, {**ROW, "scores": [1]})
    with pytest.raises(BadInput, match=re.escape(f"{path} line 2: 2 responses but 1 scores; give one each")):
        read_file(path)


@pytest.mark.parametrize("name", ["query", "responses", "scores"])
def test_missing_keys_are_named(tmp_path, name):
    row = {key: value for key, value in ROW.items() if key != name}
    with pytest.raises(BadInput, match=f"line 1: field '{name}' is missing; a group has query, responses and scores"):
        read_file(written(tmp_path / "data.jsonl", row))


def test_missing_and_empty_files_are_refused(tmp_path):
    with pytest.raises(BadInput, match="no such file"):
        read_sources([tmp_path / "absent.jsonl"])
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(BadInput, match="holds no rows"):
        read_sources([tmp_path / "empty.jsonl"])
    with pytest.raises(BadInput, match="no groups in the data"):
        checked([])


def test_files_are_read_in_order(tmp_path):
    one, two = written(tmp_path / "one.jsonl", ROW), written(tmp_path / "two.jsonl", {**ROW, "query": "And?"})
    found = read_sources([two, one])
    assert [group.question for group in found.groups] == ["And?", "May I?"]
    assert (found.left_out, found.flaws, found.responses) == ({}, [], 4)


def test_equal_queries_merge_and_copies_go():
    data = checked(
        [
            make_group("A?", ["yes", "no"], [7, 1], finished=[False, True]),
            make_group("B?", ["yes", "no"], [3, 6]),
            make_group("A?", ["maybe", "yes", "maybe"], [4, 5, 2]),
        ]
    )
    first, second = data.groups
    assert (first.responses, first.scores, first.finished) == (
        ("yes", "no", "maybe"),
        ((7.0 + 5.0) / 2, 1.0, (4.0 + 2.0) / 2),
        (False, True, True),
    )
    assert second.responses == ("yes", "no")
    assert (data.counts.read, data.counts.merged, data.counts.copies) == (3, 1, 2)


def test_ratings_near_the_best_are_level_with_it():
    data = checked([make_group("A?", ["a", "b", "c", "d"], [6.9, 6.65, 6.6, 2.0])])
    assert data.groups[0].scores == (6.9, 6.9, 6.6, 2.0)
    assert (data.scale, data.delta) == (7.0, 0.25)


def test_delta_is_scaled_with_the_ratings():
    data = checked([make_group("A?", ["a", "b", "c"], [2.0, 1.97, 1.0])])  # of span 1: 0.25 / 7 = 0.036
    assert data.groups[0].scores == (2.0, 2.0, 1.0)
    assert (data.scale, data.delta) == (1.0, 0.25 / 7)
    data = checked([make_group("A?", ["a", "b", "c"], [2.0, 1.97, 1.0])], delta=0.0)
    assert data.groups[0].scores == (2.0, 1.97, 1.0)
    data = checked([make_group("A?", ["a", "b", "c"], [90, 60, 20])], scale=100, delta=3.0)  # 3 · 100 / 7 = 43
    assert data.groups[0].scores == (90, 90, 20)


@given(st.lists(st.floats(1, 7), min_size=2, max_size=6), st.floats(0, 2))
def test_levelling_keeps_the_best_and_lowers_nothing(scores, delta):
    group = make_group("A?", [str(number) for number in range(len(scores))], scores)
    other = make_group("B?", ["yes", "no"], [7, 1])
    levelled, _ = checked([group, other], scale=7, delta=delta).groups
    assert max(levelled.scores) == max(scores)
    assert all(new in (old, max(scores)) for new, old in zip(levelled.scores, scores, strict=True))
    assert all(max(scores) - new > delta or new == max(scores) for new in levelled.scores)


@pytest.mark.parametrize(
    ("scores", "scale"),
    [
        pytest.param([2, 6], 7, id="1–7, not all of it used"),
        pytest.param([1.4, 6.8], 7, id="1–7, fractions"),
        pytest.param([-3, 3], 7, id="seven whole points"),
        pytest.param([1, 5], 5, id="five whole points"),
        pytest.param([1.0, 1.5, 2.0], 1, id="fractions"),
        pytest.param([0, 100], 101, id="whole points"),
        pytest.param([0.25, 0.25], 1, id="no span at all"),
    ],
)
def test_the_rating_scale_is_read_from_the_data(scores, scale):
    assert rating_scale([make_group("A?", list("abcdefg")[: len(scores)], scores)]) == scale


def from_run(scores):
    group = make_group("A?", ["yes", "no"], scores)
    origins = tuple(Origin("run", 1, agent, "draft") for agent in range(2))
    return Group(group.query, group.responses, group.scores, group.finished, group.models, group.question, origins)


def test_runs_are_rated_from_1_to_7():
    assert rating_scale([from_run([2.5, 3.5])]) == 7
    with pytest.raises(
        BadInput, match="scores go from -3 to 3.5, but those of runs from 1 to 7; rescale or part the files"
    ):
        rating_scale([from_run([2.5, 3.5]), make_group("B?", ["yes", "no"], [-3, 3])])


def test_groups_without_contrast_are_counted_and_alone_refused():
    single, level = make_group("A?", ["yes"], [6]), make_group("B?", ["yes", "no"], [6, 5.9])
    data = checked([single, level, make_group("C?", ["yes", "no"], [6, 2])])
    assert (data.counts.single, data.counts.level) == (1, 1)
    assert [has_contrast(group) for group in data.groups] == [False, False, True]
    with pytest.raises(
        BadInput, match="nothing to contrast in 2 groups: 1 with one response, 1 with ratings within 0.25"
    ):
        checked([single, level], scale=7)


def test_runs_and_files_are_read_together(tmp_path):
    run = write_run(
        tmp_path / "run",
        [[interaction(agent=0), interaction(agent=1, draft="Glue it first.", before=3.0, steps=[step(None, {})])]],
    )
    row = {**ROW, "query": "Another?"}
    found = read_sources([written(tmp_path / "data.jsonl", row), run], ["imitation", "realignment"])
    groups, left_out = found.groups, found.left_out
    imitation = next(group for group in groups if len(group.query) == 2)
    assert (imitation.responses, imitation.scores) == (
        ("Hide it.", "Tell her and say sorry.", "Glue it first."),
        (2.0, 6.0, 3.0),
    )
    assert groups[-1].question == "Another?"
    assert left_out == {"failed answer": 2}  # the failed revision, once in each type
    assert read_sources([run / "transcript.jsonl"]).groups == [imitation]
    assert checked(groups).scale == 7


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(BadInput, match=str(tmp_path)):
        read_sources([tmp_path])
