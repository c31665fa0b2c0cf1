"""Designed schemes are kept on disk; a design that takes long is announced."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from codepath.codes import CodingScheme, design_scheme, kept
from codepath.core.errors import UserError

SIZE = (5, 7, 3)
SCHEME = design_scheme(*SIZE)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "codepath" / "schemes"


@pytest.fixture
def designs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int]]:
    """The sizes that were designed; the design is instant."""
    made: list[tuple[int, int, int]] = []

    def design(size: tuple[int, int, int]) -> CodingScheme:
        made.append(size)
        return SCHEME

    monkeypatch.setattr(kept, "_design", design)
    return made


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines on designs that take long."""
    lines: list[str] = []
    monkeypatch.setattr(kept._log, "warning", lambda form, text: lines.append(form % text))
    return lines


def test_a_design_is_made_once_and_is_that_of_design_scheme(cache: Path) -> None:
    for _ in range(2):
        scheme = kept.designed_scheme(*SIZE)
        assert np.array_equal(scheme.table, SCHEME.table)
        assert scheme.class_names == ()
    assert len(list(cache.glob("5-7-3-*.csv"))) == 1


def test_the_kept_one_is_read(cache: Path, designs: list) -> None:
    kept.designed_scheme(*SIZE)
    kept.designed_scheme(*SIZE)
    assert designs == [SIZE]
    assert not list(cache.glob(".*"))  # nothing half-written


@pytest.mark.parametrize(
    "text", ["", "class,codeword\n0,1110000\n", CodingScheme(1 - SCHEME.table).to_csv()]
)
def test_a_damaged_file_is_made_anew(cache: Path, designs: list, text: str) -> None:
    kept.designed_scheme(*SIZE)
    (file,) = cache.glob("*.csv")
    good = file.read_text()
    file.write_text(text)
    assert np.array_equal(kept.designed_scheme(*SIZE).table, SCHEME.table)
    assert designs == [SIZE, SIZE]
    assert file.read_text() == good


def test_changed_code_designs_anew(
    cache: Path, designs: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.designed_scheme(*SIZE)
    monkeypatch.setattr(kept, "_version", lambda: "another")
    kept.designed_scheme(*SIZE)
    assert designs == [SIZE, SIZE]
    assert len(list(cache.glob("*.csv"))) == 2


def test_those_who_come_together_wait_for_one_design(cache: Path, designs: list) -> None:
    start = threading.Barrier(4)

    def one(_: int) -> CodingScheme:
        start.wait()
        return kept.designed_scheme(*SIZE)

    with ThreadPoolExecutor(4) as pool:
        schemes = list(pool.map(one, range(4)))
    assert designs == [SIZE]
    assert all(np.array_equal(scheme.table, SCHEME.table) for scheme in schemes)
    assert cache.is_dir()


def test_without_locks_every_process_designs(
    cache: Path, designs: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: object) -> None:
        raise OSError("no locks available")

    monkeypatch.setattr("filelock.FileLock.acquire", refused)
    assert np.array_equal(kept.designed_scheme(*SIZE).table, SCHEME.table)
    assert designs == [SIZE]
    assert len(list(cache.glob("*.csv"))) == 1


def test_a_cache_that_cannot_be_written_is_left_alone(
    tmp_path: Path, designs: list, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "below"))
    monkeypatch.setattr(kept, "PATIENCE", 600.0)
    assert np.array_equal(kept.designed_scheme(*SIZE).table, SCHEME.table)
    kept.designed_scheme(*SIZE)
    assert designs == [SIZE, SIZE]
    assert said == []


@pytest.mark.parametrize("writable", [True, False])
def test_a_long_design_says_in_one_line_what_it_is_and_where_it_goes(
    cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, writable: bool
) -> None:
    lines: list[str] = []
    heard = threading.Event()

    def hear(form: str, text: str) -> None:
        lines.append(form % text)
        heard.set()

    def design(_: object) -> CodingScheme:
        assert heard.wait(60)
        return SCHEME

    monkeypatch.setattr(kept._log, "warning", hear)
    monkeypatch.setattr(kept, "_design", design)
    monkeypatch.setattr(kept, "PATIENCE", 0.0)
    if not writable:
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    kept.designed_scheme(*SIZE)
    kept.designed_scheme(*SIZE)
    assert len(lines) == (1 if writable else 2)  # what is kept takes no time
    assert "codewords of 5 classes on 7 paths, 3 active" in lines[0]
    assert "\n" not in lines[0]
    where = f"kept in {cache}" if writable else f"it cannot be kept: cannot create {tmp_path}"
    assert where in lines[0]


def test_impossible_sizes_leave_nothing_behind(cache: Path) -> None:
    with pytest.raises(UserError, match="active is 7 of 7"):
        kept.designed_scheme(5, 7, 7)
    assert not cache.exists()
