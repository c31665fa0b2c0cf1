"""Every candidate for a faster step computes what the plain expression does."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from codepath.codes import load_scheme
from codepath.core.errors import UserError
from codepath.core.provenance import REPO_ROOT
from codepath.models import CodedBottleneck
from codepath.models.statistics import group_statistics, group_statistics_by_sums
from codepath.run.config import RunConfig
from codepath.train import World
from codepath.train.candidates import (
    CANDIDATES,
    check_candidates,
    compiled_with,
    use_candidates,
)
from codepath.train.distributed import Placement
from codepath.train.ghost import use_ghost_batches
from codepath.train.loop import Trainer
from codepath.train.losses import coding_loss
from tests.train.runs import make_steps

HERE = [("dense",), ("folded",), ("sums",), ("dense", "folded", "sums")]
"""Those that run on the processor as they are."""


def made_block(aligned: bool, candidates: tuple[str, ...], dtype: torch.dtype) -> CodedBottleneck:
    torch.manual_seed(1)
    block = CodedBottleneck(12, 24, 3, load_scheme("10-10-3"), stride=2)
    nn.init.normal_(block.bn3.weight)
    use_ghost_batches(block, 2, 0.1, aligned)
    use_candidates(block, candidates)
    return block.to(dtype).to(memory_format=torch.channels_last).train()


def results_of(
    block: CodedBottleneck, x: Tensor, masks: dict[str, Tensor], call: Any = None
) -> dict[str, Tensor]:
    """Output, energies, running statistics and all gradients."""
    x = x.clone().requires_grad_()
    out, energies = (call or block.forward_coded)(x, **masks)
    loss = coding_loss(energies, block.codewords[: len(x)], block.ratio)
    (out.float().square().mean() + loss).backward()
    found = {"out": out, "energies": energies, "x": x.grad}
    found |= {f"gradient of {name}": p.grad for name, p in block.named_parameters()}
    return {name: value.detach().clone() for name, value in found.items()} | {
        name: value.clone() for name, value in block.named_buffers()
    }


def images(dtype: torch.dtype) -> Tensor:
    torch.manual_seed(0)
    x = torch.randn(4, 12, 10, 6, dtype=torch.float64).to(dtype)
    return x.to(memory_format=torch.channels_last)


def masks_of(names: str) -> dict[str, Tensor]:
    path, drop = torch.ones(4, 10), torch.full((4, 10), 1.25)
    path[0, 3] = drop[1, 5] = drop[2, :4] = 0
    made = {"path_mask": path, "drop_mask": drop}
    return {name: mask for name, mask in made.items() if name.split("_")[0] in names.split()}


@pytest.mark.parametrize("masks", ["", "drop", "path", "path drop"])
@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("names", HERE, ids="+".join)
def test_a_block_with_a_candidate_is_the_block(
    names: tuple[str, ...], aligned: bool, masks: str
) -> None:
    x = images(torch.float64)
    plain = results_of(made_block(False, (), torch.float64), x, masks_of(masks))
    found = results_of(made_block(aligned, names, torch.float64), x, masks_of(masks))
    assert found.keys() == plain.keys()
    for name, value in plain.items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-10, msg=name)


@pytest.mark.parametrize("names", HERE, ids="+".join)
def test_in_bfloat16_it_differs_by_rounding(names: tuple[str, ...]) -> None:
    x = images(torch.float32)
    exact = results_of(made_block(True, (), torch.float32), x, masks_of("drop"))
    found = []
    for chosen in ((), names):
        with torch.autocast("cpu", torch.bfloat16):
            found.append(results_of(made_block(True, chosen, torch.float32), x, masks_of("drop")))
    plain, other = found
    for name, value in exact.items():
        scale = float(value.float().abs().max()) + 1e-6
        error = float((plain[name] - value).float().abs().max()) / scale
        mine = float((other[name] - value).float().abs().max()) / scale
        assert mine <= 2 * error + 0.01, name


@pytest.mark.parametrize("names", HERE, ids="+".join)
def test_compilers_follow_it(names: tuple[str, ...]) -> None:
    """Traced whole, with its gradients, as for a GPU."""
    x = images(torch.float32)
    torch._dynamo.reset()
    plain = results_of(made_block(True, (), torch.float32), x, masks_of("drop"))
    block = made_block(True, names, torch.float32)
    call = torch.compile(block.forward_coded, backend="aot_eager", fullgraph=True, dynamic=False)
    for name, value in results_of(block, x, masks_of("drop"), call).items():
        torch.testing.assert_close(value, plain[name], rtol=1e-4, atol=1e-5, msg=name)


def test_an_all_zero_image_stays_finite() -> None:
    for names in HERE:
        block = made_block(True, names, torch.float32)
        for value in results_of(block, torch.zeros(4, 12, 6, 6), {}).values():
            assert bool(value.isfinite().all())


def test_sums_lose_bits_where_the_mean_is_far_from_zero() -> None:
    """As its docstring says: 2 log2(mean / deviation) of 24."""
    torch.manual_seed(0)
    spread = torch.randn(8, 4, 16, 16)
    for mean, tolerance in ((0.0, 1e-6), (4.0, 1e-5), (64.0, 2e-3)):
        x = spread + mean
        exact = group_statistics(x.double(), 4)[1]
        _, variance = group_statistics_by_sums(x, 4)
        torch.testing.assert_close(variance.double(), exact, rtol=tolerance, atol=0)


@pytest.mark.parametrize("names", HERE, ids="+".join)
def test_a_run_makes_the_same_steps(names: tuple[str, ...], tiny_config: RunConfig) -> None:
    found = []
    for chosen in ((), names):
        world = World(Placement(), torch.device("cpu"))
        size = tiny_config.train.batch_size
        trainer = Trainer(tiny_config, world, 8, size, aligned=True, candidates=chosen)
        found.append(make_steps(trainer, 3))
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, rtol=1e-3, atol=1e-4, msg=name)


def test_recomputing_is_asked_of_its_own_compiling_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    compiling = torch.compile

    def noting(module: nn.Module, **options: Any) -> Any:
        def backend(graph: Any, _: Any) -> Any:
            asked.append(torch._functorch.config.aggressive_recomputation)
            return graph.forward

        return compiling(module, backend=backend, dynamic=options["dynamic"])

    monkeypatch.setattr(torch, "compile", noting)
    torch._dynamo.reset()
    x = torch.ones(2, 3)
    layer = nn.Linear(3, 2)
    assert torch.equal(compiled_with(layer, ("recomputed",))(x), layer(x))
    assert torch.equal(compiled_with(nn.Linear(3, 2), ())(x[:1]).isfinite(), torch.ones(1, 2) > 0)
    assert asked == [True, False]


def test_autotuning_is_the_compilers_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    modes = []
    monkeypatch.setattr(torch, "compile", lambda _, **options: modes.append(options["mode"]))
    compiled_with(nn.Identity(), ("autotuned",))
    compiled_with(nn.Identity(), ("folded",))
    assert modes == ["max-autotune-no-cudagraphs", None]


def test_wrong_names_are_refused(tiny_config: RunConfig) -> None:
    world = World(Placement(), torch.device("cpu"))
    with pytest.raises(UserError, match="unknown candidate 'kernel': did you mean kernels"):
        Trainer(tiny_config, world, 8, 32, candidates=("kernel",))
    with pytest.raises(UserError, match="choose the way compiled"):
        check_candidates(("autotuned",), compiled=False)
    for both in (("dense", "kernels"), ("sums", "statistics")):
        with pytest.raises(UserError, match="do the same"):
            check_candidates(both, compiled=True)
    check_candidates(tuple(set(CANDIDATES) - {"dense", "sums"}), compiled=True)


# Triton, on the processor by its interpreter, and compiled for a GPU that is not here


def test_kernels_by_their_interpreter() -> None:
    tests = Path(__file__).parent / "interpreted_kernels.py"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tests)],
        cwd=REPO_ROOT,
        env={**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "skipped" not in done.stdout


@pytest.mark.parametrize("dtype", ["bf16", "fp16", "fp32"])
@pytest.mark.parametrize("width", [4, 24, 44])
def test_kernels_compile_for_an_h100(width: int, dtype: str) -> None:
    """To machine code, without one."""
    triton = pytest.importorskip("triton", reason="Triton comes with torch on Linux alone")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from codepath.models import kernels

    def compiled(kernel: Any, pointers: dict[str, str], numbers: str, **constants: int) -> Any:
        signature = {name: f"*{kind}" for name, kind in pointers.items()}
        signature |= dict.fromkeys(numbers.split(), "i32") | dict.fromkeys(constants, "constexpr")
        source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
        return triton.compile(source, target=GPUTarget("cuda", 90, 32))

    tile = {"d": width, "D": kernels._square(width), "P": kernels._PIXELS}
    made = [
        compiled(
            kernels.moments_kernel, {"h": dtype, "out": "fp32"}, "pixels channels",
            **tile, UPCAST=dtype == "fp32",
        ),
        compiled(
            kernels.mix_kernel, {"h": dtype, "grams": "fp32", "factor": "fp32", "out": dtype},
            "pixels channels", **tile, UPCAST=dtype != "bf16",
        ),
        compiled(
            kernels.statistics_kernel, {"x": dtype, "means": "fp32", "squares": "fp32"},
            "rows channels share", R=kernels._ROWS, C=kernels._COLUMNS,
        ),
    ]  # fmt: skip
    for kernel in made:
        assert len(kernel.asm["cubin"]) > 0
        assert kernel.metadata.shared <= 2**16


def test_without_a_gpu_the_plain_expression_takes_the_kernels_place(
    tiny_config: RunConfig,
) -> None:
    recipe = dataclasses.replace(tiny_config.train, precision="float32")
    config = dataclasses.replace(tiny_config, train=recipe)
    found = []
    for chosen in (("folded",), ("folded", "kernels", "statistics")):
        trainer = Trainer(config, World(Placement(), torch.device("cpu")), 8, 32, candidates=chosen)
        found.append(make_steps(trainer, 2))
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, rtol=1e-4, atol=1e-5, msg=name)
