"""Image files and CIFAR's archives, good and broken."""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import pickle
import struct
import tarfile
import urllib.error
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from codepath import cli
from codepath.core.errors import UserError
from codepath.core.photos import read_photo
from codepath.data import ArrayDataSet, archives, load_data_set
from codepath.data.archives import read_image_files
from codepath.data.files import FileSplit, FolderFiles, decode
from codepath.data.sources import cifar
from codepath.data.sources.cifar import CIFAR10_CLASSES


def pixels(seed: int, size: tuple[int, int] = (8, 8)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)


def encoded(image: np.ndarray, suffix: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, {"png": "PNG", "jpg": "JPEG"}[suffix], **options)
    return buffer.getvalue()


def make_tree(
    folder: Path, classes: tuple[str, ...] = ("a", "b"), suffix: str = "png", **options: object
) -> Path:
    """Three training images and one test image per class."""
    for k, name in enumerate(classes):
        for split, count in (("train", 3), ("test", 1)):
            (folder / split / name).mkdir(parents=True)
            for i in range(count):
                data = encoded(pixels(100 * k + i), suffix, **options)
                (folder / split / name / f"{i:04d}.{suffix}").write_bytes(data)
    return folder


def make_tar(tree: Path, path: Path) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for split in ("train", "test"):
            archive.add(tree / split, split)
    return path


def test_folder_and_tar_give_the_same_images(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree")
    folder = read_image_files(tree)
    tar = read_image_files(make_tar(tree, tmp_path / "images.tar.gz"))
    assert folder.class_names == tar.class_names == ("a", "b")
    assert folder.jpeg_quality is None
    for split in ("train", "test"):
        assert np.array_equal(folder.splits[split].images, tar.splits[split].images)
    assert folder.splits["train"].labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert np.array_equal(folder.splits["train"].images[4], pixels(101))


@pytest.mark.parametrize("quality", [30, 50, 75, 92])
def test_jpeg_quality_is_recognised(quality: int, tmp_path: Path) -> None:
    tree = make_tree(tmp_path, suffix="jpg", quality=quality)
    assert read_image_files(tree).jpeg_quality == quality


def test_missing_and_unexpected_classes(tmp_path: Path) -> None:
    tree = make_tree(tmp_path)
    with pytest.raises(UserError, match="for 10 classes, found 2"):
        read_image_files(tree, CIFAR10_CLASSES)
    (tree / "test" / "b").rename(tree / "test" / "c")
    with pytest.raises(UserError, match=r"expected test/CLASS/ for 2 classes.*first difference: b"):
        read_image_files(tree)


def test_broken_and_odd_images(tmp_path: Path) -> None:
    tree = make_tree(tmp_path)
    odd = tree / "train" / "a" / "0003.png"
    odd.write_bytes(encoded(pixels(0, (8, 9)), "png"))
    with pytest.raises(UserError, match=r"train/a/0003\.png is 9 x 8 pixels"):
        read_image_files(tree)
    odd.write_bytes(encoded(pixels(0), "png")[:-40])
    with pytest.raises(UserError, match=r"cannot read the image train/a/0003\.png"):
        read_image_files(tree)


@pytest.mark.parametrize("keep", [0.3, 0.95])
def test_a_truncated_tar(keep: float, tmp_path: Path) -> None:
    path = make_tar(make_tree(tmp_path / "tree"), tmp_path / "images.tar.gz")
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))])
    with pytest.raises(UserError, match="truncated"):
        read_image_files(path)


@pytest.mark.parametrize("name", ["../train/a/evil.png", "/train/a/evil.png", "train/../../x.png"])
def test_a_tar_with_a_path_outside_itself(name: str, tmp_path: Path) -> None:
    path = tmp_path / "images.tar"
    with tarfile.open(path, "w") as archive:
        data = encoded(pixels(0), "png")
        member = tarfile.TarInfo(name)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    with pytest.raises(UserError, match="unsafe path"):
        read_image_files(path)
    assert [p.name for p in tmp_path.iterdir()] == ["images.tar"]


def test_cifar10_from_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = make_tree(tmp_path / "tree", CIFAR10_CLASSES, "jpg", quality=75)
    images = load_data_set("cifar10", tree)
    assert images.source == "CIFAR-10 as images, JPEG quality 75"
    assert images.class_names == CIFAR10_CLASSES
    monkeypatch.setenv(cifar.IMAGES_VARIABLE, str(tree))
    assert np.array_equal(load_data_set("cifar10").train.images, images.train.images)
    monkeypatch.setenv(cifar.IMAGES_VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="does not exist"):
        load_data_set("cifar10")
    with pytest.raises(UserError, match="100 classes, found 10"):
        load_data_set("cifar100", tree)


