"""Phases: rows that are appended in order, and what becomes of a file that was cut off anywhere."""

import asyncio
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.errors import BadInput
from alignment.phases import PORTION, append_rows, filled, json_line, whole_rows, written

ITEMS = [f"prompt {number} – “ü”\n" for number in range(2 * PORTION + 3)]


def row_of(item):
    return {"item": item, "length": len(item), "outcome": "ok"}


class Asked:
    """Asks at once, or with the later items first; those `failing` have that outcome, one that `breaks` raises."""

    def __init__(self, *, latest_first=False, failing=(), breaks=None):
        self.latest_first, self.failing, self.breaks = latest_first, failing, breaks
        self.items, self.running = [], 0

    async def __call__(self, item):
        self.items.append(item)
        self.running += 1
        try:
            for _ in range(2 * (len(ITEMS) - ITEMS.index(item)) if self.latest_first else 1):
                await asyncio.sleep(0)
            if item == self.breaks:
                raise RuntimeError("broken off")
            return row_of(item) | ({"outcome": "timeout"} if item in self.failing else {})
        finally:
            self.running -= 1


def fill(path, ask, items=ITEMS, *, batch_invariant=True):
    """The rows, and how many there were whenever that was told."""
    heard = []

    async def run():
        rows = await filled(
            path,
            items,
            ask,
            failed=lambda item, row: row["outcome"] != "ok",
            batch_invariant=batch_invariant,
            told=heard.append,
        )
        assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []
        return rows

    return asyncio.run(run()), heard


ROWS = [row_of(item) for item in ITEMS]
BYTES = "".join(map(json_line, ROWS)).encode()


@pytest.mark.parametrize("batch_invariant", [True, False])
@pytest.mark.parametrize("latest_first", [True, False])
def test_rows_stand_in_the_order_of_items_whatever_order_they_came_in(tmp_path, batch_invariant, latest_first):
    ask = Asked(latest_first=latest_first)
    rows, heard = fill(tmp_path / "rows.jsonl", ask, batch_invariant=batch_invariant)
    assert rows == ROWS and (tmp_path / "rows.jsonl").read_bytes() == BYTES
    ends = range(len(ITEMS) + 1) if batch_invariant else [0, PORTION, 2 * PORTION, len(ITEMS)]
    assert heard == [*ends] and ask.items == ITEMS


@pytest.mark.parametrize(
    ("batch_invariant", "there", "kept"),
    [(True, PORTION + 5, PORTION + 5), (False, PORTION + 5, PORTION), (False, 2 * PORTION, 2 * PORTION)],
)
def test_a_phase_goes_on_behind_whole_rows_or_whole_portions(tmp_path, batch_invariant, there, kept):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"".join(BYTES.splitlines(keepends=True)[:there]) + b'{"item": "prompt')
    ask = Asked()
    rows, heard = fill(path, ask, batch_invariant=batch_invariant)
    assert (rows, path.read_bytes(), ask.items, heard[0]) == (ROWS, BYTES, ITEMS[kept:], kept)


