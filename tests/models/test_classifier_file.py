"""Stored classifiers: the same answers from weights, torch.export and ONNX, and clear errors."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

from codepath.core.errors import UserError
from codepath.models import extract_binary_classifier, load_binary_classifier
from codepath.models.classifier_file import ClassifierCard, save_binary_classifier
from codepath.models.compress import compress
from codepath.models.effects import measure_effects
from codepath.models.extract import stored_values
from codepath.models.fused import FusedClassifier
from tests.models.test_extract import network

CARD = ClassifierCard(
    class_name="cat",
    class_index=3,
    network="coded_resnext20_10x4d",
    run_id="none",
    source="made up",
    codewords={"3": "0011001101"},
    image_shape=(3, 16, 16),
    mean=(0.5, 0.4, 0.3),
    std=(0.2, 0.3, 0.4),
    threshold=0.25,
    threshold_origin="f1 on 10 training images",
    metrics={},
    costs={},
    commit="none",
    created="2026-01-01",
)


@pytest.fixture(scope="module")
def fused() -> FusedClassifier:
    return extract_binary_classifier(network("coded_resnext20_10x4d"), 3).fuse()


@pytest.fixture(scope="module")
def folder(fused: FusedClassifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("classifier")
    save_binary_classifier(fused, CARD, path)
    return path


@torch.no_grad()
def test_every_format_gives_the_same_logits(fused: FusedClassifier, folder: Path) -> None:
    program = torch.export.load(str(folder / "model.pt2")).module()
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
    loaded = load_binary_classifier(folder).module
    for batch in (1, 5):
        x = torch.randn(batch, 3, 16, 16)
        expected = fused(x)
        assert expected.shape == (batch,)
        torch.testing.assert_close(loaded(x), expected, rtol=0, atol=0)
        torch.testing.assert_close(program(x), expected, rtol=1e-4, atol=1e-4)
        (found,) = session.run(None, {"images": x.numpy()})
        torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("coded_resnext29_10x11d", 32),
        pytest.param("coded_resnext29_20x6d", 32, marks=pytest.mark.slow),
        pytest.param("coded_resnext50_32x4d", 160, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("share", [None, 0.3])
@torch.no_grad()
def test_exports_of_the_papers_networks(
    name: str, side: int, share: float | None, tmp_path: Path
) -> None:
    """Whole and compressed, so with projections of low rank; other batches than the traced one."""
    model = network(name)
    module = extract_binary_classifier(model, 3).fuse()
    if share is not None:
        x = torch.randn(4, 3, side, side, generator=torch.manual_seed(0))
        most = int(share * sum(p.numel() for p in model.parameters()))
        module = compress(module, measure_effects(module, x), most)
        assert any(block.projection for block in module.shape.blocks)
    card = dataclasses.replace(CARD, image_shape=(3, side, side))
    differences = save_binary_classifier(module, card, tmp_path).costs["export_differences"]
    assert set(differences) == {"export", "onnx"}
    assert max(differences.values()) < 1e-4


def test_the_card_travels_with_every_file(folder: Path) -> None:
    card = load_binary_classifier(folder / "model.safetensors").card
    assert card == CARD
    shown = json.loads((folder / "card.json").read_text())
    assert shown["costs"]["file_bytes"] == (folder / "model.safetensors").stat().st_size
    assert shown["costs"]["export_differences"]["onnx"] < 1e-4
    metadata = {p.key: p.value for p in onnx.load(folder / "model.onnx").metadata_props}
    assert metadata["class"] == "cat"
    assert float(metadata["threshold"]) == 0.25
    assert json.loads(metadata["mean"]) == [0.5, 0.4, 0.3]


def test_predict_normalises_and_decides(
    fused: FusedClassifier, folder: Path, tmp_path: Path
) -> None:
    classifier = load_binary_classifier(folder)
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    x = (torch.from_numpy(pixels).double() / 255 - torch.tensor(CARD.mean)) / torch.tensor(CARD.std)
    with torch.no_grad():
        score = float(fused(x.permute(2, 0, 1)[None].float())[0])
    Image.fromarray(pixels).save(tmp_path / "x.png")
    for image in (pixels, Image.fromarray(pixels), tmp_path / "x.png", str(tmp_path / "x.png")):
        found = classifier.predict(image)
        assert found.score == pytest.approx(score, abs=1e-4)
        assert found.decision is (score >= 0.25)
    for threshold, decision in ((score - 0.01, True), (score + 0.01, False)):
        classifier.card = dataclasses.replace(CARD, threshold=threshold)
        assert classifier.predict(pixels).decision is decision


def test_predict_fits_images_of_any_size(folder: Path, tmp_path: Path) -> None:
    """As `read_photo` does: the central square, resized; grey becomes RGB."""
    classifier = load_binary_classifier(folder)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    square = Image.fromarray(pixels[:, 10:50]).resize((16, 16), Image.Resampling.BICUBIC)
    expected = classifier.predict(np.asarray(square))
    for image in (pixels, Image.fromarray(pixels), tmp_path / "x.png"):
        assert classifier.predict(image) == expected
    grey = pixels[:16, :16, 0]
    expected = classifier.predict(np.repeat(grey[..., None], 3, axis=2))
    for image in (grey, grey[..., None], Image.fromarray(grey)):
        assert classifier.predict(image) == expected


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((16, 16, 2), np.uint8), r"takes \(H, W, 3\)"),
        (np.zeros((0, 16, 3), np.uint8), "has no pixels"),
        (np.zeros((16, 16, 3), np.float32), "type float32"),
        ("absent.png", "cannot read absent.png as an image"),
        (__file__, "no image that can be read"),
    ],
)
def test_images_that_do_not_fit(folder: Path, image: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_binary_classifier(folder).predict(image)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"P6\n16 16\n255\n", "is a damaged image"),
        (b"P6\n16; 16\n255\n" + bytes(768), "is a damaged image"),
        (b"P6\n60000 60000\n255\n", "has far too many pixels"),
        (b"P6\n8000 8000\n255\n", "has 8000 x 8000 pixels, more than 50 million"),
        (b"", "the file is empty"),
    ],
)
def test_image_files_that_lie(folder: Path, data: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "x.ppm").write_bytes(data)
    with pytest.raises(UserError, match=said):
        load_binary_classifier(folder).predict(tmp_path / "x.ppm")


def test_damaged_and_foreign_files(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    with pytest.raises(UserError, match="does not exist"):
        load_binary_classifier(tmp_path)
    whole = (folder / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="damaged"):
        load_binary_classifier(tmp_path)
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="it has no card"):
        load_binary_classifier(tmp_path)


@torch.no_grad()
def test_compressed_classifiers_are_stored_too(fused: FusedClassifier, tmp_path: Path) -> None:
    x = torch.randn(16, 3, 16, 16)
    small = compress(fused, measure_effects(fused, x), stored_values(fused) // 2)
    assert any(block.projection for block in small.shape.blocks)
    found = save_binary_classifier(small, CARD, tmp_path)
    assert max(found.costs["export_differences"].values()) < 1e-4
    loaded = load_binary_classifier(tmp_path).module
    torch.testing.assert_close(loaded(x), small(x), rtol=0, atol=0)
    save_binary_classifier(small, CARD, tmp_path / "weights", formats=())
    assert not (tmp_path / "weights" / "model.onnx").exists()
