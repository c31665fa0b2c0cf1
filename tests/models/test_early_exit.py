"""Early exits: real termination, compaction, and what is not computed."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import timm
import torch

from codepath.codes.decoding import codeword_scores
from codepath.core.errors import UserError
from codepath.evaluate import nearest_codeword
from codepath.models import CodedResNeXt, EarlyExit, Readout, load_early_exit
from codepath.models.classifier_file import export_onnx, export_program
from codepath.models.early_exit import CRITERIA, combined_scores, count_agreeing, save_exit_settings
from tests.models.test_extract import network

WEIGHTS = {b: [0.3 * (i + 1) for i in range(place)] for place, b in enumerate(range(3, 7), 1)}


@pytest.fixture(scope="module")
def model() -> CodedResNeXt:
    return network("coded_resnext20_10x4d").to(memory_format=torch.channels_last)


@pytest.fixture(scope="module")
def x() -> torch.Tensor:
    images = torch.randn(24, 3, 16, 16, generator=torch.manual_seed(1))
    return (3 * images).to(memory_format=torch.channels_last)


@torch.no_grad()
def test_without_thresholds_it_is_the_network(model: CodedResNeXt, x: torch.Tensor) -> None:
    output = EarlyExit(model)(x)
    assert torch.equal(output.classes, model(x).argmax(1))
    assert not output.exits.any()


@torch.no_grad()
def test_leaving_at_once_is_equation_7(model: CodedResNeXt, x: torch.Tensor) -> None:
    output = EarlyExit(model, blocks=[4], thresholds=-math.inf)(x)
    assert (output.exits == 4).all()
    energies = model.forward_coded(x).energies[4].numpy()
    expected = nearest_codeword(energies, model.coded_blocks[4].scheme)
    assert output.classes.tolist() == expected.tolist()


def middle_of(values: torch.Tensor) -> float:
    """Halfway between the two in the middle: no rounding puts a value on its other side."""
    ordered = values.sort().values
    half = len(ordered) // 2
    return float(ordered[half - 1 : half + 1].mean())


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("weights", [None, WEIGHTS])
@torch.no_grad()
def test_a_batch_is_its_images(model, x, criterion: str, weights) -> None:
    exits = EarlyExit(model, criterion=criterion, weights=weights)
    scores = [exits.at(b)(x) for b in exits.blocks]
    for place, block in enumerate(exits.blocks):
        top = scores[place].topk(2).values
        exits.thresholds[block] = {
            "margin": middle_of(top[:, 0] - top[:, 1]),
            "softmax": middle_of(scores[place].softmax(1).amax(1)),
            "agreement": 2.0,
        }[criterion]
    together = exits(x)
    if criterion != "agreement":  # which random weights give at once
        assert len(together.exits.unique()) > 2
    for i in range(len(x)):
        alone = exits(x[i : i + 1])
        assert alone.classes[0] == together.classes[i]
        assert alone.exits[0] == together.exits[i]
    for block in exits.blocks:
        here = together.exits == block
        decided = exits.at(block)(x).argmax(1)
        assert torch.equal(together.classes[here], decided[here])


@torch.no_grad()
def test_an_exit_needs_nothing_behind_its_energies(model: CodedResNeXt, x: torch.Tensor) -> None:
    """conv3, bn3 and the projection of the exit's block and all later blocks are never called."""
    called: list[int] = []
    handles = []
    for number, block in enumerate(model.blocks, start=1):
        for part in (block.bn3, block.downsample, block.conv1):
            if part is not None and (number > 5 or part is not block.conv1):
                handles.append(
                    part.register_forward_hook(lambda *_, number=number: called.append(number))
                )
    EarlyExit(model, thresholds=-math.inf, blocks=[5])(x)
    for handle in handles:
        handle.remove()
    assert called
    assert max(called) == 4


@torch.no_grad()
def test_later_blocks_run_on_what_remains(model: CodedResNeXt, x: torch.Tensor) -> None:
    exits = EarlyExit(model)
    top = exits.at(3)(x).topk(2).values
    exits.thresholds[3] = float((top[:, 0] - top[:, 1]).median())
    sizes: list[int] = []
    conv = model.blocks[3].conv1
    handle = conv.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    output = exits(x)
    handle.remove()
    assert sizes == [int((output.exits != 3).sum())]
    assert 0 < sizes[0] < len(x)


