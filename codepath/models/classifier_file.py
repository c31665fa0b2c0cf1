"""Binary classifiers as folders: weights with a card, and exported graphs.

    model.safetensors  numbers of a FusedClassifier; its metadata hold the card
    card.json          the card again, with the size of the file
    model.pt2          torch.export, dynamic batch
    model.onnx         ONNX, dynamic batch; its metadata hold class, mean, std and threshold

Graphs take normalised images, (pixels / 255 - mean) / std, (B, C, H, W) float32, and give (B,)
logits.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import io
import json
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from codepath.core.errors import UserError
from codepath.core.files import atomic_path, make_directory, parse_json, write_text
from codepath.core.photos import check_input, fit_photo, read_photo
from codepath.core.plain import as_type
from codepath.models.fused import ClassifierShape, FusedClassifier
from codepath.models.hub import save_tensors
from codepath.models.weights import read_safetensors, require_same_form

FORMATS = ("export", "onnx")
WEIGHTS, CARD = "model.safetensors", "card.json"
EXPORT_TOLERANCE = 1e-4


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassifierCard:
    """What one must know to use a binary classifier, and what it is worth."""

    class_name: str
    class_index: int
    network: str
    """Entry point of the parent."""
    run_id: str
    source: str
    """Where training and test images come from."""
    codewords: dict[str, str]
    """Coded block number -> the class's codeword, such as "0110"."""
    image_shape: tuple[int, int, int]
    """(C, H, W)"""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    threshold: float
    """The decision is "yes" for score >= threshold."""
    threshold_origin: str
    """Objective and images that chose it, in words."""
    metrics: dict[str, Any]
    costs: dict[str, Any]
    commit: str
    created: str

    def __post_init__(self) -> None:
        check_input(self.image_shape, self.mean, self.std)


class Prediction(NamedTuple):
    """What a binary classifier says about an image."""

    score: float
    """The logit."""
    decision: bool
    """Whether the image is of the class: score >= threshold."""


class LoadedClassifier:
    """A stored binary classifier, ready to judge images."""

    def __init__(self, module: FusedClassifier, card: ClassifierCard) -> None:
        self.module = module.eval()
        self.card = card

    @torch.inference_mode()
    def predict(self, image: Image.Image | NDArray[np.uint8] | Path | str) -> Prediction:
        """Judge one image.

        Args:
            image: an image file, a Pillow image, or a uint8 array (H, W, C) or (H, W). Of another
                size than the network's the central square is resized (see `read_photo`).

        Raises UserError for what is no image.
        """
        x = normalised_image(image, self.card.image_shape, self.card.mean, self.card.std)
        parameter = next(self.module.parameters())
        score = float(self.module(x[None].to(parameter.device, parameter.dtype))[0])
        return Prediction(score, score >= self.card.threshold)


