"""ImageNet's folders and archives, good and broken."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from codepath.core.errors import UserError
from codepath.data import FileDataSet, load_data_set
from codepath.data.sources import imagenet
from tests.data.photographs import TRAIN, VAL, WNIDS, add, make_archives, make_devkit, make_folders


def load(data: Path, **options: object) -> FileDataSet:
    images = load_data_set("imagenet", data, subset=True, **options)  # type: ignore[arg-type]
    assert isinstance(images, FileDataSet)
    return images


def test_folders_and_archives_give_the_same_images(tmp_path: Path) -> None:
    folders = load(make_folders(tmp_path / "folders"))
    archives = load(make_archives(tmp_path / "archives"))
    assert folders.class_names == archives.class_names == WNIDS
    for name, count in (("train", TRAIN), ("test", VAL)):
        a, b = folders.split(name), archives.split(name)
        assert len(a) == len(b) == 3 * count
        assert a.labels.tolist() == b.labels.tolist() == np.repeat(range(3), count).tolist()
        assert [a.files.read(i) for i in range(len(a))] == [b.files.read(i) for i in range(len(b))]
        assert np.array_equal(a.image(1), np.asarray(Image.open(io.BytesIO(b.files.read(1)))))
    assert folders.source == (
        "ImageNet subset from folders: 15 training and 6 validation images of 3 classes"
    )
    assert "from archives" in archives.source
    assert folders.image_shape == (3, 160, 160)
    assert load(tmp_path / "folders", crop=32).image_shape == (3, 32, 32)


def test_folders_and_archives_mix(tmp_path: Path) -> None:
    data = make_archives(tmp_path / "data")
    make_folders(tmp_path / "other")
    (tmp_path / "other" / "train").rename(data / "train")
    assert load(data).source.startswith("ImageNet subset from folders and archives")


def test_the_counts_are_imagenets_unless_a_subset_is_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_folders(tmp_path)
    with pytest.raises(UserError, match=r"train holds 15 images of 3 classes.*1,281,167 of 1,000"):
        load_data_set("imagenet", data)
    monkeypatch.setattr(imagenet, "COUNTS", {"train": 15, "val": 6})
    monkeypatch.setattr(imagenet, "CLASSES", 3)
    assert load_data_set("imagenet", data).source == "ImageNet from folders"
    (data / "val" / WNIDS[0] / "ILSVRC2012_val_00000001.JPEG").unlink()
    with pytest.raises(UserError, match=r"val holds 5 images .* data\.subset=true"):
        load_data_set("imagenet", data)


def test_the_splits_must_have_the_same_classes(tmp_path: Path) -> None:
    data = make_folders(tmp_path)
    (data / "val" / WNIDS[1]).rename(data / "val" / "n09999999")
    with pytest.raises(UserError, match=f"same classes .*first difference: {WNIDS[1]}"):
        load(data)


def test_absent_files_are_named(tmp_path: Path) -> None:
    data = make_archives(tmp_path / "data")
    (data / "ILSVRC2012_devkit_t12.tar.gz").unlink()
    with pytest.raises(UserError, match=r"put ILSVRC2012_devkit_t12\.tar\.gz there") as caught:
        load(data)
    assert "img_train" not in str(caught.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"img_train\.tar, ILSVRC2012_img_val\.tar, ILSVRC2012_dev"):
        load(tmp_path / "empty")


def test_a_devkit_of_another_set(tmp_path: Path) -> None:
    data = make_archives(tmp_path / "data")
    make_devkit(data / "ILSVRC2012_devkit_t12.tar.gz", truth=(9, 2))
    with pytest.raises(UserError, match=r"holds 6 images, .* labels 2"):
        load(data)
    make_devkit(data / "ILSVRC2012_devkit_t12.tar.gz", truth=(9, 2, 7, 9, 2, 1001))
    with pytest.raises(UserError, match=r"class 1001 of the labels is not in meta\.mat"):
        load(data)
    with tarfile.open(data / "ILSVRC2012_devkit_t12.tar.gz", "w:gz") as tar:
        add(tar, "readme.txt", b"")
    with pytest.raises(UserError, match=r"holds no .*meta\.mat"):
        load(data)


@pytest.mark.parametrize("archive", ["ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"])
def test_truncated_archives(archive: str, tmp_path: Path) -> None:
    data = make_archives(tmp_path / "data")
    content = (data / archive).read_bytes()
    for keep in (0, 100, len(content) // 2):
        (data / archive).write_bytes(content[:keep])
        with pytest.raises(UserError, match=f"{archive}.*(truncated|holds)"):
            load(data)


def test_a_train_archive_with_an_empty_tar_inside(tmp_path: Path) -> None:
    data = make_archives(tmp_path / "data")
    with tarfile.open(data / "ILSVRC2012_img_train.tar", "a") as tar:
        add(tar, "n03000000.tar", b"no tar at all" * 100)
    with pytest.raises(UserError, match="truncated"):
        load(data)


@pytest.mark.parametrize("inside", [True, False])
def test_unsafe_members_are_refused(inside: bool, tmp_path: Path) -> None:
    data = make_archives(tmp_path / "data")
    evil = io.BytesIO()
    with tarfile.open(fileobj=evil, mode="w") as tar:
        add(tar, "../evil.JPEG", b"x")
    with tarfile.open(data / "ILSVRC2012_img_train.tar", "a") as tar:
        add(tar, "n03000000.tar" if inside else "/n03000000.tar", evil.getvalue())
    with pytest.raises(UserError, match="unsafe path"):
        load(data)


def test_a_damaged_image_is_named(tmp_path: Path) -> None:
    data = make_folders(tmp_path)
    file = data / "train" / WNIDS[0] / f"{WNIDS[0]}_0000.JPEG"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(UserError, match=r"cannot read the image .*n01440764_0000\.JPEG"):
        load(data).train.image(0)


def test_images_that_are_not_rgb(tmp_path: Path) -> None:
    """ImageNet holds grey and CMYK files."""
    data = make_folders(tmp_path)
    for i, mode in enumerate(("L", "CMYK")):
        file = data / "train" / WNIDS[0] / f"{WNIDS[0]}_{i:04d}.JPEG"
        Image.new(mode, (30, 40)).save(file, "JPEG")
        assert load(data).train.image(i).shape == (40, 30, 3)


def test_crops_are_for_images_of_many_sizes() -> None:
    with pytest.raises(UserError, match=r"data\.crop and data\.subset are for imagenet"):
        load_data_set("digits", crop=8)
