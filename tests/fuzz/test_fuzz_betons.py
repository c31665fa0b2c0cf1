"""Betons with their manifests and checksums, and other files of arrays.

Every byte of a beton that is read has a checksum: of its head, its table, each sample; of the file
of checksums and names; and of the manifest that holds these. Betons of earlier versions have none
of the last two, and their manifest's words can be other words. A file of arrays has a checksum of
each array.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from codepath.core.arrays import read_arrays
from codepath.core.errors import UserError
from codepath.core.files import parse_json
from codepath.data import ArrayDataSet, ArraySplit, FileDataSet, beton_writer, load_data_set
from codepath.data import beton as reading
from codepath.data.beton import Beton, betons_of
from codepath.data.beton_format import HEADER
from codepath.data.beton_manifest import sealed
from codepath.data.beton_writer import ensure_beton
from codepath.evaluate import Predictions, load_binary_scores
from codepath.evaluate.binary import BinaryScores, DrawnScores
from tests.data.photographs import make_folders
from tests.fuzz.binaries import mutated, noise
from tests.fuzz.documents import json_files
from tests.fuzz.harness import REFUSED, counted, fuzz, outcome


def in_memory() -> ArrayDataSet:
    rng = np.random.default_rng(0)
    split = ArraySplit(rng.integers(0, 256, (6, 4, 5, 3)).astype(np.uint8), np.arange(6) % 3)
    return ArrayDataSet("noise", "made up", split, split, ("a", "b", "c"), (0.5,) * 3, (0.2,) * 3)


def in_files(root: Path) -> FileDataSet:
    loaded = load_data_set("imagenet", make_folders(root), crop=24, subset=True)
    assert isinstance(loaded, FileDataSet)
    return loaded


@pytest.fixture(params=["pixels", "jpeg"])
def beton(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A beton whose pages are small, so that it is."""
    for module in (beton_writer, reading):
        monkeypatch.setattr(module, "PAGE", 4096)
    images = in_memory() if request.param == "pixels" else in_files(tmp_path / "imagenet")
    return ensure_beton(images, "train", tmp_path / "betons")


def content(path: Path) -> Any:
    """All that a beton gives to a loader."""
    found = Beton(path)
    damages = list(found.damages())
    if damages:
        raise UserError(damages[0])
    samples = [(found.member(k), found.size(k), found.stored(k)) for k in range(len(found))]
    pixels = found.pixels().tobytes() if found.shape else b""
    about = {key: found.manifest[key] for key in ("dataset", "source", "split", "settings")}
    return found.labels.tolist(), list(found.manifest["classes"]), samples, pixels, about


@counted
@pytest.mark.parametrize("suffix", [".beton", ".json", ".npz"])
def test_an_altered_beton_is_never_taken(inputs: int, suffix: str, beton: Path) -> None:
    """Whichever of its three files is altered: all is as it was written, or it is refused."""
    right, target = content(beton), beton.with_suffix(suffix)
    whole = target.read_bytes()

    def check(data: bytes) -> None:
        target.write_bytes(data)
        found = outcome(lambda: content(beton), len(data))
        assert found is REFUSED or found == right

    fuzz(check, inputs, mutated([whole]))


@counted
def test_a_manifest_of_an_earlier_version(inputs: int, beton: Path) -> None:
    """Without its own checksums it is held to its form, and its counts to the samples."""
    path = beton.with_suffix(".json")
    whole = json.loads(path.read_text())
    earlier = {key: value for key, value in whole.items() if key not in ("sha256", "sha256_names")}

    def check(data: bytes) -> None:
        path.write_bytes(data)
        found = outcome(lambda: content(beton), len(data))
        chosen = outcome(lambda: betons_of(whole["dataset"], beton.parent), len(data))
        assert chosen == {"train": beton}
        if found is not REFUSED:
            said = json.loads(data)
            labels, classes, *_ = found
            assert classes == list(said["classes"])
            assert np.bincount(labels).tolist() == list(said["classes"].values())

    fuzz(check, inputs, json_files(earlier, indent=True))