@torch.no_grad()
def test_combined_scores_are_weighted_sums(model: CodedResNeXt, x: torch.Tensor) -> None:
    energies = model.forward_coded(x).energies
    exits = EarlyExit(model, weights=WEIGHTS)
    for block in exits.blocks:
        own = [
            codeword_scores(energies[b], coded.codewords, coded.ratio)
            for b, coded in model.coded_blocks.items()
            if b <= block
        ]
        by_hand = sum(w * s for w, s in zip(WEIGHTS[block], own, strict=True))
        torch.testing.assert_close(exits.at(block)(x), by_hand, rtol=1e-4, atol=1e-4)
        assert torch.equal(combined_scores(own, None), own[-1])


def readouts_of(model: CodedResNeXt) -> dict[int, Readout]:
    draw = torch.Generator().manual_seed(3)
    return {
        block: Readout(
            torch.randn(coded.codewords.shape, generator=draw),
            torch.randn(len(coded.codewords), generator=draw),
        )
        for block, coded in model.coded_blocks.items()
    }


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@torch.no_grad()
def test_readouts_stand_in_for_equation_7(
    model: CodedResNeXt, x: torch.Tensor, tmp_path: Path, weights
) -> None:
    energies = model.forward_coded(x).energies
    readouts = readouts_of(model)
    exits = EarlyExit(model, weights=weights, readouts=readouts, thresholds=-math.inf)
    for block in exits.blocks:
        own = [energies[b] @ readouts[b].weight.T + readouts[b].bias for b in range(3, block + 1)]
        used = None if weights is None else weights[block]
        torch.testing.assert_close(
            exits.at(block)(x), combined_scores(own, used), rtol=1e-4, atol=1e-4
        )
    first = (energies[3] @ readouts[3].weight.T + readouts[3].bias).argmax(1)
    assert torch.equal(exits(x).classes, first)
    counted = EarlyExit(model).at(4)
    assert exits.at(4).stored_values - counted.stored_values == (2 if weights else 1) * (
        10 * 10 + 10
    )
    save_exit_settings(exits, tmp_path / "exits.json", {})
    loaded = load_early_exit(model, tmp_path / "exits.json")
    for block in exits.blocks:
        torch.testing.assert_close(loaded.at(block)(x), exits.at(block)(x))
    with pytest.raises(UserError, match="readout of shape"):
        EarlyExit(
            model, readouts={b: Readout(r.weight[:, 1:], r.bias) for b, r in readouts.items()}
        )
    with pytest.raises(UserError, match="readouts are for blocks"):
        EarlyExit(model, readouts={3: readouts[3]})


@torch.no_grad()
def test_codewords_as_readouts_decide_as_equation_7(model: CodedResNeXt, x: torch.Tensor) -> None:
    readouts = {
        block: Readout(coded.codewords.float(), torch.zeros(10))
        for block, coded in model.coded_blocks.items()
    }
    given, plain = EarlyExit(model, readouts=readouts), EarlyExit(model)
    for block in plain.blocks:
        assert torch.equal(given.at(block)(x).argmax(1), plain.at(block)(x).argmax(1))


def test_agreement_counts_exits_in_a_row() -> None:
    decisions = torch.tensor([[1, 2, 3], [1, 2, 0], [1, 0, 0], [2, 0, 0]])
    agreeing = previous = None
    found = []
    for decided in decisions:
        agreeing = count_agreeing(decided, previous, agreeing)
        previous = decided
        found.append(agreeing.tolist())
    assert found == [[1, 1, 1], [2, 2, 1], [3, 1, 2], [1, 2, 3]]


