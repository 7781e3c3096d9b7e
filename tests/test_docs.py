"""What README and docs show is executed: Python blocks run, commands parse with their real options."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from alignment.cli import ALIGN
from alignment.config import (
    AlignCheckOptions,
    AlignCompareOptions,
    AlignDpoOptions,
    AlignEvaluateOptions,
    AlignEvaOptions,
    AlignMetaJudgeOptions,
    AlignRewardModelOptions,
    AlignRlooOptions,
    AlignSftOptions,
    AlignStableOptions,
    AlignVerifyOptions,
)
from sandbox.cli import REPLAY
from sandbox.config import (
    ReplayCompareOptions,
    ReplayForkOptions,
    ReplayShowOptions,
    ReplayVerifyOptions,
    SimulateOptions,
    load,
)

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
OPTIONS: dict[str, type[BaseSettings]] = {
    "simulate": SimulateOptions,
    "align check": AlignCheckOptions,
    "align compare": AlignCompareOptions,
    "align eva": AlignEvaOptions,
    "align evaluate": AlignEvaluateOptions,
    "align dpo": AlignDpoOptions,
    "align meta-judge": AlignMetaJudgeOptions,
    "align rloo": AlignRlooOptions,
    "align reward-model": AlignRewardModelOptions,
    "align sft": AlignSftOptions,
    "align stable": AlignStableOptions,
    "align verify": AlignVerifyOptions,
    "replay compare": ReplayCompareOptions,
    "replay fork": ReplayForkOptions,
    "replay show": ReplayShowOptions,
    "replay verify": ReplayVerifyOptions,
}


def blocks(page: Path, language: str) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    return [block for of, block in fenced if of == language]


def commands() -> list[tuple[str, str]]:
    """(page, command) of every line in a block without a language that calls one of ours."""
    lines = [(page.name, line) for page in PAGES for block in blocks(page, "") for line in block.splitlines()]
    return [(page, line) for page, line in lines if re.match(r"(simulate|align|replay) ", line)]


@pytest.mark.slow
def test_the_python_of_the_readme_runs(tmp_path: Path) -> None:
    code = "\n".join(blocks(ROOT / "README.md", "python"))
    env = {**os.environ, "HF_DATASETS_CACHE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True)
    assert "load_dataset(" in code and done.returncode == 0, done.stderr


@pytest.mark.parametrize(("page", "command"), commands())
def test_the_commands_shown_parse(page: str, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # where the TOML files lie
    program, *argv = shlex.split(command, comments=True)
    name = program if program == "simulate" else f"{program} {argv.pop(0)}"
    if "…" in argv:  # stands for options that the reader chooses; only --out has no default
        argv[argv.index("…") :] = ["--out", "runs/any"]
    load(OPTIONS[name], argv, prog=name)


def test_every_command_is_shown() -> None:
    ours = {"simulate", *(f"align {name}" for name in ALIGN), *(f"replay {name}" for name in REPLAY)}
    assert ours == OPTIONS.keys()
    shown = "\n".join(command for _, command in commands())
    assert [name for name in sorted(ours) if name not in shown] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_option_named_exists(page: Path) -> None:
    fields = {name.replace("_", "-"): field for each in OPTIONS.values() for name, field in each.model_fields.items()}
    denied = {f"--no-{name}" for name, field in fields.items() if field.default is True}
    known = {f"--{name}" for name in fields} | denied
    prose = re.sub(
        r"python benchmarks/.*|pip .*|`vllm .*?`", "", page.read_text("utf-8")
    )  # these have options of their own
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", prose)) - known - {"--help"} == set()


@pytest.mark.parametrize("package", ["memory", "agents", "sandbox", "alignment"])
def test_every_module_has_a_docstring(package: str) -> None:
    modules = list((ROOT / package).rglob("*.py"))
    assert modules
    assert [path.name for path in modules if not ast.get_docstring(ast.parse(path.read_text("utf-8")))] == []
