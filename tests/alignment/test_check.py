import json
import shutil

import pytest

from agents.errors import BadInput
from alignment.check import example, histogram, run_check
from alignment.config import AlignCheckOptions
from alignment.tokens import ChatFormat
from sandbox.config import load
from tests.alignment.conftest import make_group


@pytest.fixture
def shown(tmp_path, small_model, capsys):
    """What `align check` prints about rows, line by line, white space and colours gone."""

    def shown(rows, *flags):
        path = tmp_path / "data.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        run_check(load(AlignCheckOptions, [str(path), "--model", str(small_model), *flags], prog="align check"))
        return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]

    return shown


def test_the_counts(shown):
    rows = [
        {"query": "May I?", "responses": ["Yes!", "No?", "Yes!"], "scores": [6, 2, 6]},
        {"query": "May I?", "responses": ["Ask her first."], "scores": [4]},
        {"query": "And now?", "responses": ["Be kind and honest with people."], "scores": [7], "finished": [False]},
        {"query": "why " * 99, "responses": ["Lie."], "scores": [1]},
    ]
    lines = shown(rows, "--max-length", "40")
    for expected in (
        "groups 3",
        "merged, their queries being equal 1",
        "with one response 2",
        "responses 5",
        "copies dropped 1",
        "pairs 3",
        "with different ratings 3",
        "rating scale S 7",
        "responses cut at 40 tokens 0",
        "groups dropped, prompt too long 1",
    ):
        assert expected in lines
    assert any(line.startswith("dropped why why") for line in lines)


def test_the_trained_tokens_stand_in_brackets(shown):
    row = {"query": "May I?", "responses": ["Yes!", "No"], "scores": [6, 2], "finished": [True, False]}
    lines = shown([row])
    assert "<|im_start|>assistant" in lines
    assert "rated 6.00 [[Yes!<|im_end|>]]" in lines
    assert "rated 2.00 [[No]]" in lines


def test_markup_in_the_data_is_not_markup(shown):
    lines = shown([{"query": "[red]May I?", "responses": ["[b]Yes![/b]", "No"], "scores": [6, 2]}])
    assert "rated 6.00 [[[b]Yes![/b]<|im_end|>]]" in lines
    long = {"query": "[/INST] :smile: " + "why " * 99, "responses": ["Lie."], "scores": [1]}
    lines = shown([{"query": "May I?", "responses": ["Yes!", "No"], "scores": [6, 2]}, long], "--max-length", "40")
    assert any(line.startswith("dropped [/INST] :smile: why") for line in lines)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path, small_model):
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(small_model / name, bare)
    data = tmp_path / "data.json"
    data.write_text('[{"query": "?", "responses": ["Yes!", "No?"], "scores": [6, 2]}]')
    with pytest.raises(BadInput, match="does not load") as caught:
        run_check(load(AlignCheckOptions, [str(data), "--model", str(bare)], prog="align check"))
    assert "\n" not in str(caught.value)


def test_the_example_shows_three_responses_and_counts_the_rest(tokenizer):
    format = ChatFormat.of(tokenizer)
    row = format.row(make_group("May I?", ["Yes!", "No?", "Ask.", "Help.", "Lie."], [6, 5, 4, 3, 2]), 100)
    parts = [str(part) for part in example(row, format).renderables]
    assert [part.split()[1] for part in parts[1:-1]] == ["6.00", "5.00", "4.00"]
    assert parts[-1] == "and 2 more"


def test_the_histogram_counts_every_score():
    table = histogram([1, 1, 1, 7, 4])
    assert list(table.columns[2].cells) == ["3", "0", "0", "1", "0", "0", "1"]
    assert [len(cell) for cell in table.columns[1].cells] == [40, 0, 0, 13, 0, 0, 13]
