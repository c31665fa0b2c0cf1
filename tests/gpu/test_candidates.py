"""Candidates for a faster step compute what the plain expression does, on the tested device."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from codepath.codes import load_scheme
from codepath.models import CodedBottleneck
from codepath.run.config import RunConfig
from codepath.train.candidates import use_candidates
from codepath.train.environment import choose_repeatable_algorithms
from codepath.train.ghost import use_ghost_batches
from codepath.train.losses import coding_loss
from tests.gpu.test_cuda import trainer
from tests.train.runs import make_steps

NAMES = [("dense",), ("kernels",), ("folded",), ("sums",), ("statistics",)]


@pytest.fixture(autouse=True)
def _repeatable() -> None:
    choose_repeatable_algorithms()


@pytest.mark.parametrize(("width", "side"), [(22, 16), (44, 8)])
@pytest.mark.parametrize("names", NAMES, ids="+".join)
def test_a_block_of_c10_is_the_block(
    device: torch.device, names: tuple[str, ...], width: int, side: int
) -> None:
    """As far from float32 as the plain one in bfloat16, up to a factor."""
    x = torch.randn(16, 512, side, side, device=device).to(memory_format=torch.channels_last)
    found = []
    for chosen, dtype in (((), torch.float32), ((), torch.bfloat16), (names, torch.bfloat16)):
        torch.manual_seed(1)
        block = CodedBottleneck(512, 512, width, load_scheme("10-10-5"))
        torch.nn.init.normal_(block.bn3.weight)
        use_ghost_batches(block, 8, 0.1, aligned=True)
        use_candidates(block, chosen)
        block = block.to(device).to(memory_format=torch.channels_last).train()
        mine = x.clone().requires_grad_()
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            out, energies = block.forward_coded(mine)
        loss = coding_loss(energies, block.codewords[torch.arange(16, device=device) % 10], 0.5)
        (out.float().square().mean() + loss).backward()
        assert mine.grad is not None
        found.append([out, energies, mine.grad, *(p.grad for p in block.parameters())])
    for exact, plain, other in zip(*found, strict=True):
        scale = float(exact.float().abs().max()) + 1e-6
        error, mine_ = (float((t - exact).float().abs().max()) / scale for t in (plain, other))
        assert mine_ <= 2 * error + 0.01


@pytest.mark.compiles
@pytest.mark.parametrize(
    "names", [("kernels", "folded", "statistics"), ("dense", "sums")], ids="+".join
)
def test_compiled_and_recorded_it_makes_the_same_steps(
    device: torch.device, names: tuple[str, ...], tiny_config: RunConfig
) -> None:
    recipe = dataclasses.replace(tiny_config.train, precision="bfloat16")
    config = dataclasses.replace(tiny_config, train=recipe)
    ways = {"precision": "bfloat16", "compiled": True, "aligned": True}
    plain, other = (
        make_steps(trainer(config, device, candidates=chosen, **ways), 6) for chosen in ((), names)
    )
    for name, value in plain.items():
        torch.testing.assert_close(other[name], value, rtol=0.05, atol=0.02, msg=name)
