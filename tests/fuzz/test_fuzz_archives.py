"""Archives of images: tars of folders, ImageNet's three, CIFAR's pickles, and a lease's parcel.

A tar has a checksum of each header, and a compressed one of all its content: neither may be wrong.
The content of a tar that is not compressed has none, beside those that the images in it have.
"""

from __future__ import annotations

import io
import os
import tarfile
import urllib.error
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision.datasets.cifar
from hypothesis import strategies as st

from codepath.core.errors import UserError
from codepath.data import FileDataSet, load_data_set
from codepath.data.archives import read_image_files
from codepath.data.sources import imagenet
from codepath.data.sources.cifar import load_cifar
from codepath.lease.parcel import NAME, pack
from tests.data.photographs import TRAIN, VAL, make_archives
from tests.data.test_files import archive
from tests.fuzz.binaries import mutated, noise
from tests.fuzz.harness import ALLOWANCE, REFUSED, counted, fuzz, outcome
from tests.fuzz.pictures import encoded, picture
from tests.fuzz.tars import extended, resealed_tars, sealed, tar_of, zeros

__all__ = ["archive"]
IMAGES = {
    f"{split}/{name}/{k}.png": encoded(picture("RGB").rotate(90 * k), "PNG")
    for split in ("train", "test")
    for name in ("a", "b")
    for k in range(2)
}


@pytest.fixture(autouse=True)
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory beside which nothing may be written."""
    warnings.simplefilter("ignore")
    folder = tmp_path / "outside" / "inside"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    yield folder
    assert [path.name for path in tmp_path.iterdir()] == ["outside"]
    assert [path.name for path in folder.parent.iterdir()] == ["inside"]


@counted
def test_tars_of_images(inputs: int, inside: Path) -> None:
    """All of the images that go in come out, or the archive is refused."""
    path = inside / "images.tar"
    files = sorted(IMAGES.items())
    tars = [tar_of(files), tar_of(files[::-1], tarfile.PAX_FORMAT)]
    long = [(name.replace("/a/", f"/{'a' * 120}/"), data) for name, data in files]
    tars += [tar_of(long), tar_of(long, tarfile.PAX_FORMAT)]

    def check(data: bytes) -> None:
        path.write_bytes(data)
        found = outcome(lambda: read_image_files(path), len(data))
        if found is not REFUSED:
            for split in found.splits.values():
                assert split.images.shape[1:] == (13, 19, 3)
                assert np.bincount(split.labels).min() > 0
                assert len(split.images) == len(split.labels)
            assert all(name.isprintable() for name in found.class_names)
        assert os.listdir(inside) == ["images.tar"]  # noqa: PTH208

    fuzz(check, inputs, st.one_of(noise(tars), resealed_tars(tars), resealed_tars(tars)))


@counted
@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz"])
def test_an_altered_compressed_tar_is_never_taken(inputs: int, suffix: str, inside: Path) -> None:
    """Whatever byte is altered: the same images come out, or none."""
    path = inside / f"images.tar{suffix}"
    files = sorted(IMAGES.items())
    with tarfile.open(path, f"w:{suffix[1:]}") as tar:
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    whole = path.read_bytes()
    right = read_image_files(path)

    def check(data: bytes) -> None:
        path.write_bytes(data)
        found = outcome(lambda: read_image_files(path), len(data))
        if found is not REFUSED:
            for split, there in right.splits.items():
                assert np.array_equal(found.splits[split].images, there.images)
                assert np.array_equal(found.splits[split].labels, there.labels)

    fuzz(check, inputs, mutated([whole]))


@pytest.fixture
def three(inside: Path) -> dict[str, bytes]:
    """ImageNet's archives in the working directory."""
    make_archives(inside / "data")
    return {path.name: path.read_bytes() for path in sorted((inside / "data").iterdir())}


@counted
@pytest.mark.parametrize("name", [imagenet.TRAIN_ARCHIVE, imagenet.VAL_ARCHIVE, imagenet.DEVKIT])
def test_imagenet_s_archives(inputs: int, name: str, inside: Path, three: dict[str, bytes]) -> None:
    """Every image has a label of its own class, and can be read or is named."""
    path = inside / "data" / name

    def check(data: bytes) -> None:
        path.write_bytes(data)
        found = outcome(lambda: load_data_set("imagenet", path.parent, 8, True), len(data))
        if found is REFUSED:
            return
        assert isinstance(found, FileDataSet)
        for split, most in ((found.train, TRAIN), (found.test, VAL)):
            assert len(split.labels) == len(split.files)
            assert set(split.labels) == set(range(len(found.class_names)))
            for index in range(min(len(split), most)):
                split.files.member(index).encode()
                pixels = outcome(lambda: split.image(index), len(data))  # noqa: B023
                assert pixels is REFUSED or pixels.shape[2] == 3
        assert sorted(os.listdir(path.parent)) == sorted(three)  # noqa: PTH208

    almost = noise([three[name]])
    if name != imagenet.DEVKIT:
        almost = st.one_of(almost, resealed_tars([three[name]]), nested(three[name]))
    else:
        almost = st.one_of(almost, devkits(three[name]), devkits(three[name]))
    fuzz(check, inputs, almost)


