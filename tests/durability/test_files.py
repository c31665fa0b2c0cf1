"""The durable ways to make files and directories, at every power cut."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path

import pytest

from codepath.core.files import (
    append_line,
    atomic_directory,
    copy_files,
    json_lines,
    make_directory,
    sync,
)
from tests.durability.cuts import Extent, State, check_states
from tests.durability.recorder import Recorder

EVERY = Extent(10_000, 10_000, seed=0)


def contents(folder: Path) -> dict[str, str]:
    """Path -> text of a file; of a directory nothing."""
    return {
        str(path.relative_to(folder)): path.read_text() if path.is_file() else ""
        for path in folder.rglob("*")
    }


def after_the_return(recorder: Recorder) -> list[State]:
    return [state for state in recorder.recording.states(*EVERY[::2]) if state.marks]


def test_a_directory_that_was_made_stays_with_its_parents(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with Recorder(tmp_path) as recorder:
        make_directory(tmp_path / "there" / "a" / "b" / "c")
        recorder.mark("made")
    (state,) = after_the_return(recorder)
    assert set(state.tree) == {"there", "there/a", "there/a/b", "there/a/b/c"}


def test_a_directory_in_one_that_may_not_be_read_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(path)

    monkeypatch.setattr("codepath.core.files.sync", refuse)
    assert make_directory(tmp_path / "a" / "b").is_dir()


@pytest.mark.parametrize("old", [True, False])
def test_an_atomic_directory_is_whole(old: bool, tmp_path: Path) -> None:
    source, folder = make_directory(tmp_path / "source"), make_directory(tmp_path / "folder")
    for name in ("x", "deep/y"):
        make_directory((source / name).parent)
        (source / name).write_text(name)
    if old:
        make_directory(folder / "copy")
        (folder / "copy" / "z").write_text("old")

    def operate(at: Path) -> None:
        with atomic_directory(at / "copy", replaces=old) as copy:
            copy_files([source / "x", source / "deep" / "y"], source, copy)

    with Recorder(folder) as recorder:
        operate(folder)
        recorder.mark("made")

    def check(left: Path, marks: tuple[Hashable, ...]) -> None:
        names = sorted(str(p.relative_to(left / "copy")) for p in (left / "copy").rglob("*"))
        assert names in (
            [["deep", "deep/y", "x"]] if marks else [[], ["z"], ["deep", "deep/y", "x"]]
        )
        assert all(p.read_text() for p in (left / "copy").rglob("*") if p.is_file())
        if names in ([], ["z"]):
            operate(left)

    assert check_states(recorder.recording, tmp_path / "cut", check, EVERY) > 20


def test_an_atomic_directory_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    path = make_directory(tmp_path / "copy")
    (path / "z").write_text("old")

    def fail(replaces: bool, error: type[Exception] | None) -> None:
        with atomic_directory(path, replaces) as copy:
            (copy / "x").write_text("half")
            if error:
                raise error

    with pytest.raises(ZeroDivisionError):
        fail(True, ZeroDivisionError)
    fail(False, None)  # what was there first stays
    assert contents(tmp_path) == {"copy": "", "copy/z": "old"}


def test_lines_that_were_flushed_stay_and_others_do_not_touch_them(tmp_path: Path) -> None:
    """Whatever a cut leaves of the last line, the next one stands alone."""
    folder = make_directory(tmp_path / "folder")
    with Recorder(folder) as recorder:
        for number in range(4):
            append_line(folder / "lines", f'{{"number": {number}}}')
            if number % 2:
                sync(folder / "lines")
                recorder.mark(number)

    def check(left: Path, marks: tuple[Hashable, ...]) -> None:
        append_line(left / "lines", '{"number": 9}')
        *numbers, last = (line["number"] for line in json_lines(left / "lines"))
        assert last == 9
        assert numbers == list(range(len(numbers)))
        assert len(numbers) >= 2 * len(marks)

    assert check_states(recorder.recording, tmp_path / "cut", check, EVERY) > 10
