"""A full disk at every moment: one line says so, and what was there before is whole."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest

from codepath import store
from codepath.core import files
from codepath.core.files import make_directory
from codepath.data import ArrayDataSet
from codepath.data.beton import Beton
from codepath.data.beton_writer import ensure_beton
from codepath.launch import snapshot
from codepath.launch.plan import Destination, make_plan
from codepath.launch.submit import Submission
from codepath.lease import parcel
from codepath.models import extract_binary_classifier, load_binary_classifier, shipped
from codepath.models.classifier_file import save_binary_classifier
from codepath.parts import trained_run
from codepath.parts.packing import pack_run
from codepath.parts.trained_run import find_run
from codepath.run.config import RunConfig
from codepath.run.directory import claim, is_done
from codepath.run.events import events, note, write_order
from codepath.run.state import look
from codepath.train.checkpoint import load_checkpoint
from tests.durability.full_disk import check_full_disk
from tests.durability.test_betons import images
from tests.durability.test_jobs import assert_whole, configs, slurm, source_files
from tests.durability.test_parts import NAME
from tests.durability.test_parts import files as contents
from tests.durability.test_rows import APPENDED, KINDS, Operation, found, rows, two_runs
from tests.durability.undisturbed import Undisturbed
from tests.models.test_classifier_file import CARD
from tests.models.test_extract import network
from tests.train.runs import assert_same_run

__all__ = ["configs", "images", "slurm"]


@pytest.fixture(params=["some", pytest.param("all", marks=pytest.mark.slow)])
def most(request: pytest.FixtureRequest) -> int:
    """At how many moments the disk is full."""
    return {"some": 12, "all": 10_000}[request.param]


@pytest.fixture(autouse=True)
def _no_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is really flushed, which would take time."""
    monkeypatch.setattr("os.fsync", lambda _: None)


