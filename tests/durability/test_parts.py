"""Power cuts while classifiers, packed networks and parcels of a lease are written."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Hashable
from pathlib import Path

import pytest
import torch

from codepath.core.errors import UserError
from codepath.core.files import make_directory
from codepath.lease import parcel
from codepath.models import extract_binary_classifier, load_binary_classifier, shipped
from codepath.models.classifier_file import FORMATS, ClassifierCard, save_binary_classifier
from codepath.parts import trained_run
from codepath.parts.packing import pack_run
from codepath.parts.trained_run import find_run
from tests.durability.cuts import Extent, check_states
from tests.durability.recorder import Recorder
from tests.durability.undisturbed import Undisturbed
from tests.models.test_classifier_file import CARD
from tests.models.test_extract import network

NAME = "resnext20_10x4d.tiny"


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("before", [True, False], ids=["over another", "new"])
def test_a_classifier_is_the_old_or_the_new_one(
    before: bool, tmp_path: Path, extent: Extent
) -> None:
    """Weights and threshold belong together, whichever of the files have been replaced."""
    whole = network("coded_resnext20_10x4d")
    modules = {k: extract_binary_classifier(whole, k).fuse() for k in (3, 4)}
    cards = {
        k: dataclasses.replace(CARD, class_index=k, threshold=k / 10, class_name=str(k))
        for k in modules
    }
    formats = () if extent.most < 100 else FORMATS

    def save(k: int, at: Path, formats: tuple[str, ...] = formats) -> ClassifierCard:
        return save_binary_classifier(modules[k], cards[k], at / "cat", formats)

    folder = make_directory(tmp_path / "folder")
    if before:
        save(3, folder)
        old = files(folder)
    with Recorder(folder) as recorder:
        save(4, folder)
        recorder.mark("saved")
    new = files(folder)

    def check(left: Path, marks: tuple[Hashable, ...]) -> None:
        for name, content in files(left).items():
            if not name.startswith(("cat/.", ".")):
                assert content in ([new[name], old[name]] if before else [new[name]])
        assert "saved" not in marks or files(left) == new
        if (left / "cat" / "model.safetensors").exists():
            loaded = load_binary_classifier(left / "cat")
            k = loaded.card.class_index
            assert loaded.card == cards[k]
            for one, other in zip(loaded.module.parameters(), modules[k].parameters(), strict=True):
                assert torch.equal(one, other)
        else:
            assert not before
            with pytest.raises(UserError, match="does not exist: codepath extract"):
                load_binary_classifier(left / "cat")
        save(4, left, ())
        assert load_binary_classifier(left / "cat").card == cards[4]

    assert check_states(recorder.recording, tmp_path / "cut", check, extent) > 10


def test_a_packed_network_is_whole(
    run: Undisturbed, tmp_path: Path, extent: Extent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It replaces another one of its name."""
    folder = make_directory(tmp_path / "folder")
    pack_run(run.run_dir(run.folder), folder, NAME)
    facts = folder / NAME / "pretrained.json"
    facts.write_text(facts.read_text().replace("table2-tiny", "another"))
    (folder / NAME / "notes.txt").write_text("of the old one")
    old = files(folder)
    with Recorder(folder) as recorder:
        pack_run(run.run_dir(run.folder), folder, NAME)
        recorder.mark("packed")
    new = files(folder)
    assert new.keys() < old.keys()

    def check(left: Path, marks: tuple[Hashable, ...]) -> None:
        monkeypatch.setattr(shipped, "FOLDER", left)
        assert set(shipped.shipped_names()) <= {NAME}
        here = files(left / NAME)
        whole = [{name.removeprefix(f"{NAME}/"): a[name] for name in a} for a in (new, old)]
        assert here in (whole[:1] if "packed" in marks else [*whole, {}])
        pack_run(run.run_dir(run.folder), left, NAME)
        assert files(left / NAME) == whole[0]

    assert check_states(recorder.recording, tmp_path / "cut", check, extent) > 10


def test_a_shipped_network_is_unpacked_whole(
    tmp_path: Path, extent: Extent, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_directory(tmp_path / "folder")
    source = make_directory(tmp_path / "shipped")
    for name in ("model.safetensors", "config.json", "pretrained.json", "predictions/test.npz"):
        make_directory((source / "net.tag" / name).parent)
        (source / "net.tag" / name).write_bytes(f"{name} of the network".encode())
    for module in (shipped, trained_run):
        monkeypatch.setattr(module, "FOLDER", source)
    monkeypatch.chdir(folder)
    with Recorder(folder) as recorder:
        unpacked = find_run("net.tag", writes=True)
        recorder.mark("found")

    def check(left: Path, marks: tuple[Hashable, ...]) -> None:
        monkeypatch.chdir(left)
        assert unpacked.exists() >= ("found" in marks)
        assert find_run("net.tag", writes=True) == unpacked
        assert files(unpacked) == files(source / "net.tag")

    assert check_states(recorder.recording, tmp_path / "cut", check, extent) > 10


def test_the_pieces_of_a_parcel_belong_together(
    tmp_path: Path, extent: Extent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are the first ones of the old parcel or of the new one; nothing that is left blocks."""
    monkeypatch.setattr(parcel, "PIECE", 2**14)
    folder, lease = make_directory(tmp_path / "folder"), make_directory(tmp_path / "lease")
    (lease / "lease.json").write_text(json.dumps({"old": "x" * 60_000}))
    parcel.pack(lease, folder / "back")
    old = list(files(folder / "back").values())
    (lease / "lease.json").write_text(json.dumps({"new": "y" * 30_000}))
    with Recorder(folder) as recorder:
        parcel.pack(lease, folder / "back")
        recorder.mark("packed")
    new = list(files(folder / "back").values())
    assert len(old) > len(new) > 2

    def check(left: Path, marks: tuple[Hashable, ...]) -> None:
        pieces = [path.read_bytes() for path in sorted((left / "back").glob("lease.tar.*"))]
        assert pieces in (old[: len(pieces)], new[: len(pieces)])
        assert "packed" not in marks or pieces == new
        parcel.require_room(left / "back")
        parcel.pack(lease, left / "back")
        assert list(files(left / "back").values()) == new

    assert check_states(recorder.recording, tmp_path / "cut", check, extent) > 10
