"""Weights: checkpoints, trained networks, binary classifiers, and checkpoints of the authors' code.

A checkpoint has a checksum of all of it. Files of safetensors have none: a number that was altered
to another number is read as such. What is held here is their form (every tensor once, of its
network's shape and type, all numbers finite), that codewords stay a scheme, and that no header
makes anybody take memory for numbers that are not there.
"""

from __future__ import annotations

import io
import json
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
from hypothesis import strategies as st
from torch import Tensor

from codepath.codes import CodingScheme
from codepath.core.errors import UserError
from codepath.models import CodedResNeXt, load_binary_classifier
from codepath.models.classifier_file import save_binary_classifier
from codepath.models.convert import create_converted
from codepath.models.fused import BlockShape, ClassifierShape, FusedClassifier
from codepath.models.shipped import BEST, FOLDER
from codepath.train import load_trained
from codepath.train.checkpoint import _MAGIC, Checkpoints, _digest, load_checkpoint, save_checkpoint
from tests.fuzz.binaries import mutated, noise
from tests.fuzz.documents import altered, dumps
from tests.fuzz.harness import ALLOWANCE, REFUSED, counted, fuzz, outcome
from tests.models.test_classifier_file import CARD
from tests.models.test_convert import in_the_authors_layout

CPU = torch.device("cpu")
STATE = {"config": {"a": [1, 2.5, None, "x"]}, "best": {}, "step": 7,
         "model": {"w": torch.arange(12.0).reshape(3, 4), "n": torch.tensor(3)}}  # fmt: skip
SEVERAL = ALLOWANCE + 2**26
"""Bytes for a network that is built to take the weights."""


def same(a: Any, b: Any) -> bool:
    """Whether two states hold the same to the bit."""
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return type(a) is type(b) and a == b


@counted
def test_an_altered_checkpoint_is_never_taken(inputs: int, tmp_path: Path) -> None:
    """Not the altered one, and where there is an earlier one, that."""
    folder = tmp_path / "ckpt"
    folder.mkdir()
    checkpoints = Checkpoints(folder)
    path, earlier = folder / "step-00000007.pt", folder / "step-00000003.pt"
    save_checkpoint(path, STATE)
    whole = path.read_bytes()
    older = STATE | {"step": 3}
    save_checkpoint(earlier, older)
    whole_earlier = earlier.read_bytes()

    def check(data: bytes) -> None:
        for file in folder.iterdir():
            file.unlink()
        path.write_bytes(data)
        earlier.write_bytes(whole_earlier)
        found = outcome(lambda: load_checkpoint(path), len(data))
        assert found is REFUSED or (data == whole and same(found, STATE))
        newest = outcome(lambda: checkpoints.newest(lambda _: None), len(data))
        if newest is not REFUSED:
            assert same(newest, STATE if data == whole else older)

    fuzz(check, inputs, noise([whole]))


@st.composite
def torch_files(draw: st.DrawFn, whole: bytes) -> bytes:
    """Files of torch.save with a part altered behind the archive's checksum."""
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name = draw(st.sampled_from(sorted(parts, key=lambda n: not n.endswith("data.pkl"))))
    parts[name] = draw(mutated([parts[name]], 2))
    if draw(st.integers(0, 9)) == 0:
        del parts[name]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for key, data in parts.items():
            archive.writestr(key, data)
    return buffer.getvalue()


def saved(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


@counted
def test_a_checkpoint_that_was_sealed_again(inputs: int, tmp_path: Path) -> None:
    """Whoever computes the checksum again still cannot make it run anything, or crash."""
    path = tmp_path / "x.pt"

    def check(payload: bytes) -> None:
        path.write_bytes(_MAGIC + _digest(_MAGIC, memoryview(payload)) + payload)
        found = outcome(lambda: load_checkpoint(path), len(payload))
        assert found is REFUSED or isinstance(found, dict)

    fuzz(check, inputs, st.one_of(torch_files(saved(STATE)), noise([saved(STATE), saved([1])])))


@st.composite
def tensor_files(draw: st.DrawFn, whole: bytes) -> bytes:
    """Files of safetensors with an altered header, whose length is right again."""
    (size,) = struct.unpack("<Q", whole[:8])
    header, data = json.loads(whole[8 : 8 + size]), whole[8 + size :]
    text = dumps(draw(altered(header))).encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 3)) == 0:
        data = draw(mutated([data]))
    return struct.pack("<Q", len(text)) + text + data


