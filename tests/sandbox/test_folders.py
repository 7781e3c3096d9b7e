"""A file or folder appears whole or not at all, and what stood in its place is never lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from agents.errors import BadInput
from sandbox.folders import LOCK, appearing, refuse_used, write_whole


def write(out: Path, *, replacing: bool) -> None:
    with appearing(out, replacing=replacing) as folder:
        (folder / "words").write_text("new")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A folder in use, beside one whose name looks like a leftover of ours."""
    for name in ("out", "out.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "words").write_text(name)
    return tmp_path / "out"


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("replacing", [False, True])
def test_a_new_folder_appears_at_the_end(tmp_path: Path, replacing: bool) -> None:
    out = tmp_path / "deep" / "out"
    with appearing(out, replacing=replacing) as folder:
        (folder / "words").write_text("new")
        assert not out.exists()
    assert contents(tmp_path) == {"deep/out/words": "new"}
    assert [path.name for path in out.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("replacing", [False, True])
def test_an_empty_folder_is_filled_from_inside_too(
    tmp_path: Path, replacing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    write(Path(), replacing=replacing)
    assert contents(tmp_path) == {"out/words": "new"}


def test_what_is_there_is_replaced_and_its_neighbours_stay(old: Path) -> None:
    write(old, replacing=True)
    assert contents(old.parent) == {"out/words": "new", "out.old/words": "out.old"}


def test_what_came_to_be_there_meanwhile_is_refused(old: Path) -> None:
    for attempt in (lambda: refuse_used(old), lambda: write(old, replacing=False)):
        with pytest.raises(BadInput, match="out: is in use; name another folder"):
            attempt()
    assert contents(old.parent) == {"out/words": "out", "out.old/words": "out.old"}


def failing_rename(error: BaseException, when: Callable[[Path], bool]) -> Callable[[Path, Path], Path]:
    real = Path.rename

    def rename(path: Path, target: Path) -> Path:
        if when(path):
            raise error
        return real(path, target)

    return rename


@pytest.mark.parametrize("error", [OSError("busy"), KeyboardInterrupt()])
@pytest.mark.parametrize("failing", ["out", "new"])  # the first and the second renaming of the swap
def test_the_old_folder_is_back_where_the_swap_fails(
    old: Path, error: BaseException, failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "rename", failing_rename(error, lambda path: path.name == failing))
    with pytest.raises(type(error)):
        write(old, replacing=True)
    assert contents(old.parent) == {"out/words": "out", "out.old/words": "out.old"}
    assert sorted(path.name for path in old.parent.iterdir()) == ["out", "out.old"]


@pytest.mark.parametrize("replacing", [False, True])
def test_a_block_that_fails_leaves_nothing(tmp_path: Path, replacing: bool) -> None:
    with pytest.raises(KeyboardInterrupt), appearing(tmp_path / "out", replacing=replacing) as folder:
        (folder / "words").write_text("half")
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


# What a process that was killed left beside a folder.


def room(beside: Path, name: str, **inner: str) -> Path:
    """A folder for making others ready, as `appearing` has it: `inner` are the words in each of its folders."""
    (beside / name).mkdir()
    (beside / name / LOCK).touch()
    for folder, words in inner.items():
        (beside / name / folder).mkdir()
        (beside / name / folder / "words").write_text(words)
    return beside / name


def test_what_was_put_away_by_a_killed_process_is_put_back_though_the_next_one_fails(tmp_path: Path) -> None:
    room(tmp_path, ".out.abc_1234", old="out", new="half")
    with pytest.raises(KeyboardInterrupt), appearing(tmp_path / "out", replacing=True):
        raise KeyboardInterrupt
    assert contents(tmp_path) == {"out/words": "out"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_leftovers_of_killed_processes_go(tmp_path: Path) -> None:
    room(tmp_path, ".out.abc_1234", old="older")
    room(tmp_path, ".out.abc_5678", new="half")
    (tmp_path / ".out.00000000").mkdir()
    write(tmp_path / "out", replacing=True)
    assert contents(tmp_path) == {"out/words": "new"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_another_process_uses_or_a_person_keeps_stays(tmp_path: Path) -> None:
    used = room(tmp_path, ".out.abc_1234", new="of another")
    for name in (".out.abc_5678", ".outer.abc_1234", ".out.abc"):  # by its contents, by its names
        (tmp_path / name).mkdir()
        (tmp_path / name / "words").write_text("mine")
    before = contents(tmp_path)
    with FileLock(used / LOCK):
        write(tmp_path / "out", replacing=True)
        assert contents(tmp_path) == {**before, "out/words": "new"}


def test_two_who_write_one_folder_do_not_disturb_each_other(tmp_path: Path) -> None:
    with appearing(tmp_path / "out", replacing=True) as first:
        (first / "words").write_text("first")
        write(tmp_path / "out", replacing=True)
        assert contents(tmp_path / "out") == {"words": "new"}
    assert contents(tmp_path / "out") == {"words": "first"}


def test_a_file_is_replaced_whole_or_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_whole(tmp_path / "deep" / "file", "old\n")
    with monkeypatch.context() as patch, pytest.raises(OSError, match="full"):
        patch.setattr("os.fsync", lambda descriptor: (_ for _ in ()).throw(OSError("full")))
        write_whole(tmp_path / "deep" / "file", "new\n")
    assert contents(tmp_path) == {"deep/file": "old\n"}
    write_whole(tmp_path / "deep" / "file", "new\n")
    assert contents(tmp_path) == {"deep/file": "new\n"}
