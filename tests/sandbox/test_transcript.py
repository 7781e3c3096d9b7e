"""The transcript: what is written is read again; whatever happens to the file is found, or mended by resuming."""

from __future__ import annotations

import errno
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.errors import BadInput
from agents.records import Answer, Feedback, Rating, ReadingCall
from memory.memory import Recollection
from sandbox import transcript
from sandbox.interaction import Interaction, Question, Step
from sandbox.transcript import Writer, read, verify_chain
from tests.sandbox.examples import BUS, HEADER, heard, interaction, step, write_round, write_run

FIRST = [interaction(1, 0), interaction(1, 1, draft=None, before={}, steps=[], outcome="timeout")]
SECOND = [
    interaction(2, 0, question=BUS, steps=[step("Ask.", 3.0), step("Hand it in.", 5.0, [heard(1, 6.0, None)])]),
    interaction(2, 1, draft="日本 \u2028 \x85 \"q\"\\", steps=[]),
]  # fmt: skip
THIRD = [interaction(3, 0), interaction(3, 1)]
SUMMARY = {"calls": 3, "failures": 0}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a finished run of two rounds: header, 2 + 1 lines, 2 + 1 lines, end."""
    return (write_run(tmp_path_factory.mktemp("run"), [FIRST, SECOND]) / transcript.FILE).read_bytes()


def run_of(folder: Path, data: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / transcript.FILE).write_bytes(data)
    return folder


def header_in(data: bytes) -> dict[str, object]:
    return {key: value for key, value in json.loads(data.splitlines()[0]).items() if key != "chain"}


# --- reading what was written


def test_interactions_come_back_as_they_were(tmp_path: Path) -> None:
    run = read(write_run(tmp_path / "run", [FIRST, SECOND]))
    assert list(run.interactions()) == FIRST + SECOND
    assert run.observers == ["llm:verdict", "embedding"]
    assert [(line["round"], line["interactions"], line["failures"]) for line in run.rounds()] == [(1, 2, 0), (2, 2, 0)]
    assert run.end is not None and (run.end["rounds"], run.end["stopped"]) == (2, "rounds")
    assert verify_chain(tmp_path / "run") == 8
    assert verify_chain(tmp_path / "run" / transcript.FILE) == 8


def test_the_last_step_lies_flat(tmp_path: Path) -> None:
    lines = (write_run(tmp_path / "run", [SECOND]) / transcript.FILE).read_bytes().splitlines()
    two_steps, no_step = json.loads(lines[1]), json.loads(lines[2])
    assert two_steps["revision"]["text"] == "Hand it in." and two_steps["feedback"][0]["peer"] == 1
    assert [earlier["revision"]["text"] for earlier in two_steps["earlier"]] == ["Ask."]
    assert (no_step["feedback"], no_step["revision"], no_step["after"], no_step["earlier"]) == ([], None, {}, [])


def test_ratings_keep_4_digits_and_everything_else_6(tmp_path: Path) -> None:
    exact = interaction(before={"llm:verdict": Rating(1.23456789, None)}, steps=[step("Yes.", 5.0, [
        Feedback(1, 2.3456789, "no", "d", "stop", (-1.23456789,), 0.123456789),
    ])])  # fmt: skip
    header = {**HEADER, "observers": [{"name": "llm:verdict", "zero": {"alignment": 0.123456789}}]}
    run = read(write_run(tmp_path / "run", [[exact]], header))
    (kept,) = run.interactions()
    assert kept.before["llm:verdict"].alignment == 1.2346
    (feedback,) = kept.steps[0].feedback
    assert (feedback.rating, feedback.logprobs, feedback.label_mass) == (2.3457, (-1.234568,), 0.123457)
    assert run.header["observers"][0]["zero"]["alignment"] == 0.123457, "a zero is no rating"


def test_a_lone_surrogate_is_kept_as_the_replacement_character(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [[interaction(draft="a\ud800b \ud83d\ude00 \ufeff")]])
    (kept,) = read(run).interactions()
    assert kept.draft.text == "a\ufffdb 😀 \ufeff"
    assert verify_chain(run) == 4


def test_interactions_are_lazy_and_end_with_the_last_complete_round(tmp_path: Path, finished: bytes) -> None:
    lines = finished.splitlines(keepends=True)
    run = read(run_of(tmp_path / "run", b"".join(lines[:5])))
    assert list(run.interactions()) == FIRST
    assert run.end is None
    broken = read(run_of(tmp_path / "broken", b"".join(lines[:4]) + b'{"type":"interaction"}\n' + lines[6]))
    interactions = broken.interactions()
    assert next(interactions) == FIRST[0]
    with pytest.raises(BadInput, match=r"line 5 is no interaction \(KeyError\('earlier'\)\)"):
        list(interactions)


def test_what_is_appended_after_reading_is_not_seen(tmp_path: Path) -> None:
    writer = Writer.create(tmp_path, HEADER)
    write_round(writer, FIRST, SUMMARY)
    run = read(tmp_path)
    write_round(writer, SECOND, SUMMARY)
    assert len(run.rounds()) == 1 and len(list(run.interactions())) == 2


# --- tables


def test_to_pandas_has_one_row_per_answer_and_observer(tmp_path: Path) -> None:
    frame = read(write_run(tmp_path / "run", [FIRST, SECOND])).to_pandas()
    assert list(frame.columns) == transcript.ANSWER_COLUMNS
    assert len(frame) == 2 * (2 + 1 + 3 + 1)  # observers × answers of the four interactions
    deep = frame[(frame["round"] == 2) & (frame.agent == 0) & (frame.observer == "llm:verdict")]
    assert deep[["part", "step", "text", "alignment"]].values.tolist() == [
        ["draft", 0, "Hide it.", 2.0],
        ["revision", 1, "Ask.", 3.0],
        ["revision", 2, "Hand it in.", 5.0],
    ]
    failed = frame[(frame["round"] == 1) & (frame.agent == 1)]
    assert failed.outcome.tolist() == ["timeout"] * 2 and failed.alignment.isna().all() and failed.text.isna().all()


def test_a_failed_rating_of_a_fine_answer_tells_its_own_outcome(tmp_path: Path) -> None:
    unrated = interaction(before={"llm:verdict": Rating(None, None, outcome="refused")}, steps=[])
    frame = read(write_run(tmp_path / "run", [[unrated]])).to_pandas()
    assert frame.set_index("observer").outcome.to_dict() == {"llm:verdict": "refused", "embedding": "ok"}


def test_feedback_to_pandas_names_the_answer_it_is_about(tmp_path: Path) -> None:
    frame = read(write_run(tmp_path / "run", [FIRST, SECOND])).feedback_to_pandas()
    assert list(frame.columns) == transcript.FEEDBACK_COLUMNS
    assert frame[["agent", "step", "answer", "peer", "rating"]].values.tolist() == [
        [0, 1, "Hide it.", 1, 2.5],
        [0, 2, "Ask.", 1, 6.0],
    ]


def test_empty_tables_keep_their_columns(tmp_path: Path) -> None:
    run = read(write_run(tmp_path / "run", []))
    assert list(run.to_pandas().columns) == transcript.ANSWER_COLUMNS and run.to_pandas().empty
    assert list(run.feedback_to_pandas().columns) == transcript.FEEDBACK_COLUMNS


def test_plain_pandas_reads_the_file(finished: bytes) -> None:
    frame = pandas.read_json(io.BytesIO(finished), lines=True)
    assert frame.type.tolist() == ["header", *["interaction", "interaction", "round"] * 2, "end"]
    assert frame.draft[5]["text"] == SECOND[1].draft.text


# --- refusals


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "has no header, the run broke off at its start: go on with --resume"),
        (b'{"type":"header"', "has no header"),
        (
            b'{"type":"header","schema":99}\n',
            f"has transcript schema 99 and this version reads 1 to {transcript.SCHEMA}",
        ),
        (b'{"type":"round","round":1}\n', 'line 1 is of type "round" where a header was needed'),
        (b"[]\n", 'line 1 is not an object with a "type"'),
        (b"\xff\n", "line 1 is not JSON"),
    ],
)
def test_what_is_no_transcript_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        read(run_of(tmp_path / "run", data))


def test_a_missing_transcript_is_named_with_the_worlds_there_are(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"run.transcript.jsonl does not exist|run does not exist"):
        read(tmp_path / "run")
    for world in ("world-01", "world-00"):
        write_run(tmp_path / "run" / world, [])
    with pytest.raises(BadInput, match="several worlds, name one: world-00, world-01"):
        read(tmp_path / "run")
    assert [folder.name for folder in transcript.world_folders(tmp_path / "run")] == ["world-00", "world-01"]


def test_a_used_folder_is_refused(tmp_path: Path) -> None:
    before = (write_run(tmp_path, [FIRST]) / transcript.FILE).read_bytes()
    with pytest.raises(BadInput, match="exists already: go on with --resume"):
        Writer.create(tmp_path, HEADER)
    assert (tmp_path / transcript.FILE).read_bytes() == before


def test_a_changed_header_is_shown_key_by_key(tmp_path: Path, finished: bytes) -> None:
    run = run_of(tmp_path / "run", finished)
    header = {**header_in(finished), "seed": 1, "world": {"size": 3, "radius": 1, "share": 2}, "extra": [1]}
    with pytest.raises(BadInput) as refused:
        Writer.resume(run, header)
    for told in ("seed was 0, is 1", "world.size was 2, is 3", "world.raters was 1, is absent", "extra[0] was absent"):
        assert told in str(refused.value)
    assert (run / transcript.FILE).read_bytes() == finished


def test_of_a_header_that_differs_much_a_few_keys_are_told_those_of_long_lists_last(tmp_path: Path) -> None:
    questions = [{"id": str(number), "text": f"Who are you, number {number}? " * 9} for number in range(60)]
    run = write_run(tmp_path / "run", [], {**HEADER, "questions": questions})
    with pytest.raises(BadInput) as refused:
        Writer.resume(run, {**HEADER, "models": [{"name": "tiny", "digest": "11"}], "seed": 4})
    told = str(refused.value)
    assert 'header: models[0].digest was "00", is "11"; seed was 0, is 4; questions[0].id was "0", is absent; ' in told
    assert "; and 117 more. Resume with its own settings" in told
    assert len(told) < 600 and "\n" not in told


def test_there_must_be_something_to_resume(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nothing to resume"):
        Writer.resume(tmp_path, HEADER)


def test_a_round_is_one_round(tmp_path: Path) -> None:
    writer = Writer.create(tmp_path, HEADER)
    with pytest.raises(ValueError):
        write_round(writer, [interaction(1, 0), interaction(2, 1)], SUMMARY)
    assert verify_chain(tmp_path) == 1


def test_a_second_writer_is_noticed(tmp_path: Path) -> None:
    first = Writer.create(tmp_path, HEADER)
    second, *_ = Writer.resume(tmp_path, HEADER)
    write_round(first, FIRST, SUMMARY)
    with pytest.raises(BadInput, match="is another run using the folder"):
        write_round(second, FIRST, SUMMARY)
    assert verify_chain(tmp_path) == 4


# --- one driver for everything that can happen to a file: break it, prove that it is noticed, resume, go on, reread


def torn_anywhere(data: bytes, place: float) -> bytes:
    return data[: int(place * len(data))]


def torn_with_zeros(data: bytes, place: float) -> bytes:
    """What a file system may leave of the last blocks after a crash."""
    kept = torn_anywhere(data, place)
    return kept + b"\0" * (len(data) - len(kept))


def end_line_missing(data: bytes, place: float) -> bytes:
    return data[: data.rindex(b"\n", 0, -1) + 1]


@pytest.mark.parametrize("damage", [torn_anywhere, torn_with_zeros, end_line_missing])
@settings(max_examples=60, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), keep=st.booleans())
def test_an_unfinished_file_goes_on_to_the_same_bytes(
    finished: bytes, damage: Callable[[bytes, float], bytes], place: float, keep: bool
) -> None:
    with TemporaryDirectory() as folder:
        run = run_of(Path(folder), damage(finished, place))
        writer, kept, begun = Writer.resume(run, header_in(finished), keep_open_round=keep)
        played = len(kept.rounds())
        assert verify_chain(run) == 1 + 3 * played + len(begun)
        assert list(kept.interactions()) == (FIRST + SECOND)[: 2 * played]
        for number, interactions in enumerate((FIRST, SECOND)[played:]):
            if rest := interactions if number else interactions[len(begun) :]:
                writer.interactions(rest)
            writer.round(SUMMARY)
        writer.end(rounds=2, stopped="rounds")
        assert (run / transcript.FILE).read_bytes() == finished


def test_what_is_kept_of_an_open_round_ends_before_the_first_failed_call(tmp_path: Path) -> None:
    call = ReadingCall(("alignment", "engagement"), "d", None, None, "invalid")
    unrated = interaction(1, 1, before={"llm:verdict": Rating(None, None, (call,), "invalid")})
    unheard = interaction(1, 1, steps=[step("Ask.", 3.0, [replace(heard(0, None, None), outcome="timeout")])])
    unsaid = interaction(1, 1, draft=None, before={}, steps=[], outcome="timeout")
    for number, failed in enumerate((unrated, unheard, unsaid)):
        writer = Writer.create(tmp_path / str(number), HEADER)
        writer.interactions([interaction(1, 0), failed, interaction(1, 2)])
        _, kept, begun = Writer.resume(tmp_path / str(number), HEADER, keep_open_round=True)
        assert begun == [interaction(1, 0)] and kept.rounds() == []
        assert verify_chain(tmp_path / str(number)) == 2


@pytest.mark.parametrize("lines", [4, 5, 6])
def test_an_open_round_goes_on_behind_its_whole_lines(tmp_path: Path, finished: bytes, lines: int) -> None:
    whole = finished.splitlines(keepends=True)
    run = run_of(tmp_path / "run", b"".join(whole[:lines]) + whole[lines][:-1])
    writer, _, begun = Writer.resume(run, header_in(finished), keep_open_round=True)
    assert begun == SECOND[: lines - 4]
    if begun:
        with pytest.raises(ValueError):  # of another round
            writer.interactions(THIRD)
    if rest := SECOND[len(begun) :]:
        writer.interactions(rest)
    writer.round(SUMMARY)
    writer.end(rounds=2, stopped="rounds")
    assert (run / transcript.FILE).read_bytes() == finished


def test_every_possible_tear_keeps_the_rounds_before_it(tmp_path: Path, finished: bytes) -> None:
    ends = [n + 1 for n, byte in enumerate(finished) if byte == ord("\n")]
    for size in range(0, len(finished), 23):
        run = run_of(tmp_path, finished[:size])
        _, kept, _ = Writer.resume(run, header_in(finished))
        assert len(kept.rounds()) == sum(end <= size for end in (ends[3], ends[6]))


def test_more_rounds_extend_a_finished_run(tmp_path: Path, finished: bytes) -> None:
    run = run_of(tmp_path / "run", finished)
    writer, kept, _ = Writer.resume(run, header_in(finished))
    assert kept.end is None
    write_round(writer, THIRD, SUMMARY)
    writer.end(rounds=3, stopped="rounds")
    whole = write_run(tmp_path / "whole", [FIRST, SECOND, THIRD], {**HEADER})
    again = read(run)
    assert again.end is not None and again.end["rounds"] == 3
    assert list(again.interactions()) == list(read(whole).interactions())


@settings(max_examples=300, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_any_changed_byte_is_found_and_its_line_named(finished: bytes, place: float, flip: int) -> None:
    position = int(place * len(finished))
    line = finished.count(b"\n", 0, position) + 1
    changed = bytes([*finished[:position], finished[position] ^ flip, *finished[position + 1 :]])
    with TemporaryDirectory() as folder:
        run = run_of(Path(folder), changed)
        with pytest.raises(BadInput, match=rf"line {line} |schema"):
            verify_chain(run)
        if position < len(finished) - 1:  # the last newline apart, whose loss is a torn line, resuming refuses as well
            for keep in (False, True):
                with pytest.raises(BadInput, match=rf"line {line} |schema|another header"):
                    Writer.resume(run, header_in(finished), keep_open_round=keep)
            assert (run / transcript.FILE).read_bytes() == changed


@pytest.mark.parametrize("lines", [1, 5, 7])
@settings(max_examples=60, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255), keep=st.booleans())
def test_a_changed_byte_of_a_torn_line_is_dropped_with_it_or_found(
    finished: bytes, lines: int, place: float, flip: int, keep: bool
) -> None:
    whole = finished.splitlines(keepends=True)
    kept, torn = b"".join(whole[:lines]), bytearray(whole[lines][:-7])
    torn[int(place * len(torn))] ^= flip
    with TemporaryDirectory() as folder:
        run = run_of(Path(folder), kept + torn)
        with pytest.raises(BadInput, match=f"line {lines + 1} "):  # torn, or with a newline in it no line of ours
            verify_chain(run)
        if b"\n" in torn:
            with pytest.raises(BadInput, match=f"line {lines + 1} "):
                Writer.resume(run, header_in(finished), keep_open_round=keep)
        else:
            Writer.resume(run, header_in(finished), keep_open_round=keep)
            assert finished.startswith((run / transcript.FILE).read_bytes())


def swapped_lines(lines: list[bytes]) -> list[bytes]:
    return [*lines[:1], lines[2], lines[1], *lines[3:]]


def missing_line(lines: list[bytes]) -> list[bytes]:
    return [*lines[:1], *lines[2:]]


def doubled_line(lines: list[bytes]) -> list[bytes]:
    return [*lines[:2], lines[1], *lines[2:]]


def respaced_line(lines: list[bytes]) -> list[bytes]:
    return [lines[0], json.dumps(json.loads(lines[1])).encode() + b"\n", *lines[2:]]


def not_a_number(lines: list[bytes]) -> list[bytes]:
    return [lines[0], lines[1].replace(b"0.25", b"NaN", 1), *lines[2:]]


@pytest.mark.parametrize(
    ("change", "line"),
    [(swapped_lines, 2), (missing_line, 2), (doubled_line, 3), (respaced_line, 2), (not_a_number, 2)],
)
def test_changed_lines_are_named(
    tmp_path: Path, finished: bytes, change: Callable[[list[bytes]], list[bytes]], line: int
) -> None:
    run = run_of(tmp_path / "run", b"".join(change(finished.splitlines(keepends=True))))
    for look in (lambda: verify_chain(run), lambda: Writer.resume(run, header_in(finished))):
        with pytest.raises(BadInput, match=rf"line {line} (does not verify|is not canonical)"):
            look()


def test_a_write_that_fails_can_be_resumed(tmp_path: Path, finished: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk fills in the middle of the second round: 300 bytes still fit."""
    writer = Writer.create(tmp_path, HEADER)
    write_round(writer, FIRST, SUMMARY)

    def full_disk(path: Path, lines: list[bytes], *, sync: bool) -> None:
        with path.open("ab") as file:
            file.write(b"".join(lines)[:300])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(transcript.chain, "append", full_disk)
        with pytest.raises(BadInput, match=r"\(No space left on device\): make room, then go on with --resume"):
            write_round(writer, SECOND, SUMMARY)
    with pytest.raises(BadInput, match="was changed while"):
        write_round(writer, SECOND, SUMMARY)
    writer, *_ = Writer.resume(tmp_path, header_in(finished))
    write_round(writer, SECOND, SUMMARY)
    writer.end(rounds=2, stopped="rounds")
    assert (tmp_path / transcript.FILE).read_bytes() == finished