@counted
def test_a_manifest_that_was_sealed_again(inputs: int, beton: Path) -> None:
    """Somebody who computes the checksums again gets no further than to other words."""
    path = beton.with_suffix(".json")
    whole = json.loads(path.read_text())

    def check(data: bytes) -> None:
        try:
            manifest = parse_json(data)
        except ValueError:
            return
        if isinstance(manifest, dict):
            manifest = sealed({key: of for key, of in manifest.items() if key != "sha256"})
        path.write_text(json.dumps(manifest))
        found = outcome(lambda: content(beton), len(data))
        if found is not REFUSED:
            assert found[2:4] == content(beton)[2:4]

    fuzz(check, inputs, json_files(whole))


@counted
def test_a_head_that_was_sealed_again(inputs: int, beton: Path) -> None:
    """Rows and table with right checksums and wrong content: sizes, places and labels."""
    path = beton.with_suffix(".json")
    whole, manifest = beton.read_bytes(), json.loads(path.read_text())
    del manifest["sha256"]
    n = manifest["images"]
    head = Beton(beton)._head_size
    table = int(np.frombuffer(whole, HEADER, 1)["table"][0])

    def check(first: bytes, last: bytes) -> None:
        first, last = first[:head].ljust(head, b"\0"), last[: 24 * n].ljust(24 * n, b"\0")
        beton.write_bytes(first + whole[head:table] + last)
        sums = {"sha256_head": digest(first), "sha256_table": digest(last)}
        path.write_text(json.dumps(sealed(manifest | sums)))
        outcome(lambda: content(beton), len(whole))
        outcome(lambda: [Beton(beton).read(k) for k in range(n)], len(whole))

    fuzz(check, inputs, mutated([whole[:head]], 2), mutated([whole[table:]], 2))


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def npz_of(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


@st.composite
def packed_again(draw: st.DrawFn, whole: bytes) -> bytes:
    """A file of arrays one of which is altered behind the archive's checksum."""
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name = draw(st.sampled_from(sorted(parts)))
    parts[name] = draw(st.one_of(mutated([parts[name][:128]]), mutated([parts[name]])))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", draw(st.sampled_from((zipfile.ZIP_STORED, 8)))) as archive:
        for key, data in parts.items():
            archive.writestr(key, data)
    return buffer.getvalue()


RNG = np.random.default_rng(0)
PREDICTIONS = {"logits": RNG.normal(size=(7, 3)).astype(np.float32), "labels": np.arange(7) % 3,
               "indices": np.arange(7), "energies_block3": np.ones((7, 5), np.float32)}  # fmt: skip
ALL = {"scores": RNG.normal(size=(7, 3)).astype(np.float32), "labels": np.arange(7) % 3}
DRAWN = {"labels": np.arange(7) % 3, "starts": np.array([0, 2, 4, 5]),
         "places": np.array([0, 1, 1, 4, 6], np.int32), "draws": np.arange(5, dtype=np.uint8),
         "scores": RNG.normal(size=5).astype(np.float32)}  # fmt: skip


def load_predictions(path: Path) -> dict[str, np.ndarray]:
    found = Predictions.load(path)
    assert len(found.logits.argmax(1)[found.labels >= 0]) == len(found.indices)
    energies = {f"energies_block{b}": values for b, values in found.energies.items()}
    own = {"logits": found.logits, "labels": found.labels, "indices": found.indices}
    return own | energies


def load_scores(path: Path) -> dict[str, np.ndarray]:
    found = load_binary_scores(path)
    assert isinstance(found, BinaryScores | DrawnScores)
    classes = found.scores.shape[1] if isinstance(found, BinaryScores) else len(found.starts) - 1
    for k in range(classes):
        of_class = found.of_class(k)
        assert len(of_class.score) == len(of_class.positive)
        assert all(len(of_class.draw(d).score) >= 0 for d in range(len(of_class.draws)))
    return found._asdict()


@counted
@pytest.mark.parametrize(
    ("arrays", "load"), [(PREDICTIONS, load_predictions), (ALL, load_scores), (DRAWN, load_scores)],
    ids=["predictions", "all scores", "drawn scores"],
)  # fmt: skip
def test_files_of_arrays(
    inputs: int,
    arrays: dict[str, np.ndarray],
    load: Callable[[Path], dict[str, np.ndarray]],
    tmp_path: Path,
) -> None:
    """What is altered is refused by its checksum; what was sealed again has its form."""
    path = tmp_path / "x.npz"
    whole = npz_of(**arrays)

    def check(data: bytes, is_sealed: bool) -> None:
        path.write_bytes(data)
        found = outcome(lambda: load(path), len(data))
        if found is not REFUSED and not is_sealed:
            assert found.keys() == arrays.keys()
            assert all(np.array_equal(found[name], arrays[name]) for name in arrays)

    altered = st.tuples(noise([whole]), st.just(False))
    sealed_again = st.tuples(packed_again(whole), st.just(True))
    fuzz(lambda pair: check(*pair), inputs, st.one_of(altered, sealed_again))


def bomb() -> bytes:
    """Half a GiB of zeros in half a MiB."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", 8) as archive, archive.open("labels.npy", "w") as file:
        np.lib.format.write_array_header_1_0(
            file, {"shape": (2**26,), "fortran_order": False, "descr": "<i8"}
        )
        for _ in range(2**9):
            file.write(bytes(2**20))
    return buffer.getvalue()


def claim(shape: tuple[int, ...], descr: str = "<f4") -> bytes:
    """An array that says another shape than it has."""
    buffer, array = io.BytesIO(), io.BytesIO()
    header = {"shape": shape, "fortran_order": False, "descr": descr}
    np.lib.format.write_array_header_1_0(array, header)
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("labels.npy", array.getvalue() + bytes(64))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [b"", b"PK\x05\x06" + bytes(18), bomb(), claim((2**40,)), claim((-1,)), claim((2**60, 2**60)),
     claim((8,), "|O"), npz_of(labels=np.arange(9))[:-30]],
    ids=["nothing", "empty", "a bomb", "2**40", "negative", "2**120", "objects", "cut"],
)  # fmt: skip
def test_worst_files_of_arrays(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(data)
    for load in (Predictions.load, load_binary_scores):
        assert outcome(lambda: load(path), len(data)) is REFUSED  # noqa: B023
    if data[:4] != b"PK\x05\x06":
        with pytest.raises(ValueError, match=r"zip|content|size|objects|CRC"):
            read_arrays(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("images", "6"), ("images", 2**40), ("images", -1), ("classes", ["a"]), ("bytes", None),
        ("classes", {"a": 6}), ("settings", []), ("settings", {"store": "tape"}), ("jpeg", 5),
        ("classes", {"a": 2, "b": 2, "d": 2}), ("source", "elsewhere"), ("sha256_names", "0"),
    ],
)  # fmt: skip
def test_an_altered_manifest_is_named(key: str, value: Any, tmp_path: Path) -> None:
    """Another class's name in it, too, which nothing else says."""
    path = ensure_beton(in_memory(), "train", tmp_path)
    manifest = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps(manifest | {key: value}))
    with pytest.raises(UserError, match=r"\.beton is damaged .*; remove it"):
        Beton(path)
    assert betons_of("noise", tmp_path) == {"train": path}


def test_betons_of_earlier_versions_are_read(tmp_path: Path) -> None:
    path = ensure_beton(in_memory(), "train", tmp_path)
    right = content(path)
    manifest = json.loads(path.with_suffix(".json").read_text())
    del manifest["sha256"], manifest["sha256_names"]
    path.with_suffix(".json").write_text(json.dumps(manifest))
    assert content(path) == right