def nested(data: bytes) -> st.SearchStrategy[bytes]:
    """An archive whose first inner archive is altered."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        files = [(m.name, tar.extractfile(m).read()) for m in tar.getmembers()]  # type: ignore[union-attr]
    (name, first), *others = files
    if not name.endswith(".tar"):
        return st.just(data)
    altered = st.one_of(resealed_tars([first]), mutated([first]))
    return altered.map(lambda inner: tar_of([(name, inner), *others]))


def devkits(data: bytes) -> st.SearchStrategy[bytes]:
    """Development kits with altered tables in an archive that is whole."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        files = {m.name: tar.extractfile(m).read() for m in tar.getmembers()}  # type: ignore[union-attr]
    meta, truth = sorted(files, key=lambda name: name.endswith(".txt"))

    def packed(tables: bytes, labels: bytes) -> bytes:
        return tar_of([(meta, tables), (truth, labels)])

    labels = st.one_of(st.just(files[truth]), mutated([files[truth]]))
    return st.builds(packed, st.one_of(st.just(files[meta]), mutated([files[meta]], 2)), labels)


@counted
@pytest.mark.parametrize("is_unpacked", [True, False])
def test_an_altered_pickle_is_never_opened(
    inputs: int, is_unpacked: bool, archive: Path, inside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CIFAR's files are pickles, which could do anything: their MD5 is compared before."""
    data_folder = inside / "data"
    (archive.parent).rename(data_folder)
    packed = data_folder / archive.name
    right = load_cifar("cifar10", data_folder)
    batch = data_folder / "cifar-10-batches-py" / "data_batch_2"
    target = batch if is_unpacked else packed
    whole = target.read_bytes()
    real, opened = torchvision.datasets.cifar.pickle.load, []

    def noted(file: Any, **options: Any) -> Any:
        file.seek(0)
        opened.append(file.read())
        file.seek(0)
        return real(file, **options)

    def offline(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(torchvision.datasets.cifar.pickle, "load", noted)
    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", offline)
    if is_unpacked:
        packed.unlink()

    def check(data: bytes) -> None:
        opened.clear()
        target.write_bytes(data)
        found = outcome(lambda: load_cifar("cifar10", data_folder), len(data))
        assert data == whole or data not in opened
        if found is not REFUSED:
            assert np.array_equal(found.train.images, right.train.images)
            assert np.array_equal(found.train.labels, right.train.labels)

    fuzz(check, inputs, noise([whole]))


@counted
def test_a_parcel_holds_the_files_that_went_in(inputs: int, inside: Path) -> None:
    """Whatever a lease's folder holds, the pieces together unpack to a part of it."""
    names = st.sampled_from(
        (
            "lease.json", "lease.md", "tests-a.jsonl", "results/a.csv", "results/benchmarks/é.csv",
            "logs/a b.log", "logs/a\nb.log", "runs/s/e/r/config.json", "runs/s/e/r/DONE", "other",
            "runs/s/e/r/model.safetensors", "runs/s/e/r/ckpt/step-00000003.pt", "results/x/y.csv",
        )
    )  # fmt: skip
    trees = st.dictionaries(names, st.one_of(st.binary(max_size=50), st.just(b"link")))
    runs = iter(range(10**9))

    def check(tree: dict[str, bytes]) -> None:
        folder = inside / str(next(runs))
        for name, data in tree.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to("/nowhere") if data == b"link" else path.write_bytes(data)
        pieces, left = outcome(lambda: pack(folder, folder / "back"), 0)
        assert left == []
        assert all(piece.name.startswith(NAME) for piece in pieces)
        whole = io.BytesIO(b"".join(piece.read_bytes() for piece in pieces))
        with tarfile.open(fileobj=whole) as tar:
            for member in tar.getmembers():
                assert member.isfile()
                assert tar.extractfile(member).read() == tree[member.name]  # type: ignore[union-attr]
            packed = set(tar.getnames())
        assert {n for n in tree if n in ("lease.json", "lease.md") and tree[n] != b"link"} <= packed

    fuzz(check, inputs, trees)


WORST = {
    "an endless archive": tar_of([("train/a/0.png", b"x")])[:124] + b"\xff" * 11 + b"\0",
    "a header in the middle": tar_of(sorted(IMAGES.items()))[:1536] + b"?" * 512,
    "no end": tar_of(sorted(IMAGES.items()))[:-10240],
    "600 descriptions of one file": extended(b"9 path=x\n") * 600 + tar_of([("a", b"")]),
    "a description of 8 GiB": sealed(
        extended(b"")[:124] + b"77777777777\0" + extended(b"")[136:512]
    ),
    "digits that take a search minutes": extended(b"9" * 10**6),
    "a bomb": zeros(2**28),
    "nothing": b"",
}


@pytest.mark.parametrize("data", WORST.values(), ids=WORST)
def test_worst_archives(data: bytes, inside: Path) -> None:
    path = inside / "images.tar"
    path.write_bytes(data)
    assert outcome(lambda: read_image_files(path), len(data), ALLOWANCE) is REFUSED
    with pytest.raises(UserError, match=r"images\.tar (is no tar archive or is truncated|unpacks)"):
        read_image_files(path)


def test_a_file_with_holes_is_refused(inside: Path) -> None:
    """It would say 8 GiB, and be as long in memory."""
    member = tarfile.TarInfo("train/a/0.png")
    member.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    header[386:410] = b"77777777777\x0000000000000\0"  # a piece without bytes at its end
    header[483:495] = b"77777777777\0"
    (inside / "images.tar").write_bytes(sealed(bytes(header)) + bytes(1024))
    with pytest.raises(UserError, match=r"train/a/0\.png has holes"):
        read_image_files(inside / "images.tar")


def test_a_link_to_itself_in_the_development_kit(inside: Path, three: dict[str, bytes]) -> None:
    name = "ILSVRC2012_devkit_t12/data/meta.mat"
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, "meta.mat"
    path = inside / "data" / imagenet.DEVKIT
    path.write_bytes(member.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(UserError, match=r"holds no ILSVRC2012_devkit_t12/data/meta\.mat"):
        load_data_set("imagenet", path.parent, subset=True)
    assert len(three) == 3