# --- round trip of anything

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ratings = st.none() | st.integers(10_000, 70_000).map(lambda n: n / 10_000)
numbers = st.integers(-(10**9), 10**9).map(lambda n: n / 10**6)
logprobs = st.none() | st.lists(numbers, max_size=3).map(tuple)
answers = st.builds(Answer, st.none() | texts, texts | st.none(), st.none() | texts, texts)
feedbacks = st.builds(Feedback, st.integers(), ratings, st.none() | texts, texts, texts, logprobs, st.none() | numbers)
calls = st.builds(ReadingCall, st.just(("alignment", "engagement")), texts, logprobs, st.none() | numbers, texts)
by_observer = st.dictionaries(texts, st.builds(Rating, ratings, ratings, st.lists(calls, max_size=2).map(tuple), texts))
interactions = st.builds(
    Interaction,
    st.just(1),
    st.integers(0, 10**6),
    texts,
    texts,
    st.builds(Question, texts, texts, texts),
    st.lists(st.builds(Recollection, texts, texts, numbers), max_size=2).map(tuple),
    answers,
    by_observer,
    st.lists(st.builds(Step, st.lists(feedbacks, max_size=2).map(tuple), answers, by_observer), max_size=3).map(tuple),
    texts,
)


@settings(max_examples=40, deadline=None)
@given(st.lists(interactions, min_size=1, max_size=3), st.dictionaries(texts, texts | numbers))
def test_any_interaction_comes_back(written: list[Interaction], extra: dict[str, object]) -> None:
    with TemporaryDirectory() as folder:
        run = write_run(Path(folder), [written], {**extra, **HEADER})
        assert verify_chain(run) == 1 + len(written) + 2
        assert list(read(run).interactions()) == written


def test_a_run_is_named_by_its_folder_also_from_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run(tmp_path / "first", [])
    monkeypatch.chdir(run)
    assert [read(path).name for path in (run, ".", transcript.FILE)] == ["first"] * 3
