"""What others made, a model, a run, a reply, can neither run code here nor reach files outside of its own folder."""

from __future__ import annotations

import ast
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from agents import vllm
from agents.errors import BadInput
from agents.models import EMBEDDED_ENCODER, encoder_folder, model_folder, short_name
from sandbox import cli
from sandbox.config import SimulateOptions
from sandbox.folders import refuse_links, write_whole
from sandbox.settings import settings_of
from sandbox.worlds import each_world
from tests.fakes.letters import Letters
from tests.fakes.scripted import ScriptedModel

Node = TypeVar("Node", bound=ast.AST)

ROOT = Path(__file__).parents[1]
PACKAGES = ("memory", "agents", "sandbox", "alignment")
PICKLING = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "shelve", "joblib", "marshal", "jsonpickle"}
SMALL = ("--size", "2", "--rounds", "1", "--raters", "1", "--memories", "5")


# What our code never does.


def found(*kinds: type[Node]) -> Iterator[tuple[str, Node]]:
    """Every node of such kinds in the code of our packages, with its place."""
    for file in (file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, kinds):
                yield f"{file.relative_to(ROOT)}:{node.lineno}", node


def name_of(node: ast.expr) -> str:
    """The dotted name that is called, as "torch.load", or "?.load" where it is called on what has no name."""
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def given(call: ast.Call, name: str) -> object:
    """The constant that a call gives to a keyword; None where it gives none."""
    return next((getattr(word.value, "value", ...) for word in call.keywords if word.arg == name), None)


def test_nothing_is_pickled_or_unpickled() -> None:
    for place, node in found(ast.Import, ast.ImportFrom):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        assert not PICKLING & {module.split(".")[0] for module in modules}, place


def test_no_call_loads_a_pickle_runs_text_or_trusts_code_of_a_model() -> None:
    for place, node in found(ast.Call):
        called = name_of(node.func)
        assert called not in {"eval", "exec", "compile", "os.system", "yaml.load"}, place
        assert called != "torch.load" or given(node, "weights_only") is True, place
        assert given(node, "allow_pickle") in (None, False), place
        assert given(node, "shell") in (None, False), place
        assert given(node, "trust_remote_code") in (None, False), place
    for place, options in found(ast.Dict):
        for key, value in zip(options.keys, options.values, strict=True):
            if getattr(key, "value", None) == "trust_remote_code":
                assert getattr(value, "value", ...) is False, place


def test_the_server_that_we_start_listens_on_loopback_only() -> None:
    argv = vllm.arguments("m", "m", 1234, calls_at_once=1, gpu=False, processor_flags=frozenset())
    assert argv[argv.index("--host") + 1] == "127.0.0.1" and argv.count("--host") == 1
    for place, node in found(ast.Constant):
        assert node.value not in ("0.0.0.0", "::"), place


# Folders of models.


def saved(folder: Path, **files: object) -> Path:
    """A model's folder with such files, "a/b.json" written "a__b_json"; dicts and lists are JSON."""
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_json", ".json").replace("_bin", ".bin")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return folder


NEEDS_CODE = {
    "model_type": "of_my_own",
    "auto_map": {"AutoModelForCausalLM": "evil.Model", "AutoConfig": "evil.Config"},
}
EVIL = b"import pathlib\npathlib.Path(__file__).with_name('executed').touch()\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a model without weights, with code that tells that it was executed."""
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "evil.py").write_bytes(EVIL + b"class Config: pass\nclass Model: pass\nclass Part: pass\n")
    return tmp_path / "m"


@pytest.mark.parametrize("resolved", [model_folder, encoder_folder])
@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"config_json": {}, "pytorch_model_bin": b"\x80\x04"}, r"no \*\.safetensors; save the weights in that format"),
        ({"config_json": NEEDS_CODE}, r"needs code of its own \(auto_map in config\.json\), which is never run"),
        (
            {"config_json": {}, "adapter_config_json": {"base_model_name_or_path": "/else/where"}},
            "an adapter of another",
        ),
        ({"config_json": {}, "modules_json": [{"path": "", "type": "evil.Part"}]}, r"\(evil\.Part in modules\.json\)"),
        ({"config_json": {}, "modules_json": [{"path": ""}]}, r"code of its own"),
        ({"config_json": {}, "2_Dense__pytorch_model_bin": b"\x80\x04"}, r"no \*\.safetensors"),
        ({"config_json": b"{"}, r"config\.json: is not JSON"),
        ({"config_json": []}, r"config\.json: holds no dict"),
    ],
)
def test_a_model_that_brings_code_or_pickles_is_refused_in_one_line(
    folder: Path, files: dict[str, object], told: str, resolved: Callable[[str], Path]
) -> None:
    if "pytorch_model_bin" not in files:
        (folder / "model.safetensors").touch()
    saved(folder, **files)
    with pytest.raises(BadInput, match=told) as refused:
        resolved(str(folder))
    assert "\n" not in str(refused.value)
    assert not (folder / "executed").exists()


