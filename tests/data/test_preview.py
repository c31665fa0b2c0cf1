"""What data sets hold in words, and training images before and after augmentation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from codepath.data import (
    ArrayDataSet,
    DataSet,
    describe_images,
    evaluation_loader,
    load_data_set,
    preview,
    training_loader,
)
from codepath.paper.drawings.contact_sheet import draw_sheet
from codepath.run.config import DataConfig
from tests.data.photographs import make_folders


def assert_preview_is_the_loaders(images: DataSet, config: DataConfig) -> None:
    sheet = preview(images, config, seed=2, epochs=(3, 7), number=5)
    C, H, W = images.image_shape
    assert sheet.indices.tolist() == np.linspace(0, len(images.train) - 1, 5).round().tolist()
    assert sheet.augmented.shape == (5, 2, H, W, C)
    for column, epoch in enumerate((3, 7)):
        loader = training_loader(images, config, len(images.train), seed=2)
        loader.set_epoch(epoch)
        (batch,) = loader
        pixels = batch.images[batch.indices.argsort()][torch.from_numpy(sheet.indices)]
        assert np.array_equal(sheet.augmented[:, column], pixels.numpy().transpose(0, 2, 3, 1))
    (batch,) = evaluation_loader(images.train)
    plain = batch.images[torch.from_numpy(sheet.indices)]
    assert np.array_equal(sheet.originals, plain.numpy().transpose(0, 2, 3, 1))


def test_a_preview_shows_what_the_loaders_yield(tiny_images: ArrayDataSet, tmp_path: Path) -> None:
    assert_preview_is_the_loaders(tiny_images, DataConfig(source="digits", pad=1, flip=True))
    images = load_data_set("imagenet", make_folders(tmp_path), crop=24, subset=True)
    config = DataConfig(source="imagenet", crop=24, flip=True, randaugment="rand-m10-n2")
    assert_preview_is_the_loaders(images, config)


def test_a_preview_of_more_images_than_there_are(tiny_images: ArrayDataSet) -> None:
    sheet = preview(tiny_images, DataConfig(source="digits"), 0, (0,), 1000)
    assert sheet.indices.tolist() == list(range(96))


def test_descriptions(tiny_images: ArrayDataSet, tmp_path: Path) -> None:
    source, train, test, head, *classes = describe_images(tiny_images)
    assert source == "tiny: generated"
    assert train == "train 96 images of 10 classes, 9 to 10 a class; 8 x 8 pixels, 1 channel"
    assert test.startswith("test  25 images of 10 classes, 2 to 3 a class")
    assert head.split() == ["class", "train", "test"]
    assert [line.split() for line in classes[:7:6]] == [["class0", "10", "3"], ["class6", "9", "2"]]
    photographs = load_data_set("imagenet", make_folders(tmp_path), subset=True)
    _, train, *_ = describe_images(photographs)
    sizes = [photographs.train.image(i).shape for i in range(15)]  # type: ignore[union-attr]
    heights, widths, _ = zip(*sizes, strict=True)
    assert train == (
        f"train 15 images of 3 classes, 5 a class; {min(widths)}-{max(widths)} x "
        f"{min(heights)}-{max(heights)} pixels in 15 of them, cropped to 160 x 160"
    )


def test_recipes_in_words() -> None:
    assert DataConfig(source="digits").words() == "no augmentation"
    cifar = DataConfig(source="cifar10", pad=4, flip=True, randaugment="rand-m4-n3")
    assert cifar.words() == "rand-m4-n3, pad 4 and crop, flip"
    imagenet = DataConfig(source="imagenet", crop=160, flip=True, randaugment="rand-m10-n2")
    assert imagenet.words() == "random resized crop 160, flip, rand-m10-n2"


def test_a_sheet_holds_every_image(tmp_path: Path) -> None:
    """Cells of one colour each: all of these colours are found in the picture."""
    colours = np.arange(18).reshape(3, 6) * 14 + 1
    cells = np.zeros((3, 6, 8, 8, 3), np.uint8) + np.array([250, 0, 3], np.uint8)
    cells[..., 1] = colours[..., None, None]
    path = tmp_path / "new" / "sheet.png"
    draw_sheet(cells[:, 0], cells[:, 1:], "abc", [f"epoch {e}" for e in range(5)], "title", path)
    with Image.open(path) as picture:
        found = {tuple(c[:3]) for c in np.asarray(picture.convert("RGB")).reshape(-1, 3).tolist()}
    assert {(250, int(g), 3) for g in colours.ravel()} <= found