def test_scores_are_distances_of_equation_7() -> None:
    words = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]], dtype=torch.uint8)
    energies = torch.rand(5, 4) * 2
    expected = -((0.5 * energies[:, None] - words) ** 2).sum(2)
    torch.testing.assert_close(codeword_scores(energies, words, 0.5), expected)


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("coded_resnext20_10x4d", 16),
        pytest.param("coded_resnext29_10x11d", 32, marks=pytest.mark.slow),
        pytest.param("coded_resnext29_20x6d", 32, marks=pytest.mark.slow),
        pytest.param("coded_resnext50_32x4d", 160, marks=pytest.mark.slow),
    ],
)
@torch.no_grad()
def test_a_static_graph_for_each_exit(name: str, side: int, tmp_path: Path) -> None:
    model = network(name)
    blocks = list(model.coded_blocks)
    weights = {b: [0.3 * (i + 1) for i in range(place)] for place, b in enumerate(blocks, 1)}
    exits = EarlyExit(model, weights=weights)
    for block in blocks:
        graph = exits.at(block)
        assert export_program(graph, (3, side, side), tmp_path / "exit.pt2") < 1e-4
        assert export_onnx(graph, (3, side, side), tmp_path / "exit.onnx", {}) < 1e-4
        assert len(list(graph.last.named_children())) == 6
    sizes = [exits.at(block).stored_values for block in blocks]
    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"thresholds": {"4": float("nan")}}, "thresholds.4 is nan"),
        ({"thresholds": {"4": 1, "04": 2}}, "blocks 4, 04"),
        ({"thresholds": {"four": 1}}, "invalid literal"),
        ({"thresholds": {"9" * 5000: 1}}, "4300"),
        ({"thresholds": {"1": 1}}, "no exit at block 1"),
        ({"thresholds": []}, "thresholds is a list"),
        ({"criterion": ["margin"]}, "criterion is a list"),
        ({"weights": {"4": ["1"]}}, r"weights.4\[0\] is '1'"),
        ({"readouts": {"4": {"weight": [[1.0]], "bias": [0.0]}}}, "a readout of shape"),
        ({"readouts": {"4": {"weight": [[1.0], []], "bias": [0.0]}}}, "expected sequence"),
        ({"readouts": {"4": {"weight": [[0.5] * 10] * 10, "bias": []}}}, "a readout of shape"),
    ],
)
def test_settings_that_are_none(
    model: CodedResNeXt, change: dict, said: str, tmp_path: Path
) -> None:
    settings = {"criterion": "margin", "thresholds": {"4": 0.5}, "weights": None, "about": {}}
    path = tmp_path / "exits.json"
    path.write_text(json.dumps(settings | change))
    with pytest.raises(UserError, match=rf"holds no settings of exits \(.*{said}"):
        load_early_exit(model, path)


def test_settings_travel(model: CodedResNeXt, x: torch.Tensor, tmp_path: Path) -> None:
    thresholds = {3: 0.7, 4: math.inf, 5: 0.5, 6: 0.1}
    exits = EarlyExit(model, criterion="softmax", thresholds=thresholds, weights=WEIGHTS)
    save_exit_settings(exits, tmp_path / "exits.json", {"n": 3})
    again = load_early_exit(model, tmp_path / "exits.json")
    assert again.thresholds == thresholds
    assert again.criterion == "softmax"
    for found, expected in zip(again(x), exits(x), strict=True):
        assert torch.equal(found, expected)
    (tmp_path / "bad.json").write_text("{}")
    for name in ("bad.json", "absent.json"):
        with pytest.raises(UserError, match="codepath exits RUN"):
            load_early_exit(model, tmp_path / name)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"blocks": [2]}, "no exit at block 2"),
        ({"blocks": []}, "no exit at block"),
        ({"criterion": "margins"}, "did you mean margin"),
        ({"blocks": [3, 4], "thresholds": {3: 1.0}}, "thresholds are for blocks"),
        ({"weights": {b: [1.0] for b in range(3, 7)}}, "needs 2 weights"),
    ],
)
def test_bad_exits(model: CodedResNeXt, kwargs: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        EarlyExit(model, **kwargs)


def test_plain_networks_have_no_exits() -> None:
    with pytest.raises(UserError, match="the network has none"):
        EarlyExit(timm.create_model("resnext20_10x4d"))