def test_a_model_that_names_code_and_needs_none_is_taken_without(
    folder: Path, tiny_model_folder: Callable[..., Path]
) -> None:
    from agents.batching import Batcher
    from agents.local import LocalModel

    shutil.copytree(tiny_model_folder(), folder, dirs_exist_ok=True)
    config = json.loads((folder / "config.json").read_text())
    saved(folder, config_json={**config, "auto_map": NEEDS_CODE["auto_map"]})
    LocalModel.load("m", model_folder(str(folder)), batcher=Batcher())
    assert not (folder / "executed").exists()


@pytest.mark.slow
def test_an_encoder_loads_safetensors_or_nothing(folder: Path) -> None:
    """Also one that slipped through what is looked at before."""
    from memory.encoder import Encoder

    shutil.copytree(encoder_folder(EMBEDDED_ENCODER), folder, dirs_exist_ok=True)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        Encoder(folder).encode(["Who are you?"])


# Runs that someone else made.


@pytest.fixture
def simulate(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., str]:
    """Calls simulate in this process, in an empty folder, with the scripted model; returns what it refused."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("agents.engines.load_model", lambda name, batcher: ScriptedModel())
    monkeypatch.setattr("sandbox.simulate.Encoder", lambda folder: Letters())

    def call(*argv: str) -> str:
        monkeypatch.setattr(sys, "argv", ["simulate", *SMALL, *argv])
        with pytest.raises(SystemExit) as exit:
            cli.simulate()
        said = capsys.readouterr().err
        assert exit.value.code in (0, 2), said
        return said.splitlines()[-1] if exit.value.code else ""

    return call


def test_a_pickled_model_or_one_with_code_is_refused_by_simulate(simulate: Callable[..., str], tmp_path: Path) -> None:
    def really(name: str, batcher: object) -> Path:
        return model_folder(name)

    pickled = saved(tmp_path / "pickled", config_json={}, pytorch_model_bin=b"\x80\x04")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("agents.engines.load_model", really)
        assert simulate("--out", "a", "--model", str(pickled)).startswith("simulate: model ")
    assert "encoder " in simulate("--out", "a", "--encoder", str(pickled))
    assert not Path("a").exists()


@pytest.mark.parametrize("name", ["transcript.jsonl", "telemetry.jsonl", "run.toml", "report.html", "dataset"])
def test_a_run_that_would_write_through_a_link_is_refused(
    simulate: Callable[..., str], tmp_path: Path, name: str
) -> None:
    simulate("--out", "a")
    moved = Path("a", name).rename(tmp_path / "elsewhere")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    Path("a", name).symlink_to(moved)
    assert f"a/{name}: is a symbolic link" in simulate("--out", "a", "--resume", "--rounds", "2")
    assert {path: path.read_bytes() for path in before} == before


def test_a_world_elsewhere_is_refused(simulate: Callable[..., str], tmp_path: Path) -> None:
    simulate("--out", "a", "--worlds", "2")
    moved = Path("a/world-01").rename(tmp_path / "elsewhere")
    Path("a/world-01").symlink_to(moved)
    assert "a/world-01: is a symbolic link" in simulate("--out", "a", "--worlds", "2", "--resume", "--rounds", "2")


def test_a_run_named_by_a_link_is_the_users_own_choice(simulate: Callable[..., str], tmp_path: Path) -> None:
    simulate("--out", "a")
    Path("b").symlink_to("a")
    refuse_links(Path("b"))
    assert simulate("--out", "b", "--resume") == ""


def test_what_is_written_beside_does_not_follow_a_link_either(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "run.toml.new").symlink_to(tmp_path / "mine")
    write_whole(tmp_path / "run.toml", "seed = 0\n")
    assert (tmp_path / "mine").read_text() == "mine"
    assert not (tmp_path / "run.toml").is_symlink() and not (tmp_path / "run.toml.new").is_symlink()


def test_the_settings_of_a_run_name_no_folder_and_no_program(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('out = "/else/where"\nvllm_command = "touch executed"\nseed = 3\n')
    assert settings_of(tmp_path) == {"seed": 3}


def test_worlds_lie_in_the_runs_folder(tmp_path: Path) -> None:
    for out in (tmp_path / "a", Path("..") / "b"):
        for world in each_world(SimulateOptions(out=out, worlds=3)):
            assert world.out.parent == out and world.out.name.startswith("world-")


def test_a_model_is_called_by_a_plain_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    assert [short_name(name) for name in (".", "..", str(tmp_path / "a"), "../b/")] == ["b", "a", "a", "b"]
