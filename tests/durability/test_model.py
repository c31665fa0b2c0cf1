"""The model of a power cut finds the known faults, and accepts what is known to be right."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Hashable
from pathlib import Path

import pytest
import torch

from codepath.core.files import write_text
from tests.durability.cuts import Extent, Recording, Tree, check_states, remains
from tests.durability.recorder import Recorder

OLD, NEW = "old content\n", "a newer and longer content\n"


def recorded(folder: Path, operate: Callable[[Path], None]) -> Recording:
    """What `operate` does to a folder with a file of old content."""
    folder.mkdir(exist_ok=True)
    (folder / "file").write_text(OLD)
    with Recorder(folder) as recorder:
        operate(folder / "file")
        recorder.mark("returned")
    return recorder.recording


def left(recording: Recording) -> set[str | None]:
    """What the file may hold after a cut; None: it is not there."""
    contents = {state.tree.get("file") for state in recording.states(1000, 0)}
    return {content.decode() if content is not None else None for content in contents}


def plainly(path: Path) -> None:
    path.write_text(NEW)


def renamed(path: Path) -> None:
    path.with_suffix(".tmp").write_text(NEW)
    path.with_suffix(".tmp").replace(path)


def flushed(path: Path) -> None:
    with path.with_suffix(".tmp").open("w") as file:
        file.write(NEW)
        file.flush()
        os.fsync(file.fileno())
    path.with_suffix(".tmp").replace(path)


def test_a_file_that_is_written_over_may_end_up_empty(tmp_path: Path) -> None:
    assert {OLD, "", NEW[: len(NEW) // 2], NEW} <= left(recorded(tmp_path, plainly))


def test_a_rename_may_be_there_without_the_content(tmp_path: Path) -> None:
    assert {OLD, "", NEW} <= left(recorded(tmp_path, renamed))


def test_a_flushed_file_is_old_or_new_and_may_be_old_after_the_return(tmp_path: Path) -> None:
    recording = recorded(tmp_path, flushed)
    assert left(recording) == {OLD, NEW}
    after = [state for state in recording.states(1000, 0) if state.marks]
    assert {state.tree["file"] for state in after} == {OLD.encode(), NEW.encode()}


def test_an_atomic_file_is_old_or_new_and_new_after_the_return(tmp_path: Path) -> None:
    recording = recorded(tmp_path, lambda path: write_text(path, NEW))
    assert left(recording) == {OLD, NEW}
    after = [state for state in recording.states(1000, 0) if state.marks]
    assert [state.tree for state in after] == [{"file": NEW.encode()}]


def test_what_is_in_a_new_directory_is_lost_with_its_name(tmp_path: Path) -> None:
    def operate(path: Path) -> None:
        (path.parent / "new").mkdir()
        write_text(path.parent / "new" / "inside", NEW)

    recording = recorded(tmp_path, operate)
    trees = [state.tree for state in recording.states(1000, 0) if state.marks]
    assert {"file": OLD.encode()} in trees
    assert {"file": OLD.encode(), "new": None, "new/inside": NEW.encode()} in trees


def test_names_are_lost_independently(tmp_path: Path) -> None:
    def operate(path: Path) -> None:
        for name in "abc":
            path.with_name(name).touch()
        path.unlink()

    recording = recorded(tmp_path, operate)
    names = {frozenset(state.tree) for state in recording.states(1000, 0)}
    assert len(names) == 2**4
    assert frozenset() in names  # the removal alone


def test_a_move_between_directories_loses_nothing(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    recording = recorded(tmp_path, lambda path: path.rename(path.parent / "there" / "file"))
    names = {frozenset(state.tree) for state in recording.states(1000, 0)}
    assert names == {frozenset({"file", "there"}), frozenset({"there/file", "there"})}


def test_many_changes_at_once_are_sampled_with_the_extremes(tmp_path: Path) -> None:
    def operate(path: Path) -> None:
        for number in range(12):
            path.with_name(str(number)).write_text(str(number))

    recording = recorded(tmp_path, operate)
    some = recording.states(30, 0)
    assert some == recording.states(30, 0)
    trees = [state.tree for state in some]
    assert {"file": OLD.encode()} in trees
    assert recording.last() in trees
    assert any(set(tree) == set(recording.last()) and not tree["7"] for tree in trees)


def test_what_others_than_python_write_is_seen(tmp_path: Path) -> None:
    def operate(path: Path) -> None:
        subprocess.run(["cp", path, path.with_name("other")], check=True)
        path.unlink()
        path.with_name("third").write_text("3")  # may be given the inode of the removed file
        torch.save({"x": torch.arange(3)}, path.with_name("tensors"))

    recording = recorded(tmp_path, operate)
    found: Tree = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert recording.last() == found
    assert set(found) == {"other", "third", "tensors"}


def test_what_may_be_left_of_a_file() -> None:
    assert remains(b"ab", b"abcdef") == (
        b"ab", b"abc", b"abcd", b"abcde", b"ab\0\0\0\0", b"ab\0\0ef", b"abcdef",
    )  # fmt: skip
    assert remains(b"abcd", b"wxyz") == (b"abcd", b"wxcd", b"abyz", b"wxyz")
    assert remains(b"ab", b"wxyz") == (b"ab", b"wx", b"abyz", b"ab\0\0", b"wxyz")
    assert remains(b"ab", b"", b"wxyz") == (
        b"ab", b"", b"w", b"wx", b"wxy", b"\0\0\0\0", b"\0\0yz", b"wxyz",
    )  # fmt: skip
    assert remains(b"ab") == (b"ab",)


def patched(path: Path) -> None:
    with path.open("r+") as file:
        file.write("OLD")


def test_a_file_that_is_patched_in_place_keeps_the_rest(tmp_path: Path) -> None:
    assert left(recorded(tmp_path, patched)) == {OLD, "OLD content\n"}


def test_a_failure_names_the_cut_and_the_seed(tmp_path: Path) -> None:
    recording = recorded(tmp_path / "folder", plainly)
    del recording.operations[-1]  # the mark

    def check(folder: Path, marks: tuple[Hashable, ...]) -> None:
        assert (folder / "file").read_text(), marks

    with pytest.raises(AssertionError) as caught:
        check_states(recording, tmp_path / "cut", check, Extent(9, 9, seed=7))
    assert "file now of 27 bytes; seed 7" in caught.value.__notes__[0]
    assert caught.value.__notes__[1:] == ["  file, 0 B"]