def test_any_folder_or_tar_of_images(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree", ("a", "b", "c"))
    images = load_data_set("images", tree)
    tar = load_data_set("images", make_tar(tree, tmp_path / "animals.tar.gz"))
    assert isinstance(images, ArrayDataSet)
    assert isinstance(tar, ArrayDataSet)
    assert images.class_names == ("a", "b", "c")
    assert images.image_shape == (3, 8, 8)
    assert (images.dataset, images.source) == ("images", "images in tree")
    assert tar.source == "images in animals.tar.gz"
    assert np.array_equal(images.train.images, tar.train.images)
    scaled = images.train.images / 255
    assert np.allclose(images.mean, scaled.mean((0, 1, 2)), atol=1e-12)
    assert np.allclose(images.std, scaled.std((0, 1, 2)), atol=1e-12)
    for wrong in (None, tmp_path / "nowhere"):
        with pytest.raises(UserError, match=r"name a folder or tar of images, train/CLASS"):
            load_data_set("images", wrong)


def test_commands_on_any_images(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree", ("a", "b", "c"))

    def command(*words: str) -> Any:
        return CliRunner().invoke(cli.app, [*words, "--data", str(tree)])

    done = command("data", "info", "images")
    assert "train 9 images of 3 classes, 3 a class; 8 x 8 pixels, 3 channels" in done.output
    assert command("data", "build", "images").exit_code == 0
    assert len(list((tree / "betons").glob("images-*.beton"))) == 2
    picture = tmp_path / "sheet.png"
    settings = ("--set", "data.source=images", "--set", "model.in_chans=3")
    done = command("data", "show", "table2-digits", "--picture", str(picture), *settings)
    assert done.exit_code == 0, done.output
    assert picture.stat().st_size > 1000
    runs = ("run", "table2-digits", "--runs", str(tmp_path / "runs"))
    done = command(*runs, *settings)
    assert isinstance(done.exception, UserError)
    assert "images has 3 classes, model.num_classes is 10" in str(done.exception)


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an archive laid out like CIFAR-10's, with two images a batch."""
    cls = cifar.CIFAR10
    rng = np.random.default_rng(0)
    files = {
        name: {"data": rng.integers(0, 256, (2, 3072)).astype(np.uint8), "labels": [k % 10, 9]}
        for k, name in enumerate([f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"])
    }
    files["batches.meta"] = {"label_names": list(CIFAR10_CLASSES)}
    path = tmp_path / "data" / cls.filename
    path.parent.mkdir()
    sums = {}
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            data = pickle.dumps(content)
            sums[name] = hashlib.md5(data).hexdigest()
            member = tarfile.TarInfo(f"{cls.base_folder}/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    monkeypatch.setattr(cls, "tgz_md5", hashlib.md5(path.read_bytes()).hexdigest())
    monkeypatch.setattr(cls, "train_list", [[n, sums[n]] for n, _ in cls.train_list])
    monkeypatch.setattr(cls, "test_list", [[n, sums[n]] for n, _ in cls.test_list])
    monkeypatch.setattr(
        cls, "meta", {**cls.meta, "filename": "batches.meta", "md5": sums["batches.meta"]}
    )
    return path


def test_cifar10_from_its_archive(archive: Path) -> None:
    images = load_data_set("cifar10", archive.parent)
    assert images.source == "CIFAR-10 archive"
    assert images.train.images.shape == (10, 32, 32, 3)
    assert images.test.labels.tolist() == [5, 9]
    assert images.class_names == CIFAR10_CLASSES
    archive.unlink()  # unpacked by now: it is not needed any more
    again = load_data_set("cifar10", archive.parent)
    assert np.array_equal(again.train.images, images.train.images)


def test_several_processes_unpack_an_archive_once(archive: Path) -> None:
    """One unpacks, the others wait for it."""
    context = multiprocessing.get_context("fork")
    start = context.Barrier(4)

    def load() -> None:
        start.wait(60)
        assert len(load_data_set("cifar10", archive.parent).train) == 10

    children = [context.Process(target=load) for _ in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join(120)
    assert [child.exitcode for child in children] == [0] * 4


def test_a_truncated_cifar_archive(archive: Path) -> None:
    archive.write_bytes(archive.read_bytes()[:-100])
    with pytest.raises(UserError, match="truncated or altered"):
        load_data_set("cifar10", archive.parent)


def test_offline_without_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", offline)
    with pytest.raises(UserError, match=r"put cifar-10-python\.tar\.gz there"):
        load_data_set("cifar10", tmp_path)


def test_whether_a_path_holds_images(tmp_path: Path) -> None:
    assert not archives.is_image_files(tmp_path)
    assert archives.is_image_files(make_tree(tmp_path))


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("RGB", {"quality": 75}),
        ("RGB", {"quality": 95, "subsampling": 0}),
        ("RGB", {"quality": 50, "subsampling": 1, "progressive": True}),
        ("L", {"quality": 80}),
        ("CMYK", {"quality": 90}),
    ],
)
def test_jpeg_images_have_pillows_pixels(mode: str, options: dict[str, object]) -> None:
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (9, 13, 3)).astype(np.uint8))
    buffer = io.BytesIO()
    small.resize((333, 251), Image.Resampling.BICUBIC).convert(mode).save(buffer, "JPEG", **options)
    data = buffer.getvalue()
    assert np.array_equal(decode(data, "it"), np.asarray(Image.open(buffer).convert("RGB")))
    for end in (30, 200, len(data) // 2, len(data) - 40):
        with pytest.raises(UserError, match="cannot read the image it"):
            decode(data[:end], "it")


def photo_tree(folder: Path) -> Path:
    """Photographs of many sizes, CLASS/*, beside files that are no images."""
    rng = np.random.default_rng(5)
    for k, name in enumerate(("cat", "dog")):
        (folder / name).mkdir(parents=True)
        for i in range(10):
            side = int(rng.integers(20, 60)), int(rng.integers(20, 60))
            (folder / name / f"{i}.jpg").write_bytes(encoded(pixels(10 * k + i, side), "jpg"))
        (folder / name / "notes.txt").write_text("no image")
        (folder / name / "._0.jpg").write_bytes(b"what macOS leaves behind")
    (folder / ".DS_Store").write_bytes(b"\0")
    return folder


def test_own_photographs_of_any_size_without_a_split(tmp_path: Path) -> None:
    tree = photo_tree(tmp_path / "pets")
    with pytest.raises(UserError, match=r"pixels, the first image .* add --set data\.size=32"):
        load_data_set("images", tree)
    images = load_data_set("images", tree, size=32)
    assert isinstance(images, ArrayDataSet)
    assert images.class_names == ("cat", "dog")
    assert (images.train.images.shape, images.test.images.shape) == (
        (16, 32, 32, 3),
        (4, 32, 32, 3),
    )
    assert images.test.labels.tolist() == [0, 0, 1, 1]
    assert images.source == "images in pets, resized to 32 x 32, 20% of each class held out to test"
    fitted = {
        path: read_photo(path.read_bytes(), path.name, (3, 32, 32)).pixels.tobytes()
        for path in tree.glob("*/[0-9].jpg")
    }
    read = [image.tobytes() for image in (*images.train.images, *images.test.images)]
    assert sorted(read) == sorted(fitted.values())
    again = load_data_set("images", tree, size=32)
    assert isinstance(again, ArrayDataSet)
    assert np.array_equal(again.test.images, images.test.images)


def test_other_layouts_of_own_photographs(tmp_path: Path) -> None:
    """val/ in place of test/; one folder around everything in a tar; test/ before val/."""
    tree = make_tree(tmp_path / "own")
    plain = load_data_set("images", tree)
    with tarfile.open(tmp_path / "own.tar", "w") as archive:
        archive.add(tree, "own")
    around = load_data_set("images", tmp_path / "own.tar")
    (tree / "test").rename(tree / "val")
    val = load_data_set("images", tree)
    for split in ("train", "test"):
        expected = plain.split(split).images
        assert np.array_equal(around.split(split).images, expected)
        assert np.array_equal(val.split(split).images, expected)
    make_tree(tmp_path / "other")
    (tmp_path / "other" / "test").rename(tree / "test")
    (tree / "val" / "a" / "0000.png").unlink()
    both = load_data_set("images", tree)
    assert np.array_equal(both.test.images, plain.test.images)


def test_own_photographs_that_are_too_few(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match=r"no images found; .*CLASS/\*"):
        load_data_set("images", tmp_path / "none")
    tree = make_tree(tmp_path / "tree")
    for name in ("a", "b"):
        (tree / "train" / name).rename(tmp_path / "none" / name)
    for path in sorted((tmp_path / "none" / "b").iterdir())[1:]:
        path.unlink()
    with pytest.raises(UserError, match="b has one image; at least 2 are needed"):
        load_data_set("images", tmp_path / "none")
    with pytest.raises(UserError, match=r"data\.size is for images"):
        load_data_set("digits", size=8)


def says_size(width: int, height: int) -> bytes:
    """A small JPEG file whose header says another size."""
    data = bytearray(encoded(pixels(0), "jpg"))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (says_size(65_535, 65_535), "pixels"),
        (says_size(0, 0), "."),
        (b"P6\n1; 13\n255\n" + bytes(100), "invalid literal"),
        (b"P6\n8 8\n255\n" + bytes(10), "."),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n", "none of JPEG, PNG"),
        (b"", "none of JPEG, PNG"),
    ],
    ids=["a bomb", "no pixels", "no number", "cut", "a programme", "nothing"],
)
def test_what_is_no_image_is_named_without_its_memory(
    data: bytes, said: str, tmp_path: Path
) -> None:
    """Pillow would run Ghostscript on an EPS file, and raises errors of many types."""
    with pytest.raises(UserError, match=f"cannot read the image it .*{said}"):
        decode(data, "it")
    tree = make_tree(tmp_path, suffix="jpg")
    (tree / "train" / "a" / "0000.jpg").write_bytes(data)
    split = FileSplit(FolderFiles(tree, ["train/a/0000.jpg"]), np.zeros(1, np.int64), 8)
    with pytest.raises(UserError, match=f"cannot read the image .*{said}"):
        split.image(0)
    with pytest.raises(UserError, match=r"cannot read the image train/a/0000\.jpg"):
        read_image_files(tree)


def test_quality_without_the_usual_table_is_unknown(tmp_path: Path) -> None:
    tree = make_tree(tmp_path, suffix="jpg")
    for file in tree.rglob("*.jpg"):
        data = file.read_bytes()
        first = data.index(b"\xff\xdb") + 4
        second = data.index(b"\xff\xdb", first) + 4
        frame = data.index(b"\xff\xc0") + 12  # where the frame names its first table
        other = bytearray(data)
        other[first], other[second], other[frame] = 2, 1, 2
        file.write_bytes(other)
    assert read_image_files(tree).jpeg_quality is None


@pytest.mark.parametrize("name", ["a\nb", "\x1b[31m", "a\udcff"])
def test_a_class_has_a_name_of_one_line(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no name of one line: rename it"):
        read_image_files(make_tree(tmp_path, ("a", name)))


def test_a_damaged_header_does_not_end_a_tar_early(tmp_path: Path) -> None:
    """The images behind it would be missing without a word."""
    tree = make_tree(tmp_path / "tree")
    whole = tmp_path / "whole.tar"
    with tarfile.open(whole, "w") as tar:
        for file in sorted(tree.rglob("*.png")):
            tar.add(file, file.relative_to(tree))
    assert len(read_image_files(whole).splits["train"].images) == 6
    with tarfile.open(whole) as tar:
        places = [member.offset for member in tar.getmembers()]
    for place in places:
        data = bytearray(whole.read_bytes())
        data[place + 5] ^= 1
        (tmp_path / "damaged.tar").write_bytes(data)
        with pytest.raises(UserError, match=r"damaged\.tar is no tar archive or is truncated"):
            read_image_files(tmp_path / "damaged.tar")


def test_the_checksum_of_a_compressed_tar_counts(tmp_path: Path) -> None:
    """It stands at the end, behind all that an archive needs."""
    path = make_tar(make_tree(tmp_path / "tree"), tmp_path / "images.tar.gz")
    data = bytearray(path.read_bytes())
    data[-6] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"truncated \(CRC check failed"):
        read_image_files(path)


def test_a_file_without_a_name_in_a_tar_is_no_image(tmp_path: Path) -> None:
    path = tmp_path / "images.tar"
    tree = make_tree(tmp_path / "tree")
    with tarfile.open(path, "w") as tar:
        tar.addfile(tarfile.TarInfo(""))
        for file in sorted(tree.rglob("*.png")):
            tar.add(file, file.relative_to(tree))
    assert len(read_image_files(path).splits["train"].images) == 6
