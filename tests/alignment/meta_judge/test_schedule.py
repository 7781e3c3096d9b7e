"""The table [[schedule]]: what is wrong with it is told by row and key, when it is read and when a training goes on."""

import pytest

from agents.errors import BadInput
from alignment.checkpoints import Fingerprint, require_same, started
from alignment.config import AlignMetaJudgeOptions
from sandbox.config import load
from tests.alignment.meta_judge.conftest import SCHEDULE, argv_of, begun


@pytest.fixture
def options(tmp_path, monkeypatch):
    """Reads the options of `align meta-judge` with this [[schedule]]."""
    monkeypatch.chdir(begun(tmp_path))

    def options(schedule):
        (tmp_path / "schedule.toml").write_text(schedule)
        return load(AlignMetaJudgeOptions, argv_of()[1:], prog="align meta-judge")

    return options


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("rho = 1.5", "rho: input should be less than or equal to 1, got 1.5"),
        ("max_judgement = 0", "max_judgement: input should be greater than or equal to 1, got 0"),
        ("roh = 0.1", "roh: extra inputs are not permitted, got 0.1"),
        ('actor = "perhaps"', "actor: input should be a valid boolean, unable to interpret input, got 'perhaps'"),
        ("rho = {a = 1}", "rho: input should be a valid number, got {'a': 1}"),
    ],
)
def test_an_error_names_row_and_key(options, row, told):
    with pytest.raises(BadInput) as found:
        options(f"[[schedule]]\nrho = 0.2\n[[schedule]]\n{row}\n")
    assert str(found.value) == f"[[schedule]] row 2, {told}"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("schedule = 3", "--schedule: input should be a valid list, got 3"),
        ("schedule = [3]", "--schedule: input should be a valid dictionary, got 3"),
        ("server = [3]", "--server: input should be a valid string, got 3"),
        ('report_to = [["a"]]', "--report-to: input should be a valid string, got ['a']"),
    ],
)
def test_what_is_in_no_row_is_told_by_option(options, text, told):
    with pytest.raises(BadInput) as found:
        options(text)
    assert str(found.value) == told


def fingerprint(options):
    """What a training by these options would be begun with."""
    given = options.model_dump(mode="json", include={"schedule", "judgements", "trainer"})
    return Fingerprint("meta-judge", read={}, model="", processes=1, options=given)


@pytest.mark.parametrize(
    ("schedule", "then", "now"),
    [
        (SCHEDULE.replace("0.4", "0.3"), "row 2, rho = 0.4", "row 2, rho = 0.3"),
        (SCHEDULE.replace("judge = true", ""), "row 1, judge = true", "no [[schedule]] row 1, judge"),
        (SCHEDULE + "max_judgement = 9\n", "no [[schedule]] row 2, max_judgement", "row 2, max_judgement = 9"),
        (SCHEDULE + "[[schedule]]\n", "number of rows: 2", "number of rows: 3"),
        ("[[schedule]]\n", "number of rows: 2", "number of rows: 1"),
    ],
)
def test_another_schedule_is_refused_by_row_and_key(options, tmp_path, schedule, then, now):
    begun = fingerprint(options(SCHEDULE))
    started(tmp_path, begun)
    require_same(tmp_path, fingerprint(options(SCHEDULE + "# a comment\n")))
    then, now = (part if part.startswith("no ") else f"[[schedule]] {part}" for part in (then, now))
    with pytest.raises(BadInput) as found:
        require_same(tmp_path, fingerprint(options(schedule)))
    assert str(found.value) == (
        f"--resume: the training was begun with {then}, not {now}; give it that again, or train anew to another --out"
    )
