import json

import pytest

from agents.errors import BadInput
from alignment.check import length_leaning, warnings
from alignment.groups import checked, read_sources
from alignment.safety import Flaw, counted, require_few, sound
from tests.alignment.conftest import make_group
from tests.alignment.test_groups import ROW, written

NAN = float("nan")


@pytest.mark.parametrize(
    ("responses", "scores", "kept", "what"),
    [
        (["a", "b"], [6, 2], ["a", "b"], []),
        (["a", " \n"], [6, 2], ["a"], ["response is empty"]),
        (["a", "\ud800"], [6, 2], ["a"], ["response is no text"]),
        (["a", None, "c"], [6, 2, 3], ["a", "c"], ["response is no text"]),
        (["a", "b"], [6, NAN], ["a"], ["score is no finite number"]),
        (["a", "b"], [float("inf"), 2], ["b"], ["score is no finite number"]),
        (["a", "b"], ["6", "six"], ["a"], ["score is no finite number"]),
        (["a", "b", "c"], [None, "", True], None, ["score is no finite number"] * 3),
    ],
)
def test_flawed_responses_are_left_out_with_all_that_belongs_to_them(responses, scores, kept, what):
    marks = [f"m{n}" for n in range(len(responses))]
    row, flaws = sound({"query": "?", "responses": responses, "scores": scores, "models": marks}, "here")
    assert [flaw.what for flaw in flaws] == what and all(flaw.place == "here" for flaw in flaws)
    if kept is None:
        assert row is None
    else:
        assert row["responses"] == kept
        assert row["models"] == [mark for mark, text in zip(marks, responses, strict=True) if text in kept]


def test_rows_whose_lists_do_not_match_are_for_others_to_refuse():
    row = {"query": "?", "responses": ["a", ""], "scores": [1]}
    assert sound(row, "here") == (row, [])


def test_too_many_flaws_are_refused_by_row(tmp_path):
    rows = [{**ROW, "query": f"May I {n}?", "scores": [6, None] if n % 10 == 3 else [6, 2]} for n in range(20)]
    path = written(tmp_path / "data.jsonl", *rows)
    found = read_sources([path], max_flawed=0.05)  # 2 of 40
    assert counted(found.flaws) == {"score is no finite number": 2}
    assert [flaw.place for flaw in found.flaws] == [f"{path} line 4", f"{path} line 14"]
    assert found.responses == 40 and sum(len(group.responses) for group in found.groups) == 38
    with pytest.raises(BadInput) as caught:
        read_sources([path], max_flawed=0.04)
    assert str(caught.value) == (
        f"2 of 40 responses are flawed, more than --max-flawed 0.04: {path} line 4 (score is no finite number), "
        f"{path} line 14 (score is no finite number); mend the rows, or raise the limit"
    )


def test_a_broken_file_does_not_hide_behind_a_sound_one(tmp_path):
    sound = written(tmp_path / "sound.jsonl", *({**ROW, "query": f"May I {n}?"} for n in range(50)))
    broken = written(tmp_path / "broken.jsonl", {**ROW, "scores": [None, 1]})
    with pytest.raises(BadInput, match="1 of 2 responses are flawed"):
        read_sources([sound, broken], max_flawed=0.1)


def test_a_message_names_the_first_rows_only():
    with pytest.raises(BadInput, match=r"line 4 \(response is empty\), …; mend"):
        require_few([Flaw(f"line {n}", "response is empty") for n in range(9)], 10, 0.5)


def test_a_group_left_with_nothing_is_gone(tmp_path):
    path = written(tmp_path / "data.jsonl", ROW, {**ROW, "query": "And?", "scores": [None, None]})
    found = read_sources([path])
    assert [group.question for group in found.groups] == ["May I?"] and len(found.flaws) == 2


def test_a_response_that_is_rated_twice_and_differently_is_counted():
    groups = [make_group("A?", ["yes", "no"], [7, 1]), make_group("A?", ["yes", "no"], [3, 1.1])]
    data = checked(groups)
    assert (data.counts.copies, data.counts.conflicting) == (2, 1)
    assert data.groups[0].scores[0] == 5.0  # the mean


def test_training_names_what_it_left_out(align, data, capsys, tmp_path):
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    rows[3]["responses"][1] = ""
    path = tmp_path / "flawed.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    metrics = json.loads((align("--epochs", "0.2", source=path) / "metrics.json").read_text())
    assert metrics["data"]["flaws"] == [f"{path} line 4: response is empty"]
    assert f"left out: {path} line 4, response is empty" in capsys.readouterr().err
    with pytest.raises(BadInput, match="1 of 30 responses are flawed, more than --max-flawed 0.01"):
        align("--max-flawed", "0.01", source=path, out="again")


def test_leaning_on_length_is_told():
    longer = [make_group(f"{n}?", ["a", "a b", "a b c"], [1, 4, 6]) for n in range(3)]
    assert length_leaning(longer) == pytest.approx(1.0)
    assert warnings(longer)[0].plain == (
        "the longer answers are rated higher (rank correlation 1.00): that will be learned too"
    )
    mixed = [*longer[:1], make_group("x?", ["a", "a b", "a b c"], [6, 4, 1])]
    assert length_leaning(mixed) == pytest.approx(0.0) and warnings(mixed) == []
    assert length_leaning([make_group("x?", ["ab", "cd"], [6, 1])]) is None


def test_a_question_in_two_spellings_is_not_on_both_sides(align, tmp_path, capsys):
    """Its encoder tells all spellings apart, so that some fall on either side of the split."""
    rows = [{**ROW, "query": query} for n in range(12) for query in (f"May I do {n}?", f"may I  do {n}?")]
    path = written(tmp_path / "twice.jsonl", *rows)
    metrics = json.loads((align("--epochs", "0.2", "--test-share", "0.4", source=path) / "metrics.json").read_text())
    across = metrics["held_out"]["trained_on_in_other_spelling"]
    assert across and all(question in capsys.readouterr().err for question in across[:1])
    assert metrics["train"]["groups"] + metrics["held_out"]["groups"] + len(across) == 24