@pytest.mark.parametrize("batch_invariant", [True, False])
@settings(max_examples=30)  # each syncs many lines to the disk
@given(data=st.data())
def test_cut_at_any_byte_it_ends_as_if_it_had_not_been(tmp_path_factory, batch_invariant, data):
    path = tmp_path_factory.mktemp("cut") / "rows.jsonl"
    cut = data.draw(st.integers(0, len(BYTES)))
    path.write_bytes(BYTES[:cut])
    whole = BYTES[:cut].count(b"\n")
    ask = Asked(latest_first=data.draw(st.booleans()))
    rows, _ = fill(path, ask, batch_invariant=batch_invariant)
    assert rows == ROWS and path.read_bytes() == BYTES
    assert ask.items == ITEMS[whole if batch_invariant or whole == len(ITEMS) else whole // PORTION * PORTION :]


def test_a_finished_phase_asks_nothing_and_writes_nothing(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(BYTES)
    before = path.stat()
    assert fill(path, Asked(breaks=ITEMS[0])) == (ROWS, [len(ITEMS)])
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize(("batch_invariant", "kept"), [(True, PORTION + 2), (False, PORTION)])
def test_what_breaks_off_in_the_middle_leaves_what_stood_before_it(tmp_path, batch_invariant, kept):
    path = tmp_path / "rows.jsonl"
    ask = Asked(breaks=ITEMS[PORTION + 2])

    async def run():
        with pytest.raises(RuntimeError, match="broken off"):
            await filled(
                path,
                ITEMS,
                ask,
                failed=lambda item, row: False,
                batch_invariant=batch_invariant,
                told=lambda count: None,
            )
        assert ask.running == 0
        assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []

    asyncio.run(run())
    assert whole_rows(path) == ROWS[:kept]


def test_what_failed_in_a_phase_that_broke_off_is_asked_again_and_in_a_finished_one_it_stays(tmp_path):
    path = tmp_path / "rows.jsonl"
    failing = [ITEMS[1], ITEMS[4]]
    fill(path, Asked(failing=failing), ITEMS[:6])
    kept = path.read_bytes()
    ask = Asked()
    fill(path, ask, ITEMS[:6])
    assert ask.items == [] and path.read_bytes() == kept and kept.count(b"timeout") == 2
    rows, heard = fill(path, ask)
    assert ask.items == [*failing, *ITEMS[6:]] and (rows, path.read_bytes()) == (ROWS, BYTES) and heard[0] == 6


def test_where_asking_again_breaks_off_the_file_is_as_it_was(tmp_path):
    path = tmp_path / "rows.jsonl"
    fill(path, Asked(failing=ITEMS[1:3]), ITEMS[:6])
    kept = path.read_bytes()
    with pytest.raises(RuntimeError):
        fill(path, Asked(breaks=ITEMS[2]))
    assert path.read_bytes() == kept


def test_in_this_process_what_failed_fails_again_and_is_kept(tmp_path):
    path = tmp_path / "rows.jsonl"
    fill(path, Asked(failing=[ITEMS[1]]), ITEMS[:PORTION], batch_invariant=False)
    ask = Asked()
    rows, _ = fill(path, ask, batch_invariant=False)
    assert ask.items == ITEMS[PORTION:] and [row["outcome"] for row in rows].count("timeout") == 1


def test_more_rows_than_items_are_refused(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(BYTES)
    with pytest.raises(BadInput, match=r"rows\.jsonl: holds 35 rows of 34; remove the file to have it made anew"):
        fill(path, Asked(), ITEMS[:-1])
    assert path.read_bytes() == BYTES


def test_no_items_make_no_file(tmp_path):
    assert fill(tmp_path / "rows.jsonl", Asked(), []) == ([], [0])
    assert list(tmp_path.iterdir()) == []


def test_a_broken_line_that_is_not_the_last_is_refused(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": \n{"a": 3}\n')
    with pytest.raises(BadInput, match=r"rows\.jsonl: holds a line that is not JSON .*; remove the file"):
        whole_rows(path)


def test_rows_are_made_once_and_appear_whole(tmp_path):
    path = tmp_path / "new" / "rows.jsonl"

    def broken():
        yield {"a": 1}
        raise RuntimeError("broken off")

    with pytest.raises(RuntimeError):
        written(path, broken)
    assert list(path.parent.iterdir()) == []
    assert written(path, lambda: [{"a": 1}, {"a": 2}]) == [{"a": 1}, {"a": 2}]
    assert written(path, lambda: pytest.fail("made again")) == [{"a": 1}, {"a": 2}]


@given(st.dictionaries(st.text(), st.floats() | st.text(st.characters()) | st.none() | st.booleans()))
def test_any_row_is_one_line_of_json_without_nan_and_half_characters(row):
    line = json_line(row)
    assert line.endswith("\n") and line.count("\n") == 1
    read = json.loads(line.encode("utf-8"), parse_constant=lambda name: pytest.fail(f"not JSON: {name}"))
    kept = {name: value for name, value in row.items() if name.isascii()}
    for name, value in kept.items():
        if isinstance(value, float):
            assert read[name] == (value if math.isfinite(value) else None)
        elif not isinstance(value, str) or value.isascii():
            assert read[name] == value


def test_what_is_not_a_number_is_null_and_half_a_character_is_marked(tmp_path):
    path = tmp_path / "rows.jsonl"
    append_rows(path, [{"a": math.nan, "b": -math.inf, "c": 0.1}])
    append_rows(path, [{"a": "\ud83d", "b": "\ud83d\ude00"}])
    assert whole_rows(path) == [{"a": None, "b": None, "c": 0.1}, {"a": "\ufffd", "b": "😀"}]
