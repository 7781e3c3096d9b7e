import json
import subprocess
import sys

import pytest

from alignment import cli


@pytest.fixture
def align(monkeypatch, capsys):
    """Runs the command; gives (exit code, stdout, stderr)."""

    def align(*argv):
        monkeypatch.setattr(sys, "argv", ["align", *argv])
        with pytest.raises(SystemExit) as caught:
            cli.align()
        return caught.value.code, *capsys.readouterr()

    return align


def test_commands_are_listed(align):
    code, out, _ = align("--help")
    assert code == 0
    assert "stable" in out and "check" in out


@pytest.mark.parametrize("command", ["stable", "check"])
def test_help_lists_every_option_and_imports_no_torch(command):
    code = (
        "import sys; from alignment import cli; sys.argv = ['align', sys.argv[1], '--help']\n"
        "try: cli.align()\n"
        "finally: assert not {'torch', 'transformers', 'mesa', 'scipy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "RUN_OR_FILE" in done.stdout or "SOURCES" in done.stdout
    assert "--rating-scale" in done.stdout


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["stabel"], "unknown command 'stabel'; did you mean stable?"),
        (["check"], "arguments are required"),
        (["check", "absent.jsonl"], "absent.jsonl: no such file"),
        (["check", "x", "--modle", "y"], "unknown option --modle; did you mean --model?"),
        (["stable", "x"], "--out is missing"),
        (
            ["stable", "x", "--out", "y", "--type", "imitations"],
            "--type imitations: unknown type of rows; known: imitation, self_critic",
        ),
        (["stable", "x", "--out", "y", "--test-share", "1"], "--test-share: input should be less than 1, got"),
        (["stable", "x", "--out", "y", "--reduction", "median"], "--reduction"),
        (["stable", "x", "--out", "y", "--epochs", "inf"], "--epochs: input should be a finite number"),
        (["check", "x", "--delta", "nan"], "--delta: input should be a finite number"),
    ],
)
def test_bad_input_is_told_in_one_line(align, argv, message):
    code, out, err = align(*argv)
    assert (code, out) == (2, "")
    assert message in err and err.startswith("align: ") and err.count("\n") == 1


def test_check_prints_to_stdout(align, tmp_path, small_model):
    (tmp_path / "data.json").write_text(json.dumps([{"query": "?", "responses": ["Yes!", "No?"], "scores": [6, 2]}]))
    code, out, err = align("check", str(tmp_path / "data.json"), "--model", str(small_model))
    assert code == 0
    assert "[[Yes!<|im_end|>]]" in out and err == ""
