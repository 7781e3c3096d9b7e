from __future__ import annotations

import tomllib
from collections import Counter
from pathlib import Path

import pytest

from agents.errors import BadInput
from agents.server import KEY_VARIABLE
from sandbox.cast import Share, observer_kinds, parse_models
from sandbox.config import SimulateOptions
from sandbox.plan import rule_of
from sandbox.settings import options_of, settings_of, write_settings
from sandbox.society import draw_speakers


def test_a_mix_of_models_is_normalised() -> None:
    assert parse_models(["a", "b"]) == [Share("a", 0.5), Share("b", 0.5)]
    assert parse_models(["a=3", "dir/b=1"]) == [Share("a", 0.75), Share("dir/b", 0.25)]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["a=0.7", "b"], "give a part to every model of the mix or to none"),
        (["a=x"], "'x' is not a number"),
        (["a=0"], "must be a positive number"),
        (["a=inf"], "must be a positive number"),
        (["a=nan"], "must be a positive number"),
        (["=1"], "must be a positive number"),
        (["a", "a"], "two models of one name"),
    ],
)
def test_a_malformed_mix_is_refused(given: list[str], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        parse_models(given)


def test_speakers_are_drawn_by_seed_in_their_parts() -> None:
    def drawn(seed: int) -> list[str]:
        models = [{"name": "a", "part": 0.7}, {"name": "b", "part": 0.3}]
        return [model["name"] for model in draw_speakers({"seed": seed, "world": {"size": 10}, "models": models})]

    assert Counter(drawn(0)) == {"a": 70, "b": 30}
    assert drawn(0) == drawn(0) != drawn(1)


def test_observers_by_short_and_full_name() -> None:
    given = ["llm", "embedding", "llm:verdict", "llm:scale"]
    assert observer_kinds(given, "verdict") == ["llm:verdict", "embedding", "llm:scale"]
    assert observer_kinds(given, "scale") == ["llm:scale", "embedding", "llm:verdict"]


def test_an_own_rule_replaces_the_sandbox_rule(tmp_path: Path) -> None:
    rule = tmp_path / "rule.txt"
    rule.write_text("Be brief.\n")
    assert rule_of(SimulateOptions(out=tmp_path, rule=[rule])) == "Be brief."
    rule.write_text(" \n")
    with pytest.raises(BadInput, match="the file is empty"):
        rule_of(SimulateOptions(out=tmp_path, rule=[rule]))


def test_run_toml_reads_back_and_holds_no_secret_of_the_call(tmp_path: Path) -> None:
    options = SimulateOptions(out=tmp_path, model=['a "quoted" name'], until_plateau=True)
    header = {"models": [{"name": "a.b", "digest": "d"}], "speech": {"reading": "scale"}, "observers": [{"name": "o"}]}
    write_settings(tmp_path, options, header)
    table = tomllib.loads((tmp_path / "run.toml").read_text())
    assert table["reading"] == "scale" and table["observer"] == ["o"]
    assert table["rounds"] == 50 and table["model"] == ['a "quoted" name'] and table["digests"] == {"a.b": "d"}
    assert table["versions"]["social-sandbox"] == "0.1.0"
    again = options_of(tmp_path)
    assert again.model == options.model and again.until_plateau and again.out == tmp_path


def test_a_run_does_not_say_where_a_key_goes_or_what_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run.toml").write_text(
        'out = "elsewhere"\nseed = 3\nserver = ["http://far.example"]\nvllm_command = "rm"\nray = "auto"\n'
    )
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    assert settings_of(tmp_path) == {"seed": 3, "server": ["http://far.example"]}
    monkeypatch.setenv(KEY_VARIABLE, "secret")
    assert settings_of(tmp_path) == {"seed": 3}
