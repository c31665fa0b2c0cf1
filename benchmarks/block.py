"""What coding costs: training steps of a plain, a coded and a literally coded block.

The three run interleaved in one process; a step is forward, coding loss and backward. Reported
are median milliseconds and throughput relative to the plain block.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from timm.models.resnet import Bottleneck
from torch import nn

from benchmarks.literal import LiteralCodedBottleneck
from codepath.codes import find_scheme
from codepath.losses import coding_loss
from codepath.models import CodedBottleneck
from codepath.train.fit import choose_device, device_name

# Coded stages of the networks at their usual image size: C, d, N, Nact, K, pixels a side.
STAGES = {
    "C10 c3": (512, 22, 10, 5, 10, 16),
    "C10 c4": (1024, 44, 10, 3, 10, 8),
    "C100 c3": (512, 12, 20, 8, 100, 16),
    "ImageNet c4": (1024, 16, 32, 16, 1000, 10),
    "ImageNet c5": (2048, 32, 32, 8, 1000, 5),
}


def step_of(block: nn.Module, x: torch.Tensor, labels: torch.Tensor) -> Callable[[], None]:
    """A training step of one block."""

    def step() -> None:
        block.zero_grad(set_to_none=True)
        if isinstance(block, CodedBottleneck):
            out, energies = block.forward_coded(x)
            loss = coding_loss(energies, block.codewords[labels], block.ratio)
            (out.mean() + loss).backward()
        else:
            block(x).mean().backward()
        if x.is_cuda:
            torch.cuda.synchronize()

    return step


def measure(name: str, batch: int, repeats: int, device: torch.device) -> dict[str, float]:
    """Median seconds of a step of each variant."""
    C, d, N, active, K, side = STAGES[name]
    x = torch.randn(batch, C, side, side, device=device).to(memory_format=torch.channels_last)
    x.requires_grad_()
    labels = torch.randint(K, (batch,), device=device)
    scheme = find_scheme(K, N, active)
    planes = C // 4
    blocks = {
        "plain": Bottleneck(C, planes, cardinality=N, base_width=d * 64 / planes),
        "coded": CodedBottleneck(C, C, d, scheme),
        "literal": LiteralCodedBottleneck(C, C, d, scheme),
    }
    steps = {
        variant: step_of(block.to(device).to(memory_format=torch.channels_last), x, labels)
        for variant, block in blocks.items()
    }
    seconds: dict[str, list[float]] = {variant: [] for variant in steps}
    for repeat in range(repeats + 1):
        for variant, step in steps.items():
            started = time.perf_counter()
            step()
            if repeat:  # the first is a warm-up
                seconds[variant].append(time.perf_counter() - started)
    return {variant: statistics.median(values) for variant, values in seconds.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    device = choose_device()
    table = Table(
        title=f"Training step, batch {options.batch}, float32, channels last, "
        f"{device_name(device)}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    )
    for heading in ("stage", "plain ms", "coded ms", "literal ms", "coded/plain", "coded/literal"):
        table.add_column(heading, justify="left" if heading == "stage" else "right")
    for name in STAGES:
        s = measure(name, options.batch, options.repeats, device)
        table.add_row(
            name,
            *(f"{1000 * s[variant]:.1f}" for variant in ("plain", "coded", "literal")),
            f"{s['plain'] / s['coded']:.2f}x",
            f"{s['literal'] / s['coded']:.1f}x",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
