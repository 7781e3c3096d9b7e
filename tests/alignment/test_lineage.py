"""`align verify`: a trained folder is checked back to files and to the lines of transcripts."""

import json
import shutil
import sys

import pytest

from alignment import cli
from sandbox.transcript import FILE, Writer
from tests.sandbox.examples import BUS, CUP, HEADER, interaction, step, write_round

LONGER = ("--test-share", "0.5", "--max-length", "250")
ANSWERS = ["Hide it.", "Say that it was the cat.", "Tell her and say sorry.", "Wait and see."]


@pytest.fixture
def verify(monkeypatch, capsys):
    """Runs the command; gives (exit code, stdout, stderr)."""

    def verify(*argv):
        capsys.readouterr()  # what the training said
        monkeypatch.setattr(sys, "argv", ["align", "verify", *map(str, argv)])
        with pytest.raises(SystemExit) as caught:
            cli.align()
        return caught.value.code, *capsys.readouterr()

    return verify


def played(round):
    return [
        interaction(
            round,
            agent,
            draft=f"{round}: {text}",
            before=1.5 + agent % 4,
            steps=[step(text, 2.0 + agent % 4)],
            question=question,
        )
        for question in (CUP, BUS)
        for agent, text in enumerate(ANSWERS, start=4 * (question is BUS))
    ]


@pytest.fixture
def run(tmp_path):
    """A run of one round, which may go on."""
    writer = Writer.create(tmp_path / "run", HEADER)
    write_round(writer, played(1), {"calls": 3, "failures": 0})
    return tmp_path / "run", writer


def test_a_model_made_of_a_file_is_verified(align, data, verify):
    out = align()
    code, told, _ = verify(out)
    assert code == 0 and "rated.jsonl: as it was" in told and "verified 10 groups of 30 responses" in told
    data.write_text(data.read_text().replace("do 9", "do 10"))
    code, _, error = verify(out)
    assert code == 1 and "rated.jsonl: is not the file that was read, or was changed since" in error


def test_a_model_made_of_a_run_is_verified_wherever_the_run_lies_and_goes(align, run, verify, tmp_path):
    folder, writer = run
    out = align(*LONGER, source=folder)
    write_round(writer, played(2), {"calls": 3, "failures": 0})
    writer.end(2, "rounds")
    moved = folder.rename(tmp_path / "moved")
    assert verify(out)[0] == 2
    code, told, _ = verify(out, moved)
    assert code == 0 and "8 interactions of 1 rounds, chain verified" in told
    assert "verified 2 groups of 16 responses" in told


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("Tell her", "Sell her", "does not verify"),
        ('"seed":0', '"seed":1', "line 1 does not verify"),
    ],
)
def test_a_changed_transcript_is_found(align, run, verify, old, new, error):
    folder, _ = run
    out = align(*LONGER, source=folder)
    log = folder / FILE
    log.write_text(log.read_text().replace(old, new, 1))
    code, _, told = verify(out)
    assert code == 1 and error in told and told.count("\n") == 1


def test_another_run_other_weights_and_other_settings_are_found(align, run, verify, tmp_path):
    folder, _ = run
    out = align(*LONGER, source=folder)
    other = Writer.create(tmp_path / "other", {**HEADER, "seed": 1})
    write_round(other, played(1), {"calls": 3, "failures": 0})
    code, _, told = verify(out, tmp_path / "other")
    assert code == 1 and "no line 10 with the chain value" in told

    lineage = out / "lineage.json"
    kept = lineage.read_text()
    lineage.write_text(json.dumps({**json.loads(kept), "config": {**json.loads(kept)["config"], "delta": 3.0}}))
    code, _, told = verify(out)
    assert code == 1 and told.startswith("align verify: the rows made of the sources have the digest")
    lineage.write_text(kept)
    (out / "config.json").write_text((out / "config.json").read_text() + "\n")
    code, _, told = verify(out)
    assert code == 1 and told.startswith(f"align verify: the files of {out} have the digest")


def test_what_cannot_be_checked_is_refused(align, data, verify, tmp_path):
    out = align()
    assert "was made of 1 sources, got 2" in verify(out, data, data)[2]
    assert "no lineage to be read" in verify(tmp_path)[2]
    old = shutil.copytree(out, tmp_path / "old")
    (old / "lineage.json").write_text('{"root_model": "a", "base_model": "a"}')
    code, _, told = verify(old)
    assert code == 2 and "tells no 'model_digest', an older version wrote it" in told
