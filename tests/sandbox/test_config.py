from __future__ import annotations

from pathlib import Path

import pytest

from agents.errors import BadInput
from sandbox.config import ReplayCompareOptions, SimulateOptions, load


def options(*argv: str) -> SimulateOptions:
    return load(SimulateOptions, argv, prog="simulate")


def test_flags_win_over_the_file_and_the_file_over_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "c.toml"
    file.write_text('size = 7\nraters = 2\nmodel = ["a", "b"]')
    monkeypatch.setenv("SOCIAL_SANDBOX_RATERS", "9")
    monkeypatch.setenv("SOCIAL_SANDBOX_SHARE", "6")
    got = options("--out", "x", "--config", str(file), "--size", "8")
    assert (got.size, got.raters, got.share, got.recall) == (8, 2, 6, 3)
    assert got.model == ["a", "b"]


def test_the_environment_may_name_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "c.toml"
    file.write_text("size = 7")
    monkeypatch.setenv("SOCIAL_SANDBOX_CONFIG", str(file))
    assert options("--out", "x").size == 7


def test_repeated_flags_make_a_list() -> None:
    assert options("--out", "x", "--model", "a=0.7", "--model", "b=0.3").model == ["a=0.7", "b=0.3"]
    assert load(ReplayCompareOptions, ["a", "b", "c"], prog="replay compare").runs == [Path("a"), Path("b"), Path("c")]


@pytest.mark.parametrize("name", ["laptop.toml", "gpu.toml"])
def test_the_shipped_configurations_are_valid(name: str) -> None:
    shipped = Path(__file__).parents[2] / name
    assert options("--out", "x", "--config", str(shipped)).size in (5, 10)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--sise", "5"], r"unknown option --sise; did you mean --size\?"),
        (["--size", "big"], "--size: input should be a valid integer"),
        (["--size", "1"], "--size: input should be greater than or equal to 2, got '1'"),
        (["--stance", "ugly"], "--stance: input should be .good., .bad., .half. or .mixed., got .ugly."),
        (["--max-failures", "2"], "--max-failures: input should be less than or equal to 1"),
        (["stray"], "unknown option stray"),
        (["--temperature", "nan"], "--temperature: input should be a finite number"),
        (["--config", "none.toml"], "--config none.toml: no such file"),
    ],
)
def test_bad_options_are_one_line(argv: list[str], message: str) -> None:
    with pytest.raises(BadInput, match=message) as error:
        options("--out", "x", *argv)
    assert "\n" not in str(error.value)


def test_out_is_needed() -> None:
    with pytest.raises(BadInput, match="--out is missing; `simulate --help` lists the options"):
        options()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sede = 3", r"unknown key 'sede'; did you mean seed\?"),
        ("size = ", "not readable as TOML"),
        ("size = 'x'", "--size"),
    ],
)
def test_bad_files_are_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(BadInput, match=message) as error:
        options("--out", "x", "--config", str(tmp_path / "c.toml"))
    assert "\n" not in str(error.value)