def read_image(
    image: Image.Image | NDArray[np.uint8] | Path | str, image_shape: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """An image as (H, W, C) uint8, fitted to (C, H, W) = `image_shape`; UserError for no image."""
    C, H, W = image_shape
    if isinstance(image, Path | str):
        try:
            encoded = Path(image).read_bytes()
        except OSError as error:
            raise UserError(f"cannot read {image} as an image: {error.strerror}") from None
        return read_photo(encoded, str(image), image_shape).pixels
    if isinstance(image, Image.Image):
        return fit_photo(image, "the image", image_shape).pixels
    array = np.asarray(image)
    if array.dtype != np.uint8:
        raise UserError(f"the image has type {array.dtype}, the network takes pixels in uint8")
    if array.shape == (H, W, C):
        return array.copy()
    if array.ndim != 2 and (array.ndim != 3 or array.shape[2] not in (1, 3, 4)):
        raise UserError(f"the image has shape {array.shape}, the network takes (H, W, {C})")
    if not array.size:
        raise UserError("the image has no pixels")
    squeezed = array[..., 0] if array.shape[2:] == (1,) else array
    return fit_photo(Image.fromarray(squeezed), "the image", image_shape).pixels


def normalised_image(
    image: Image.Image | NDArray[np.uint8] | Path | str,
    image_shape: tuple[int, int, int],
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> Tensor:
    """An image as (C, H, W) float32, (pixels / 255 - mean) / std; UserError as `read_image`."""
    pixels = torch.from_numpy(read_image(image, image_shape)).permute(2, 0, 1).float() / 255
    return (pixels - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


def save_binary_classifier(
    module: FusedClassifier,
    card: ClassifierCard,
    folder: Path,
    formats: tuple[str, ...] = FORMATS,
) -> ClassifierCard:
    """Write the files of a classifier.

    Args:
        module: on the CPU, float32.
        card: what goes with it.
        folder: made where it is missing; files of the same names are replaced.
        formats: of FORMATS; "onnx" needs the packages of the extra `export`.

    Returns:
        the card with what the files came to: `file_bytes`, and `export_differences`, format ->
        largest difference of the exported graph's logits from the module's (relative to the
        largest logit, at least 1), on random images of another batch size.

    Raises UserError where a package is missing, RuntimeError where a graph differs by more than
    EXPORT_TOLERANCE.
    """
    missing = [p for p in ("onnx", "onnxscript", "onnxruntime") if not importlib.util.find_spec(p)]
    if "onnx" in formats and missing:
        raise UserError(
            f"ONNX needs {', '.join(missing)}: pip install 'codepath[export]', or leave onnx out"
        )
    make_directory(folder)
    differences = {}
    if "export" in formats:
        differences["export"] = export_program(module, card.image_shape, folder / "model.pt2")
    if "onnx" in formats:
        metadata = {
            "class": card.class_name,
            "mean": json.dumps(card.mean),
            "std": json.dumps(card.std),
            "threshold": repr(card.threshold),
        }
        differences["onnx"] = export_onnx(module, card.image_shape, folder / "model.onnx", metadata)
    text = json.dumps(dataclasses.asdict(card), indent=1)
    header = {
        "format": "pt",
        "card": text,
        "shape": json.dumps(dataclasses.asdict(module.shape)),
    }
    save_tensors(folder / WEIGHTS, module.state_dict(), header)
    sizes = {"file_bytes": (folder / WEIGHTS).stat().st_size, "export_differences": differences}
    shown = dataclasses.replace(card, costs=card.costs | sizes)
    write_text(folder / CARD, json.dumps(dataclasses.asdict(shown), indent=1) + "\n")
    return shown


def load_binary_classifier(path: Path | str) -> LoadedClassifier:
    """A classifier from its folder, or from its model.safetensors.

    Raises UserError where the file is missing, damaged or of another kind.
    """
    path = Path(path)
    file = path / WEIGHTS if path.is_dir() else path
    if not file.is_file():
        raise UserError(f"{file} does not exist: codepath extract RUN --out DIR writes it")
    try:
        header, tensors = read_safetensors(file)
        if "card" not in header or "shape" not in header:
            raise UserError(f"{file} holds no binary classifier: it has no card")
        card: ClassifierCard = as_type(parse_json(header["card"]), ClassifierCard, "card")
        shape: ClassifierShape = as_type(parse_json(header["shape"]), ClassifierShape, "shape")
        if shape.in_chans != card.image_shape[0]:
            raise ValueError("its card is of another network")
        with torch.device("meta"):  # a shape alone takes no memory
            require_same_form(tensors, FusedClassifier(shape).state_dict())
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{file} is damaged ({error}); extract the classifier again") from None
    module = FusedClassifier(shape)
    module.load_state_dict(tensors)
    return LoadedClassifier(module, card)


def _examples(image_shape: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """Batches of two sizes, normal pixels."""
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(n, *image_shape, generator=generator) for n in (2, 3))  # type: ignore[return-value]


@torch.no_grad()
def export_program(module: nn.Module, image_shape: tuple[int, int, int], path: Path) -> float:
    """Write torch.export's graph with a dynamic batch; returns its largest difference."""
    traced, checked = _examples(image_shape)
    program = torch.export.export(
        module.eval(), (traced,), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},)
    )
    for part in program.graph_module.modules():
        for node in getattr(getattr(part, "graph", None), "nodes", ()):
            node.meta.pop("stack_trace", None)  # it names files and folders of this machine
    with atomic_path(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No complete tensor found")  # views; all is on the CPU
        buffer = io.BytesIO()
        torch.export.save(program, buffer)
        temporary.write_bytes(buffer.getvalue())
    again = torch.export.load(str(path)).module()
    return _difference(again(checked), module(checked), path)


@torch.no_grad()
def export_onnx(
    module: nn.Module, image_shape: tuple[int, int, int], path: Path, metadata: dict[str, str]
) -> float:
    """Write ONNX with a dynamic batch; returns ONNX Runtime's largest difference."""
    import onnxruntime

    traced, checked = _examples(image_shape)
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.eval(),
            (traced,),
            dynamo=True,
            input_names=["images"],
            output_names=["scores"],
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
        )
    assert program is not None
    program.model.metadata_props.update(metadata)
    for node in program.model.graph:
        node.metadata_props.pop("pkg.torch.onnx.stack_trace", None)  # as in export_program
    with atomic_path(path) as temporary:
        temporary.write_bytes(program.model_proto.SerializeToString())
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"images": checked.numpy()})
    return _difference(torch.from_numpy(found), module(checked), path)


def _difference(found: Tensor, expected: Tensor, path: Path) -> float:
    difference = float((found - expected).abs().max() / expected.abs().max().clamp_min(1))
    if not difference <= EXPORT_TOLERANCE:
        raise RuntimeError(f"{path}: the exported graph differs by {difference:g}")
    return difference