@counted
def test_a_trained_network_has_all_of_its_weights(inputs: int, tmp_path: Path) -> None:
    shutil.copyfile(FOLDER / BEST / "config.json", tmp_path / "config.json")
    path = tmp_path / "model.safetensors"
    whole = (FOLDER / BEST / "model.safetensors").read_bytes()
    right = safetensors.torch.load(whole)
    outcome(lambda: load_trained(FOLDER / BEST, CPU), len(whole), SEVERAL)  # imports, caches

    def check(data: bytes) -> None:
        path.write_bytes(data)
        found = outcome(lambda: load_trained(tmp_path, CPU), len(data), SEVERAL)
        if found is REFUSED:
            return
        state = found[1].state_dict()
        assert state.keys() == right.keys()
        for name, value in state.items():
            assert value.shape == right[name].shape
            assert value.dtype == right[name].dtype
            assert bool(value.isfinite().all())
        for block in found[1].coded_blocks.values():  # type: ignore[union-attr, operator]
            assert isinstance(block.scheme, CodingScheme)

    fuzz(check, inputs, st.one_of(mutated([whole], 2), tensor_files(whole), st.binary(max_size=50)))


SHAPE = ClassifierShape(
    in_chans=3, stem_width=4, stem_kernel=3, stem_stride=1, stem_pool=False, depths=(1, 2),
    blocks=(
        BlockShape(in_chs=4, hidden=4, out_chs=8, groups=2, stride=1, coded_paths=0, projection=0),
        BlockShape(in_chs=8, hidden=6, out_chs=8, groups=3, stride=2, coded_paths=5, projection=2),
        BlockShape(in_chs=8, hidden=6, out_chs=8, groups=3, stride=1, coded_paths=5,
                   projection=None),
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("classifier")
    save_binary_classifier(FusedClassifier(SHAPE), CARD, folder, formats=())
    return (folder / "model.safetensors").read_bytes()


@st.composite
def classifier_files(draw: st.DrawFn, whole: bytes) -> bytes:
    """Classifiers with an altered card or shape."""
    (size,) = struct.unpack("<Q", whole[:8])
    header, data = json.loads(whole[8 : 8 + size]), whole[8 + size :]
    part = draw(st.sampled_from(("card", "shape")))
    text = dumps(draw(altered(json.loads(header["__metadata__"][part]))))
    header["__metadata__"][part] = text
    encoded = json.dumps(header).encode()
    return struct.pack("<Q", len(encoded)) + encoded + data


@counted
def test_a_classifier_goes_with_its_card(inputs: int, classifier: bytes, tmp_path: Path) -> None:
    """What is loaded judges an image of the size that its card says."""
    path = tmp_path / "model.safetensors"
    right = safetensors.torch.load(classifier)

    def check(data: bytes) -> None:
        path.write_bytes(data)
        found = outcome(lambda: load_binary_classifier(tmp_path), len(data))
        if found is REFUSED:
            return
        state = found.module.state_dict()
        assert state.keys() == right.keys()
        assert all(value.shape == right[name].shape for name, value in state.items())
        card = found.card
        C, H, W = card.image_shape
        assert len(card.mean) == len(card.std) == C == found.module.shape.in_chans
        assert card.threshold == card.threshold
        assert isinstance(card.class_name, str)
        if H * W <= 1024:
            image = torch.zeros(H, W, C, dtype=torch.uint8).numpy()
            answer = outcome(lambda: found.predict(image), len(data))
            assert answer is REFUSED or isinstance(answer.decision, bool)

    almost = st.one_of(
        classifier_files(classifier), classifier_files(classifier), tensor_files(classifier),
        noise([classifier], 2),
    )  # fmt: skip
    fuzz(check, inputs, almost)


NETWORK = "coded_resnext20_10x4d"


@st.composite
def authors_files(draw: st.DrawFn, state: dict[str, Tensor]) -> bytes:
    """Checkpoints of the authors' code with tensors or names that are not theirs."""
    content: dict[Any, Any] = dict(state)
    for _ in range(draw(st.integers(1, 2))):
        name = draw(st.sampled_from(sorted(map(str, content))))
        action = draw(st.sampled_from(("replace", "replace", "drop", "rename", "shape")))
        if action == "replace" and name in content:
            content[name] = draw(st.sampled_from(TENSORS))
        elif action == "drop":
            content.pop(name, None)
        elif action == "rename" and name in content:
            content[draw(st.sampled_from(KEYS))] = content.pop(name)
        elif name in content and name in state:
            content[name] = state[name].flatten()[:3]
    wrapped = draw(st.sampled_from((content, {"state_dict": content}, [content])))
    return saved(wrapped)


TENSORS: list[Any] = [
    torch.zeros(0), torch.tensor(1.0), torch.zeros(1).expand(2**20, 2**20), torch.zeros(3, 4),
    torch.zeros(5000, 256), torch.zeros(1, 256), torch.zeros(0, 256), torch.ones(10, 10).bool(),
    torch.eye(10).bool(), torch.zeros(4, 0, 1, 1), torch.zeros(40, 0, 1, 1), "text", 5, None, [1],
    torch.zeros(64, 4, 1, 1), torch.zeros(3, 3).to_sparse(), torch.full((10, 10), 7.0),
    torch.zeros(2, dtype=torch.complex64), torch.empty(2**20, 2**20, device="meta"),
]  # fmt: skip
KEYS: list[Any] = [
    "net_list.99999999999999999999.weight", "net_list.3.Mask_perClass", "net_list.x.weight", "", 5,
    "module.net_list.0.weight", "net_list.4.conv_expand.weight", "net_list.7.conv_other.weight",
    "net_list." + "9" * 5000 + ".weight", "a\nb",
]  # fmt: skip


@pytest.fixture(scope="module")
def theirs() -> dict[str, Tensor]:
    return in_the_authors_layout(timm.create_model(NETWORK))


@counted
def test_checkpoints_of_the_authors_code(
    inputs: int, theirs: dict[str, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "last.pth"
    whole = saved({"state_dict": theirs})
    path.write_bytes(whole)
    right = create_converted(NETWORK, path).state_dict()

    def check(data: bytes) -> None:
        path.write_bytes(data)
        found = outcome(lambda: create_converted(NETWORK, path), len(data), SEVERAL)
        if found is REFUSED:
            return
        assert isinstance(found, CodedResNeXt)
        state = found.state_dict()
        assert state.keys() == right.keys()
        assert all(value.shape == right[name].shape for name, value in state.items())

    almost = st.one_of(
        authors_files(theirs), authors_files(theirs), torch_files(whole), noise([whole])
    )
    fuzz(check, inputs, almost)


class Evil:
    """What unpickles to a call."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return (Path.touch, (Path("called"),))  # type: ignore[return-value]


@pytest.mark.parametrize("content", [Evil(), {"state_dict": Evil()}, {"a": Evil()}])
def test_nothing_in_a_checkpoint_is_called(
    content: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x.pt"
    for data in (saved(content), pickle.dumps(content)):
        path.write_bytes(data)
        with pytest.raises(UserError, match="cannot be read as weights"):
            create_converted(NETWORK, path)
        path.write_bytes(_MAGIC + _digest(_MAGIC, memoryview(data)) + data)
        with pytest.raises(UserError, match=r"x\.pt"):
            load_checkpoint(path)
    assert not (tmp_path / "called").exists()