def test_a_run(run: Undisturbed, tmp_path: Path, most: int) -> None:
    """Trained, measured and collected; a few moments in the fast test."""

    def check(folder: Path, well: bool) -> None:
        run_dir = run.run_dir(folder)
        for path in run_dir.glob("ckpt/step-*.pt"):
            load_checkpoint(path)
        if well:
            assert_same_run(run.run_dir(run.folder), run_dir)
            assert is_done(run_dir, run.config)
            assert len(store.read_rows(folder / "results", "accuracy")) == 1
        elif (run_dir / "DONE").exists():
            assert (run_dir / "model.safetensors").exists()
            assert len(store.read_rows(run_dir / "rows", "accuracy")) == 1

    needs = check_full_disk(tmp_path / "folder", lambda _: None, run.command, check, most // 3)
    assert needs > 100


@pytest.mark.parametrize(("operate", "after"), list(APPENDED.values()), ids=list(APPENDED))
def test_appended_rows(
    operate: Operation, after: dict[tuple[str, int], float], tmp_path: Path, most: int
) -> None:
    def prepare(folder: Path) -> None:
        store.append_rows(folder / "results", rows(0, 0.25))
        store.append_rows(folder / "results", rows(1, 0.5))
        two_runs(folder)

    def check(folder: Path, well: bool) -> None:
        here = found(folder / "results")
        assert here == after if well else {(kind, 1) for kind in KINDS} <= set(here)
        assert all(value in (0.25, 0.5, after[which]) for which, value in here.items())

    assert check_full_disk(tmp_path / "folder", prepare, operate, check, most // 2) > 10


def test_replaced_rows(tmp_path: Path, most: int) -> None:
    def operate(folder: Path) -> None:
        store.replace_rows(folder / "rows", rows(0, 0.75, ("accuracy",), created=2), KINDS)

    def check(folder: Path, well: bool) -> None:
        here = found(folder / "rows")
        assert here[("accuracy", 0)] in ([0.75] if well else [0.25, 0.75])

    def prepare(folder: Path) -> None:
        store.append_rows(folder / "rows", rows(0, 0.25))

    assert check_full_disk(tmp_path / "folder", prepare, operate, check, most) > 10


def test_a_beton(images: ArrayDataSet, tmp_path: Path, most: int) -> None:
    def operate(folder: Path) -> None:
        ensure_beton(images, "train", folder / "betons")

    def check(folder: Path, well: bool) -> None:
        betons = list((folder / "betons").glob("*.beton"))
        assert len(betons) >= well
        for path in betons:
            assert list(Beton(path).damages()) == []
            assert np.array_equal(Beton(path).pixels(), images.train.images)

    assert check_full_disk(tmp_path / "folder", lambda _: None, operate, check, most) > 30


@pytest.mark.usefixtures("slurm")
def test_a_submission(configs: list[RunConfig], tmp_path: Path, most: int) -> None:
    """It is taken back as a whole, and a run that failed before is as it was."""
    folder = tmp_path / "folder"
    destination = Destination(folder / "runs")
    run_dirs = [destination.run_dir(config) for config in configs]
    before: dict[str, bytes] = {}

    def prepare(_: Path) -> None:
        claim(configs[0], make_directory(run_dirs[0]))
        write_order(run_dirs[0], {"cluster": "slurm", "job": "7", "folder": "elsewhere"})
        note(run_dirs[0], "submitted")
        note(run_dirs[0], "failed", error=["out of luck"])
        before.update(contents(folder))

    def operate(_: Path) -> None:
        Submission(make_plan(configs, destination), destination, "slurm").submit()

    def check(_: Path, well: bool) -> None:
        if not well:
            left = {name: data for name, data in contents(folder).items() if ".lock" not in name}
            assert left == before
            return
        for run_dir in run_dirs:
            assert look(run_dir).state == "waiting"
            assert "submitted" in [event["event"] for event in events(run_dir)]
        (copy,) = (folder / "runs" / "source").glob("[!.]*")
        assert_whole(copy)

    assert check_full_disk(folder, prepare, operate, check, most) > 50


def test_a_copy_of_the_source(tmp_path: Path, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "_files", source_files)

    def check(folder: Path, well: bool) -> None:
        copies = list(folder.glob("source/*"))
        assert len(copies) >= well
        for copy in copies:
            assert_whole(copy)

    def operate(folder: Path) -> None:
        snapshot.take_snapshot(folder / "source")

    assert check_full_disk(tmp_path / "folder", lambda _: None, operate, check, most) > 20


def test_a_classifier(tmp_path: Path, most: int) -> None:
    whole = network("coded_resnext20_10x4d")
    modules = {k: extract_binary_classifier(whole, k).fuse() for k in (3, 4)}

    def save(k: int, folder: Path) -> None:
        card = dataclasses.replace(CARD, class_index=k)
        save_binary_classifier(modules[k], card, folder / "cat", ())

    def check(folder: Path, well: bool) -> None:
        assert load_binary_classifier(folder / "cat").card.class_index in ([4] if well else [3, 4])
        assert not list(folder.glob("cat/.*"))

    needs = check_full_disk(
        tmp_path / "folder", lambda at: save(3, at), lambda at: save(4, at), check, most
    )
    assert needs > 5


def test_a_packed_network(run: Undisturbed, tmp_path: Path, most: int) -> None:
    """One of the same name stays until the new one is whole."""

    def prepare(folder: Path) -> None:
        make_directory(folder / NAME)
        (folder / NAME / "pretrained.json").write_text('{"top1": "of another one"}\n')

    def check(folder: Path, well: bool) -> None:
        facts = json.loads((folder / NAME / "pretrained.json").read_text())
        is_old = facts["top1"] == "of another one"
        assert not (is_old and well)
        assert (folder / NAME / "model.safetensors").exists() != is_old
        assert [path.name for path in folder.iterdir()] == [NAME]

    def operate(folder: Path) -> None:
        pack_run(run.run_dir(run.folder), folder, NAME)

    assert check_full_disk(tmp_path / "folder", prepare, operate, check, most) > 15


def test_a_shipped_network(tmp_path: Path, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    source = make_directory(tmp_path / "shipped" / "net.tag" / "predictions").parent
    for name in ("model.safetensors", "config.json", "pretrained.json", "predictions/test.npz"):
        (source / name).write_bytes(f"{name} of the network".encode())
    for module in (shipped, trained_run):
        monkeypatch.setattr(module, "FOLDER", source.parent)
    monkeypatch.setattr(trained_run, "UNPACKED", tmp_path / "folder" / "pretrained")

    def check(folder: Path, well: bool) -> None:
        copy = folder / "pretrained" / "net.tag"
        assert copy.exists() >= well
        assert not copy.exists() or contents(copy) == contents(source)
        assert not list(folder.glob("pretrained/.*"))

    def operate(_: Path) -> None:
        find_run("net.tag", writes=True)

    assert check_full_disk(tmp_path / "folder", lambda _: None, operate, check, most) > 8


def test_a_parcel(tmp_path: Path, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parcel, "PIECE", 2**14)
    lease = make_directory(tmp_path / "lease")

    def pack(folder: Path, text: str) -> list[bytes]:
        (lease / "lease.json").write_text(json.dumps(text))
        os.utime(lease / "lease.json", (0, 0))
        parcel.pack(lease, folder / "back")
        return list(contents(folder / "back").values())

    old = pack(tmp_path / "old", "x" * 60_000)
    new = pack(tmp_path / "new", "y" * 30_000)

    def check(folder: Path, well: bool) -> None:
        pieces = list(contents(folder / "back").values())
        n = len(pieces)
        assert pieces in ([new] if well else [old[:n], new[:n]])
        parcel.require_room(folder / "back")

    needs = check_full_disk(
        tmp_path / "folder",
        lambda folder: pack(folder, "x" * 60_000),
        lambda folder: pack(folder, "y" * 30_000),
        check,
        most,
    )
    assert needs > 10


def test_bookkeeping_never_ends_a_run(
    tiny_config: RunConfig, tmp_path: Path, most: int, outside_jobs: None
) -> None:
    """An event for which there is no room is dropped, and those before it stay."""
    del outside_jobs

    def prepare(folder: Path) -> None:
        claim(tiny_config, make_directory(folder / "run"))
        note(folder / "run", "submitted")

    def check(folder: Path, well: bool) -> None:
        assert well
        happened = [event["event"] for event in events(folder / "run")]
        assert happened[0] == "submitted"
        assert set(happened[1:]) <= {"stopped"}

    def operate(folder: Path) -> None:
        note(folder / "run", "stopped")

    assert check_full_disk(tmp_path / "folder", prepare, operate, check, most) >= 2
    assert files.json_lines(tmp_path / "folder" / "run" / "events.jsonl")
