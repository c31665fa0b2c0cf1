"""TorchScript: compiled networks give what the networks give, in evaluation and in training."""

from __future__ import annotations

import io
from typing import Any

import pytest
import timm
import torch
from timm.models import create_feature_extractor

from codepath.models import CodedResNeXt
from codepath.models.entry_points import REGISTERED
from codepath.models.script import take_energies
from tests.models.networks import image_for, randomise_last_norms

SMALL = "coded_resnext20_10x4d"
every_network = pytest.mark.parametrize("name", REGISTERED)
pytestmark = [
    pytest.mark.filterwarnings("ignore:`?torch.jit"),
    pytest.mark.filterwarnings("ignore:The TorchScript type system"),
    pytest.mark.filterwarnings("ignore:a coded network is being trained without"),
]
VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {"p_drop": 0.4},
    {"active": (10, (5, 3), 3), "p_drop": 0.4},  # a mask that two stages share
    {"active": ((10, 5), 5, 10), "p_drop": 0.4},
    {"aggregate": "concat", "p_drop": 0.4},
    {"num_classes": 0, "global_pool": "max"},
    {"scheme_family": "best", "drop_rate": 0.5},
)


def make(name: str = SMALL, **options: Any) -> CodedResNeXt:
    torch.manual_seed(0)
    model = timm.create_model(name, **options).eval()
    randomise_last_norms(model)
    return model


@pytest.fixture
def energies_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `codepath timm` has it."""
    monkeypatch.setattr(CodedResNeXt, "keeps_energies", True)


@every_network
def test_pool_size_is_the_size_of_the_last_map(name: str) -> None:
    model = make(name)
    cfg = model.pretrained_cfg
    with torch.no_grad():
        assert model.forward_features(torch.randn(1, *cfg["input_size"])).shape[2:] == (
            *cfg["pool_size"],
        )


@every_network
def test_every_network_is_compiled(name: str) -> None:
    model = make(name)
    x = image_for(model)
    scripted = torch.jit.script(model)
    assert set(scripted.state_dict()) == set(model.state_dict())
    assert [n for n, _ in scripted.named_parameters()] == [n for n, _ in model.named_parameters()]
    saved = io.BytesIO()
    torch.jit.save(scripted, saved)
    saved.seek(0)
    loaded = torch.jit.load(saved)
    with torch.no_grad():
        for module in (scripted, loaded):
            torch.testing.assert_close(module(x), model(x))


@every_network
def test_an_fx_graph_is_compiled(name: str) -> None:
    model = make(name)
    x = image_for(model, batch=1)
    scripted = torch.jit.script(create_feature_extractor(model, {"fc": "logits"}).eval())
    with torch.no_grad():
        torch.testing.assert_close(scripted(x)["logits"], model(x))


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_training_draws_the_same_masks(options: dict[str, Any], energies_kept: None) -> None:
    """Logits, energies and gradients, with the same random numbers."""
    del energies_kept
    model = make(**options).double().train()
    scripted = torch.jit.script(make(**options).double().train())
    x = image_for(model).double()
    results = []
    for module in (model, scripted):
        torch.manual_seed(1)
        logits = module(x)
        if module is model:
            energies = list((model.last_energies or {}).values())
        else:
            taken = take_energies(scripted)
            energies = [one.energies for one in taken]
            assert [one.ratio for one in taken] == [b.ratio for b in model.coded_blocks.values()]
        (logits.square().mean() + sum(e.square().mean() for e in energies)).backward()
        results.append([logits, *energies, *(p.grad for p in module.parameters())])
    assert len(results[0]) == len(results[1])
    for expected, got in zip(*results, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-11)
    assert take_energies(scripted) == []


def test_energies_are_left_only_where_asked_for() -> None:
    scripted = torch.jit.script(make().train())
    scripted(image_for(make()))
    assert take_energies(scripted) == []


def test_under_autocast_energies_stay_exact(energies_kept: None) -> None:
    """TorchScript cannot switch autocast off; training goes on after an evaluation."""
    del energies_kept
    model = make().train()
    scripted = torch.jit.script(make().train())
    x = image_for(model)

    def pass_(module: torch.nn.Module) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return module(x).float()

    for _ in range(3):
        pass_(scripted).square().mean().backward()
        (first, *_) = take_energies(scripted)
        scripted.eval()
        with torch.inference_mode():
            pass_(scripted)
        scripted.train()
    pass_(model)
    assert model.last_energies is not None
    expected = next(iter(model.last_energies.values()))
    assert first.energies.dtype == torch.float64
    torch.testing.assert_close(first.energies.float(), expected, rtol=1e-4, atol=1e-4)
